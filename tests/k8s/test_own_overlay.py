"""The overlay that k8s/README.md has people write, made by its own commands, on every overlay of ours."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from kustomize import build, build_with_kubectl, by_identity, has_kubectl, pod_specs

from tasks.cluster.__main__ import main

K8S = Path(__file__).parents[2] / "k8s"
REGISTRY = "registry.studio.test"  # no file of ours names it
TEXT = (K8S / "README.md").read_text().replace("registry.example.com", REGISTRY)
OURS = f"{REGISTRY}/avatar-farm/"


@pytest.fixture(params=["local", "cloud", "kueue"])
def mine(request, tmp_path, monkeypatch):
    """The folder of the overlay, in a copy of k8s/."""
    shutil.copytree(K8S, tmp_path / "k8s")
    monkeypatch.chdir(tmp_path)
    folder = Path("k8s/overlays/mine")
    (folder / "job-templates").mkdir(parents=True)
    command = re.search(r"python -m tasks\.cluster (templates .*--image .*)", TEXT)[1]
    assert main([*shlex.split(command), *(["--kueue"] if request.param == "kueue" else [])]) == 0
    written = re.search(r"mine/kustomization\.yaml <<'END'\n(.*?)\n +END\n", TEXT, re.DOTALL)[1]
    text = re.sub(r"^ {7}", "", written, flags=re.MULTILINE)
    assert text.count("[../local]") == 1
    (folder / "kustomization.yaml").write_text(text.replace("[../local]", f"[../{request.param}]") + "\n")
    return tmp_path / folder


def test_every_image_comes_from_ones_own_registry(mine):
    made = build(mine)
    if has_kubectl():
        assert by_identity(build_with_kubectl(mine)) == by_identity(made)
    images = {
        container["image"]
        for thing, _, spec in pod_specs(made)
        if thing["metadata"]["name"] not in ("postgres", "object-store")
        for container in (*spec.get("initContainers", []), *spec["containers"])
    }
    assert images == {f"{OURS}{name}:0.1.0" for name in ("server", "worker", "renderer")}
    (templates,) = [m for m in made if m["kind"] == "ConfigMap" and m["metadata"]["name"].startswith("job-templates")]
    for text in templates["data"].values():
        assert json.loads(text)["variables"]["properties"]["image"]["default"] == f"{OURS}renderer:0.1.0"

"""The script that makes the secrets: matching passwords, never overwritten, never in an argument of a process."""

import base64
import os
import subprocess
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "k8s" / "make-secrets.sh"
# a kubectl that keeps secrets as files: `--namespace N get secret S` and `create --filename -`
KUBECTL = """#!/bin/sh
echo "$@" >> "$KEPT/arguments"
case "$3" in
get) test -f "$KEPT/$2_$5" ;;
*)
  cat > "$KEPT/new"
  mv "$KEPT/new" "$KEPT/$(sed -n 's/.*name: \\(.*\\), namespace: \\(.*\\)}/\\2_\\1/p' "$KEPT/new")"
  ;;
esac
"""


@pytest.fixture
def make_secrets(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "kept").mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)

    def run(*arguments, **variables):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "KEPT": str(tmp_path / "kept")} | variables
        made = subprocess.run(
            ["sh", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return made.returncode, made.stdout + made.stderr

    run.kept = tmp_path / "kept"
    return run


def secrets(kept):
    found = {}
    for path in kept.glob("avatar-farm*_*"):
        secret = yaml.safe_load(path.read_text())
        assert (secret["kind"], path.name) == (
            "Secret",
            f"{secret['metadata']['namespace']}_{secret['metadata']['name']}",
        )
        found[path.name] = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    return found


def test_the_local_secrets_fit_together(make_secrets):
    code, text = make_secrets("local")
    assert code == 0, text
    made = secrets(make_secrets.kept)
    passwords = made["avatar-farm_postgres"]
    store, runtime = made["avatar-farm_object-store"], made["avatar-farm-render_farm-runtime"]
    assert made["avatar-farm_prefect-database"]["url"] == (
        f"postgresql+asyncpg://prefect:{passwords['prefect-password']}@postgres.avatar-farm.svc:5432/prefect"
    )
    assert runtime == {
        "FARM_DATABASE": f"postgresql+psycopg://farm:{passwords['farm-password']}@postgres.avatar-farm.svc:5432/farm",
        "AWS_ACCESS_KEY_ID": store["access-key"],
        "AWS_SECRET_ACCESS_KEY": store["secret-key"],
    }
    assert made["avatar-farm_prefect-auth"] == made["avatar-farm-render_prefect-auth"]
    assert len(set(passwords.values())) == 3
    assert all(len(password) >= 20 for password in [*passwords.values(), *store.values()])


def test_no_value_is_shown_or_passed_as_an_argument(make_secrets):
    _, text = make_secrets("local")
    arguments = (make_secrets.kept / "arguments").read_text()
    for values in secrets(make_secrets.kept).values():
        for value in values.values():
            assert value not in text
            assert value not in arguments


def test_a_second_time_nothing_is_overwritten(make_secrets):
    make_secrets("local")
    before = secrets(make_secrets.kept)
    code, text = make_secrets("local")
    assert code == 1
    assert "the passwords belong together" in text
    assert secrets(make_secrets.kept) == before


def test_the_cloud_takes_its_addresses_from_the_environment(make_secrets):
    code, text = make_secrets("cloud")
    assert code != 0
    assert "the address of Prefect's database" in text
    given = {"PREFECT_DATABASE": "postgresql+asyncpg://p", "FARM_DATABASE": "postgresql+psycopg://f"}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret/with=signs"}
    code, text = make_secrets("cloud", **given, **keys)
    assert code == 0, text
    made = secrets(make_secrets.kept)
    assert made["avatar-farm_prefect-database"] == {"url": "postgresql+asyncpg://p"}
    assert made["avatar-farm-render_farm-runtime"] == {"FARM_DATABASE": "postgresql+psycopg://f"} | keys
    again, text = make_secrets("cloud", **given, **keys)
    assert again == 0
    assert text.count("kept") == 3
    assert secrets(make_secrets.kept) == made


def test_without_a_word_it_says_how(make_secrets):
    assert make_secrets()[0] == 2

"""Build a kustomization: with kubectl where there is one, and by this strict reader of the part that k8s/ uses.

The reader refuses every field it does not know, so it cannot quietly build something else than kubectl would.
"""

import copy
import hashlib
import json
import shutil
import subprocess

import yaml

KNOWN = {"apiVersion", "kind", "resources", "components", "configMapGenerator", "images", "patches"}
KNOWN_GENERATOR = {"name", "namespace", "files", "literals", "behavior", "options"}
KNOWN_IMAGE = {"name", "newName", "newTag"}


def has_kubectl():
    return shutil.which("kubectl") is not None


def build_with_kubectl(folder):
    """Return the objects that `kubectl kustomize` makes of a folder."""
    made = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise AssertionError(made.stderr)
    return [thing for thing in yaml.safe_load_all(made.stdout) if thing]


def build(folder):
    """Return the same objects without kubectl."""
    objects = _accumulate(folder, [])
    renamed = {}
    for thing in objects:
        if thing.pop("_hash", False):
            name = thing["metadata"]["name"]
            renamed[name] = thing["metadata"]["name"] = f"{name}-{_hash(thing)}"
    for thing in objects:
        _rename(thing, renamed)
    return objects


def _accumulate(folder, objects):
    text = yaml.safe_load((folder / "kustomization.yaml").read_text())
    _only(text, KNOWN, folder)
    for resource in text.get("resources", []):
        path = folder / resource
        if path.is_dir():
            objects = _accumulate(path, objects)
        else:
            objects += [thing for thing in yaml.safe_load_all(path.read_text()) if thing]
    for generator in text.get("configMapGenerator", []):
        _generate(folder, generator, objects)
    for component in text.get("components", []):
        objects = _accumulate(folder / component, objects)
    for patch in text.get("patches", []):
        _patch(patch, objects)
    for image in text.get("images", []):
        _only(image, KNOWN_IMAGE, folder)
        for container in _containers(objects):
            if container["image"].split(":")[0] == image["name"]:
                tag = container["image"].partition(":")[2]
                container["image"] = f"{image.get('newName', image['name'])}:{image.get('newTag', tag)}"
    return objects


def _generate(folder, generator, objects):
    _only(generator, KNOWN_GENERATOR, folder)
    data = {path.rpartition("/")[2]: (folder / path).read_text() for path in generator.get("files", [])}
    data |= dict(literal.split("=", 1) for literal in generator.get("literals", []))
    metadata = {"name": generator["name"], "namespace": generator["namespace"]}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    options = generator.get("options", {})
    _only(options, {"disableNameSuffixHash"}, folder)
    made["_hash"] = not options.get("disableNameSuffixHash", False)
    same = [thing for thing in objects if thing["kind"] == "ConfigMap" and thing["metadata"] == metadata]
    if bool(same) != (generator.get("behavior", "create") == "replace"):
        raise ValueError(f"{folder}: {generator['name']} is generated twice, or replaces nothing")
    for thing in same:
        objects.remove(thing)
    objects.append(made)


def _patch(patch, objects):
    _only(patch, {"target", "patch"}, "patches")
    _only(patch["target"], {"kind", "name"}, "patches.target")
    kind, name = patch["target"]["kind"], patch["target"]["name"]
    targets = [thing for thing in objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name)]
    if not targets:
        raise ValueError(f"no {kind} {name} to patch")
    for target in targets:
        for step in yaml.safe_load(patch["patch"]):
            *path, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
            place = target
            for part in path:
                place = place[part]
            if step["op"] == "remove":
                del place[last]
            elif step["op"] == "replace" and last in place:
                place[last] = step["value"]
            else:
                raise ValueError(f"{kind} {name}: cannot {step['op']} {step['path']}")


def _rename(thing, renamed):
    """Point references to generated config maps at their new names."""
    if isinstance(thing, list):
        for part in thing:
            _rename(part, renamed)
    elif isinstance(thing, dict):
        for key, value in thing.items():
            if key in ("configMapRef", "configMap") and value.get("name") in renamed:
                value["name"] = renamed[value["name"]]
            else:
                _rename(value, renamed)


def pod_specs(objects):
    """Yield (object, pod template's metadata, pod spec) of everything that makes pods."""
    for thing in objects:
        if thing["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield thing, thing["spec"]["template"]["metadata"], thing["spec"]["template"]["spec"]
        elif thing["kind"] == "CronJob":
            template = thing["spec"]["jobTemplate"]["spec"]["template"]
            yield thing, template["metadata"], template["spec"]


def _containers(objects):
    for _, _, spec in pod_specs(objects):
        yield from [*spec.get("initContainers", []), *spec["containers"]]


def _hash(config_map):
    """Return kustomize's ten letters for a config map's content."""
    encoded = json.dumps(
        {"data": config_map["data"], "kind": "ConfigMap", "name": ""}, separators=(",", ":"), sort_keys=True
    )
    for sign, escape in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        encoded = encoded.replace(sign, escape)
    digest = hashlib.sha256(encoded.encode()).hexdigest()
    return "".join({"0": "g", "1": "h", "3": "k", "a": "m", "e": "t"}.get(letter, letter) for letter in digest[:10])


def _only(text, known, where):
    unknown = set(text) - known
    if unknown:
        raise ValueError(f"{where}: this reader does not know {', '.join(sorted(unknown))}")


def by_identity(objects):
    """Return copies of the objects by kind, namespace and name."""
    return {
        (thing["kind"], thing["metadata"].get("namespace", ""), thing["metadata"]["name"]): copy.deepcopy(thing)
        for thing in objects
    }

"""What an API server refuses, or runs to our harm, although the manifest's types are right.

`job_faults` reads a Job as Prefect sends it and returns every fault at once, each with its place, value and limit.
"""

import re
from collections.abc import Iterator
from typing import Any

from tasks.cluster.job_template import GPU_RESOURCE
from tasks.cluster.quantity import parse_quantity

Manifest = dict[str, Any]

MAX_NAME = 63  # of a label value, of a pod's host name
GENERATED_SUFFIX = 5  # what the server adds to generateName
POD_SUFFIX = 1 + 5  # what the Job controller adds for a pod
_LABEL = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
_DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_DNS_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_VARIABLE = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


def job_faults(job: Manifest) -> list[str]:
    """Return every fault of a rendered Job, sorted; an empty list means that a server takes it and it is safe."""
    pod = job["spec"]["template"]
    return sorted(
        [
            *_name_faults(job),
            *_label_faults("metadata", job["metadata"]),
            *_label_faults("spec.template.metadata", pod.get("metadata", {})),
            *_job_spec_faults(job["spec"]),
            *pod_faults(pod["spec"]),
        ]
    )


def pod_faults(spec: Manifest) -> list[str]:
    """Return the faults of a pod's spec: resources, mounts, and what the `restricted` security level forbids."""
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    faults = [*_volume_faults(spec, containers), *_security_faults(spec)]
    for container in containers:
        faults += _container_faults(container, spec)
    names = [container["name"] for container in containers]
    faults += [f"containers: the name {name!r} is used twice" for name in sorted(set(names)) if names.count(name) > 1]
    return faults


def _name_faults(job: Manifest) -> Iterator[str]:
    metadata = job["metadata"]
    name = metadata.get("name") or metadata.get("generateName", "") + "x" * GENERATED_SUFFIX
    index = 0
    if job["spec"].get("completionMode") == "Indexed":
        index = 1 + len(str(max(job["spec"].get("completions", 1) - 1, 0)))
    longest = len(name) + POD_SUFFIX + index
    if longest > MAX_NAME:
        yield f"metadata.name: {name!r} makes pod names of {longest} characters; at most {MAX_NAME} fit"
    if not _DNS_SUBDOMAIN.match(name):
        yield f"metadata.name: {name!r} is not lower-case letters, digits and dashes"
    if not _DNS_LABEL.match(metadata.get("namespace", "")) or len(metadata.get("namespace", "")) > MAX_NAME:
        yield f"metadata.namespace: {metadata.get('namespace', '')!r} is not a namespace's name"


def _label_faults(where: str, metadata: Manifest) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        if not isinstance(value, str) or len(value) > MAX_NAME or not _LABEL.match(value):
            yield f"{where}.labels[{key}]: {value!r} is not a label's value of at most {MAX_NAME} letters, digits, -_."
    for key in [*metadata.get("labels", {}), *metadata.get("annotations", {})]:
        prefix, slash, name = key.rpartition("/")
        if not name or len(name) > MAX_NAME or not _LABEL.match(name):
            yield f"{where}: the key {key!r} has no name of 1 to {MAX_NAME} letters, digits, -_."
        if slash and (not _DNS_SUBDOMAIN.match(prefix) or len(prefix) > 253):
            yield f"{where}: the key {key!r} has a prefix that is not a DNS name"


def _job_spec_faults(spec: Manifest) -> Iterator[str]:
    pod = spec["template"]["spec"]
    if pod.get("restartPolicy") != "Never":
        yield f"spec.template.spec.restartPolicy: {pod.get('restartPolicy')!r} hides failures; it must be Never"
    for field in ("activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if not isinstance(spec.get(field), int) or spec[field] <= 0:
            yield f"spec.{field}: {spec.get(field)!r} must be a whole number of seconds above 0"
    if "podFailurePolicy" in spec and spec.get("podReplacementPolicy", "Failed") != "Failed":
        yield f"spec.podReplacementPolicy: {spec['podReplacementPolicy']!r}; with a podFailurePolicy it must be Failed"
    yield from _owner_faults(spec)


def _owner_faults(spec: Manifest) -> Iterator[str]:
    """Two owners of 'run it again' would put two pods on one flow run."""
    rules = spec.get("podFailurePolicy", {}).get("rules", [])
    kubernetes_owns = any(rule["action"] == "Ignore" for rule in rules) or spec.get("backoffLimit", 6) > 0
    environment = {
        entry["name"]: entry.get("value") for entry in spec["template"]["spec"]["containers"][0].get("env", [])
    }
    prefect_owns = environment.get("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR") == "reschedule"
    if kubernetes_owns and prefect_owns:
        yield "spec: both the Job controller and Prefect would start an evicted pod again; one of them must not"
    if not kubernetes_owns and not prefect_owns:
        yield "spec: neither the Job controller nor Prefect would start an evicted pod again"


def _container_faults(container: Manifest, spec: Manifest) -> Iterator[str]:
    where = f"containers[{container['name']}]"
    if not _DNS_LABEL.match(container["name"]) or len(container["name"]) > MAX_NAME:
        yield f"{where}: the name is not lower-case letters, digits and dashes"
    if not container.get("image") or container["image"] != container["image"].strip():
        yield f"{where}.image: {container.get('image')!r} names no image"
    for entry in container.get("env", []):
        if not _VARIABLE.match(entry["name"]):
            yield f"{where}.env: {entry['name']!r} is not a variable's name"
        if "valueFrom" not in entry and not isinstance(entry.get("value"), str):
            yield f"{where}.env[{entry['name']}]: {entry.get('value')!r} is not a text"
    yield from _resource_faults(where, container.get("resources", {}), spec)


def _resource_faults(where: str, resources: Manifest, spec: Manifest) -> Iterator[str]:
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    amounts = {}
    for kind, table in (("requests", requests), ("limits", limits)):
        for name, text in table.items():
            try:
                amounts[kind, name] = parse_quantity(text)
            except ValueError as exc:
                yield f"{where}.resources.{kind}[{name}]: {exc}"
    for name in ("memory", "ephemeral-storage", GPU_RESOURCE):
        if name != GPU_RESOURCE and name not in limits:
            yield f"{where}.resources.limits: {name} has no limit"
        if amounts.get(("requests", name)) != amounts.get(("limits", name)):
            asked, limited = requests.get(name), limits.get(name)
            yield f"{where}.resources: {name} asks for {asked} and is limited to {limited}; make them equal"
    for name in sorted({name for kind, name in amounts if kind == "limits"} & set(requests)):
        if amounts.get(("requests", name), 0) > amounts["limits", name]:
            yield f"{where}.resources: {name} asks for {requests[name]}, more than its limit {limits[name]}"
    gpus = amounts.get(("limits", GPU_RESOURCE))
    if gpus is not None and (gpus.denominator != 1 or gpus < 1):
        yield f"{where}.resources: {limits[GPU_RESOURCE]} is not a whole number of GPUs above 0"
    yield from _memory_volume_faults(where, amounts.get(("limits", "memory")), spec)


def _memory_volume_faults(where: str, memory: Any, spec: Manifest) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        directory = volume.get("emptyDir")
        if directory and directory.get("medium") == "Memory" and memory is not None and "sizeLimit" in directory:
            try:
                if parse_quantity(directory["sizeLimit"]) >= memory:
                    size = directory["sizeLimit"]
                    yield f"{where}: the memory volume {volume['name']} of {size} fills its whole memory"
            except ValueError:
                continue  # reported with the volume


def _volume_faults(spec: Manifest, containers: list[Manifest]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    mounted = [(c["name"], mount) for c in containers for mount in c.get("volumeMounts", [])]
    for container, mount in mounted:
        if mount["name"] not in volumes:
            yield f"containers[{container}]: mounts {mount['name']!r}, which is no volume of this pod"
        elif "persistentVolumeClaim" in volumes[mount["name"]] and not mount.get("readOnly"):
            yield f"containers[{container}]: mounts the weights volume {mount['name']!r} for writing"
    for name in sorted(set(volumes) - {mount["name"] for _, mount in mounted}):
        yield f"volumes[{name}]: no container mounts it"
    for container in containers:
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        for path in sorted({path for path in paths if paths.count(path) > 1}):
            yield f"containers[{container['name']}]: two volumes are mounted at {path}"
    for name, volume in volumes.items():
        if "emptyDir" in volume:
            yield from _empty_dir_faults(name, volume["emptyDir"])
        if "hostPath" in volume:
            yield f"volumes[{name}]: a path of the node is not for renderers"


def _empty_dir_faults(name: str, directory: Manifest) -> Iterator[str]:
    if "sizeLimit" not in directory:
        yield f"volumes[{name}]: has no size limit"
        return
    try:
        parse_quantity(directory["sizeLimit"])
    except ValueError as exc:
        yield f"volumes[{name}].sizeLimit: {exc}"


def _security_faults(spec: Manifest) -> Iterator[str]:
    pod_context = spec.get("securityContext", {})
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken: a renderer gets no token; set it to false"
    if spec.get("terminationGracePeriodSeconds", 30) < 1:
        yield "terminationGracePeriodSeconds: 0 kills before a step is saved"
    for flag in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(flag):
            yield f"{flag}: a renderer does not share the node's"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        context = pod_context | container.get("securityContext", {})
        wanted = {
            "runAsNonRoot": context.get("runAsNonRoot") is True and context.get("runAsUser", 1) != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "privileged": not context.get("privileged"),
            "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        }
        for name, right in wanted.items():
            if not right:
                yield f"containers[{container['name']}].securityContext.{name}: {context.get(name)!r} is not safe"

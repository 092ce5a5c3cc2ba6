"""Why a Job's pods do not run: one clear sentence out of pods, events and nodes. Pure, over plain dicts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tasks.cluster.quantity import parse_quantity

Object = dict[str, Any]
Cause = Literal["image", "configuration", "too_big", "unschedulable", "volume", "refused", "dead_node", "unknown"]

# causes that no waiting heals: nothing in the cluster can change them but a person
HOPELESS: frozenset[Cause] = frozenset({"image", "configuration", "too_big"})
# causes after which starting again on other ground may help; the others want a person first
STARTS_AGAIN: frozenset[Cause] = frozenset({"dead_node", "unknown"})

_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIGURATION = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_VOLUME = {"FailedMount", "FailedAttachVolume"}
_COUNTED = ("cpu", "memory", "ephemeral-storage")  # besides every resource with a slash in its name


@dataclass(frozen=True)
class Diagnosis:
    """What keeps a Job from running, for a person: cause, one sentence, and the way out."""

    cause: Cause
    sentence: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.sentence}; {self.way_out}"


def when(stamp: str | None) -> float:
    """Return a Kubernetes time stamp as seconds since 1970; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def is_suspended(job: Object) -> bool:
    """Say whether a Job waits in a queue, which is nobody's fault."""
    return bool(job["spec"].get("suspend"))


def finished(job: Object) -> str:
    """Return how a Job ended (`Complete`, `Failed`), or nothing while it has not."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return ""


def diagnose(
    job: Object, pods: Iterable[Object], events: Iterable[Object], nodes: Iterable[Object]
) -> Diagnosis | None:
    """Return why a Job runs nothing, or None when one of its pods runs or it has ended.

    `pods` and `events` are those of this Job; `nodes` are all of the cluster's.
    """
    pods, events = list(pods), list(events)
    if finished(job) or is_suspended(job) or any(_works(pod) for pod in pods):
        return None
    for pod in pods:
        if _phase(pod) == "Running":
            node = pod["spec"].get("nodeName", "")
            sentence = f"pod {_name(pod)} was told to end and node {node} does not confirm it"
            return Diagnosis("dead_node", sentence, "delete the node, or taint it node.kubernetes.io/out-of-service")
    for pod in pods:
        found = _of_containers(pod) or _of_schedule(pod, list(nodes))
        if found:
            return found
    for event in events:
        if event.get("reason") in _VOLUME:
            message = _one_line(event)
            return Diagnosis(
                "volume", f"a volume cannot be mounted: {message}", "look at the claim and its storage class"
            )
    for event in events:
        if not pods and event.get("reason") == "FailedCreate":
            message = _one_line(event)
            return Diagnosis("refused", f"the cluster refuses the pod: {message}", "look at quotas and pod security")
    if not pods:
        return Diagnosis("unknown", "the Job has no pod and no event says why", "look at the Job controller")
    return Diagnosis("unknown", f"pod {_name(pods[0])} is {_phase(pods[0])} and nothing says why", "look at its node")


def _of_containers(pod: Object) -> Diagnosis | None:
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting", {})
        reason, message = waiting.get("reason", ""), " ".join(waiting.get("message", "").split())
        if reason in _IMAGE:
            image = container.get("image") or _image_of(pod, container["name"])
            sentence = f"image {image} cannot be pulled: {reason} {message}"
            return Diagnosis("image", sentence.strip(), "correct the image's name or the pull secret and retry the run")
        if reason in _CONFIGURATION:
            sentence = f"container {container['name']} cannot be made: {reason} {message}"
            return Diagnosis(
                "configuration", sentence.strip(), "make the missing secret or config map and retry the run"
            )
    return None


def _of_schedule(pod: Object, nodes: list[Object]) -> Diagnosis | None:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return too_big(pod, nodes) or Diagnosis(
                "unschedulable",
                f"no node takes the pod: {' '.join(condition.get('message', '').split())}",
                "add a node, free one, or ask for less",
            )
    return None


def too_big(pod: Object, nodes: list[Object]) -> Diagnosis | None:
    """Return a diagnosis when a pod asks for more of something than any node of the cluster has at all."""
    if not nodes:
        return None
    for resource, asked in requested(pod["spec"]).items():
        if "/" not in resource and resource not in _COUNTED:
            continue
        sizes = [parse_quantity(node.get("status", {}).get("allocatable", {}).get(resource, 0)) for node in nodes]
        if "/" in resource and not any(sizes):
            continue  # no node of this kind now: an autoscaler may bring one, so this is no verdict
        if asked > max(sizes):
            sentence = f"the pod asks for {_readable(asked)} {resource}, the largest node has {_readable(max(sizes))}"
            return Diagnosis("too_big", sentence, "ask for less or add a larger node, then retry the run")
    return None


def requested(spec: Object) -> dict[str, Any]:
    """Return what a pod asks for: the sum of its containers, or its largest init container where that is more."""
    total: dict[str, Any] = {}
    for container in spec.get("containers", []):
        for resource, text in container.get("resources", {}).get("requests", {}).items():
            total[resource] = total.get(resource, 0) + parse_quantity(text)
    for container in spec.get("initContainers", []):
        for resource, text in container.get("resources", {}).get("requests", {}).items():
            total[resource] = max(total.get(resource, 0), parse_quantity(text))
    return total


def _readable(number: Any) -> str:
    """Return a quantity as a person writes it."""
    if number >= 2**30:
        return re.sub(r"\.0$", "", f"{float(number) / 2**30:.1f}") + "Gi"
    return re.sub(r"\.?0+$", "", f"{float(number):.3f}")


def _works(pod: Object) -> bool:
    going = "deletionTimestamp" in pod["metadata"]
    return _phase(pod) == "Succeeded" or (_phase(pod) == "Running" and not going)


def _one_line(event: Object) -> str:
    return " ".join(event.get("message", "").split())


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def _image_of(pod: Object, container: str) -> str:
    everyone = [*pod["spec"].get("initContainers", []), *pod["spec"].get("containers", [])]
    return next((str(entry.get("image", "")) for entry in everyone if entry["name"] == container), "")

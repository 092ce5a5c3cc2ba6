"""Jobs, pods, nodes and events as an API server would show them, with only what matters filled in."""

from datetime import UTC, datetime

NOW = 1_800_000_000.0
NAMESPACE = "avatar-farm-render"
GPU = "nvidia.com/gpu"


def stamp(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def job(name, run, *, age=0.0, ended="", ended_ago=0.0, started_ago=None, suspend=False, pool="farm-gpu", now=NOW):
    conditions = [{"type": ended, "status": "True", "lastTransitionTime": stamp(now - ended_ago)}] if ended else []
    labels = {"prefect.io/flow-run-id": run, "avatar-farm/pool": pool}
    started = {"startTime": stamp(now - started_ago)} if started_ago is not None else {}
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": stamp(now - age)},
        "spec": {"suspend": True} if suspend else {},
        "status": {"conditions": conditions} | started,
    }


def pod(job_name, *, age=0.0, phase="Pending", waiting=None, unscheduled="", gpus=1, gone_ago=None, now=NOW, node=""):
    owner = {"kind": "Job", "name": job_name}
    metadata = {"name": f"{job_name}-abcde", "creationTimestamp": stamp(now - age), "ownerReferences": [owner]}
    if gone_ago is not None:
        metadata["deletionTimestamp"] = stamp(now - gone_ago)
    metadata["labels"] = {"prefect.io/flow-run-id": "r", "avatar-farm/pool": "farm-gpu"}
    status = {"phase": phase}
    if waiting:
        reason, message = waiting
        waits = {"reason": reason, "message": message}
        status["containerStatuses"] = [{"name": "prefect-job", "image": "", "state": {"waiting": waits}}]
    if unscheduled:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unscheduled}
        status["conditions"] = [condition]
    requests = {"cpu": "8", "memory": "96Gi", GPU: str(gpus)}
    container = {"name": "prefect-job", "image": "farm/renderer:1", "resources": {"requests": requests}}
    spec = {"containers": [container]} | ({"nodeName": node} if node else {})
    return {"metadata": metadata, "spec": spec, "status": status}


def node(
    name, *, gpus=8, memory="1000Gi", cpu="96", taints=(), cordoned=False, ready=True, product="H200", disk="900Gi"
):
    spec = {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    if cordoned:
        spec["unschedulable"] = True
    allocatable = {"cpu": cpu, "memory": memory, "ephemeral-storage": disk} | ({GPU: str(gpus)} if gpus else {})
    conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
    labels = {"nvidia.com/gpu.product": product} if gpus else {}
    metadata = {"name": name, "labels": labels}
    return {"metadata": metadata, "spec": spec, "status": {"allocatable": allocatable, "conditions": conditions}}


def event(about, reason, message):
    return {"metadata": {}, "type": "Warning", "involvedObject": {"name": about}, "reason": reason, "message": message}

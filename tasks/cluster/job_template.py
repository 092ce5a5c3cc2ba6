"""The base job templates of the Kubernetes work pools: what a segment's pod is allowed, given and denied.

Prefect fills the `{{ }}` from a deployment's job variables. The Job gets no `generateName` here: Prefect then writes
one from the run's name, cut to a length at which every pod and index suffix still fits.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL, PoolShape, weights_claim

Manifest = dict[str, Any]

GPU_RESOURCE = "nvidia.com/gpu"
POOL_LABEL = "avatar-farm/pool"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
USER_ID = 10001
SPOT_TAINTS = ("avatar-farm/spot", "cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority")
DEAD_NODE_SECONDS = 60  # the default of 300 s leaves a whole shot waiting for one dead node
SIGTERM_BEHAVIOUR = {"kubernetes": "relinquish", "prefect": "reschedule"}  # one owner of "run it again"


def base_job_template(shape: PoolShape) -> Manifest:
    """Return the base job template of one work pool, ready for `prefect work-pool create --base-job-template`."""
    return {
        "job_configuration": {
            "command": "{{ command }}",
            "env": environment(shape),
            "labels": "{{ labels }}",
            "annotations": "{{ annotations }}",
            "name": "{{ name }}",
            "namespace": "{{ namespace }}",
            "job_manifest": job_manifest(shape),
            "stream_output": False,
            "pod_watch_timeout_seconds": 300,
        },
        "variables": {"type": "object", "properties": variables(shape)},
    }


def variables(shape: PoolShape) -> Manifest:
    """Return the JSON schema of what a deployment, or one run, may set."""
    return {
        "name": {"type": "string", "title": "Name", "description": "Name of the Job; default: the run's name."},
        "command": {"type": "string", "title": "Command", "description": "Default: Prefect's own flow run command."},
        "env": _texts("Environment"),
        "labels": _texts("Labels"),
        "annotations": _texts("Annotations"),
        "namespace": _text("Namespace", shape.namespace),
        "image": _text("Image", shape.image),
        "image_pull_policy": {**_text("Pull policy", "IfNotPresent"), "enum": ["IfNotPresent", "Always", "Never"]},
        "image_pull_secrets": {"type": "array", "title": "Pull secrets", "items": {"type": "object"}, "default": []},
        "service_account_name": _text("Service account", "farm-render"),
        "priority_class": _text("Priority class", shape.priority_class),
        "node_selector": _texts("Node selector"),
        "gpus": _count("GPUs", shape.gpus),
        "cpu": _text("CPU request", shape.cpu),
        "memory": _text("Memory, request and limit", shape.memory),
        "shm": _text("Size of /dev/shm, part of the memory", shape.shm),
        "scratch": _text("Scratch disk", shape.scratch),
        "deadline_seconds": _count("Longest life of the Job", shape.deadline_seconds),
        "grace_seconds": _count("Time to save a step after SIGTERM", shape.grace_seconds),
        "finished_job_ttl": _count("Seconds a finished Job is kept", shape.finished_seconds),
    }


def environment(shape: PoolShape) -> Manifest:
    """Return the variables of every pod: each writable path on scratch, telemetry off, one owner of 'run it again'."""
    writable = {
        "HOME": "/scratch/home",
        "TMPDIR": "/tmp",
        "PREFECT_HOME": "/scratch/prefect",
        "FARM_HOME": "/scratch/farm",
        "FARM_WORKDIR": "/scratch",
        "XDG_CACHE_HOME": "/scratch/cache",
        "TRITON_CACHE_DIR": "/scratch/cache/triton",
        "TORCHINDUCTOR_CACHE_DIR": "/scratch/cache/inductor",
        "NUMBA_CACHE_DIR": "/scratch/cache/numba",
    }
    behaviour = {
        "FARM_GPUS": "{{ gpus }}",
        "GLOO_SOCKET_IFNAME": "lo",  # the ranks of a pod meet inside it, whatever its network lets through
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": SIGTERM_BEHAVIOUR[shape.rerun_owner],
    }
    weights = {"FARM_WEIGHTS": "/weights"} if shape.weights_digest else {}
    return writable | behaviour | weights


def preflight_command(shape: PoolShape) -> list[str]:
    """Return what the init container runs before the renderer is started."""
    command = ["python", "-m", "tasks.cluster.pod_check", "--gpus={{ gpus }}", "--shm={{ shm }}", "--scratch=/scratch"]
    return command + (["--weights=/weights", f"--digest={shape.weights_digest}"] if shape.weights_digest else [])


def job_manifest(shape: PoolShape) -> Manifest:
    """Return the Job of one flow run, with Prefect's placeholders."""
    labels = {POOL_LABEL: shape.pool} | ({QUEUE_LABEL: shape.kueue_queue} if shape.kueue_queue else {})
    spec: Manifest = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": "{{ deadline_seconds }}",
        "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
        "podReplacementPolicy": "Failed",
        "template": {"metadata": {"labels": {POOL_LABEL: shape.pool}}, "spec": pod_spec(shape)},
    }
    if shape.rerun_owner == "kubernetes":
        disrupted = [{"type": "DisruptionTarget", "status": "True"}]
        spec["podFailurePolicy"] = {"rules": [{"action": "Ignore", "onPodConditions": disrupted}]}
    if shape.kueue_queue:
        spec["suspend"] = True
    metadata: Manifest = {"labels": labels, "annotations": {}, "namespace": "{{ namespace }}"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def pod_spec(shape: PoolShape) -> Manifest:
    """Return the pod: non-root, read-only root, no token, no privilege, everything it may use with a limit."""
    return {
        "parallelism": 1,  # Prefect's validation wants these two here; the API server drops them
        "completions": 1,
        "restartPolicy": "Never",
        "serviceAccountName": "{{ service_account_name }}",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "{{ priority_class }}",
        "terminationGracePeriodSeconds": "{{ grace_seconds }}",
        "nodeSelector": "{{ node_selector }}",
        "imagePullSecrets": "{{ image_pull_secrets }}",
        "tolerations": tolerations(shape),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_container(shape, "preflight") | {"command": preflight_command(shape)}],
        "containers": [_container(shape, "prefect-job") | {"args": "{{ command }}"}],
        "volumes": volumes(shape),
    }


def tolerations(shape: PoolShape) -> list[Manifest]:
    """Return which taints a pod accepts: GPU nodes, spot nodes, and a dead node only for a minute."""
    accepted = [GPU_RESOURCE] if shape.gpus else []
    accepted += SPOT_TAINTS if shape.spot else ()
    dead = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    patience = {"effect": "NoExecute", "tolerationSeconds": DEAD_NODE_SECONDS}
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in accepted] + [
        {"key": key, "operator": "Exists", **patience} for key in dead
    ]


def volumes(shape: PoolShape) -> list[Manifest]:
    """Return the pod's volumes; weights come from a claim named after their digest, read-only."""
    made: list[Manifest] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "{{ shm }}"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "{{ scratch }}"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if shape.weights_digest:
        claim = {"claimName": weights_claim(shape.weights_digest), "readOnly": True}
        made.append({"name": "weights", "persistentVolumeClaim": claim})
    return made


def _container(shape: PoolShape, name: str) -> Manifest:
    """Return one container; the init container asks for the same, so that it sees the same devices and limits."""
    disk = {"ephemeral-storage": "{{ scratch }}"}
    gpus = {GPU_RESOURCE: "{{ gpus }}"} if shape.gpus else {}
    mounts: list[Manifest] = [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if shape.weights_digest:
        mounts.append({"name": "weights", "mountPath": "/weights", "readOnly": True})
    return {
        "name": name,
        "image": "{{ image }}",
        "imagePullPolicy": "{{ image_pull_policy }}",
        "workingDir": "/scratch",
        "envFrom": [{"configMapRef": {"name": "farm-runtime"}}, {"secretRef": {"name": "farm-runtime"}}],
        "resources": {
            "requests": {"cpu": "{{ cpu }}", "memory": "{{ memory }}"} | disk | gpus,
            "limits": {"memory": "{{ memory }}"} | disk | gpus,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _text(title: str, default: str) -> Manifest:
    return {"type": "string", "title": title, "default": default}


def _texts(title: str) -> Manifest:
    return {"type": "object", "title": title, "additionalProperties": {"type": "string"}, "default": {}}


def _count(title: str, default: int) -> Manifest:
    return {"type": "integer", "title": title, "minimum": 0, "default": default}


def write_templates(
    folder: Path, *, weights_digest: str = "", image: str = "", kueue: bool = False, gpus: int = 1
) -> list[Path]:
    """Write `farm-cpu.json` and `farm-gpu.json` (pods of `gpus` GPUs), and return their paths."""
    written = []
    for shape in (CPU_POOL, GPU_POOL.on_gpus(gpus)):
        chosen = replace(
            shape,
            image=image or shape.image,
            weights_digest=weights_digest if shape.gpus else "",
            kueue_queue=shape.pool if kueue else "",
        )
        path = folder / f"{shape.pool}.json"
        path.write_text(json.dumps(base_job_template(chosen), indent=2) + "\n")
        written.append(path)
    return written

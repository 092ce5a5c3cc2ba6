"""Weights in a volume, named by what they are: a list of files in the store, a claim filled from it once.

The digest of a set of weights is that of its list (path, sha256, bytes of every file, as canonical JSON), and the list
is an object of the store like any other. Pods mount the claim of that digest, read-only; new weights, a new claim.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tasks.cluster.job_template import POOL_LABEL, USER_ID
from tasks.cluster.pod_check import DIGEST_FILE
from tasks.cluster.pool_shape import RENDER_NAMESPACE, RENDERER_IMAGE, is_digest, weights_claim
from tasks.errors import WeightsError
from tasks.store import Store, content_key

Manifest = dict[str, Any]
LIST_SUFFIX = ".json"
CHUNK = 1 << 20


def publish_weights(store: Store, folder: Path) -> str:
    """Put every file of a folder into the store, then their list; return the set's digest.

    Raises: WeightsError for an empty folder, StoreError.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DIGEST_FILE)
    if not files:
        raise WeightsError(f"{folder}: no file to publish; name the folder that holds the checkpoint")
    entries = []
    for path in files:
        made = store.put_content(path)
        entries.append({"path": path.relative_to(folder).as_posix(), "sha256": made.sha256, "bytes": made.size})
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    return store.put_content(text, LIST_SUFFIX).sha256


def fill_volume(store: Store, digest: str, folder: Path) -> int:
    """Fetch a set of weights into a folder, each file checked, and write the mark last; return how many came.

    Files that are there already and right are kept: a filling that was cut short goes on.
    Raises: WeightsError, ObjectMissing, StoreError.
    """
    if not is_digest(digest):
        raise WeightsError(f"{digest!r} is not 64 hexadecimal digits; take the digest that publishing printed")
    entries = json.loads(store.get(content_key(digest, LIST_SUFFIX)))
    wanted_bytes = sum(entry["bytes"] for entry in entries)
    if wanted_bytes > shutil.disk_usage(folder).total:
        raise WeightsError(f"{folder}: {wanted_bytes} bytes of weights do not fit; make the claim larger")
    (folder / DIGEST_FILE).unlink(missing_ok=True)
    fetched = 0
    for entry in entries:
        path = _inside(folder, entry["path"])
        if path.is_file() and _sha256(path) == entry["sha256"]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(content_key(entry["sha256"]), path)
        fetched += 1
    (folder / DIGEST_FILE).write_text(f"{digest}\n")
    return fetched


def claim_manifests(digest: str, size: str, storage_class: str, image: str = RENDERER_IMAGE) -> list[Manifest]:
    """Return the claim for a set of weights and the Job that fills it, for `kubectl apply`."""
    name = weights_claim(digest)
    metadata = {"name": name, "namespace": RENDER_NAMESPACE, "labels": {POOL_LABEL: "weights"}}
    claim = {
        "accessModes": ["ReadWriteMany"],  # one Job writes once, pods on every node read
        "resources": {"requests": {"storage": size}},
        "storageClassName": storage_class,
    }
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {
                "backoffLimit": 4,
                "ttlSecondsAfterFinished": 24 * 3600,
                "template": {"metadata": {"labels": {POOL_LABEL: "weights"}}, "spec": _filling_pod(digest, image)},
            },
        },
    ]


def _filling_pod(digest: str, image: str) -> Manifest:
    amounts = {"memory": "2Gi", "ephemeral-storage": "1Gi"}
    context = {"runAsNonRoot": True, "runAsUser": USER_ID, "runAsGroup": USER_ID, "fsGroup": USER_ID}
    container = {
        "name": "fill",
        "image": image,
        "command": ["python", "-m", "tasks.cluster", "fill-weights", digest, "--folder=/weights"],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "FARM_HOME", "value": "/tmp/farm"}],
        "envFrom": [{"configMapRef": {"name": "farm-runtime"}}, {"secretRef": {"name": "farm-runtime"}}],
        "resources": {"requests": {"cpu": "1"} | amounts, "limits": amounts},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "weights", "mountPath": "/weights"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": "farm-render",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "farm-batch",
        "securityContext": context | {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "weights", "persistentVolumeClaim": {"claimName": weights_claim(digest)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }


def _inside(folder: Path, relative: str) -> Path:
    """Return the file's place. Raises: WeightsError when the list points out of the folder."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or path.name == DIGEST_FILE:
        raise WeightsError(f"the list of the weights names {relative!r}, which is not a file inside the volume")
    return path


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            found.update(block)
    return found.hexdigest()

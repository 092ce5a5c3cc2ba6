"""What the overlays ship, moved into a test's own namespaces under names of its own: rights, limits, classes, pods."""

import copy
import json
from dataclasses import replace
from pathlib import Path

from kustomize import build, pod_specs

from tasks.cluster.api import connect
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL

OVERLAYS = Path(__file__).parents[2] / "k8s" / "overlays"
RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "PriorityClass")
TOKEN_SECONDS = 6 * 3600
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
DIGEST = "ab" * 32
RBAC = "/apis/rbac.authorization.k8s.io/v1"
COLLECTIONS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Role": RBAC + "/namespaces/{}/roles",
    "RoleBinding": RBAC + "/namespaces/{}/rolebindings",
    "ClusterRole": RBAC + "/clusterroles",
    "ClusterRoleBinding": RBAC + "/clusterrolebindings",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "Namespace": "/api/v1/namespaces",
}

SHAPES = {
    "cpu": CPU_POOL,
    "gpu": GPU_POOL,
    "weights": replace(GPU_POOL, weights_digest=DIGEST),
    "eight": GPU_POOL.on_gpus(8),
    "kueue": replace(GPU_POOL, kueue_queue="farm-gpu"),
    "prefect owns": replace(GPU_POOL, rerun_owner="prefect"),
}


class Place:
    """Where the two namespaces of the farm are for a test; names outside of namespaces begin with `prefix`."""

    def __init__(self, control, render, prefix):
        self._namespaces = {"avatar-farm": control, "avatar-farm-render": render}
        self.control, self.render, self._prefix = control, render, prefix

    def name(self, text):
        """Return the name here of something that is in no namespace."""
        return f"{self._prefix}-{text}"

    def things(self, kinds, overlay="local"):
        """Yield an overlay's objects of these kinds as they are called here."""
        for thing in build(OVERLAYS / overlay):
            if thing["kind"] in kinds:
                yield self._moved(thing)

    def pods(self, overlay):
        """Yield a pod of everything in an overlay that makes pods."""
        for thing, metadata, spec in pod_specs(build(OVERLAYS / overlay)):
            claims = [claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])]
            volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
            spec = spec | {"volumes": [*spec["volumes"], *volumes]}
            named = {"generateName": f"{thing['metadata']['name']}-", "namespace": thing["metadata"]["namespace"]}
            yield self.pod(named | {"labels": metadata["labels"]}, spec)

    def pod(self, metadata, spec):
        """Return one pod as it would be made here."""
        moved = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(spec)}
        moved["spec"]["priorityClassName"] = self.name(spec["priorityClassName"])
        return self._moved(moved)

    def _moved(self, thing):
        moved = copy.deepcopy(thing)
        metadata = moved["metadata"]
        if "namespace" in metadata:
            metadata["namespace"] = self._namespaces[metadata["namespace"]]
        elif moved["kind"] == "Namespace":
            metadata["name"] = self._namespaces[metadata["name"]]
        else:
            metadata["name"] = self.name(metadata["name"])
        for subject in moved.get("subjects", []):
            subject["namespace"] = self._namespaces[subject["namespace"]]
        if moved.get("roleRef", {}).get("kind") == "ClusterRole":
            moved["roleRef"]["name"] = self.name(moved["roleRef"]["name"])
        return moved


def bring(api, things):
    """Make the objects; return the paths of those that no namespace takes along when it goes."""
    outside = []
    for thing in things:
        namespace = thing["metadata"].get("namespace", "")
        collection = COLLECTIONS[thing["kind"]].format(namespace)
        api.request("POST", collection, body=thing)
        if not namespace and thing["kind"] != "Namespace":
            outside.append(f"{collection}/{thing['metadata']['name']}")
    return outside


def as_account(api, namespace, account, path):
    """Write a kubeconfig with a service account's own token into `path`; return the API as that account sees it."""
    spec = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    spec |= {"spec": {"expirationSeconds": TOKEN_SECONDS}}
    asked = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    token = api.request("POST", asked, body=spec)["status"]["token"]
    ours = api._client.configuration
    cluster = {"server": ours.host}
    if not ours.verify_ssl:
        cluster["insecure-skip-tls-verify"] = True
    elif ours.ssl_ca_cert:
        cluster["certificate-authority"] = ours.ssl_ca_cert
    if getattr(ours, "tls_server_name", None):
        cluster["tls-server-name"] = ours.tls_server_name
    body = {"apiVersion": "v1", "kind": "Config", "current-context": "test", "preferences": {}}
    body |= {"contexts": [{"name": "test", "context": {"cluster": "test", "user": account, "namespace": namespace}}]}
    body |= {"clusters": [{"name": "test", "cluster": cluster}], "users": [{"name": account, "user": {"token": token}}]}
    path.write_text(json.dumps(body))
    return connect(kubeconfig=str(path))

"""Every overlay builds, is strictly valid, refers only to what exists, and keeps to the farm's rules."""

import json
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
from kustomize import build, build_with_kubectl, by_identity, has_kubectl, pod_specs

from tasks.cluster.job_template import POOL_LABEL, USER_ID, write_templates
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL
from tasks.cluster.preflight import WANTED_KEYS, needed_permissions
from tasks.cluster.quantity import parse_quantity

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("local", "cloud", "kueue")
VERSIONS = ("1.31", "1.33", "1.37")
CONTROL, RENDER = "avatar-farm", "avatar-farm-render"
KUEUE = "kueue.x-k8s.io/v1beta1"
# made by k8s/make-secrets.sh or by hand, never from a file: name in each namespace
SECRETS = {
    (CONTROL, "prefect-auth"),
    (CONTROL, "prefect-database"),
    (CONTROL, "postgres"),
    (CONTROL, "object-store"),
    (RENDER, "prefect-auth"),
    (RENDER, "farm-runtime"),
}
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def objects(overlay):
    folder = K8S / "overlays" / overlay
    return build_with_kubectl(folder) if has_kubectl() else build(folder)


def of_kind(overlay, *kinds):
    return [thing for thing in objects(overlay) if thing["kind"] in kinds]


@overlays
def test_the_overlay_builds_and_our_own_reader_agrees_with_kubectl(overlay):
    made = by_identity(build(K8S / "overlays" / overlay))
    assert made == by_identity(objects(overlay))
    assert len(made) == len(objects(overlay)) > 20


@pytest.mark.parametrize("version", VERSIONS)
@overlays
def test_every_object_is_strictly_valid(overlay, version):
    checked = 0
    for thing in objects(overlay):
        if thing["apiVersion"] != KUEUE:
            assert kubernetes_validate.validate(thing, version, strict=True) == version
            checked += 1
    assert checked > 20


@overlays
def test_every_workload_meets_the_restricted_level_and_more(overlay):
    found = list(pod_specs(objects(overlay)))
    assert len(found) >= 4
    for thing, _, spec in found:
        name = thing["metadata"]["name"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] >= 999, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec["enableServiceLinks"] is False, name
        assert all(not {"hostPath", "nfs"} & set(volume) for volume in spec["volumes"]), name
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert parse_quantity(requests["memory"]) == parse_quantity(limits["memory"]), name
            image, _, tag = container["image"].rpartition(":")
            assert image and tag not in ("", "latest"), name


@overlays
def test_both_namespaces_enforce_the_restricted_level(overlay):
    namespaces = {n["metadata"]["name"]: n["metadata"]["labels"] for n in of_kind(overlay, "Namespace")}
    assert set(namespaces) == {CONTROL, RENDER}
    assert all(labels["pod-security.kubernetes.io/enforce"] == "restricted" for labels in namespaces.values())


@overlays
def test_only_worker_and_sweeper_hold_a_token(overlay):
    with_token = {
        t["metadata"]["name"] for t, _, spec in pod_specs(objects(overlay)) if spec["automountServiceAccountToken"]
    }
    assert with_token == {"worker-cpu", "worker-gpu", "sweeper"}
    assert all(a["automountServiceAccountToken"] is False for a in of_kind(overlay, "ServiceAccount"))


@overlays
def test_everything_that_is_named_exists(overlay):
    names = {(t["kind"], t["metadata"].get("namespace", ""), t["metadata"]["name"]) for t in objects(overlay)}
    classes = {name for kind, _, name in names if kind == "PriorityClass"}
    accounts = {(namespace, name) for kind, namespace, name in names if kind == "ServiceAccount"}
    maps = {(namespace, name) for kind, namespace, name in names if kind == "ConfigMap"}
    for thing, _, spec in pod_specs(objects(overlay)):
        namespace = thing["metadata"]["namespace"]
        assert spec["priorityClassName"] in classes
        assert (namespace, spec["serviceAccountName"]) in accounts
        for kind, name in _references(spec):
            assert (namespace, name) in (SECRETS if kind == "secret" else maps), (thing["metadata"]["name"], name)
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])}
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for shape in (CPU_POOL, GPU_POOL):
        assert shape.priority_class in classes
    assert (RENDER, "farm-render") in accounts
    assert {f"configmap/{name}" for namespace, name in maps if namespace == RENDER} | {
        f"secret/{name}" for namespace, name in SECRETS if namespace == RENDER
    } >= set(WANTED_KEYS)


def _references(spec):
    for volume in spec["volumes"]:
        if "configMap" in volume:
            yield "map", volume["configMap"]["name"]
        if "secret" in volume:
            yield "secret", volume["secret"]["secretName"]
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        for source in container.get("envFrom", []):
            for kind, reference in source.items():
                yield ("map" if kind == "configMapRef" else "secret"), reference["name"]
        for variable in container.get("env", []):
            for kind, reference in variable.get("valueFrom", {}).items():
                yield ("map" if kind == "configMapKeyRef" else "secret"), reference["name"]


@overlays
def test_selectors_find_their_pods_and_ports(overlay):
    for thing in of_kind(overlay, "Deployment", "StatefulSet"):
        labels = thing["spec"]["template"]["metadata"]["labels"]
        assert thing["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in of_kind(overlay, "Service"):
        (pod,) = [
            spec
            for thing, metadata, spec in pod_specs(objects(overlay))
            if service["spec"]["selector"].items() <= metadata["labels"].items()
        ]
        ports = {port["name"] for container in pod["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@overlays
def test_no_secret_is_in_a_file(overlay):
    assert of_kind(overlay, "Secret") == []
    text = json.dumps(objects(overlay)).lower()
    assert not any(f'"{word}=' in text for word in ("password", "aws_secret_access_key", "farm_database"))


@overlays
def test_the_roles_grant_what_is_used_and_nothing_else(overlay):
    granted = {
        (binding["subjects"][0]["name"], verb, _resource(rule, resource), binding["metadata"].get("namespace", ""))
        for binding in of_kind(overlay, "RoleBinding", "ClusterRoleBinding")
        for role in of_kind(overlay, "Role", "ClusterRole")
        if binding["roleRef"]["name"] == role["metadata"]["name"] and binding["roleRef"]["kind"] == role["kind"]
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    used = {(p.who.rpartition(":")[2], p.verb, p.resource, p.namespace) for p in needed_permissions(RENDER) if p.who}
    assert granted == used
    assert "*" not in json.dumps(of_kind(overlay, "Role", "ClusterRole"))


def _resource(rule, resource):
    return f"{resource}.{rule['apiGroups'][0]}" if rule["apiGroups"][0] else resource


@overlays
def test_every_server_says_when_it_is_ready_and_when_it_hangs(overlay):
    for thing in of_kind(overlay, "Deployment", "StatefulSet"):
        (container,) = thing["spec"]["template"]["spec"]["containers"]
        assert "livenessProbe" in container, thing["metadata"]["name"]
        if not thing["metadata"]["name"].startswith("worker"):
            assert {"startupProbe", "readinessProbe"} <= set(container), thing["metadata"]["name"]


@overlays
def test_a_worker_sees_only_its_own_pools_jobs_and_has_no_limit(overlay):
    client = next(m for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"].startswith("prefect-client"))
    assert client["data"]["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"] == RENDER
    for pool in ("cpu", "gpu"):
        (worker,) = [w for w in of_kind(overlay, "Deployment") if w["metadata"]["name"] == f"worker-{pool}"]
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        assert f"--pool=farm-{pool}" in container["args"]
        assert not any("limit" in argument for argument in container["args"])
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        filters = environment["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ADDITIONAL_LABEL_FILTERS"]
        assert filters == f"{POOL_LABEL}=farm-{pool}"


@overlays
def test_the_reconciler_needs_no_schedule_of_prefects(overlay):
    (job,) = [j for j in of_kind(overlay, "CronJob") if j["metadata"]["name"] == "reconciler"]
    assert job["spec"]["concurrencyPolicy"] == "Forbid" and job["metadata"]["namespace"] == RENDER
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["farm", "reconcile"] and "/renderer:" in container["image"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    client = next(m for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"].startswith("prefect-client"))
    assert environment["PREFECT_API_URL"] == client["data"]["PREFECT_API_URL"]
    assert POOL_LABEL in pod["metadata"]["labels"]  # the network lets it reach server, database and store
    sources = [name for source in container["envFrom"] for name in [next(iter(source.values()))["name"]]]
    assert sources == ["farm-runtime", "farm-runtime"]


def test_the_server_s_image_takes_an_sqlalchemy_with_which_schedules_fire():
    text = (K8S / "images" / "server.Dockerfile").read_text()
    assert "'sqlalchemy>=2.0,<2.1'" in text and "grep -v -i '^sqlalchemy=='" in text


@overlays
def test_a_pod_of_each_pool_fits_the_quota(overlay):
    (quota,) = [q for q in of_kind(overlay, "ResourceQuota") if q["metadata"]["name"] == "renderers"]
    hard = {name: parse_quantity(text) for name, text in quota["spec"]["hard"].items()}
    for shape in (CPU_POOL, GPU_POOL):
        assert hard.get("requests.memory", 2**60) >= parse_quantity(shape.memory)
        assert hard.get("requests.nvidia.com/gpu", 2**60) >= shape.gpus
    assert ("requests.nvidia.com/gpu" in hard) is (overlay != "kueue")


def test_the_committed_templates_are_what_the_function_makes(tmp_path):
    for folder, kueue in (("base", False), ("components/kueue", True)):
        for path in write_templates(tmp_path, kueue=kueue):
            committed = K8S / folder / "job-templates" / path.name
            assert committed.read_text() == path.read_text(), (
                f"run: python -m tasks.cluster templates --folder {committed.parent}"
            )


def test_kueues_queues_cover_what_pods_ask_for_and_lead_to_each_other():
    local = {q["metadata"]["name"]: q["spec"]["clusterQueue"] for q in of_kind("kueue", "LocalQueue")}
    cluster = {q["metadata"]["name"]: q["spec"] for q in of_kind("kueue", "ClusterQueue")}
    flavours = {f["metadata"]["name"] for f in of_kind("kueue", "ResourceFlavor")}
    assert set(local) == {CPU_POOL.pool, GPU_POOL.pool}
    for shape in (CPU_POOL, GPU_POOL):
        (group,) = cluster[local[shape.pool]]["resourceGroups"]
        asked = {"cpu", "memory", "ephemeral-storage"} | ({"nvidia.com/gpu"} if shape.gpus else set())
        assert set(group["coveredResources"]) == asked
        for flavour in group["flavors"]:
            assert flavour["name"] in flavours
            assert [resource["name"] for resource in flavour["resources"]] == group["coveredResources"]
    templates = next(m for m in of_kind("kueue", "ConfigMap") if m["metadata"]["name"].startswith("job-templates"))
    assert all('"suspend": true' in text for text in templates["data"].values())


def test_only_the_kueue_overlay_queues():
    for overlay in ("local", "cloud"):
        assert "kueue" not in json.dumps(objects(overlay))


def test_our_user_is_the_images_user():
    for name in ("server", "worker", "renderer"):
        assert f"USER {USER_ID}:{USER_ID}" in (K8S / "images" / f"{name}.Dockerfile").read_text()

"""The Job that a cluster receives: rendered by prefect_kubernetes, strictly valid, and safe beyond its types."""

import copy
import json
from dataclasses import replace

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import FLOW_RUN_ID, as_server_keeps_it, render

from tasks.cluster.job_template import GPU_RESOURCE, QUEUE_LABEL, base_job_template, write_templates
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL, weights_claim
from tasks.cluster.server_rules import job_faults

DIGEST = "0123456789abcdef" * 4
SHAPES = {
    "cpu": CPU_POOL,
    "gpu": GPU_POOL,
    "weights": replace(GPU_POOL, weights_digest=DIGEST),
    "eight": GPU_POOL.on_gpus(8),
    "kueue": replace(GPU_POOL, kueue_queue="farm-gpu"),
    "prefect owns": replace(GPU_POOL, rerun_owner="prefect"),
}
VERSIONS = ("1.31", "1.33", "1.37")  # the oldest we support, the one we measured on, the newest known


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_rendered_job_is_strictly_valid_and_no_server_refuses_it(shape, version):
    job = render(base_job_template(shape))
    assert job_faults(job) == []
    assert kubernetes_validate.validate(as_server_keeps_it(job), version, strict=True) == version


def test_strict_validation_would_see_a_typo_and_a_wrong_type():
    for field, value in (("terminationGracePeriodSecond", 5), ("terminationGracePeriodSeconds", "5 s")):
        job = as_server_keeps_it(render(base_job_template(GPU_POOL)))
        job["spec"]["template"]["spec"][field] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(job, "1.33", strict=True)


def test_every_placeholder_is_a_variable_with_a_default_or_filled_by_prefect():
    template = base_job_template(replace(GPU_POOL, weights_digest=DIGEST))
    used = {part.split("}}")[0].strip() for part in json.dumps(template["job_configuration"]).split("{{")[1:]}
    declared = template["variables"]["properties"]
    assert used | {"env"} == set(declared)  # Prefect merges `env` by itself
    assert {name for name, schema in declared.items() if "default" not in schema} == {"name", "command"}


def test_a_deployment_chooses_gpus_memory_shm_and_node():
    job = render(
        base_job_template(GPU_POOL),
        gpus=4,
        memory="400Gi",
        shm="64Gi",
        node_selector={"nvidia.com/gpu.product": "H200"},
    )
    pod = job["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["limits"][GPU_RESOURCE] == container["resources"]["requests"][GPU_RESOURCE] == 4
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == "400Gi"
    assert next(volume for volume in pod["volumes"] if volume["name"] == "shm")["emptyDir"]["sizeLimit"] == "64Gi"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "H200"}
    assert "--gpus=4" in pod["initContainers"][0]["command"]
    assert {"name": "FARM_GPUS", "value": "4"} in pod["containers"][0]["env"]
    assert job_faults(job) == []


def test_a_pod_of_eight_gpus_agrees_with_itself():
    pod = render(base_job_template(SHAPES["eight"]))["spec"]["template"]["spec"]
    (shm,) = [v["emptyDir"] for v in pod["volumes"] if v["name"] == "shm"]
    assert shm == {"medium": "Memory", "sizeLimit": "128Gi"}
    command = pod["initContainers"][0]["command"]
    assert {"--gpus=8", "--shm=128Gi"} <= set(command)
    for container in (*pod["initContainers"], *pod["containers"]):
        limits = container["resources"]["limits"]
        assert (str(limits["nvidia.com/gpu"]), limits["memory"]) == ("8", "768Gi")
    environment = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert (environment["FARM_GPUS"], environment["GLOO_SOCKET_IFNAME"]) == ("8", "lo")


def test_weights_are_mounted_read_only_from_the_claim_of_their_digest():
    pod = render(base_job_template(SHAPES["weights"]))["spec"]["template"]["spec"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "weights")
    assert volume["persistentVolumeClaim"] == {"claimName": weights_claim(DIGEST), "readOnly": True}
    assert weights_claim(DIGEST) == "weights-0123456789abcdef"
    assert f"--digest={DIGEST}" in pod["initContainers"][0]["command"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {"name": "weights", "mountPath": "/weights", "readOnly": True} in container["volumeMounts"]


def test_evictions_have_one_owner():
    owned = render(base_job_template(GPU_POOL))
    assert owned["spec"]["podReplacementPolicy"] == "Failed"
    assert owned["spec"]["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert _variable(owned, "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR") == "relinquish"
    prefects = render(base_job_template(SHAPES["prefect owns"]))
    assert "podFailurePolicy" not in prefects["spec"]
    assert _variable(prefects, "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR") == "reschedule"


def test_two_owners_are_a_fault_and_so_is_none():
    both = render(base_job_template(GPU_POOL), env={"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"})
    assert any("both the Job controller and Prefect" in fault for fault in job_faults(both))
    none = render(base_job_template(SHAPES["prefect owns"]), env={"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "crash"})
    assert any("neither the Job controller nor Prefect" in fault for fault in job_faults(none))


def test_under_kueue_the_job_waits_in_its_queue():
    job = render(base_job_template(SHAPES["kueue"]))
    assert job["metadata"]["labels"][QUEUE_LABEL] == "farm-gpu"
    assert job["spec"]["suspend"] is True
    assert _variable(job, "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR") == "relinquish"


def test_the_flow_runs_own_command_and_labels_arrive():
    job = render(base_job_template(GPU_POOL), labels={"avatar-farm/episode": "e01"})
    assert job["metadata"]["labels"]["prefect.io/flow-run-id"] == str(FLOW_RUN_ID)
    assert job["spec"]["template"]["metadata"]["labels"]["avatar-farm/episode"] == "e01"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["prefect", "flow-run", "execute"]


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200))
def test_names_of_any_length_and_script_fit_once_they_hold_a_letter(text):
    job = render(base_job_template(GPU_POOL), run_name=f"shot {text} segment 3")
    assert job_faults(job) == []


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({"gpus": 0}, "not a whole number of GPUs"),
        ({"memory": "12GB"}, "is not one Kubernetes knows"),
        ({"shm": "96Gi"}, "fills its whole memory"),
        ({"scratch": "fifty"}, "is not one Kubernetes knows"),
        ({"grace_seconds": 0}, "terminationGracePeriodSeconds"),
        ({"deadline_seconds": 0}, "activeDeadlineSeconds"),
        ({"namespace": "Farm"}, "is not a namespace's name"),
        ({"image": " "}, "names no image"),
        ({"env": {"a b": "1"}}, "is not a variable's name"),
    ],
)
def test_a_job_variable_that_a_server_would_refuse_is_named(change, faults):
    assert any(faults in fault for fault in job_faults(render(base_job_template(GPU_POOL), **change)))


def _break_pod(**fields):
    def change(job):
        job["spec"]["template"]["spec"].update(fields)

    return change


def _break_container(path, value):
    def change(job):
        place = job["spec"]["template"]["spec"]["containers"][0]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda job: job["metadata"].update(generateName="x" * 52 + "-"), "makes pod names of 64 characters"),
        (lambda job: job["metadata"]["labels"].update(shot="s" * 64), "labels[shot]"),
        (lambda job: job["metadata"]["labels"].update({"-bad-/x": "1"}), "prefix that is not a DNS name"),
        (lambda job: job["spec"].update(podReplacementPolicy="TerminatingOrFailed"), "it must be Failed"),
        (_break_pod(restartPolicy="OnFailure"), "it must be Never"),
        (_break_pod(automountServiceAccountToken=True), "gets no token"),
        (_break_pod(hostNetwork=True), "hostNetwork"),
        (_break_pod(securityContext={}), "runAsNonRoot"),
        (_break_pod(volumes=[]), "is no volume of this pod"),
        (_break_container(["securityContext", "readOnlyRootFilesystem"], False), "readOnlyRootFilesystem"),
        (_break_container(["securityContext", "capabilities"], {"drop": ["NET_RAW"]}), "capabilities"),
        (_break_container(["resources", "limits", GPU_RESOURCE], "2"), "make them equal"),
        (_break_container(["resources", "limits", GPU_RESOURCE], "500m"), "whole number of GPUs"),
        (_break_container(["resources", "limits", "cpu"], "4"), "more than its limit 4"),
        (_break_container(["name"], "preflight"), "is used twice"),
        (_break_container(["volumeMounts", 1, "mountPath"], "/tmp"), "two volumes are mounted at /tmp"),
    ],
)
def test_each_server_rule_finds_its_breach(change, fault):
    job = copy.deepcopy(render(base_job_template(GPU_POOL)))
    change(job)
    assert any(fault in line for line in job_faults(job))


def test_an_index_suffix_counts_towards_the_name():
    job = render(base_job_template(GPU_POOL))
    job["metadata"]["generateName"] = "x" * 51 + "-"
    assert job_faults(job) == []
    job["spec"].update(completionMode="Indexed", completions=11)
    assert any("pod names of 66 characters" in fault for fault in job_faults(job))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gpus": -1}, "less than none"),
        ({"shm": "96Gi"}, "its part"),
        ({"weights_digest": "abc"}, "64 hexadecimal digits"),
        ({"kueue_queue": "q", "rerun_owner": "prefect"}, "Kueue starts a preempted Job again"),
    ],
)
def test_a_pool_that_cannot_work_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        replace(GPU_POOL, **change)


def test_templates_are_written_for_both_pools(tmp_path):
    written = write_templates(tmp_path, weights_digest=DIGEST, image="registry.example/renderer:9", kueue=True)
    cpu, gpu = (json.loads(path.read_text()) for path in written)
    assert [path.name for path in written] == ["farm-cpu.json", "farm-gpu.json"]
    assert weights_claim(DIGEST) in json.dumps(gpu)
    assert "persistentVolumeClaim" not in json.dumps(cpu)
    for template, pool in ((cpu, "farm-cpu"), (gpu, "farm-gpu")):
        job = render(template)
        assert job["metadata"]["labels"][QUEUE_LABEL] == pool
        assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/renderer:9"
        assert job_faults(job) == []


def _variable(job, name):
    return next(e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"] if e["name"] == name)

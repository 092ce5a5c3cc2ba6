"""The init container's check finds a pod that cannot render, in its own words."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.cluster.pod_check import PodFacts, PodNeeds, look, main, parse, pod_faults, services
from tasks.settings import Settings

DIGEST = "cd" * 32


@pytest.fixture
def pod(tmp_path):
    for name in ("dev", "scratch", "weights"):
        (tmp_path / name).mkdir()
    for device in ("nvidia0", "nvidia1", "nvidiactl", "null"):
        (tmp_path / "dev" / device).touch()
    (tmp_path / "weights" / "DIGEST").write_text(f"{DIGEST}\n")
    return tmp_path


def needs(pod, **changes):
    wanted = {"gpus": 2, "shm_bytes": 2**31, "scratch": pod / "scratch", "weights": pod / "weights", "digest": DIGEST}
    return PodNeeds(**(wanted | changes))


def test_a_pod_that_is_what_was_asked_for_has_no_fault(pod):
    wanted = needs(pod)
    found = look(wanted, devices=pod / "dev", shm=pod)
    assert (found.gpus, found.digest, found.scratch_writable) == (2, DIGEST, True)
    assert pod_faults(wanted, found) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpus": 4, "shm_bytes": 2**32}, "2 GPUs are visible, 4 were asked for"),
        ({"shm_bytes": 2**60}, "were asked for; look at the volume `shm`"),
        ({"digest": "ef" * 32}, f"holds {DIGEST}, not {'ef' * 32}"),
        ({"scratch": Path("/proc/nowhere")}, "/proc/nowhere cannot be written"),
    ],
)
def test_each_difference_is_named(pod, changes, words):
    wanted = needs(pod, **changes)
    (fault,) = pod_faults(wanted, look(wanted, devices=pod / "dev", shm=pod))
    assert words in fault


def test_a_small_shm_for_several_gpus_is_a_fault(pod):
    wanted = needs(pod, shm_bytes=2**30)
    (fault,) = pod_faults(wanted, PodFacts(2, 2**30, True, DIGEST, ()))
    assert "/dev/shm of 1.0 GiB is too small for 2 GPUs that talk through it: 2.0 GiB at least" in fault
    assert pod_faults(needs(pod, shm_bytes=2**31), PodFacts(2, 2**31, True, DIGEST, ())) == []
    assert pod_faults(needs(pod, gpus=1, shm_bytes=1), PodFacts(2, 2**30, True, DIGEST, ())) == []


def test_an_unfinished_weights_volume_is_not_used(pod):
    (pod / "weights" / "DIGEST").unlink()
    wanted = needs(pod)
    (fault,) = pod_faults(wanted, look(wanted, devices=pod / "dev", shm=pod))
    assert "no finished weights" in fault


def test_a_service_that_does_not_answer_is_named(pod):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        wanted = needs(pod, services=(("127.0.0.1", port),))
        assert look(wanted, devices=pod / "dev", shm=pod).unreachable == ()
    found = look(wanted, devices=pod / "dev", shm=pod)
    assert found.unreachable == (f"127.0.0.1:{port}",)
    assert "look at the network policies" in pod_faults(wanted, found)[0]


def test_the_services_are_those_of_the_settings():
    remote = Settings(database="postgresql+psycopg://farm@db.farm.svc/farm", s3_endpoint="http://store.farm.svc:9000")
    assert services(remote) == (("db.farm.svc", 5432), ("store.farm.svc", 9000))
    assert services(Settings(s3_endpoint="https://s3.example.com")) == (("s3.example.com", 443),)
    assert services(Settings()) == ()


def test_the_command_of_the_template_is_understood():
    wanted = parse(["--gpus=8", "--shm=16Gi", "--scratch=/scratch", "--weights=/weights", f"--digest={DIGEST}"])
    assert (wanted.gpus, wanted.shm_bytes, wanted.weights) == (8, 16 * 2**30, Path("/weights"))


def test_a_faulty_pod_ends_with_one(pod, capsys):
    assert main(["--gpus=99", f"--scratch={pod / 'scratch'}"]) == 1
    assert "GPUs are visible, 99 were asked for" in capsys.readouterr().err
    assert main([f"--scratch={pod / 'scratch'}"]) == 0


def test_the_check_needs_neither_torch_nor_prefect():
    code = "import sys, tasks.cluster.pod_check; print(sorted({'torch', 'prefect', 'kubernetes'} & set(sys.modules)))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_facts_and_needs_are_compared_without_a_pod():
    wanted = PodNeeds(0, 100, Path("/scratch"))
    assert pod_faults(wanted, PodFacts(0, 99, True, "", ())) == []
    assert len(pod_faults(wanted, PodFacts(0, 98, True, "", ()))) == 1

"""`farm doctor --cluster`: one report of a cluster, with every fault, its value, its limit and the way out."""

import json

import pytest
from things import node

from farm.main import main


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Runs the command in this process; returns its exit code and what it printed."""

    def run(kubeconfig, *words):
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("sys.argv", ["farm", "doctor", "--cluster", f"--kubeconfig={kubeconfig}", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out + printed.err

    return run


def test_every_fault_is_in_one_report_and_the_exit_code_says_so(apiserver, tmp_path, doctor):
    apiserver.put("/api/v1/nodes", node("gpu-1", gpus=4, taints=("nvidia.com/gpu",)))
    apiserver.denied.add(("system:serviceaccount:avatar-farm:farm-worker", "create", "jobs"))
    kubeconfig = apiserver.kubeconfig(tmp_path / "config")
    code, text = doctor(kubeconfig, "--gpus", "8", "--weights-digest", "ab" * 32, "--json")
    assert code == 3, text
    findings = json.loads(text)["findings"]
    faults = {finding["what"]: finding for finding in findings if finding["purpose"] == "error"}
    assert "4 nvidia.com/gpu at most" in faults["farm-gpu"]["state"]
    assert "8 nvidia.com/gpu" in faults["farm-gpu"]["state"]
    assert "no such volume claim" in faults["weights-abababababababab"]["state"]
    assert "create jobs.batch" in faults["permissions"]["state"]
    assert {"namespaces", "secret/farm-runtime", "configmap/farm-runtime"} <= faults.keys()
    assert all(fault["way_out"] and fault["fatal"] for fault in faults.values())


def test_a_person_reads_a_table_and_a_good_pool_names_its_gpus(apiserver, tmp_path, doctor):
    apiserver.put("/api/v1/nodes", node("gpu-1"))
    code, text = doctor(apiserver.kubeconfig(tmp_path / "config"))
    words = " ".join(text.split())
    assert code == 3 and "farm doctor --cluster" in words and "H200" in words and "way out" in words


def test_no_cluster_and_no_answer_are_clear_too(tmp_path, doctor):
    missing, text = doctor(tmp_path / "none", "--json")
    assert missing == 3 and "no Kubernetes cluster" in text
    nobody = {"clusters": [{"name": "t", "cluster": {"server": "http://127.0.0.1:9"}}], "users": [], "contexts": []}
    nobody |= {"contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}], "current-context": "t"}
    nobody |= {"users": [{"name": "t", "user": {"token": "x"}}], "apiVersion": "v1", "kind": "Config"}
    (tmp_path / "config").write_text(json.dumps(nobody))
    code, text = doctor(tmp_path / "config")
    assert code == 3 and "does not answer" in " ".join(text.split())


def test_a_digest_that_is_none_is_refused(apiserver, tmp_path, doctor):
    code, text = doctor(apiserver.kubeconfig(tmp_path / "config"), "--weights-digest", "short")
    assert code == 2 and "64 hexadecimal digits" in " ".join(text.split())

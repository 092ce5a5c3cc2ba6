"""Runs forked from a warm process: they are what the ordinary way starts, and live and die with who asked for them."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tasks.warm import client, server

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "tasks" / "warm" / "client.py"
RUN = """
import atexit, os, signal, sys, threading, time
import prefect.context
from tasks.settings import settings
print(os.getpid(), os.getcwd(), os.environ.get("OURS"), os.environ.get("THEIRS"), settings().worker)
url = prefect.context.get_settings_context().settings.api.url
print(url, "torch" in sys.modules, len(os.listdir("/proc/self/task")), flush=True)
if os.environ["OURS"] == "wait":
    time.sleep(60)
if os.environ["OURS"] == "leave":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print("ready", flush=True)
    time.sleep(60)
if os.environ["OURS"] == "last words":
    atexit.register(print, "of the house")
    threading.Thread(target=lambda: [time.sleep(0.1), print("of a thread")]).start()
    sys.exit("of the run")
if os.environ["OURS"] == "interrupted":
    raise KeyboardInterrupt
sys.exit(int(os.environ["OURS"]))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A warm process whose forks can import the module `of_a_run`, and its environment."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "of_a_run.py").write_text(RUN)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "FARM_WARM": str(folder / "socket"), "THEIRS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "tasks.warm.server", env["FARM_WARM"]], env=env, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (folder / "socket").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield process, env
    process.terminate()
    process.wait()


@pytest.fixture
def warm(house):
    return house[1]


def start(env, ours, cwd, **more):
    own = {key: value for key, value in env.items() if key != "THEIRS"}
    own |= {"OURS": ours, "FARM_WORKER": "me", "PREFECT_API_URL": "http://127.0.0.1:9/api", **more}
    command = [sys.executable, "-I", "-S", str(CLIENT), "of_a_run"]
    return subprocess.Popen(command, env=own, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually_gone(pid):
    deadline = time.monotonic() + 10
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_there(pid)


@pytest.mark.parametrize("way", ["forked", "cold"])
def test_a_run_has_the_environment_folder_streams_and_end_of_who_started_it(warm, tmp_path, way):
    more = {} if way == "forked" else {"FARM_WARM": str(tmp_path / "nobody")}
    run = start(warm, "3", tmp_path, **more)
    said, wrong = run.communicate(timeout=60)
    pid, *rest = said.split()
    assert run.returncode == 3, wrong
    assert (int(pid) == run.pid) == (way == "cold")
    assert rest == [str(tmp_path), "3", "None", "me", "http://127.0.0.1:9/api", str(way == "forked"), "1"]


def test_a_run_that_fails_says_so_on_its_own_stream(warm, tmp_path):
    run = start(warm, "nonsense", tmp_path)
    assert "ValueError" in run.communicate(timeout=60)[1] and run.returncode == 1


@pytest.mark.parametrize("way", ["forked", "cold"])
def test_a_run_ends_as_python_ends(warm, tmp_path, way):
    more = {} if way == "forked" else {"FARM_WARM": str(tmp_path / "nobody")}
    run = start(warm, "last words", tmp_path, **more)
    said, wrong = run.communicate(timeout=60)
    assert said.splitlines()[2:] == ["of a thread", "of the house"]
    assert wrong.splitlines()[-1] == "of the run" and run.returncode == 1
    run = start(warm, "interrupted", tmp_path, **more)
    assert run.communicate(timeout=60)[1].splitlines()[-1] == "KeyboardInterrupt"
    assert run.returncode == -signal.SIGINT


def test_nothing_but_modules_is_shared_with_a_run(house, tmp_path):
    process, env = house
    start(env, "0", tmp_path).communicate(timeout=60)
    proc = Path("/proc") / str(process.pid)
    assert len(list((proc / "task").iterdir())) == 1  # OpenBLAS has ended its own before the first fork, as it promises
    opened = [os.readlink(file) for file in (proc / "fd").iterdir() if int(file.name) > 2]
    assert len(opened) == 1 and opened[0].startswith("socket:")  # where it is asked


def test_a_signal_goes_through_and_its_answer_comes_back(warm, tmp_path):
    run = start(warm, "leave", tmp_path)
    assert [run.stdout.readline() for _ in range(3)][-1] == "ready\n"
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    assert run.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_is_killed_takes_the_run_along(warm, tmp_path, number):
    run = start(warm, "wait", tmp_path)
    pid = int(run.stdout.readline().split()[0])
    run.send_signal(number)
    run.communicate(timeout=30)
    assert run.returncode == -number and eventually_gone(pid)


def test_a_run_that_is_killed_is_seen_to_be_killed(warm, tmp_path):
    run = start(warm, "wait", tmp_path)
    pid = int(run.stdout.readline().split()[0])
    os.kill(pid, signal.SIGKILL)
    run.communicate(timeout=30)
    assert run.returncode == -signal.SIGKILL


def test_a_run_outlives_the_warm_process_and_dies_with_its_supervisor(warm, tmp_path):
    run = start(warm, "wait", tmp_path)
    pid = int(run.stdout.readline().split()[0])
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    run.communicate(timeout=30)
    assert run.returncode == 128 + signal.SIGKILL and eventually_gone(pid)


@pytest.fixture
def ours(tmp_path):
    """A module of the farm's and its file."""
    module = ModuleType("tasks.ours")
    module.__file__ = str(tmp_path / "ours.py")
    file = Path(module.__file__)
    file.write_text("1")
    return module, file


def test_a_file_that_was_written_since_is_noticed(ours):
    module, file = ours
    before = server.imported([module, sys, pytest], time.time_ns() + 10**9)
    assert list(before) == [str(file)] and server.written([module]) == before
    os.utime(file, ns=(1, 1))  # as a copy that keeps the time of writing
    assert server.written([module]) != before
    file.unlink()
    assert server.written([module]) == {str(file): server.GONE}


def test_a_file_that_was_written_or_lost_while_it_was_imported_is_noticed(ours):
    module, file = ours
    assert server.imported([module], time.time_ns() - 10**9) != server.written([module])
    file.unlink()
    assert server.imported([module], time.time_ns()) != server.written([module])


def test_settings_are_what_the_warm_process_was_told_or_are_read_again():
    words = {"PREFECT_API_URL": "here", "prefect_home": "there", "PREFECT__FLOW_RUN_ID": "1", "PREFECTURE": "no"}
    assert server.told_prefect(words) == {"PREFECT_API_URL": "here", "PREFECT_HOME": "there"}


def test_a_warm_process_of_older_files_lets_runs_start_the_ordinary_way():
    ours, theirs = socket.socketpair()
    ours.sendall(b"whatever is asked")
    pid = os.fork()
    if pid == 0:
        server.serve(theirs, ctypes.CDLL(None), {"older.py": 1}, {})
        os._exit(9)
    theirs.close()
    with ours:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and client.receive(ours) is None

"""What starting a run costs, the ordinary way and forked from the warm process: CPU and wall clock, one table.

python scripts/bench_start.py [--runs 10]
First, in turns, a process that imports what every run of the farm imports, looks its settings up and ends. Then whole
runs through a real server and a real worker: a flow with one task that has nothing to do. All that anybody spends is
counted, to its very end: who asks, fork and supervisor, the run, and for whole runs the worker; without what server
and worker do when nobody asks. Means, because CPU clocks tick every 10 ms.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from server_port import server_port
from sim_worker import child_named, cpu_of, warm_child

from tasks.services import local_farm
from tasks.warm.server import WARM

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "tasks" / "warm" / "client.py"
IDLE_SECONDS = 20.0
RUN = f"""
for name in {WARM!r}:
    __import__(name)
from prefect.settings import get_current_settings
get_current_settings().api.url
"""
Costs = list[float]  # CPU seconds of each side, then wall seconds, a run


def main(arguments: list[str]) -> int:
    """Measure both ways and print what a run costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    given = parser.parse_args(arguments)
    port = server_port()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything that was started ends
    logging.getLogger("prefect").setLevel(logging.WARNING)
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {given.runs} runs each way")
    process, (run, server) = processes(given.runs), whole_runs(port, given.runs)
    print("| | CPU s, ordinary | CPU s, forked | wall s, ordinary | wall s, forked |")
    print("|---|---|---|---|---|")
    print(row("a process with everything imported", process))
    print(row("a whole run of an empty flow: worker, process, Prefect's engine", run))
    print(row("Prefect's server for it", server, wall=False))
    return 0


def row(name: str, ways: Sequence[Costs], wall: bool = True) -> str:
    """Return a line of the table; `ways` are ordinary and forked."""
    (cold, cold_wall), (forked, forked_wall) = ways
    walls = f"{cold_wall:.2f} | {forked_wall:.2f}" if wall else " | "
    return f"| {name} | {cold:.2f} | {forked:.2f} | {walls} |"


def processes(runs: int) -> list[Costs]:
    """Return what a process with everything imported costs: ordinary, forked."""
    with tempfile.TemporaryDirectory(prefix="farm-start-") as place:
        folder = Path(place)
        (folder / "of_a_run.py").write_text(RUN)
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "FARM_WARM": str(folder / "socket")}
        cold = {**env, "FARM_WARM": str(folder / "nobody")}
        warm = subprocess.Popen([sys.executable, "-m", "tasks.warm.server", env["FARM_WARM"]], env=env)
        try:
            while not (folder / "socket").exists():
                if warm.poll() is not None:
                    raise SystemExit("the warm process has ended")
                time.sleep(0.1)
            start(cold, 0), start(env, warm.pid)  # the first reads files from the disk
            pairs = [(start(cold, 0), start(env, warm.pid)) for _ in range(runs)]
        finally:
            warm.send_signal(signal.SIGTERM)
            warm.wait()
    return [[sum(pair[way][what] for pair in pairs) / runs for what in (0, 1)] for way in (0, 1)]


def start(env: dict[str, str], warm: int) -> tuple[float, float]:
    """Return the CPU and wall seconds of a run: the process that asks for it and, if any, the warm one's part."""
    begun, before = time.monotonic(), cpu_of(warm)
    run = subprocess.Popen([sys.executable, "-I", "-S", str(CLIENT), "of_a_run"], env=env)
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    if run.returncode:
        raise SystemExit(f"a run ended with {run.returncode}")
    return usage.ru_utime + usage.ru_stime + cpu_of(warm) - before, wall


def whole_runs(port: int, runs: int) -> tuple[list[Costs], list[Costs]]:
    """Return what a whole run costs the worker's side, and what it costs the server: ordinary, forked."""
    with tempfile.TemporaryDirectory(prefix="farm-start-") as home:
        os.environ["FARM_HOME"] = home
        with local_farm(port, 2, reconcile_seconds=0):
            server, warm, worker = child_named("server"), warm_child(), child_named("farm-cpu")

            def used() -> tuple[float, float]:
                return cpu_of(worker) + cpu_of(warm), cpu_of(server)

            forked = costs_of(used, runs)
            os.kill(warm, signal.SIGTERM)
            warm = 0
            ordinary = costs_of(used, runs)
    return [ordinary[0], forked[0]], [ordinary[1], forked[1]]


def costs_of(used: Callable[[], tuple[float, float]], runs: int) -> tuple[Costs, Costs]:
    """Return what a run costs the worker's side and the server, one run after the other."""
    one_run()  # the first is slow
    before, begun = used(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    idle = [(after - first) / (time.monotonic() - begun) for after, first in zip(used(), before)]
    before, begun = used(), time.monotonic()
    walls = [one_run() for _ in range(runs)]
    took = time.monotonic() - begun
    side, server = ((after - first - each * took) / runs for after, first, each in zip(used(), before, idle))
    return [side, sum(walls) / runs], [server, 0.0]


def one_run() -> float:
    """Return the seconds from when the worker took a run of an empty flow until it was Completed."""
    from prefect import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.deployments import run_deployment

    run = run_deployment("resume/resume", parameters={"run": str(uuid4())}, as_subflow=False, poll_interval=1)
    with get_client(sync_client=True) as client:
        states = {state.type: state.timestamp for state in client.read_flow_run_states(run.id)}
    return (states[StateType.COMPLETED] - states[StateType.PENDING]).total_seconds()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

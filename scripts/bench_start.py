"""What starting a run's process costs, the ordinary way and forked from the warm process: CPU and wall clock, in turns.

python scripts/bench_start.py [--runs 10]
The run imports what every run of the farm imports, looks its settings up, says how much CPU it has used, and ends.
Then the same of whole runs, through a real server and a real worker: a flow with one task that has nothing to do.
"""

import argparse
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from server_port import server_port
from sim_worker import child_named, cpu_of

from tasks.services import local_farm
from tasks.warm.server import WARM

ROOT = Path(__file__).resolve().parent.parent
RUN = f"""
import time
for name in {WARM!r}:
    __import__(name)
from prefect.settings import get_current_settings
get_current_settings().api.url
print(time.process_time(), flush=True)
"""


def main(arguments: list[str]) -> int:
    """Measure both ways in turns and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    given = parser.parse_args(arguments)
    port = server_port()
    with tempfile.TemporaryDirectory(prefix="farm-start-") as place:
        folder = Path(place)
        (folder / "of_a_run.py").write_text(RUN)
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "FARM_WARM": str(folder / "socket")}
        warm = subprocess.Popen([sys.executable, "-m", "tasks.warm.server", env["FARM_WARM"]], env=env)
        try:
            while not (folder / "socket").exists():
                if warm.poll() is not None:
                    return 1
                time.sleep(0.1)
            cold_env = {**env, "FARM_WARM": str(folder / "nobody")}
            costs = [(start(cold_env), start(env)) for _ in range(given.runs)]
        finally:
            warm.send_signal(signal.SIGTERM)
            warm.wait()
    print("| start | CPU s | wall s |")
    print("|---|---|---|")
    medians = [[statistics.median(pair[way][what] for pair in costs) for what in (0, 1)] for way in (0, 1)]
    for name, (cpu, wall) in zip(("ordinary", "forked"), medians):
        print(f"| {name} | {cpu:.3f} | {wall:.3f} |")
    print(f"| ratio | {medians[0][0] / medians[1][0]:.0f} | {medians[0][1] / medians[1][1]:.0f} |")
    through_a_worker(port, given.runs)
    return 0


def through_a_worker(port: int, runs: int) -> None:
    """Print what a run costs the worker's side and the server, with the warm process and then without."""
    from prefect.deployments import run_deployment

    logging.getLogger("prefect").setLevel(logging.WARNING)
    print("| whole run | worker's side, CPU s | server, CPU s | wall s, all runs |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="farm-start-") as home:
        os.environ["FARM_HOME"] = home
        with local_farm(port, 2, reconcile_seconds=0):
            server, warm = child_named("server"), child_named("tasks.warm.server")
            worker = child_named("farm-cpu")
            for way in ("forked", "ordinary"):
                if way == "ordinary":
                    os.kill(warm, signal.SIGTERM)
                run_deployment("resume/resume", parameters={"run": str(uuid4())}, as_subflow=False)  # the first is slow
                side = [worker] + [warm] * (way == "forked")
                before, begun = [sum(map(cpu_of, side)), cpu_of(server)], time.monotonic()
                for _ in range(runs):
                    run_deployment("resume/resume", parameters={"run": str(uuid4())}, as_subflow=False, poll_interval=1)
                each = [(sum(map(cpu_of, side)) - before[0]) / runs, (cpu_of(server) - before[1]) / runs]
                print(f"| {way} | {each[0]:.2f} | {each[1]:.2f} | {time.monotonic() - begun:.0f} |", flush=True)


def start(env: dict[str, str]) -> tuple[float, float]:
    """Return the CPU and wall seconds of a run's start, the process that asks for it included."""
    begun = time.monotonic()
    client = str(ROOT / "tasks" / "warm" / "client.py")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", client, "of_a_run"], env=env, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        said = float(run.stdout.read())
        _, _, usage = os.wait4(run.pid, 0)
        run.returncode = 0
    wall = time.monotonic() - begun
    own = usage.ru_utime + usage.ru_stime
    return max(own, said) if "nobody" in env["FARM_WARM"] else own + said, wall


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The second course: a Prefect server hands out the work of real episodes, and is killed again and again.

Nothing here is a toy: Prefect's server on the chaos's own PostgreSQL, the farm's pools, deployments and automations,
two process workers, a reconciler, the small network. Around them stands what stands around them everywhere: somebody
who starts a process again that has ended. When nothing is killed any more and nothing has come for a while, somebody
types `farm retry`, and it is counted. When no film comes for `Menu.peace_seconds`, the run has failed and is scored.
"""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tasks.chaos.expected import THREADS
from tasks.chaos.menu import Menu, Tally
from tasks.chaos.place import Place
from tasks.chaos.postgres import Database, free_port
from tasks.services import ROOT, environment

log = logging.getLogger(__name__)
SLOTS = 3  # flow runs at the same time in each pool
UP_SECONDS = 180.0  # a server that takes longer to start will not start
CALM = (1.0, 5.0)  # how long a server lives once it answers, in times of what its start took: machines differ
LEAST_CALM_SECONDS = 3.0
STUCK_SECONDS = 150.0  # of silence after the last kill, until a person looks
KNOBS = {
    "FARM_LEASE_SECONDS": "10",
    "FARM_WAIT_SECONDS": "60",
    "FARM_GRACE_SECONDS": "30",
    "FARM_THREADS": str(THREADS),
    "FARM_DEVICE": "cpu",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "OMP_NUM_THREADS": str(THREADS),
}


@dataclass(frozen=True)
class Episode:
    """An ingested episode: its plan's key in the store, its name, and whether its film is there."""

    name: str
    order: str
    is_done: Callable[[], bool]


@dataclass
class Household:
    """The processes of a farm, each started again when it has ended."""

    env: dict[str, str]
    logs: Path
    tally: Tally
    commands: dict[str, list[str]] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, words: list[str]) -> None:
        """Start a process and keep it running from now on."""
        self.commands[name] = words
        with (self.logs / f"{name}.log").open("ab") as file:
            command = [sys.executable, "-m", *words]
            self.running[name] = subprocess.Popen(
                command, env=self.env, stdout=file, stderr=file, cwd=ROOT, start_new_session=True
            )

    def keep_going(self) -> None:
        """Start again what has ended."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.tally.ends_under_prefect[f"{name} {process.returncode}"] += 1
                self.start(name, self.commands[name])

    def children(self, name: str) -> list[int]:
        """Return the processes that a process has started."""
        pid = self.running[name].pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def end(self) -> None:
        """End everything, the runs of the workers first."""
        for name in self.running:
            for child in self.children(name):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Server:
    """Prefect's server: killed, and there again."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        self._pid, self._port = 0, free_port()
        self.start_seconds = 0.0  # what the last start took
        self.api = f"http://127.0.0.1:{self._port}/api"
        self._env, self._log = {**env, "PREFECT_API_URL": self.api}, logs / "server.log"
        self._zygote: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers. Raises: TimeoutError."""
        zygote = self._zygote or self._start_zygote()
        assert zygote.stdin and zygote.stdout
        zygote.stdin.write(b"start\n")
        zygote.stdin.flush()
        self._pid = int(zygote.stdout.readline())
        begun = time.monotonic()
        while not self.answers():
            if time.monotonic() > begun + UP_SECONDS:
                raise TimeoutError(f"Prefect's server did not come up within {UP_SECONDS:.0f} s; see {self._log}")
            time.sleep(0.2)
        self.start_seconds = time.monotonic() - begun

    def kill(self) -> None:
        """Kill it without a word."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    @property
    def is_alive(self) -> bool:
        """Say whether its process is there."""
        return Path(f"/proc/{self._pid}").exists()

    def end(self) -> None:
        """End it for good."""
        self.kill()
        if self._zygote and self._zygote.stdin:
            self._zygote.stdin.close()
            self._zygote.wait()

    def ask(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return what its API answers. Raises: OSError."""
        request = urllib.request.Request(f"{self.api}/{path}", json.dumps(body).encode() if body else None)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found

    def answers(self) -> bool:
        """Say whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _start_zygote(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tasks.chaos.prefect_zygote", str(self._port)]
        with self._log.open("ab") as file:
            self._zygote = subprocess.Popen(
                command, env=self._env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file
            )
        return self._zygote


class Outages:
    """Serves the second course. `more` gives another episode when the present ones run out."""

    def __init__(
        self, menu: Menu, place: Place, database: Database, folder: Path, tally: Tally, more: Callable[[], Episode]
    ) -> None:
        self.menu, self.place, self.database, self.tally = menu, place, database, tally
        self._more, self._episodes = more, [more()]
        self._random = random.Random(menu.seed)
        own = {
            "FARM_HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "FARM_STORE": place.store,
            "FARM_S3_ENDPOINT": place.endpoint, "FARM_DATABASE": place.database, "PYTHONWARNINGS": "ignore",
            "PREFECT_API_DATABASE_CONNECTION_URL": database.prefect,
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        env = {**environment(0), **KNOBS, **own}
        self._server = Server(env, folder)
        self._house = Household({**env, "PREFECT_API_URL": self._server.api}, folder, tally)
        self._submitted: set[str] = set()

    def run(self) -> list[str]:
        """Serve everything, let the farm finish in peace, and return the orders it worked on."""
        try:
            self._move_in()
            deadline = time.monotonic() + self.menu.limit_seconds
            while not self.tally.has_second_course(self.menu) and time.monotonic() < deadline:
                self._one_calm()
                self._one_blow()
            self._finish_in_peace()
        finally:
            self._house.end()
            self._server.end()
        return [episode.order for episode in self._episodes]

    def _move_in(self) -> None:
        self._server.start()
        words = [sys.executable, "-m", "tasks.farm_setup", "--gpu-slots", str(SLOTS), "--cpu-slots", str(SLOTS)]
        subprocess.run(words, env=self._house.env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for pool in ("farm-cpu", "farm-gpu"):
            self._house.start(pool, ["prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", pool])
        self._house.start("reconcile", ["farm", "reconcile", "--every", "10"])

    def _one_calm(self) -> None:
        """Let the server live for a while; everything that has ended is started again."""
        end = time.monotonic() + max(LEAST_CALM_SECONDS, self._server.start_seconds * self._random.uniform(*CALM))
        while time.monotonic() < end:
            self._look_after()
            time.sleep(0.5)

    def _look_after(self) -> None:
        self._house.keep_going()
        if not self._server.is_alive:
            self.tally.ends_under_prefect["server"] += 1
            self._server.start()
        if self._episodes[-1].is_done() and not self.tally.has_second_course(self.menu):
            self._episodes.append(self._more())
        newest = self._episodes[-1]
        if newest.order not in self._submitted and self._submit(newest):
            self._submitted.add(newest.order)

    def _one_blow(self) -> None:
        menu, tally = self.menu, self.tally
        if tally.run_kills < menu.run_kills and self._random.random() < 0.5:
            self._kill_a_run()
        if tally.late_restarts < menu.late_restarts and self._random.random() < 0.3:
            self.database.stop("immediate")
            time.sleep(self._random.uniform(0, 0.5))
            self.database.start()
            tally.late_restarts += 1
        if tally.server_kills < menu.server_kills:
            self._server.kill()
            tally.server_kills += 1
            time.sleep(self._random.uniform(0, 3.0))
            self._server.start()

    def _kill_a_run(self) -> None:
        """Kill the process of a flow run, wherever it is."""
        runs = [*self._house.children("farm-gpu"), *self._house.children("farm-cpu")]
        if runs:
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(runs), signal.SIGKILL)
                self.tally.run_kills += 1

    def _finish_in_peace(self) -> None:
        looked = came = time.monotonic()
        left = len(self._episodes) + 1
        while waiting := [episode for episode in self._episodes if not episode.is_done()]:
            self._look_after()
            if len(waiting) < left:
                left, looked = len(waiting), time.monotonic()
                came = looked
            if time.monotonic() - came > self.menu.peace_seconds:
                self.tally.given_up += 1
                return
            if time.monotonic() - looked > STUCK_SECONDS:
                looked = time.monotonic()
                for episode in waiting:
                    self._ask_a_person(episode)
            time.sleep(1.0)

    def _ask_a_person(self, episode: Episode) -> None:
        words = ["farm", "retry", episode.name, "--why", "chaos", "--store", self.place.store]
        subprocess.run([sys.executable, "-m", *words], env=self._house.env, cwd=ROOT, stdout=subprocess.DEVNULL)
        self.tally.persons += 1

    def _submit(self, episode: Episode) -> bool:
        """Start an episode; False when the server did not take it. Asking twice starts one."""
        parameters = {"episode": episode.name, "order": episode.order, "dispatch": "deployments"}
        try:
            found = self._server.ask("deployments/name/episode/episode")
            given = {"parameters": parameters, "idempotency_key": episode.order}
            self._server.ask(f"deployments/{found['id']}/create_flow_run", given)
        except OSError:
            return False
        return True

"""The farm on one machine: a Prefect server with its dashboard, pools, deployments and workers, on 127.0.0.1 only."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import certifi

from tasks.errors import ConfigError, TransientError
from tasks.settings import settings

ROOT = Path(__file__).resolve().parent.parent
# What Prefect's server would otherwise do for every child of an episode, every few seconds; k8s has the same.
SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Waiting for a worker is what most of a long episode's runs do; 15 s would name them all late.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "3600",
    # Every 20 s it would look up the parent of each child; farm-cancel does it once, when an episode is cancelled.
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "3600",
}
# What Prefect's clients would otherwise do, several times a run.
CLIENTS = {
    # Nobody asks a local farm for heartbeats, and their thread keeps a run's slot for up to a second too long. (Prefect
    # takes "none" in no other form; who sets PREFECT_FLOWS_HEARTBEAT_FREQUENCY has them.)
    "PREFECT_FLOWS": '{"heartbeat_frequency": null}',
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",  # it is this very Prefect
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",  # the server has no such tokens unless somebody wants them
}
START_SECONDS = 300.0  # on an idle machine it takes 5; a busy one is no failure
Tell = Callable[[str], None]


def environment(port: int) -> dict[str, str]:
    """Return the environment of everything that a local farm starts: its own server, its own home, no telemetry."""
    home = settings().home.resolve()
    api = f"http://127.0.0.1:{port}/api"
    ours = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        **SERVER,
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # a worker of ten would be idle for five on average
        "DO_NOT_TRACK": "1",
        "FARM_HOME": str(home),
        "FARM_WORKDIR": str(ROOT),
        "PYTHONPATH": str(ROOT),
    }
    return {**os.environ, **ours}


def of_clients(env: Mapping[str, str], certificate: Path) -> dict[str, str]:
    """Return the environment of who asks a local farm's server, from the server's; writes a certificate to that file.

    Every client of Prefect reads a bundle of certificates, all hundred of them (25 ms of CPU, ten times a run), though
    this server speaks plain HTTP. One is enough for that. The server keeps them all: its automations call webhooks.
    """
    one, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    certificate.write_text(one + end)
    wanted = {
        "PREFECT_FLOWS": "PREFECT_FLOWS_HEARTBEAT_FREQUENCY" in env,
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "PREFECT_SERVER_CSRF_PROTECTION_ENABLED" in env,
    }
    quiet = {name: value for name, value in CLIENTS.items() if not wanted.get(name)}
    return {**quiet, **env, "PREFECT_API_SSL_CERT_FILE": str(certificate)}


def asked_to_stop() -> threading.Event:
    """Return an event that is set at Ctrl-C, SIGTERM, or when the terminal is closed (unless started by nohup)."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def run_local_farm(port: int, workers: int, tell: Tell) -> None:
    """Start everything, say where it is, and end everything at Ctrl-C, SIGTERM or the end of the terminal.

    Raises: ConfigError when the port is taken, TransientError when the server does not come up.
    """
    stop = asked_to_stop()
    with local_farm(port, workers) as url:
        tell(f"dashboard: {url}")
        tell("submit an episode from another terminal: farm submit examples/pilot/episode.yaml")
        tell("Ctrl-C ends the farm; what is rendered is kept")
        stop.wait()


@contextmanager
def local_farm(port: int, workers: int, reconcile_seconds: int = 60) -> Iterator[str]:
    """Yield the dashboard's address of a running farm; all its processes end with the context.

    `workers`: segments at the same time; 0: nobody works. A round of reconciling begins every `reconcile_seconds`; 0:
    none does.
    """
    if _answers(port):
        raise ConfigError(f"port {port} is taken; stop what uses it or choose another: farm up --port {port + 1}")
    server = environment(port)
    logs = settings().home.resolve() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    warm = Path(tempfile.mkdtemp(prefix="farm-warm-"))  # a socket's path has little room
    env = of_clients(server, warm / "certificate.pem") | {"FARM_WARM": str(warm / "socket")}
    try:
        if workers:
            started.append(_start(["tasks.warm.server", env["FARM_WARM"]], env, logs / "warm.log"))
        words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        started.append(_start(words, server, logs / "server.log"))
        _await_server(port, started[-1], logs / "server.log")
        prepare_server(env, workers)
        for pool in ("farm-cpu", "farm-gpu") if workers else ():
            words = ["prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", f"local-{pool}"]
            started.append(_start(words, env, logs / f"{pool}.log"))
        if reconcile_seconds:
            words = ["farm", "reconcile", "--every", str(reconcile_seconds)]
            started.append(_start(words, env, logs / "reconcile.log"))
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGINT)
        for process in reversed(started):
            _end(process)
        shutil.rmtree(warm, ignore_errors=True)


def prepare_server(env: Mapping[str, str], workers: int) -> None:
    """Make pools, queues, limits, deployments and automations on a server; doing it again changes nothing."""
    command = shlex.join([sys.executable, "-I", "-S", str(ROOT / "tasks" / "warm" / "client.py"), "prefect.engine"])
    _run(["tasks.farm_setup", "--gpu-slots", str(workers), "--run-command", command], env)


def start_episode(server: str, episode: str, order: str, store: str, database: str, out: str, widest_take: int) -> str:
    """Start an ingested episode on a farm and return its run's page.

    `out` is the film's folder as the workers see it; none: ./out on this machine, on a cluster the store alone.
    `widest_take` is the largest number of segments that share a shot: they need that many workers at one time.
    Raises: TransientError when the server does not answer, ConfigError when the pool is too small.
    """
    os.environ["PREFECT_API_URL"] = server
    from prefect.deployments import run_deployment

    kind, limit = pool_facts("farm-gpu", server)
    if limit is not None and limit < widest_take:
        raise ConfigError(
            f"a take has {widest_take} segments that render together and pool farm-gpu lets {limit} run; "
            f"raise its limit (farm up --workers {widest_take}) or episode.sampler.windows_per_segment"
        )
    folder = out or ("" if kind == "kubernetes" else str((Path("out") / episode).resolve()))
    parameters = {"episode": episode, "order": order, "out": folder, **told_places(kind, store, database)}
    try:
        run = run_deployment("episode/episode", parameters={**parameters, "dispatch": "deployments"}, timeout=0)
    except Exception as exc:
        raise TransientError(f"{server} did not take the episode ({exc}); is the farm up? (farm up)") from exc
    return f"{server.removesuffix('/api')}/runs/flow-run/{run.id}"  # type: ignore[union-attr]


def told_places(kind: str, store: str, database: str) -> dict[str, str]:
    """Return which store and database the runs of a pool of this kind are told; empty: what they are set up with.

    Everybody can read a run's parameters, so an address with a password is never among them; pods of a cluster have
    addresses of their own for the same servers. Raises: ConfigError when a cluster could not reach them.
    """
    from sqlalchemy import make_url

    address = make_url(database)
    if kind == "kubernetes":
        mine = [
            f"{name} {value} is a place on this machine"
            for name, value, here in (
                ("FARM_STORE", store, store.startswith("file:")),
                ("FARM_DATABASE", database, address.get_backend_name() == "sqlite"),
            )
            if here
        ]
        if mine:
            raise ConfigError(f"{' and '.join(mine)}, and pool farm-gpu is a cluster; set the cluster's own addresses")
    return {"store": store, "database": "" if kind == "kubernetes" or address.password else database}


def pool_facts(pool: str, server: str) -> tuple[str, int | None]:
    """Return a pool's kind (process, kubernetes) and how many of its runs may be at work at a time; None: no limit.

    Raises: TransientError when the server does not answer or has no such pool.
    """
    from prefect import get_client

    try:
        with get_client(sync_client=True) as client:
            found = client.read_work_pool(pool)
    except Exception as exc:
        raise TransientError(f"{server} has no pool {pool} ({exc}); is the farm up? (farm up)") from exc
    return found.type, found.concurrency_limit


def _start(words: list[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        command = [sys.executable, "-m", *words]
        return subprocess.Popen(command, env=dict(env), stdout=file, stderr=file, cwd=ROOT, start_new_session=True)


def _run(words: list[str], env: Mapping[str, str]) -> None:
    run = subprocess.run([sys.executable, "-m", *words], env=dict(env), cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise TransientError(f"{' '.join(words)} failed: {(run.stderr or run.stdout).strip()[-800:]}")


def _await_server(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TransientError(f"the server did not come up within {START_SECONDS:.0f} s; see {log}")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

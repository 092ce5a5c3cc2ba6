"""The warm process: imports what every run of the farm imports, and forks for each that asks.

python -m tasks.warm.server SOCKET
A fork has no thread and no connection of before: nothing but importing is done here, and the only threads that this
starts are OpenBLAS's, which it ends itself before a fork and starts again in who computes. A supervisor without threads
stands between: it tells how the run ended, and kills it when the worker's process is killed.
"""

import atexit
import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, Never

from tasks.warm.client import NUMBER

OURS = {"db", "farm", "flows", "model", "tasks"}
PR_SET_PDEATHSIG = 1
TICK_NS = 20_000_000  # a file's time may lie so far behind the clock
GONE, UNKNOWN = 0, -1
WARM = (
    "prefect.main",
    "prefect.flow_engine",
    "prefect._internal.metrics",
    "prefect._internal.installation",
    "prefect.deployments.steps.core",
    "prefect.runner.runner",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "anyio._backends._asyncio",
    "packaging.requirements",
    "flows.episode",
    "flows.segment",
    "flows.shot",
    "flows.resume",
    "flows.reconcile",
    "tasks.dashboard",
    "tasks.dispatch",
    "tasks.stand_in_line",
    "tasks.steps",
    "tasks.steps_rerun",
    "boto3",  # a store's and a database's drivers: some runs' only, but half a second of theirs
    "psycopg",
)
SETTINGS_FILES = (".env", "prefect.toml", "pyproject.toml")


def main(address: str) -> None:
    """Import everything, then fork for each who asks at the address."""
    begun = time.time_ns() - TICK_NS
    for name in WARM:
        __import__(name)
    finish_models()
    libc = ctypes.CDLL(None)
    gc.collect()
    gc.freeze()  # what is there stays shared with every fork
    signal.signal(signal.SIGCHLD, reap)
    seen, told = imported(sys.modules.values(), begun), told_prefect(os.environ) | handed_on()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{address}-")
    listener.listen(128)
    os.replace(f"{address}-", address)  # who sees it is heard
    while True:
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve(line, libc, seen, told)
        line.close()


def finish_models() -> None:
    """Do once what every run would do when it first uses them: finish Prefect's models, and the ledger's."""
    from pydantic import BaseModel
    from sqlalchemy.orm import configure_mappers

    configure_mappers()
    models: list[type[BaseModel]] = BaseModel.__subclasses__()
    while models:
        model = models.pop()
        models += model.__subclasses__()
        if not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)


def reap(*_: object) -> None:
    """Let go of supervisors that have ended; what they and their runs used counts as this process's children's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def written(modules: Iterable[ModuleType]) -> dict[str, int]:
    """Return when the files of the farm's own modules were last changed, in nanoseconds since 1970.

    That is when they came to be what they are: a copy may bring along an older time of writing.
    """
    ours = [module for module in modules if module.__name__.partition(".")[0] in OURS]
    files = [str(module.__file__) for module in ours if getattr(module, "__file__", None)]
    return {file: os.stat(file).st_ctime_ns if os.path.exists(file) else GONE for file in files}


def imported(modules: Iterable[ModuleType], begun: int) -> dict[str, int]:
    """Return the same of what was imported since `begun`: UNKNOWN, like no file's, where the file changed meanwhile."""
    return {file: at if GONE < at < begun else UNKNOWN for file, at in written(modules).items()}


def told_prefect(env: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment are settings of Prefect's, not words about one run."""
    named = {name.upper(): value for name, value in env.items()}
    return {name: value for name, value in named.items() if name.startswith("PREFECT_") and name[:9] != "PREFECT__"}


def handed_on() -> dict[str, str]:
    """Return what a worker with this process's settings adds to the environment of a run."""
    from prefect.settings import get_current_settings

    return get_current_settings().to_environment_variables(exclude_unset=True)


def serve(line: socket.socket, libc: ctypes.CDLL, seen: Mapping[str, int], told: Mapping[str, str]) -> Never:
    """Fork the run that is asked for and supervise it, or, in the fork, be it.

    When the farm's files are others than those that were imported, nothing is forked: the run starts the ordinary way.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if written(sys.modules.values()) != seen:
        os._exit(0)
    head, streams, _, _ = socket.recv_fds(line, NUMBER, 3)
    body = line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    if len(streams) != 3 or len(body) != int.from_bytes(head, "big"):
        os._exit(1)  # who asked has gone
    parent, pid = os.getpid(), os.fork()
    if pid:
        supervise(line, pid, streams)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    line.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    end(run(json.loads(body), told), libc)


def supervise(line: socket.socket, pid: int, streams: Sequence[int]) -> Never:
    """Tell the run's process id and, once it has ended, its wait status; who asked takes the run along when he dies."""
    ended = os.pidfd_open(pid)
    for stream in streams:
        os.close(stream)  # they end when the run's end
    try:
        line.sendall(pid.to_bytes(NUMBER, "big"))
        ready, _, _ = select.select([line.fileno(), ended], [], [])
        gone = ended not in ready
    except OSError:
        gone = True
    if gone:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not gone:
        with suppress(OSError):
            line.sendall(status.to_bytes(NUMBER, "big"))
    os._exit(0)


def run(asked: Mapping[str, Any], told: Mapping[str, str]) -> int:
    """Be `python -m MODULE` with that environment in that folder; return its exit code, or minus the signal to die of.

    What goes wrong is printed as Python prints it. Prefect reads its settings again (0.1 s of CPU) unless they can only
    be those that are here already: the environment says what the warm process was `told`, no file in the folder more.
    """
    for made in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        made.atexit = False  # the warm process's own, 360 of torch's among them
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    from prefect.context import refresh_global_settings_context

    from tasks.settings import settings

    try:
        settings.cache_clear()
        if told_prefect(os.environ) != told or any(map(os.path.exists, SETTINGS_FILES)):
            refresh_global_settings_context()
        sys.argv = [asked["module"]]
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)
        return 1
    except BaseException as wrong:  # noqa: BLE001 - the interpreter's own last resort
        sys.excepthook(type(wrong), wrong, wrong.__traceback__)
        return -signal.SIGINT if isinstance(wrong, KeyboardInterrupt) else 1
    return 0


def end(code: int, libc: ctypes.CDLL) -> Never:
    """End as Python does, but leave the interpreter standing.

    To take it apart would write on every page that is shared with the warm process: 0.3 s of CPU.
    """
    last = (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush)  # type: ignore[attr-defined]
    for step in last:
        try:
            step()
        except BaseException:  # noqa: BLE001 - said, and the next is done all the same, as Python does
            with suppress(OSError, ValueError):
                traceback.print_exc()
    libc.fflush(None)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1])

"""What a worker starts for a run: asks the warm process for a fork of itself, and stands for it.

python -I -S client.py MODULE
The fork runs MODULE as `python -m` would, in this process's folder, environment and streams; it gets this process's
signals, and dies when this one is killed. Where FARM_WARM names no warm process, MODULE starts the ordinary way.
Imports little: what it takes to start is what every run takes to start.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
NUMBER = 4  # bytes of a length, a process id or a status on the line


def main(module: str) -> int:
    """Be that module, in another process; return how it ended."""
    try:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.connect(os.environ["FARM_WARM"])
    except (KeyError, OSError):
        return start_cold(module)
    forked: list[int] = []
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if not forked:
            early.append(number)
        elif forked[0]:
            os.kill(forked[0], number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    pid = ask(line, module)
    if not pid:
        return start_cold(module)
    forked.append(pid)
    for missed in early:
        os.kill(pid, missed)
    status = receive(line)
    forked[:] = [0]  # its number may be somebody else's from here on
    return signal.SIGKILL + 128 if status is None else end_like(status)


def ask(line: socket.socket, module: str) -> int:
    """Return the process id of a fork that runs the module; 0 when there will be none."""
    body = json.dumps({"module": module, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
    try:
        socket.send_fds(line, [len(body).to_bytes(NUMBER, "big")], [0, 1, 2])
        line.sendall(body)
    except OSError:
        return 0
    return receive(line) or 0


def receive(line: socket.socket) -> int | None:
    """Return the next number on the line, None when it has ended."""
    try:
        said = line.recv(NUMBER, socket.MSG_WAITALL)
    except OSError:
        return None
    return int.from_bytes(said, "big") if len(said) == NUMBER else None


def end_like(status: int) -> int:
    """Return the exit code in a wait status; a signal's death is died again, so that who waits for this one sees it."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def start_cold(module: str) -> int:
    """Become a process that imports everything itself."""
    os.execv(sys.executable, [sys.executable, "-m", module])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

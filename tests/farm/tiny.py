"""A tiny real episode: two characters, two shots of the pilot's sound at a quarter of its size; everything is real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import soundfile

from tasks.chaos.postgres import free_port

ROOT = Path(__file__).resolve().parents[2]
PILOT = ROOT / "examples" / "pilot"
SECONDS = 3.4


def write_episode(folder: Path, emotion: str = "happy", seed: int = 5) -> Path:
    """Write a manifest of two shots (a take of two windows, and one of one) and its media; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(PILOT / "pictures", folder / "pictures", dirs_exist_ok=True)
    for name in ("ana", "ben", "mix"):
        samples, rate = soundfile.read(PILOT / "audio" / f"{name}.wav")
        soundfile.write(folder / f"{name}.wav", samples[: int(SECONDS * rate)], rate, "PCM_16")
    faces = {
        "ana": {"x": 0.106, "y": 0.302, "w": 0.325, "h": 0.481},
        "ben": {"x": 0.606, "y": 0.287, "w": 0.304, "h": 0.476},
    }
    picture = {name: {"emotions": {}, "portrait": f"pictures/{name}.png", "name": name} for name in ("ana", "ben")}
    for name in picture:
        picture[name]["consent"] = {"kind": "synthetic"}
    picture["ana"]["emotions"] = {"happy": "pictures/ana-happy.png", "sad": "pictures/ana-sad.png"}
    on_screen = [{"character": name, "face": faces[name]} for name in ("ana", "ben")]
    second = [{**on_screen[0], "emotion": {"name": emotion}}, on_screen[1]]
    manifest = {
        "version": 1,
        "episode": {
            "id": "tiny",
            "title": "Tiny",
            "size": {"width": 96, "height": 64},
            "seed": seed,
            "sampler": {"steps": 3, "windows_per_segment": 1},
        },
        "cast": picture,
        "audio": {"stems": {"ana": "ana.wav", "ben": "ben.wav"}, "mix": "mix.wav"},
        "shots": [
            {"id": "take", "plate": "pictures/both.png", "duration_seconds": 2.4, "characters": on_screen},
            {"id": "close", "plate": "pictures/both.png", "characters": second},
        ],
    }
    path = folder / "episode.json"
    path.write_text(json.dumps(manifest))
    return path


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a farm of its own."""
    own = {"FARM_HOME": str(home), "FARM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("FARM_", "PREFECT_API"))}, **own}


def farm(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a farm command to its end."""
    command = [sys.executable, "-m", "farm", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment(home), cwd=ROOT, text=True, **pipes)
    try:
        out, errors = process.communicate(timeout=600)
    except BaseException:
        kill_with_servers(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


def render(home: Path, manifest: Path, out: Path) -> dict[str, object]:
    """Render an episode and return what the command says about it."""
    run = farm(home, "render", str(manifest), "--out", str(out), "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def start_and_kill(home: Path, manifest: Path, out: Path, line: str) -> None:
    """Start a render and kill it, without any warning, as soon as it has printed a line with these words.

    Prefect's server, which it had started, outlives it and is ended in its place.
    """
    command = [sys.executable, "-m", "farm", "render", str(manifest), "--out", str(out)]
    process = subprocess.Popen(command, env=environment(home), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for printed in process.stderr:
        if line in printed:
            kill_with_servers(process)
            break
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL


def kill_with_servers(process: "subprocess.Popen[str]") -> None:
    """Kill a farm command without any warning, and see to it that what it had started ends too."""
    servers = children_of(process.pid)
    process.kill()
    process.wait()
    for pid in servers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in servers) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in servers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for one in lists for child in one.read_text().split()]


@contextmanager
def farm_up(home: Path, workers: int) -> Iterator[tuple[str, int]]:
    """Yield the API address and the process id of a `farm up` on a free port of 127.0.0.1."""
    port = free_port()
    command = [sys.executable, "-m", "farm", "up", "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, env=environment(home), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert "dashboard" in process.stdout.readline(), "it did not come up"
        yield f"http://127.0.0.1:{port}/api", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
        process.stdout.close()


def forked_seconds(pid: int) -> float:
    """Return the CPU seconds of ended runs that the warm process of a `farm up` has forked."""
    warm = [child for child in children_of(pid) if b"tasks.warm.server" in Path(f"/proc/{child}/cmdline").read_bytes()]
    fields = Path(f"/proc/{warm[0]}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[13:15]) / os.sysconf("SC_CLK_TCK")

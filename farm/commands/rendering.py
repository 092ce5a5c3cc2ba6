"""`farm render`, `farm demo`: from a manifest to a film, here and now."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from farm.commands.planning import AsJson, ManifestPath, StoreUrl
from farm.output import Output
from farm.progress import Bars, Lines
from tasks.plan.types import Plan
from tasks.plan.wire import plan_to_json
from tasks.prepare import Prepared, prepare
from tasks.progress import watcher
from tasks.settings import settings

PILOT = Path(__file__).resolve().parents[2] / "examples" / "pilot" / "episode.yaml"
OutFolder = Annotated[Path | None, typer.Option("--out", help="Folder for the film. Default: out/EPISODE.")]
Pods = Annotated[int, typer.Option(min=1, max=64, help="Processes that share each long take.")]


def mount(app: typer.Typer) -> None:
    """Add the rendering commands."""
    app.command("render")(render)
    app.command("demo")(demo)


@dataclass(frozen=True)
class Film:
    """A finished render."""

    path: Path
    plan: Plan
    rendered_segments: int
    wall_seconds: float
    peak_megabytes: float


def demo(as_json: AsJson = False) -> None:
    """Render the shipped pilot episode to out/pilot/pilot.mp4."""
    render(PILOT, out=Path("out/pilot"), as_json=as_json)


def render(
    manifest: ManifestPath, out: OutFolder = None, store: StoreUrl = "", pods: Pods = 1, as_json: AsJson = False
) -> None:
    """Render an episode in this process. What is done already is found; run it again after an interruption."""
    console = Output(as_json)
    begun = time.monotonic()
    watch = Bars() if console.talk.is_terminal and not as_json else Lines()
    with watch:
        token = watcher.set(watch)
        try:
            film = render_manifest(manifest, out, store, pods, begun)
        finally:
            watcher.reset(token)
    seconds = film.plan.num_frames / film.plan.fps
    console.say(
        f"{film.path}: {seconds:.2f} s of film in {film.wall_seconds:.1f} s, "
        f"{film.rendered_segments} segments rendered, peak memory {film.peak_megabytes:.0f} MB"
    )
    console.result(
        {
            "film": str(film.path),
            "film_seconds": seconds,
            "wall_seconds": round(film.wall_seconds, 2),
            "rendered_segments": film.rendered_segments,
            "peak_megabytes": round(film.peak_megabytes),
        }
    )


def render_manifest(manifest: Path, out: Path | None, store: str, pods: int, begun: float) -> Film:
    """Check, plan, ingest and render a manifest through the episode flow."""
    from tasks.ingest import ingest
    from tasks.take import missing_segments

    watch = watcher.get()
    made = prepare(manifest, watch.note)
    from tasks.pod import open_pod
    from tasks.pointer import find_done
    from tasks.register import register
    from tasks.work import export_film, film_item

    folder = (out or Path("out") / made.plan.episode).resolve()
    with open_pod(store) as pod:
        missing = sum(len(missing_segments(pod, shot)) for shot in made.plan.shots)
        order = ingest(made.loaded, made.found, made.plan, pod.store)
        finished = find_done(pod.store, film_item(made.plan)) is not None
        if finished:  # nothing to run, so no server is started either
            register(pod.ledger, made.plan, order)
            export_film(pod, made.plan, folder)
    if not finished:
        run_flow(made, order, folder, store, pods)
    write_plan(made.plan, folder)
    film = folder / f"{made.plan.episode}.{made.plan.output.container}"
    return Film(film, made.plan, missing, time.monotonic() - begun, peak_megabytes())


def run_flow(made: Prepared, order: str, folder: Path, store: str, pods: int) -> None:
    """Run the episode flow in this process, with a Prefect server of its own unless PREFECT_API_URL names one."""
    os.environ.setdefault("PREFECT_HOME", str((settings().home / "prefect").resolve()))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")  # a busy laptop takes a minute
    from flows.episode import render_episode

    parameters: dict[str, Any] = {"store": store or settings().store_url}  # never the database: it has a password
    render_episode(made.plan.episode, order, **parameters, out=str(folder), pods=pods)


def write_plan(plan: Plan, folder: Path) -> None:
    """Put the plan beside the film."""
    (folder / "plan.json").write_text(plan_to_json(plan) + "\n")


def peak_megabytes() -> float:
    """Return the most memory that this process or one of its children has held."""
    import resource

    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024

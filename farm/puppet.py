"""`farm puppet`: draw characters for a new episode, train the small network; `farm ablate`: measure it."""

import json
from pathlib import Path
from typing import Annotated

import typer

puppet_app = typer.Typer(name="puppet", help="The drawn characters and the small network.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(min=0, help="The same seed draws the same characters.")]
Out = Annotated[Path, typer.Option(help="PNG file to write.")]


def _write_png(path: Path, pixels: object) -> None:
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


@puppet_app.command()
def plate(
    seed: Seed,
    out: Out = Path("plate.png"),
    characters: Annotated[int, typer.Option(min=1, max=4, help="How many stand in the picture.")] = 2,
    boxes: Annotated[Path | None, typer.Option("--json", help="JSON file for the face boxes.")] = None,
    width: Annotated[
        int | None, typer.Option(min=64, max=1920, help="By default 192, and 96 for each of 3 or 4.")
    ] = None,
    height: Annotated[int, typer.Option(min=64, max=1280)] = 128,
) -> None:
    """Draw a plate: calm characters in a scene, and where their faces are."""
    from tasks.puppet.world import draw_plate, roomy_size

    width = width or roomy_size(characters)[0] * height // roomy_size(characters)[1] // 16 * 16
    picture, faces = draw_plate(seed, characters, (width, height))
    _write_png(out, picture)
    found = [{"x": box.x, "y": box.y, "w": box.w, "h": box.h} for box in faces]
    if boxes is not None:
        boxes.write_text(json.dumps(found, indent=2) + "\n")
    typer.echo(f"{out}: {characters} characters, {width}x{height}; faces {json.dumps(found)}")


@puppet_app.command()
def portrait(
    seed: Seed,
    out: Out = Path("portrait.png"),
    character: Annotated[int, typer.Option(min=0, max=3, help="Which of the plate's characters, from the left.")] = 0,
    emotion: Annotated[str, typer.Option(help="neutral, happy, sad, angry or surprised.")] = "neutral",
    strength: Annotated[float, typer.Option(min=0, max=1.5)] = 1.0,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the picture in pixels.")] = 256,
) -> None:
    """Draw one character's face with an emotion."""
    from tasks.puppet.expression import EMOTIONS
    from tasks.puppet.world import draw_portrait

    if emotion not in EMOTIONS:
        raise typer.BadParameter(f"emotion {emotion!r} is not one of {', '.join(EMOTIONS)}")
    _write_png(out, draw_portrait(seed, character, emotion, strength, size))
    typer.echo(f"{out}: character {character} of seed {seed}, {emotion} x {strength:g}")


@puppet_app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and examples are kept; resumed from.")],
    target: Annotated[Path, typer.Option(help="Where the trained weights go.")] = Path("out/puppet"),
    share: Annotated[float, typer.Option(min=0.0005, max=4, help="Share of the whole training's steps.")] = 1.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; one is the fastest on a busy machine.")] = 1,
) -> None:
    """Train the small network from nothing: hours on one core; it goes on where it was stopped."""
    import torch

    from tasks.puppet.train import Schedule, shorter, train

    torch.set_num_threads(threads)
    card = train(folder, target, shorter(Schedule(), share) if share != 1 else Schedule(), typer.echo)
    typer.echo(json.dumps(card, indent=2))


def ablate(
    out: Annotated[Path, typer.Option(help="Folder for the contact sheets.")] = Path("docs/ablation"),
    cases: Annotated[int, typer.Option(min=1, help="Plates per row; more is slower and less noisy.")] = 3,
    only: Annotated[str, typer.Option(help="Comma-separated groups; empty: all.")] = "",
) -> None:
    """Measure the small network: what each part does, switched on and off."""
    from tasks.puppet.ablate import run_ablations

    for line in run_ablations(out, cases, tuple(filter(None, only.split(",")))):
        typer.echo(line)

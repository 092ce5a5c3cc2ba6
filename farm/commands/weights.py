"""`farm weights convert|check|card`: weight files against the network, and what their licence allows."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from farm.commands.planning import AsJson
from farm.output import Output

app = typer.Typer(name="weights", help="Prepare and check weight files.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="Weights file: .pt or .safetensors.", exists=True, dir_okay=False)]


@app.command()
def check(
    file: File,
    profile: Annotated[Literal["avatar", "puppet"], typer.Option(help="Which network it should fit.")] = "avatar",
    part: Annotated[Literal["network", "vae", "audio"], typer.Option(help="Which part of it.")] = "network",
    as_json: AsJson = False,
) -> None:
    """Compare a file with the network without loading it; every missing or misshapen tensor is named."""
    from tasks.weights import check_weights

    report = check_weights(file, profile, part)
    console = Output(as_json)
    console.show("\n".join(f"{name}: {value}" for name, value in asdict(report).items()))
    console.result({name: str(value) if isinstance(value, Path) else value for name, value in asdict(report).items()})


@app.command()
def convert(
    source: File,
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.", dir_okay=False)],
    dtype: Annotated[str, typer.Option(help="keep, float32, bfloat16 or float16.")] = "keep",
) -> None:
    """Write a weights file as safetensors, one tensor in memory at a time."""
    from tasks.weights import convert_weights

    convert_weights(source, target, dtype)
    typer.echo(str(target))


@app.command("card")
def card(
    file: File, licence: Annotated[str, typer.Argument(help="Its name: tencent-hunyuan-community, apache-2.0, ...")]
) -> None:
    """Put a file's licence on record in a card beside it."""
    from tasks.weights import license_weights

    license_weights(file, licence)
    typer.echo(str(file.with_suffix(".json")))

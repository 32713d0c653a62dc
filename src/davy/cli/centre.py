"""`davy centre`: what holds the black boxes of many sites."""

from pathlib import Path
from typing import Annotated

import typer

from davy import process
from davy.centre import config, enrolment, office
from davy.cli.show import Json, show, with_console
from davy.clock import SystemClock
from davy.source.duration import parse_duration

app = typer.Typer(no_args_is_help=True, help="A supervision centre.")
Folder = Annotated[Path, typer.Argument(help="The centre's folder, with centre.yaml.")]


@app.command()
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="Name under which the centre cosigns, such as county.example.")] = "",
    host: Annotated[list[str] | None, typer.Option(help="Name or address by which sites reach it; may repeat.")] = None,
    port: Annotated[int, typer.Option(help="Port of the intake.")] = 8443,
    as_json: Json = False,
) -> None:
    """Make a centre's folder, keys and certificate. Example: davy centre init county --host county.example"""
    made = config.init(folder, name or folder.resolve().name.lower(), host or ["127.0.0.1"], port, SystemClock())
    show({"made": made}, as_json, "\n".join(f"made {each}" for each in made))


@app.command()
def run(folder: Folder = Path()) -> None:
    """Run a centre until Ctrl-C. Example: davy centre run county"""
    process.configure_log("centre")
    ready = config.load(folder)
    process.run_until_told(with_console(process.supervise(office.children(ready), SystemClock()), ready.run))


@app.command()
def invite(
    folder: Folder = Path(),
    valid: Annotated[str, typer.Option(help="How long the invitation stands, such as 24h.")] = "24h",
    as_json: Json = False,
) -> None:
    """Print an invitation that lets one site enrol, once. Example: davy centre invite county"""
    token = enrolment.invite(config.load(folder), SystemClock(), parse_duration(valid))
    show({"invitation": token}, as_json, token)

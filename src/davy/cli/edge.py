"""`davy edge`: the front-end machine of one site."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from davy import process, wire
from davy.cli.show import Json, show, with_console
from davy.clock import SystemClock
from davy.edge import config, site
from davy.errors import BadRequest
from davy.reading.uid import uuid7
from davy.source import KINDS
from davy.uplink.enrol import enrol as enrol_with

app = typer.Typer(no_args_is_help=True, help="The front-end machine of one site.")
Folder = Annotated[Path, typer.Argument(help="The site's folder, with site.yaml and tags.csv.")]


@app.command()
def init(folder: Folder, as_json: Json = False) -> None:
    """Make a new site folder to edit. Example: davy edge init harbour-chem"""
    made = site.init(folder)
    show({"made": made}, as_json, "\n".join(f"made {name}" for name in made))


@app.command()
def check(
    folder: Folder = Path(),
    write: Annotated[bool, typer.Option("--write", help="Fill empty uids and bring tags.lock up to date.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of site.yaml and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Say everything that is wrong with a site folder. Example: davy edge check . --write"""
    if schema:
        show(config.json_schema(), True)
        return
    if write:
        made, table = config.write(folder, lambda: uuid7(SystemClock().now_us(), os.urandom(10)))
        show(
            {"uids_made": made, "tags": len(table), "version": table.version},
            as_json,
            f"{len(table)} tags, table version {table.version}, {made} uids made",
        )
        return
    _, file = config.check(folder)
    show({"tags": len(file.tags), "errors": 0}, as_json, f"{len(file.tags)} tags, no errors")


@app.command()
def run(folder: Folder = Path()) -> None:
    """Run a site until Ctrl-C. Example: davy edge run harbour-chem"""
    process.configure_log("edge")
    ready = config.load(folder)
    process.run_until_told(with_console(process.supervise(site.children(ready), SystemClock()), ready.run))


@app.command()
def status(folder: Folder = Path(), as_json: Json = False) -> None:
    """What a running site is doing. Example: davy edge status . --json"""

    async def ask() -> dict[str, Any]:
        async with wire.Client(folder / "run" / "core.sock") as client:
            return dict(await client.call("status"))

    show(asyncio.run(ask()), as_json)


@app.command()
def probe(
    link: Annotated[str, typer.Argument(help="A key of `links`.")], folder: Folder = Path(), as_json: Json = False
) -> None:
    """Read a link once and show the bytes. Example: davy edge probe farm-plc harbour-chem"""
    ready, file = config.check(folder)
    if link not in ready.links:
        raise BadRequest(f"link: expected one of {', '.join(ready.links)}, got {link!r}")
    settings = ready.links[link]
    tags = [t for t in file.tags if t.link == link]
    source = KINDS[settings.kind].make(link, settings, tags, SystemClock(), ("probe", 0, 0))
    result = asyncio.run(source.probe())
    show({"link": link, "alive": result.alive, "frames": result.frames, "error": result.error}, as_json, result.text())


@app.command()
def enrol(
    token: Annotated[str, typer.Argument(help="What `davy centre invite` printed.")],
    folder: Folder = Path(),
    as_json: Json = False,
) -> None:
    """Join a centre with its one-time invitation. Example: davy edge enrol davy1.… harbour-chem"""
    ready = config.load(folder)
    answer = asyncio.run(enrol_with(ready.folder, ready.origin, token, SystemClock()))
    show(answer, as_json)

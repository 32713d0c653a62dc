"""`davy demo` and `davy bench`: everything on this machine."""

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from davy import process
from davy.cli.show import Json
from davy.clock import SystemClock, rfc3339
from davy.errors import BadRequest
from davy.lab import bench as benches


def demo(
    seconds: Annotated[float | None, typer.Option("--for", help="Stop by itself after so many seconds.")] = None,
    headless: Annotated[bool, typer.Option(help="Print one JSON summary at the end and nothing else.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its sites and its centre.")] = Path("demo"),
    ports: Annotated[int, typer.Option(help="First of the ports used; 0 picks free ones.")] = 8100,
) -> None:
    """A site, a centre and a simulated tank farm on this machine. Example: davy demo --for 60 --headless"""
    from davy.lab import demo as district  # the web stack is heavy: only for those who want it

    process.configure_log("demo")
    summary: dict[str, Any] = {}
    process.run_until_told(district.run(folder, ports, seconds, headless, summary))
    if headless:
        typer.echo(json.dumps(summary, indent=1))
        if not summary.get("complete"):
            raise typer.Exit(1)


def bench(
    name: Annotated[str, typer.Argument(help=f"{', '.join(benches.BENCHES)}, or all.")],
    as_json: Json = False,
    results: Annotated[Path | None, typer.Option(help="Also write each result to this folder.")] = None,
) -> None:
    """Measure. Example: davy bench pipeline --json"""
    if name != "all" and name not in benches.BENCHES:
        raise BadRequest(f"bench: expected one of {', '.join(benches.BENCHES)} or all, got {name!r}")
    for each in benches.BENCHES if name == "all" else [name]:
        result = benches.run(each)
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
            kept = result | {"commit": _commit(), "date": rfc3339(SystemClock().now_us())}
            (results / f"{each}.json").write_text(json.dumps(kept, indent=1) + "\n")
        if as_json:
            typer.echo(json.dumps(result))
        else:
            _table(result)


def _commit() -> str:
    """The commit this code stands at, where git knows."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()


def _table(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['bench']} on {result['machine']}")
    for column in ("figure", "value", "unit", "goal", "meets", "against"):
        table.add_column(column)
    for key, f in result["figures"].items():
        meets = {True: "yes", False: "NO", None: ""}[f["meets"]]
        table.add_row(key, f"{f['value']:,.4g}", f["unit"], f["goal"] or "", meets, f["against"])
    Console().print(table)

"""One answer, two forms: a line or table for people, one JSON object for programs."""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def show(answer: Mapping[str, Any], as_json: bool, text: str | None = None) -> None:
    """Print `answer`, as JSON or as `text` (by default one `key: value` a line)."""
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, default=str))
    else:
        typer.echo(text if text is not None else "\n".join(f"{k}: {v}" for k, v in answer.items()))


async def with_console(work: Awaitable[None], run: Path) -> None:
    """Do `work`, and say where the console is once it has told `run/console.json`; the first time, how to get in."""
    told = (run / "console.json", run / "first-admin-link")
    for file in told:
        file.unlink(missing_ok=True)

    async def say() -> None:
        while not told[0].exists():  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(0.2)
        typer.echo(f"console  {json.loads(told[0].read_text())['url']}")
        if told[1].exists():
            typer.echo(f"one-time link for the first administrator  {told[1].read_text().strip()}")

    saying = asyncio.create_task(say())
    try:
        await work
    finally:
        saying.cancel()

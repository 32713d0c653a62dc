"""One answer, two forms: a line or table for people, one JSON object for programs."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def show(answer: Mapping[str, Any], as_json: bool, text: str | None = None) -> None:
    """Print `answer`, as JSON or as `text` (by default one `key: value` a line)."""
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, default=str))
    else:
        typer.echo(text if text is not None else "\n".join(f"{k}: {v}" for k, v in answer.items()))

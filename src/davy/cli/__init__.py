"""The `davy` command. Exit codes: 0 well, 1 something found or refused, 2 wrong usage, 78 wrong configuration."""

import sys
from typing import Annotated

import typer

from davy import __version__
from davy.cli import blackbox, centre, edge, lab
from davy.errors import ConfigError, DavyError
from davy.process import EXIT_CONFIG

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Davy: work-safety supervision, sensor to ministry.")
app.add_typer(edge.app, name="edge")
app.add_typer(centre.app, name="centre")
for command in (blackbox.fsck, blackbox.rebuild, lab.demo, lab.bench):
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Davy: an open platform for work-safety supervision."""


def main() -> None:
    """Entry of the `davy` command: errors of ours become one message and an exit code."""
    try:
        app()
    except ConfigError as error:
        typer.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    except DavyError as error:
        typer.echo(f"{error.reason}: {error}", err=True)
        sys.exit(1)

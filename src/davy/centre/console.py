"""The console process of a centre: every site it holds, to look at; nothing here acts on a site."""

from pathlib import Path

from fastapi import FastAPI

from davy import console, process
from davy.centre.config import Centre, load
from davy.clock import Clock
from davy.people import Place


def build(centre: Centre, clock: Clock) -> FastAPI:
    """The console of `centre`; see davy.console.build."""
    config = console.ConsoleConfig(
        place=Place.centre,
        feed=centre.run / "history.sock",
        history=centre.run / "history.sock",
        people=centre.data / "people.db",
        run=centre.run,
        host=centre.config.console.host,
        port=centre.config.console.port,
        name={str(k): v for k, v in centre.config.title.items()} or {"en": centre.config.name},
    )
    return console.build(config, clock)


async def run(folder: Path, clock: Clock) -> None:
    """Serve until cancelled. Says where in run/console.json, and how the first admin comes in."""
    app = build(load(folder), clock)
    await console.run(app, console.announce(app))


if __name__ == "__main__":
    process.main("console", run)

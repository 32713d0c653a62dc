"""The console process of a site: pages for the people who work there, on `console` of site.yaml."""

from pathlib import Path

from fastapi import FastAPI

from davy import console, process
from davy.clock import Clock
from davy.edge.config import Site, load
from davy.people import Place


def build(site: Site, clock: Clock) -> FastAPI:
    """The edge console of `site`; see davy.console.build."""
    config = console.ConsoleConfig(
        place=Place.edge,
        feed=site.run / "core.sock",
        history=site.run / "history.sock",
        people=site.data / "people.db",
        run=site.run,
        host=site.config.console.host,
        port=site.config.console.port,
        name=dict(site.config.name),
    )
    return console.build(config, clock)


async def run(folder: Path, clock: Clock) -> None:
    """Serve until cancelled. Says where in run/console.json, and how the first admin comes in."""
    app = build(load(folder), clock)
    await console.run(app, console.announce(app))


if __name__ == "__main__":
    process.main("console", run)

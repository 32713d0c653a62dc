"""A console that is really served, over a stand-in of the core, for tests and for looking at it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from console_stand import CLOCK, NAME, Stand
from davy import console
from davy.people import Place, Role


@dataclass
class House:
    """A console that is being served, and the stand behind it."""

    stand: Stand
    app: FastAPI
    url: str
    config: console.ConsoleConfig
    server: uvicorn.Server

    def signed_in(self, role: Role = Role.operator) -> httpx.AsyncClient:
        door = self.app.state.console.door
        session = door.enter(door.enter_link(f"{role}-person", "Wei Lan", role))
        return httpx.AsyncClient(base_url=self.url, cookies={self.config.cookie: session.token}, timeout=90)

    def stranger(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=90)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(9_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true in 90 s")


@contextlib.asynccontextmanager
async def served(folder: Path, place: Place = Place.edge, *stands: Stand) -> AsyncIterator[House]:
    stand = stands[0] if stands else Stand(folder / "a")
    await stand.open()
    config = console.ConsoleConfig(
        place=place, feed=stand.feed_path, history=stand.history_path, people=folder / "people.db", run=folder / "run",
        port=0, name=NAME, timezone="Asia/Shanghai",
    )  # fmt: skip
    app = console.build(config, CLOCK)
    server = console.server(app)
    task = asyncio.create_task(server.serve())
    await server.listening.wait()
    await until(lambda: app.state.console.feed.connected)
    try:
        yield House(stand, app, f"http://127.0.0.1:{server.port}", config, server)
    finally:
        server.should_exit = True
        await task
        await stand.close()

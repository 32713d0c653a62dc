"""How a console is served, how it says where, and how the first admin comes in."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from davy.console.config import ConsoleConfig
from davy.console.feed import LiveFeed
from davy.console.visit import Console
from davy.people import Role

#: Set by `davy demo` for its own processes: a one-time link, fresh at every start, then signs in at
#: once. The link lies in a 0600 file of the same user, so it opens nothing that user could not.
DEMO = "DAVY_DEMO"


def first_link(app: FastAPI, port: int = 0) -> str | None:
    """The address by which the first admin comes in, fresh; None once there is one.

    Also written to `run/first-admin-link`, 0600, until it is used. The link is a secret: print it once.
    port: the one listened on, where the configuration says 0. Under DEMO the link signs in at once.
    """
    console: Console = app.state.console
    path = console.config.first_link
    demo = os.environ.get(DEMO) == "1"
    token = console.door.enter_link("demo", "Demo", Role.admin) if demo else console.door.first_link()
    if token is None:
        path.unlink(missing_ok=True)
        return None
    address = f"{console.config.address(port)}/link/{token}"
    _write_secret(path, address + "\n")
    return address


def announce(app: FastAPI) -> Callable[[int], Awaitable[None]]:
    """What to do once it listens: leave the first link, then `run/console.json` with the address."""

    async def ready(port: int) -> None:
        config: ConsoleConfig = app.state.console.config
        first_link(app, port)
        told = config.run / "console.json"
        fresh = told.with_suffix(".new")
        fresh.write_text(json.dumps({"url": config.address(port), "pid": os.getpid()}) + "\n", "utf-8")
        fresh.replace(told)

    return ready


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)  # so that a file made with wider rights does not keep them
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


class Server(uvicorn.Server):
    """uvicorn that says when it listens, and ends the open live streams before it waits for answers to finish."""

    def __init__(self, config: uvicorn.Config, feed: LiveFeed) -> None:
        super().__init__(config)
        self._feed = feed
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.close()
        await super().shutdown(sockets)

    @property
    def port(self) -> int:
        """The port it listens on, also where the configuration said 0."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def server(app: FastAPI) -> Server:
    """How the app is served: no access log, since addresses may carry one-time tokens."""
    console: Console = app.state.console
    config = console.config
    certificate, key = config.tls or (None, None)
    return Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        ),
        console.feed,
    )


async def run(app: FastAPI, ready: Callable[[int], Awaitable[None]] | None = None) -> None:
    """Serve until cancelled or asked to stop by a signal. `ready(port)` is awaited once it listens.

    Raises SystemExit, as uvicorn does, when the address cannot be had.
    """
    serving = server(app)
    task = asyncio.create_task(serving.serve(), name="uvicorn")
    listening = asyncio.create_task(serving.listening.wait(), name="listening")
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if serving.started and ready is not None:
            await ready(serving.port)
        await asyncio.shield(task)
    except asyncio.CancelledError:
        serving.should_exit = True
        await task
        raise
    finally:
        listening.cancel()

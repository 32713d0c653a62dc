"""The wiring of one console process."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from davy import __version__
from davy.clock import Clock
from davy.console import api, entry, pages, problems, sites
from davy.console.acts import Acts
from davy.console.config import ConsoleConfig
from davy.console.feed import LiveFeed
from davy.console.guard import Guard
from davy.console.history import HistoryClient
from davy.console.visit import STATIC, Console, environment, is_edge, zone_of
from davy.people import Door, Store
from davy.wire import Client


def build(config: ConsoleConfig, clock: Clock, entropy: Callable[[int], bytes] = secrets.token_bytes) -> FastAPI:
    """The console of one edge or one centre as an ASGI app. Opens the people's file, no socket yet.

    `app.state.console` holds the parts; its `door` makes links. The feed starts and ends with the app.
    Raises ConfigError for an unknown time zone.
    """
    store = Store(config.people)
    feed = LiveFeed(Client(config.feed), clock)
    history = HistoryClient(Client(config.history))
    acts = Acts(Client(config.feed), clock, config.place)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(feed.run(), name="feed")
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await acts.close()
        await history.close()
        store.close()

    app = FastAPI(
        title="Davy console", version=__version__, lifespan=life, docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )  # fmt: skip
    app.state.console = Console(
        config, clock, Door(store, clock, entropy), feed, history, acts, zone_of(config.timezone), environment()
    )
    app.add_middleware(Guard, secure=config.secure)
    problems.install(app)
    app.include_router(entry.router)
    app.include_router(api.router)
    if is_edge(config):
        app.include_router(pages.router("", acts=True))
        app.add_api_route("/api/v1/acts", api.act, methods=["POST"], summary="Act on an alarm, at this edge only")
    else:
        app.include_router(sites.router)
        app.include_router(pages.router("/sites/{org}/{site}/{box}", acts=False))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app

"""One request: whose it is, in which language, about which origin; and how a page is made of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from davy.clock import Clock, rfc3339
from davy.console import numbers, view
from davy.console.acts import Acts
from davy.console.config import ConsoleConfig
from davy.console.feed import LiveFeed
from davy.console.history import HistoryClient
from davy.console.picture import Picture
from davy.console.words import Words, choose
from davy.errors import ConfigError, NotAllowed, Problem
from davy.people import Door, Person, Place, Session, allowed
from davy.people.door import csrf_matches
from davy.reading import Class

HERE = Path(__file__).parent
STATIC = HERE / "static"
THEMES = ("dark", "light")


class NotSignedIn(NotAllowed):
    """Nobody is signed in; a page then leads to the sign-in, the API answers 401."""


class WrongForm(NotAllowed):
    """A write came without the token of its session: too old a form, or somebody else's."""


@dataclass(frozen=True, slots=True)
class Console:
    """The parts of one console process, made once by `app.build`."""

    config: ConsoleConfig
    clock: Clock
    door: Door
    feed: LiveFeed
    history: HistoryClient
    acts: Acts
    zone: tzinfo | None
    templates: Environment


def zone_of(name: str) -> tzinfo | None:
    """The named zone, None for the machine's own. Raises ConfigError where this machine does not know it."""
    if name in ("", "UTC"):
        return UTC if name else None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        found = f'expected a time zone such as "Asia/Shanghai", got {name!r}'
        raise ConfigError([Problem("console", None, "timezone", found)]) from error


def environment() -> Environment:
    """The templates, with the functions they use. Missing variables are errors."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    versions = {
        path.relative_to(STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in STATIC.rglob("*")
        if path.is_file()
    }
    made.globals |= {
        "static": lambda name: f"/static/{name}?v={versions[name]}",
        "has_static": versions.__contains__,
        "sprite": Markup((HERE / "sprite.svg").read_text("utf-8")),  # our own file
        "numbers": numbers,
        "view": view,
        "ms": lambda us: us // 1000,
        "rfc3339": rfc3339,
    }
    return made


def console_of(request: Request) -> Console:
    return cast(Console, request.app.state.console)


class Visit:
    """What a request may show: made for everybody; `person` raises NotSignedIn for nobody."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.console = console_of(request)
        self.now = self.console.clock.now_us()
        self.words: Words = choose(request.cookies.get("davy-lang"), request.headers.get("accept-language", ""))
        theme = request.cookies.get("davy-theme", "")
        self.theme = theme if theme in THEMES else ""
        self.keys = request.cookies.get("davy-keys") != "off"
        self.session: Session | None = self.console.door.session(request.cookies.get(self.console.config.cookie, ""))

    @property
    def person(self) -> Person:
        if self.session is None:
            raise NotSignedIn("sign in first")
        return self.session.person

    @property
    def scope(self) -> view.Scope:
        return view.Scope(self.words, self.now, self.console.zone, self.console.door.name_of)

    def may(self, act: str, alarm_class: str | Class = Class.info) -> bool:
        return allowed(act, self.person.role, alarm_class, self.console.config.place)

    def picture(self) -> tuple[Picture, str]:
        """(picture, base path) of the origin this address names; at the edge the only one.

        Raises UnknownTarget.
        """
        parts = self.request.path_params
        if "box" not in parts:
            return self.console.feed.picture(None), ""
        origin = f"{parts['org']}/{parts['site']}/{parts['box']}"
        return self.console.feed.picture(origin), site_path(origin)

    def page(
        self, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
    ) -> HTMLResponse:
        """Render `template` with the frame's values and `values`."""
        config = self.console.config
        pictures = list(self.console.feed.pictures.values())
        frame = {
            "t": self.words,
            "s": self.scope,
            "theme": self.theme,
            "keys": self.keys,
            "session": self.session,
            "place": str(config.place),
            "config": config,
            "feed": self.console.feed,
            "acts": self.console.acts,
            "now": self.now,
            "zone": numbers.offset(self.now, self.console.zone),
            "url": self._url(),
            # An edge has one origin, and every page of it its bar; a centre's page names the one it is about.
            "picture": pictures[0] if is_edge(config) and self.session and len(pictures) == 1 else None,
            "base": "",
            "crumb": "",
        }
        html = self.console.templates.get_template(template).render(frame | values)
        return HTMLResponse(html, status, dict(headers or {}) | {"Cache-Control": "no-store"})

    def _url(self) -> str:
        query = self.request.url.query
        return self.request.url.path + (f"?{query}" if query else "")


def site_path(origin: str) -> str:
    return "/sites/" + quote(origin)


async def visit(request: Request) -> Visit:
    return Visit(request)


async def signed_in(request: Request) -> Visit:
    """A visit by somebody who may look. Raises NotSignedIn, NotAllowed."""
    found = Visit(request)
    if not found.may("view"):
        raise NotAllowed(f"role {found.person.role} may not look at this console")
    return found


def _same_site(request: Request) -> bool:
    """Whether the browser itself says that one of our own pages sent this; old browsers say nothing."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


async def writing(request: Request) -> Visit:
    """A visit that changes something: signed in, and the form's token fits the session. Raises WrongForm."""
    found = await signed_in(request)
    assert found.session is not None
    sent = request.headers.get("x-csrf-token") or str((await request.form()).get("csrf", ""))
    if not _same_site(request) or not csrf_matches(found.session.token, sent):
        raise WrongForm("the form's token does not fit this session")
    return found


Anyone = Annotated[Visit, Depends(visit)]
SignedIn = Annotated[Visit, Depends(signed_in)]
Writing = Annotated[Visit, Depends(writing)]


def local_path(back: str) -> str:
    """`back` if it is a path on this site, else the first page."""
    return back if back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable() else "/"


def is_edge(config: ConsoleConfig) -> bool:
    return config.place is Place.edge

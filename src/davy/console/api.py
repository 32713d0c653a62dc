"""/api/v1: the same picture as JSON, acts, history, and the live stream.

snake_case, RFC 3339 UTC with milliseconds, errors as RFC 9457 with a `reason` of errors.py. Signed
in by the console's cookie; a write also carries X-CSRF-Token.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from davy.alarm.fold import AlarmView
from davy.clock import SECOND, rfc3339
from davy.console import numbers, view
from davy.console.feed import Listener
from davy.console.pages import class_of
from davy.console.picture import Picture
from davy.console.visit import SignedIn, Visit, Writing
from davy.errors import BadRequest, UnknownTarget, Unreachable
from davy.fact.event import Cause, Level, State, Verb
from davy.reading import Flag
from davy.reading.status import name as status_name

router = APIRouter(prefix="/api/v1")
MOST = 1000
#: A page hears of changed values at most this often, and of the checkpoint at least this often.
FLUSH_S = 0.25
HEARTBEAT_S = 2.0
#: How often an open stream asks whether its session still stands.
RECHECK = 30 * SECOND
Origin = Annotated[str | None, Query(description="which log; may be left out where there is only one")]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _time(us: int) -> str | None:
    return rfc3339(us) if us else None


def reading(picture: Picture, index: int, here: Visit) -> dict[str, Any]:
    """One newest reading with what a page shows of it."""
    tag, r = picture.tags[index], picture.latest(index)
    tile = view.tile(picture, tag, here.scope)
    return {
        "tag": index,
        "name": tag.name,
        "value": _number(r.value),
        "unit": tag.unit,
        "status": status_name(r.status),
        "flags": [f.name for f in Flag if r.flags & f],
        "quality": tile.quality.kind,
        "source_time": _time(r.source_time),
        "server_time": _time(r.server_time),
        "taken": _time(tile.taken) if r.server_time else None,
        "text": tile.text,
        "why": tile.why,
        "fill": tile.bar.fill if tile.bar else None,
    }


def alarm(picture: Picture, a: AlarmView, here: Visit) -> dict[str, Any]:
    """One standing alarm."""
    tag = picture.tags.by_index.get(a.tag)
    return {
        "alarm": a.alarm,
        "tag": a.tag,
        "name": tag.name if tag else None,
        "type": a.kind.name,
        "level": Level(a.level).name,
        "priority": a.priority,
        "class": str(class_of(picture, a)),
        "state": [s.name for s in State if a.state & s],
        "letter": a.letter,
        "version": a.version,
        "activation": a.activation,
        "value": _number(a.value),
        "limit": _number(a.limit),
        "raised": _time(a.raised),
        "time": _time(a.time),
        "until": _time(a.until),
        "words": view.row(picture, a, here.scope).title,
    }


def checkpoint(picture: Picture, here: Visit) -> dict[str, Any]:
    """The badge: figures, and the words a page shows for them."""
    c, config = picture.checkpoint, here.console.config
    exposed = c.exposure_us is not None and c.exposure_us > config.exposure_limit
    return {
        "origin": picture.origin,
        "now": rfc3339(here.console.clock.now_us()),
        "moves": picture.moves,
        "size": c.size,
        "time": _time(c.time),
        "held_size": c.held_size,
        "held_time": _time(c.held_time),
        "exposure_s": None if c.exposure_us is None else c.exposure_us / SECOND,
        "exposed": exposed,
        "size_text": f"{c.size:,}",
        "exposure_text": "" if c.exposure_us is None else numbers.age(c.exposure_us),
        "sentence": view.held_sentence(picture, here.scope, here.words.pick(config.holder)),
    }


def _tagged(body: dict[str, Any], picture: Picture, request: Request) -> Response:
    """With an ETag of the picture's version, so that an unchanged answer costs nothing."""
    tag = f'"{picture.version}-{request.cookies.get("davy-lang", "")}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return JSONResponse(body, headers={"ETag": tag, "Cache-Control": "private, no-cache"})


@router.get("/sites", summary="The origins this console shows")
async def sites(here: SignedIn) -> dict[str, Any]:
    items = [
        {
            "origin": picture.origin,
            "name": picture.site.get("name") or {},
            "position": picture.site.get("position"),
            "points": len(picture.tags),
            "alarms": {str(p): {"active": n, "unacknowledged": u} for p, (n, u) in picture.tally().items()},
            "newest": _time(picture.newest),
            "checkpoint": checkpoint(picture, here),
        }
        for picture in here.console.feed.pictures.values()
    ]
    return {"connected": here.console.feed.connected, "items": items, "next": None}


@router.get("/latest", summary="The newest reading of each tag, with age and quality")
async def latest(
    here: SignedIn,
    request: Request,
    origin: Origin = None,
    tag: Annotated[list[int] | None, Query(description="tag indices; all when left out")] = None,
    after: Annotated[int, Query(description="cursor: `next` of the page before")] = -1,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
) -> Response:
    picture = here.console.feed.picture(origin)
    wanted = [picture.tags[i].index for i in tag] if tag else sorted(picture.tags.by_index)
    wanted = [i for i in wanted if i > after]
    page = wanted[:limit]
    body = {
        "origin": picture.origin,
        "now": rfc3339(here.now),
        "connected": here.console.feed.connected,
        "items": [reading(picture, i, here) for i in page],
        "next": page[-1] if len(wanted) > limit else None,
    }
    return _tagged(body, picture, request)


@router.get("/alarms", summary="The alarms that are not normal, the most urgent first")
async def alarms(here: SignedIn, request: Request, origin: Origin = None) -> Response:
    picture = here.console.feed.picture(origin)
    found = [a for name in view.TABS for a in view.tab(picture, name)]
    unique = {a.alarm: a for a in found}
    body = {"origin": picture.origin, "items": [alarm(picture, a, here) for a in unique.values()], "next": None}
    return _tagged(body, picture, request)


@router.get("/history", summary="Least, mean and most of one tag over a time, in buckets")
async def history(
    here: SignedIn,
    tag: int,
    t0: Annotated[int, Query(description="us UTC, included")],
    t1: Annotated[int, Query(description="us UTC, not included")],
    n: Annotated[int, Query(ge=1, le=5000)] = 400,
    origin: Origin = None,
) -> dict[str, Any]:
    picture = here.console.feed.picture(origin)
    index = picture.tags[tag].index
    if t1 <= t0:
        raise BadRequest(f"t1: expected later than t0 {t0}, got {t1}")
    found = await here.console.history.buckets(picture.origin, index, t0, t1, n)
    columns = (found.time, found.min, found.avg, found.max, found.count, found.good, found.bad)
    return {
        "origin": picture.origin,
        "tag": index,
        "unit": picture.tags[index].unit,
        "items": [
            {
                "time": rfc3339(us),
                "min": _number(lo),
                "avg": _number(avg),
                "max": _number(hi),
                "count": c,
                "good": g,
                "bad": b,
            }
            for us, lo, avg, hi, c, g, b in zip(*(column.tolist() for column in columns), strict=True)
        ],
        "next": None,
    }


class ActBody(BaseModel):
    """One act on one alarm. `until`: us UTC, end of a timed shelving."""

    model_config = ConfigDict(extra="forbid")
    alarm: int
    verb: str
    version: int = Field(description="the alarm's version the person saw")
    reason: str = ""
    until: int = 0


async def act(here: Writing, body: ActBody, idempotency_key: Annotated[str, Header(max_length=100)] = "") -> Response:
    """Send one act to the core of this edge: 201 with its leaf once sealed, 202 while not."""
    picture, _ = here.picture()
    standing = picture.alarms.get(body.alarm)
    if standing is None:
        raise UnknownTarget(f"alarm {body.alarm}: not standing")
    if body.verb not in Verb.__members__:
        raise BadRequest(f"verb: expected one of {', '.join(v.name for v in Verb)}, got {body.verb!r}")
    sent = await here.console.acts.send(
        here.person,
        Verb[body.verb],
        body.alarm,
        class_of(picture, standing),
        body.version,
        reason=body.reason,
        until=body.until,
        key=idempotency_key,
    )
    if sent.error is not None:
        raise sent.error
    return JSONResponse({"leaf": sent.leaf, "sealed": not sent.is_waiting}, 202 if sent.is_waiting else 201)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


@router.get("/events", summary="Server-sent events: alarm.transition, reading.latest, log.checkpoint")
async def events(
    here: SignedIn,
    origin: Origin = None,
    tags: Annotated[str | None, Query(description="tag indices to hear of, by comma; all when left out")] = None,
) -> Response:
    feed = here.console.feed
    if tags is not None and not re.fullmatch(r"(\d{1,10}(,\d{1,10})*)?", tags):
        raise BadRequest(f"tags: expected numbers by comma, got {tags[:40]!r}")
    only = None if tags is None else frozenset(map(int, filter(None, tags.split(","))))
    if not feed.connected:
        raise Unreachable("the core does not answer")
    if origin is not None:
        feed.picture(origin)
    stream = _stream(here, origin or "", only)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream(here: Visit, origin: str, only: frozenset[int] | None) -> AsyncIterator[str]:
    """Until the feed is lost, the session ends or the page goes. Drops are told as `dropped`."""
    console = here.console
    told, checked = 0, here.now
    with console.feed.listen(origin, only) as listener:
        yield "retry: 2000\n\n"
        for picture in _shown(here, origin):
            # What moved between the page and its stream: the badge tells of alarms, the values come whole.
            yield _event("log.checkpoint", checkpoint(picture, here))
            if only is not None and origin:
                yield _latest(picture, only, here)
        while not listener.closed:
            await listener.wait(HEARTBEAT_S)
            here.now = console.clock.now_us()
            if here.now - checked > RECHECK:
                checked = here.now
                if here.session is None or console.door.session(here.session.token) is None:
                    return
            dropped, told = listener.dropped - told, listener.dropped
            for text in _flush(here, listener, origin, dropped):
                yield text
            await asyncio.sleep(FLUSH_S)


def _shown(here: Visit, origin: str) -> list[Picture]:
    pictures = here.console.feed.pictures
    return [pictures[origin]] if origin in pictures else list(pictures.values())


def _flush(here: Visit, listener: Listener, origin: str, dropped: int) -> Iterator[str]:
    """Everything that waits, as events; always at least one, which tells the page that it is alive."""
    pictures = here.console.feed.pictures
    changed, listener.changed = listener.changed, {}
    waiting, sealed = list(listener.events), set()
    listener.events.clear()
    for name, whose, data in waiting:
        if whose not in pictures:
            continue
        if name == "log.checkpoint":
            sealed.add(whose)
            continue
        yield _event(name, _transition(pictures[whose], data, here) | ({"dropped": dropped} if dropped else {}))
        dropped = 0
    for whose, tags in changed.items():
        if whose in pictures:
            yield _latest(pictures[whose], tags, here)
    for picture in _shown(here, origin) if not (waiting or changed) else (pictures[o] for o in sealed):
        yield _event("log.checkpoint", checkpoint(picture, here))


def _latest(picture: Picture, tags: Iterable[int], here: Visit) -> str:
    items = [reading(picture, i, here) for i in sorted(tags) if i in picture.tags.by_index]
    return _event("reading.latest", {"origin": picture.origin, "now": rfc3339(here.now), "items": items})


def _transition(picture: Picture, data: dict[str, Any], here: Visit) -> dict[str, Any]:
    standing = picture.alarms.get(int(data["alarm"]))
    cause = Cause(int(data["cause"]))
    return {
        "origin": picture.origin,
        "cause": cause.name,
        "time": _time(int(data["time"])),
        "alarm": alarm(picture, standing, here) if standing else {"alarm": int(data["alarm"]), "state": ["acked"]},
        "annunciates": cause in (Cause.activated, Cause.escalated),
    }

"""The pages about one origin, the same at both ends: wall, alarms, points, one point, black box.

At the edge they lie at the root; at a centre under /sites/<org>/<site>/<box>. Only the edge has
the address that acts are sent to.
"""

import csv
import io
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from davy.alarm.fold import AlarmView
from davy.clock import SECOND, rfc3339
from davy.console import chart, numbers, trend, view
from davy.console.history import Buckets, Sealed
from davy.console.picture import Picture
from davy.console.problems import status_of
from davy.console.visit import SignedIn, Visit, Writing
from davy.errors import BadRequest, DavyError, UnknownTarget, Unreachable
from davy.fact.event import Cause, Verb
from davy.reading import Class, Flag, Tag
from davy.reading.status import name as status_name

MINUTE = 60 * SECOND
#: Times a person may shelve for, minutes (design default; at most 2 h).
SHELVE_MINUTES = (10, 30, 60, 120)
PAGE = 200
ALARMS_ON_WALL = 12
Text = Annotated[str, Form()]


async def wall(here: SignedIn) -> Response:
    """Is anything wrong, and is it getting worse?"""
    picture, base = here.picture()
    s = here.scope
    listed = view.tab(picture, "active")
    return here.page(
        "wall.html",
        picture=picture,
        base=base,
        crumb="wall",
        say=view.say(picture, s),
        rows=[view.row(picture, a, s) for a in listed[:ALARMS_ON_WALL]],
        total=len(listed),
        areas=view.areas(picture, s),
    )


async def alarms(
    here: SignedIn, tab: str = "active", alarm: int | None = None, area: str = "", waiting: bool = False
) -> Response:
    """What do I answer first, and how? `waiting` lists the unacknowledged only."""
    if tab not in view.TABS:
        raise UnknownTarget(f"tab {tab!r}: expected one of {', '.join(view.TABS)}")
    return _alarms(here, tab, alarm, area, waiting)


def _alarms(
    here: Visit, tab: str, alarm: int | None, area: str = "", waiting: bool = False, *, status: int = 200,
    fault: str = "", typed: str = "", verb: str = "",
) -> Response:  # fmt: skip
    picture, base = here.picture()
    s = here.scope
    by_tab = {name: view.tab(picture, name) for name in view.TABS}
    rows = [view.row(picture, a, s) for a in by_tab[tab]]
    if area:
        rows = [r for r in rows if r.tag is not None and r.tag.area == area]
    if waiting:
        rows = [r for r in rows if r.state in ("unacknowledged", "returned")]
    chosen = picture.alarms.get(alarm) if alarm is not None else (rows[0].alarm if rows else None)
    number = alarm if alarm is not None else chosen.alarm if chosen else None
    return here.page(
        "alarms.html",
        status=status,
        picture=picture,
        base=base,
        crumb="alarms",
        tab=tab,
        area=area,
        waiting=waiting,
        counts={name: len(found) for name, found in by_tab.items()},
        rows=rows,
        areas=list(dict.fromkeys(tag.area for tag in picture.tags.tags if tag.area)),
        number=number,
        chosen=view.row(picture, chosen, s) if chosen else None,
        move=_move(picture, chosen, s),
        verbs=_verbs(here, chosen) if chosen else {},
        shelve=[(n, numbers.clock(here.now + n * MINUTE, s.zone)) for n in SHELVE_MINUTES],
        fault=fault,
        typed=typed,
        tried=verb,
        can=lambda row, act: here.may(act, class_of(picture, row.alarm)),
        sent=here.console.acts.last(number) if number is not None else None,
    )


def _move(picture: Picture, alarm: AlarmView | None, s: view.Scope) -> tuple[str, str] | None:
    tag = picture.tags.by_index.get(alarm.tag) if alarm else None
    return view.moving(picture, tag, s) if tag is not None else None


def class_of(picture: Picture, alarm: AlarmView) -> Class:
    tag = picture.tags.by_index.get(alarm.tag)
    return tag.alarm_class if tag is not None else view.CLASSES[alarm.alarm_class]


def _verbs(here: Visit, alarm: AlarmView) -> dict[str, bool]:
    """The acts that make sense in the alarm's state -> whether this person may do them from here."""
    picture, _ = here.picture()
    state = view.state_of(alarm)
    offered = {
        Verb.acknowledge: state in ("unacknowledged", "returned"),
        Verb.reset: state == "latched",
        Verb.timed_shelve: state not in ("shelved", "suppressed", "out_of_service"),
        Verb.unshelve: state == "shelved",
        Verb.unsuppress: state == "suppressed",
        Verb.place_in_service: state == "out_of_service",
        Verb.add_comment: True,
    }
    cls = class_of(picture, alarm)
    return {verb.name: here.may(verb.name, cls) for verb, fits in offered.items() if fits}


async def act(
    here: Writing, alarm: int, verb: Text, version: Annotated[int, Form()], reason: Text = "",
    minutes: Annotated[int, Form()] = 0, tab: Text = "active", back: Text = "",
) -> Response:  # fmt: skip
    """Send one act. Leads back to where it was made, where the result stands; a refusal keeps what was typed."""
    picture, base = here.picture()
    standing = picture.alarms.get(alarm)
    tab = tab if tab in view.TABS else "active"
    try:
        if standing is None:
            raise UnknownTarget(f"alarm {alarm}: not standing")
        if verb not in Verb.__members__:
            raise BadRequest(f"verb: expected one of {', '.join(v.name for v in Verb)}, got {verb!r}")
        if verb == Verb.timed_shelve.name and minutes not in SHELVE_MINUTES:
            raise BadRequest(f"minutes: expected one of {SHELVE_MINUTES}, got {minutes}")
        sent = await here.console.acts.send(
            here.person,
            Verb[verb],
            alarm,
            class_of(picture, standing),
            version,
            reason=reason,
            until=here.now + minutes * MINUTE if minutes else 0,
        )
        if sent.error is not None:
            raise sent.error
    except DavyError as error:
        fault = say_fault(here, error, version, standing)
        return _alarms(here, tab, alarm, status=status_of(error), fault=fault, typed=reason, verb=verb)
    if back == "wall":
        return RedirectResponse(f"{base}/", 303)
    return RedirectResponse(f"{base}/alarms?tab={tab}&alarm={alarm}", 303)


def say_fault(here: Visit, error: DavyError, seen: int, alarm: AlarmView | None) -> str:
    """What did not happen, found and expected, and the way out."""
    t = here.words
    if error.reason == "stale_version":
        return t("fault_stale_version", seen=seen, now=alarm.version if alarm else "?")
    if error.reason in ("not_allowed", "unreachable", "unknown_target"):
        return t(f"fault_{error.reason}")
    return t("fault_bad_request" if error.reason == "bad_request" else "fault_other", detail=str(error).rstrip("."))


async def points(here: SignedIn, q: str = "", area: str = "", page: int = 1) -> Response:
    """Every point as a table row; `q` finds by tag, name or area."""
    picture, base = here.picture()
    s = here.scope
    worst = picture.worst()
    words = q.casefold().split()

    def fits(tag: Tag) -> bool:
        text = f"{tag.name} {tag.area} {' '.join(tag.label.values())}".casefold()
        return (not area or tag.area == area) and all(word in text for word in words)

    found = [tag for tag in picture.tags.tags if fits(tag)]
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(1, page), pages)
    return here.page(
        "points.html",
        picture=picture,
        base=base,
        crumb="points",
        tiles=[view.tile(picture, tag, s, worst.get(tag.index)) for tag in found[(page - 1) * PAGE : page * PAGE]],
        total=len(found),
        pages=pages,
        page=page,
        q=q,
        area=area,
        areas=list(dict.fromkeys(tag.area for tag in picture.tags.tags if tag.area)),
    )


def _window(here: Visit, seconds: int, to: int | None) -> tuple[int, int]:
    """[t0, t1) of a range link; without `to` (ms) it ends now, a little to the right of the newest value."""
    if seconds not in trend.RANGES:
        raise BadRequest(f"range: expected one of {trend.RANGES} seconds, got {seconds}")
    length = seconds * SECOND
    t1 = here.now + length // 50 if to is None else min(to * 1000, here.now + length // 50)
    return max(0, t1 - length), max(t1, length)


async def point(here: SignedIn, index: int, range: int = 3600, to: int | None = None) -> Response:
    """What happened, on one axis?"""
    picture, base = here.picture()
    s = here.scope
    tag = picture.tags[index]
    t0, t1 = _window(here, range, to)
    try:
        buckets = await here.console.history.buckets(picture.origin, index, t0, t1, trend.BUCKETS)
        history = await here.console.history.transitions(picture.origin, index, t0, t1)
        drawn = _chart(here, tag, buckets, history, t0, t1)
    except (Unreachable, UnknownTarget):  # slow, restarting, or it has not met this origin yet
        buckets, drawn = None, None
    tile = view.tile(picture, tag, s, picture.worst().get(index))
    value = tile.quality.kind != "bad" and picture.latest(index).value
    return here.page(
        "point.html",
        picture=picture,
        base=base,
        crumb="points",
        tag=tag,
        tile=tile,
        reading=picture.latest(index),
        range=range,
        t0=t0,
        t1=t1,
        live=to is None,
        drawn=drawn,
        figures=_figures(buckets) if buckets is not None else [],
        readings=int(buckets.count.sum()) if buckets is not None else 0,
        cursor=_cursor(buckets, tag) if buckets is not None and len(buckets) else None,
        move=view.moving(picture, tag, s),
        limits=[
            (f, sign, limit, *view.over_by(tag, f, limit, value if value is not False else float("nan"), s.t))
            for f, sign, limit in view.limits(tag)
        ],
        alarms=[view.row(picture, a, s) for a in view.tab(picture, "active") if a.tag == index],
        quality_word=s.t("good") if tile.quality.kind == "good" else tile.why,
        history_down=buckets is None,
        status_word=status_name(picture.latest(index).status),
        flag_words=" ".join(f.name or "" for f in Flag if picture.latest(index).flags & f),
    )


def _chart(
    here: Visit, tag: Tag, buckets: Buckets, history: list[Sealed], t0: int, t1: int
) -> dict[str, Markup] | None:
    """The pieces of the drawing by place, or None where the range holds no reading at all."""
    if not len(buckets) or not buckets.count.any():
        return None
    s, t = here.scope, here.words
    a = trend.axis(tag, buckets, t0, t1)
    title = t("trend_of", name=view.label(tag, t), t0=numbers.day(t0, s.zone), t1=numbers.day(t1, s.zone))
    by_people = [(x.transition.time, _act_words(here, x)) for x in history if x.transition.actor]
    return {
        "scale": chart.scale(a),
        "times": chart.times(a, s.zone),
        "plot": chart.plot(a, tag, buckets, here.now, s.zone, t, title),
        "quality": chart.quality_lane(a, buckets, here.now, s.zone),
        "alarms": chart.alarm_lane(a, trend.activations(history, t, s.zone), here.now, s.zone),
        "acts": chart.act_lane(a, by_people, here.now, s.zone),
    }


#: What a person did, by the cause of the transition it made.
_DONE = {
    Cause.acknowledged: "done_acknowledge",
    Cause.reset: "done_reset",
    Cause.shelved: "done_timed_shelve",
    Cause.one_shot_shelved: "done_timed_shelve",
    Cause.unshelved: "done_unshelve",
    Cause.suppressed: "done_suppress",
    Cause.unsuppressed: "done_unsuppress",
    Cause.removed_from_service: "done_remove_from_service",
    Cause.placed_in_service: "done_place_in_service",
}


def _act_words(here: Visit, sealed: Sealed) -> str:
    who = here.console.door.name_of(sealed.transition.actor) or here.words("someone")
    key = _DONE.get(Cause(sealed.transition.cause))
    return f"{who}: {here.words(key).lower() if here.words.language == 'en' else here.words(key)}" if key else who


def _figures(buckets: Buckets) -> list[tuple[int, float, float, float, int, int]]:
    """(us, least, mean, most, readings, good) of the buckets that hold something, newest first."""
    rows = np.flatnonzero(buckets.count)[::-1]
    return [
        (
            int(buckets.time[i]),
            float(buckets.min[i]),
            float(buckets.avg[i]),
            float(buckets.max[i]),
            int(buckets.count[i]),
            int(buckets.good[i]),
        )
        for i in rows.tolist()
    ]


def _cursor(buckets: Buckets, tag: Tag) -> list[list[object]]:
    """What the cursor shows, for the page's script: [ms, mean, least, most] as text, a row a filled bucket."""
    places = numbers.decimals(tag)
    return [
        [us // 1000, numbers.number(avg, places), numbers.number(least, places), numbers.number(most, places)]
        for us, least, avg, most, _, _ in reversed(_figures(buckets))
    ]


async def point_csv(here: SignedIn, index: int, range: int = 3600, to: int | None = None) -> Response:
    """The figures of the trend as CSV: times RFC 3339 UTC, values in the tag's unit."""
    picture, _ = here.picture()
    tag = picture.tags[index]
    t0, t1 = _window(here, range, to)
    buckets = await here.console.history.buckets(picture.origin, index, t0, t1, trend.BUCKETS)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    table.writerow(["tag", "unit", "time", "min", "avg", "max", "readings", "good"])
    for us, least, avg, most, count, good in reversed(_figures(buckets)):
        table.writerow([_plain(tag.name), _plain(tag.unit), rfc3339(us), least, avg, most, count, good])
    headers = {"Content-Disposition": f'attachment; filename="{index}.csv"'}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _plain(text: str) -> str:
    """Text a spreadsheet takes for text: a leading = + - @ would make it a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


async def black_box(here: SignedIn) -> Response:
    """Is all of it there, who else holds it, how big is the exposure?"""
    picture, base = here.picture()
    return here.page("black-box.html", picture=picture, base=base, crumb="black_box")


def router(prefix: str, *, acts: bool) -> APIRouter:
    """The pages under `prefix`; with `acts` also the address that takes them."""
    made = APIRouter(include_in_schema=False)
    made.add_api_route(prefix + "/", wall, methods=["GET"])
    made.add_api_route(prefix + "/alarms", alarms, methods=["GET"])
    made.add_api_route(prefix + "/points", points, methods=["GET"])
    made.add_api_route(prefix + "/points/{index}", point, methods=["GET"])
    made.add_api_route(prefix + "/points/{index}/csv", point_csv, methods=["GET"])
    made.add_api_route(prefix + "/black-box", black_box, methods=["GET"])
    if acts:
        made.add_api_route(prefix + "/alarms/{alarm}/acts", act, methods=["POST"])
    return made

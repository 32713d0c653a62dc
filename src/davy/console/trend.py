"""The arithmetic of a trend: its window, its grid, its gaps and the stretches its alarms were active. Pure.

Drawing is `chart`. A bucket without readings is a gap and never joined; what lies in the future is none.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from davy.clock import SECOND
from davy.console import numbers
from davy.console.history import Buckets, Sealed
from davy.console.view import extent, limits
from davy.console.words import Words
from davy.fact.event import AlarmType, Cause, Level, State
from davy.reading import Tag

#: Ranges the page offers, seconds, and how many buckets each is drawn with.
RANGES = (600, 3600, 28_800, 86_400, 604_800)
BUCKETS = 400
#: Candidate distances of the time grid, seconds; the first that gives at most MOST_LINES lines is taken.
STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800)
MOST_LINES = 9
DAY = 86_400


class Axis(NamedTuple):
    """The window in time (us UTC) and value; `x` and `y` give percent of the width and of the height."""

    t0: int
    t1: int
    low: float
    high: float

    def x(self, us: float) -> float:
        return 100.0 * (us - self.t0) / (self.t1 - self.t0)

    def y(self, value: float) -> float:
        return 100.0 * (self.high - value) / (self.high - self.low)


def axis(tag: Tag, buckets: Buckets, t0: int, t1: int) -> Axis:
    """A window that holds the data and the limits near it, with some air; the range where there is no data."""
    values = np.concatenate([buckets.min, buckets.max])
    values = values[np.isfinite(values)]
    data = [float(values.min()), float(values.max())] if len(values) else []
    span = extent(tag, data)
    if span is None:
        middle = data[0] if data else 0.0
        span = (middle - 1.0, middle + 1.0)
    low, high = span
    if data:  # a quiet value on a wide range would be a flat line: close in, but keep a limit in sight
        least, most = data
        air = max((most - least) * 0.5, (high - low) * 0.1)
        near = [v for _, _, v in limits(tag) if least - 3 * air <= v <= most + 3 * air]
        low = min([least - air, *(v - air / 3 for v in near)])
        high = max([most + air, *(v + air / 3 for v in near)])
        if tag.range_low is not None and least >= tag.range_low:
            low = max(low, tag.range_low)
        if tag.range_high is not None and most <= tag.range_high:
            high = min(high, tag.range_high)
    return Axis(t0, t1, low, high) if high > low else Axis(t0, t1, low - 1.0, high + 1.0)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between low and high, at most `most` and one, by steps of 1, 2 or 5."""
    raw = (high - low) / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(float(m * power) for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(v) for v in np.arange(first, last + 1) * step]


def grid(t0: int, t1: int, zone: tzinfo | None) -> list[tuple[int, str]]:
    """(us, words) of the time lines, on round local times."""
    seconds = (t1 - t0) / SECOND
    step = next((s for s in STEPS if seconds / s <= MOST_LINES), STEPS[-1])
    local = datetime.fromtimestamp(t0 / SECOND, UTC).astimezone(zone).utcoffset() or timedelta()
    shift = int(local.total_seconds())
    first = -(-(t0 // SECOND + shift) // step) * step - shift
    at = range(first * SECOND, t1, step * SECOND)
    return [(us, numbers.day(us, zone)[5:10] if step >= DAY else numbers.minute(us, zone)) for us in at]


def runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """[start, end) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _holes(buckets: Buckets) -> list[tuple[int, int, bool]]:
    """[start, end) of the stretches of empty buckets, and whether each is a gap.

    A slow point leaves buckets empty between its readings; a hole is a gap when it is at least twice
    as long as those, at an end of the window as long.
    """
    filled = np.flatnonzero(buckets.count > 0)
    usual = int(np.median(np.diff(filled))) if len(filled) > 2 else 1
    inside, at_end = max(1, 2 * (usual - 1)), usual
    return [
        (start, end, end - start >= (at_end if start == 0 or end == len(buckets) else inside))
        for start, end in runs(buckets.count == 0)
    ]


def gaps(a: Axis, buckets: Buckets, now: int) -> list[tuple[int, int]]:
    """[start, end) us UTC where nothing was read."""
    width = (a.t1 - a.t0) / len(buckets)
    found = [(int(a.t0 + s * width), min(int(a.t0 + e * width), now)) for s, e, is_gap in _holes(buckets) if is_gap]
    # The newest bucket fills up while one looks: it is no gap before it is as old as it is long.
    return [(t0, t1) for t0, t1 in found if t1 > t0 and (t1 < now or t1 - t0 > width + 2 * SECOND)]


def bridged(buckets: Buckets) -> Buckets:
    """The buckets without the empty ones that are no gap, so that a slow point's line is not broken."""
    keep = np.ones(len(buckets), np.bool_)
    for start, end, is_gap in _holes(buckets):
        keep[start:end] = is_gap
    return buckets if keep.all() else buckets.take(keep)


class Active(NamedTuple):
    """One alarm at one level from `start` to `end`, us UTC; None while it still stands."""

    alarm: int
    priority: int
    start: int
    end: int | None
    words: str


_SIGN = {AlarmType.high: " ≥ ", AlarmType.low: " ≤ "}


def _words(alarm: int, level: int, limit: float, t: Words) -> str:
    kind = AlarmType(alarm % 8)
    if kind not in _SIGN:
        return t(f"type_{kind.name}")
    name = f"{kind.name}_{kind.name}" if level >= Level.second else kind.name
    return t(f"type_{name}") + (f"{_SIGN[kind]}{numbers.limit(limit)}" if limit == limit else "")


def activations(history: Sequence[Sealed], t: Words, zone: tzinfo | None) -> list[Active]:
    """Stretches during which alarms of the point were active, oldest first; one a level reached."""
    out: list[Active] = []
    standing: dict[int, Active] = {}
    moves = (Cause.activated, Cause.escalated, Cause.eased)
    for tr in (sealed.transition for sealed in history):
        active = bool(tr.state & State.active)
        begins = active and tr.cause in moves
        if (begins or not active) and (one := standing.pop(tr.alarm, None)) is not None:
            ended = "" if active else f", {numbers.clock(tr.time, zone)}"
            out.append(one._replace(end=tr.time, words=one.words + ended))
        if begins:
            limit = float("nan") if tr.cause == Cause.eased else tr.limit  # an easing tells the limit it left
            standing[tr.alarm] = Active(tr.alarm, tr.priority, tr.time, None, _words(tr.alarm, tr.level, limit, t))
    return sorted([*out, *standing.values()], key=lambda one: one.start)

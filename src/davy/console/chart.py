"""A trend and its lanes as SVG. Pure.

Horizontal places are percent and lines do not scale their stroke, so the drawing fits any width
while its text keeps its size, without script and without inline style. The line is the mean of each
bucket, the band its least and most.
"""

from collections.abc import Iterator, Sequence
from datetime import tzinfo

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from davy.console import numbers
from davy.console.history import Buckets
from davy.console.trend import Active, Axis, bridged, gaps, grid, runs, ticks
from davy.console.view import limits
from davy.console.words import Words
from davy.reading import Tag

#: Inner units of the plot; only ratios matter.
W = H = 1000.0
#: The narrowest gap that gets words, in percent of the width.
WORDED_GAP = 7.0
#: About the width of one character of a lane's words, in percent, on the narrowest screen (1366 px).
CHARACTER = 0.75
MOST_ROWS = 4


_CAMEL = {"viewBox", "preserveAspectRatio", "patternUnits", "patternTransform"}


def element(tag: str, *inner: str, **attributes: object) -> Markup:
    """One SVG element; text and attributes are escaped. `cls` is class, `_` in a name is `-`."""
    out = Markup("<") + tag
    for key, value in attributes.items():
        name = "class" if key == "cls" else key if key in _CAMEL else key.replace("_", "-")
        out += Markup(' {}="{}"').format(name, value)
    return out + Markup(">") + Markup("").join(inner) + Markup("</") + tag + Markup(">")


def percent(x: float) -> str:
    return f"{x:.2f}%"


def _svg(cls: str, *inner: str, words: str = "") -> Markup:
    if words:
        return element("svg", *inner, cls=f"ch {cls}", role="img", aria_label=words)
    return element("svg", *inner, cls=f"ch {cls}", aria_hidden="true")


def _across(cls: str, y: float) -> Markup:
    return element("line", cls=cls, x1="0", x2="100%", y1=percent(y), y2=percent(y))


def _upright(cls: str, x: float) -> Markup:
    return element("line", cls=cls, x1=percent(x), x2=percent(x), y1="0", y2="100%")


def _box(cls: str, x: float, end: float, y: str = "0", height: str = "100%", **more: object) -> Markup:
    return element("rect", cls=cls, x=percent(x), width=percent(max(0.0, end - x)), y=y, height=height, **more)


_HATCH = element(
    "defs",
    element(
        "pattern",
        element("rect", cls="hatch-ink", width="3.5", height="8"),
        id="hx", width="8", height="8", patternUnits="userSpaceOnUse", patternTransform="rotate(45)",
    ),
)  # fmt: skip


def _uprights(a: Axis, zone: tzinfo | None, now: int) -> Markup:
    lines = [_upright("gr", a.x(us)) for us, _ in grid(a.t0, a.t1, zone)]
    if a.t0 < now < a.t1:
        lines.append(_upright("now", a.x(now)))
    return Markup("").join(lines)


def scale(a: Axis) -> Markup:
    """The value axis: a narrow SVG at the left of the plot."""
    marks = ticks(a.low, a.high)
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    places = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    texts = (
        element("text", numbers.number(v, places), x="100%", dx="-8", dy="4", y=percent(a.y(v)), text_anchor="end")
        for v in marks
        if 2 < a.y(v) < 98
    )
    return _svg("scale", *texts)


def times(a: Axis, zone: tzinfo | None) -> Markup:
    """The time axis above the plot."""

    def anchor(x: float) -> str:
        return "start" if x <= 5 else "end" if x >= 95 else "middle"

    texts = (
        element("text", words, x=percent(a.x(us)), y="75%", text_anchor=anchor(a.x(us)))
        for us, words in grid(a.t0, a.t1, zone)
    )
    return _svg("times", *texts)


def _points(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True))


def _curves(a: Axis, tag: Tag, buckets: Buckets, step: float) -> Iterator[Markup]:
    """Band, excess over limits and mean line, in inner units. step: length of a bucket, us."""
    xs = W * (buckets.time + step / 2 - a.t0) / (a.t1 - a.t0)

    def ys(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(H * (a.high - values) / (a.high - a.low), -H, 2 * H)

    for start, end in runs(np.isfinite(buckets.avg)):
        x, top, bottom, mean = xs[start:end], *(ys(c[start:end]) for c in (buckets.max, buckets.min, buckets.avg))
        if len(x) == 1:  # one bucket has no length: draw it as wide as it is
            half = W / 2 * step / (a.t1 - a.t0)
            x = np.array([x[0] - half, x[0] + half])
            top, bottom, mean = (np.repeat(c, 2) for c in (top, bottom, mean))
        yield element("path", cls="band", d=f"M{_points(x, top)} L{_points(x[::-1], bottom[::-1])}Z")
        for field, sign, limit in sorted(limits(tag), key=lambda found: "_" in found[0]):
            y = float(ys(np.array([limit]))[0])
            edge = np.minimum(top, y) if sign == "≥" else np.maximum(bottom, y)
            if (edge != y).any():
                shape = f"M{_points(x, edge)} L{x[-1]:.1f} {y:.1f} L{x[0]:.1f} {y:.1f}Z"
                yield element("path", cls="over2" if "_" in field else "over1", d=shape)
        yield element("path", cls="ln", vector_effect="non-scaling-stroke", d=f"M{_points(x, mean)}")


def _gap(a: Axis, start: int, end: int, t: Words) -> Markup:
    x0, x1 = a.x(start), a.x(end)
    box = _box("gap", x0, x1, fill="url(#hx)")
    if x1 - x0 < WORDED_GAP:
        return box
    words = t("no_data", span=numbers.span(end - start))
    return box + element("text", words, cls="gap-words", x=percent((x0 + x1) / 2), y="95%", text_anchor="middle")


def plot(a: Axis, tag: Tag, buckets: Buckets, now: int, zone: tzinfo | None, t: Words, title: str) -> Markup:
    """The main drawing."""
    inner = [_HATCH, element("rect", cls="ground", width="100%", height="100%")]
    inner += [_across("gr", a.y(v)) for v in ticks(a.low, a.high)]
    inner.append(_uprights(a, zone, now))
    curves = _curves(a, tag, bridged(buckets), (a.t1 - a.t0) / len(buckets))
    box = {"viewBox": f"0 0 {W:.0f} {H:.0f}", "preserveAspectRatio": "none", "width": "100%", "height": "100%"}
    inner.append(element("svg", *curves, **box))
    inner += [_gap(a, start, end, t) for start, end in gaps(a, buckets, now)]
    for field, sign, limit in limits(tag):
        if a.low <= limit <= a.high:
            y = a.y(limit)
            words = f"{t(f'type_{field}')} {sign} {numbers.limit(limit)}"
            inner.append(_across("lim2" if "_" in field else "lim1", y))
            inner.append(element("text", words, cls="lt", x="8", dy="-5" if y > 6 else "15", y=percent(y)))
    if a.t0 < now < a.t1:
        x, left = a.x(now), a.x(now) > 85
        place = {"dx": "-6" if left else "6", "text_anchor": "end" if left else "start"}
        words = t("now_at", time=numbers.clock(now, zone))
        inner.append(element("text", words, cls="rd", x=percent(x), y="0", dy="16", **place))
    return _svg("plot", *inner, words=title)


def quality_lane(a: Axis, buckets: Buckets, now: int, zone: tzinfo | None) -> Markup:
    """Solid where readings are good, outlined where some are not, hatched where there are none."""
    step = (a.t1 - a.t0) / len(buckets)
    some = buckets.count > 0
    inner = [_uprights(a, zone, now)]
    shown = bridged(buckets) if (some & (buckets.good == buckets.count)).any() else buckets
    for cls, wanted in (("q-good", True), ("q-part", False)):
        mask = (shown.count > 0) & ((shown.good == shown.count) == wanted)
        for start, end in runs(mask):
            x0, x1 = int(shown.time[start]), float(shown.time[end - 1]) + step
            inner.append(_box(cls, a.x(x0), a.x(min(x1, now)), "35%", "30%"))
    inner += [_box("gap", a.x(start), a.x(end), "8%", "84%", fill="url(#hx)") for start, end in gaps(a, buckets, now)]
    return _svg("lane", *inner)


class _Rows:
    """Gives each thing the first row in which it overlaps none before it."""

    def __init__(self) -> None:
        self.free: list[float] = []

    def place(self, start: float, end: float) -> int | None:
        row = next((i for i, free in enumerate(self.free) if free <= start), len(self.free))
        if row >= MOST_ROWS:
            return None
        self.free[row : row + 1] = [end + 0.5]
        return row


def _lane(a: Axis, now: int, zone: tzinfo | None, placed: Sequence[tuple[int, Markup]]) -> Markup:
    count = 1 + max((row for row, _ in placed), default=0)
    box = {"width": "100%", "height": percent(100 / count), "overflow": "visible"}
    rows = (element("svg", inner, y=percent(100 * row / count), **box) for row, inner in placed)
    return _svg(f"lane rows{count}", _uprights(a, zone, now), *rows)


def _room(words: str) -> float:
    """Width of `words` in percent; Han counts double."""
    return 1.5 + CHARACTER * sum(1 if ord(c) < 0x2E80 else 1.9 for c in words)


def alarm_lane(a: Axis, active: Sequence[Active], now: int, zone: tzinfo | None) -> Markup:
    """Bars in the colour of their priority, with words; none overlaps another."""
    rows, placed = _Rows(), []
    for one in active:
        x, end = max(0.0, a.x(one.start)), min(100.0, a.x(one.end if one.end is not None else now))
        room = _room(one.words)
        inside, left = end - x > room, end + room > 100
        row = rows.place(x - room if left and not inside else x, end if inside or left else end + room)
        if row is None:
            continue
        bar = _box(f"al-bar p{one.priority}", x, max(end, x + 0.25), "12%", "76%")
        if inside:
            where = {"x": percent(x), "dx": "6", "cls": f"rd on-p{one.priority}"}
        elif left:
            where = {"x": percent(x), "dx": "-6", "text_anchor": "end", "cls": "rd"}
        else:
            where = {"x": percent(max(end, x + 0.25)), "dx": "6", "cls": "rd"}
        placed.append((row, bar + element("text", one.words, y="50%", dy="4", **where)))
    return _lane(a, now, zone, placed)


def act_lane(a: Axis, acts: Sequence[tuple[int, str]], now: int, zone: tzinfo | None) -> Markup:
    """A dot and words for each (us, words)."""
    rows, placed = _Rows(), []
    for us, words in acts:
        x, room = a.x(us), _room(words)
        left = x + room > 100
        row = rows.place(x - room if left else x - 0.5, x + 0.5 if left else x + room)
        if row is None:
            continue
        where = {"dx": "-10", "text_anchor": "end"} if left else {"dx": "10"}
        dot = element("circle", cls="act-dot", cx=percent(x), cy="50%", r="5")
        placed.append((row, dot + element("text", words, cls="rd", x=percent(x), y="50%", dy="4", **where)))
    return _lane(a, now, zone, placed)

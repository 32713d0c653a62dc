"""What the pages show, worked out from a Picture: tiles, alarm rows, tallies and the sentence. Pure.

Everything here is words and numbers ready to print; templates only place them. Times come in as us
UTC, the zone is for print. Nothing says "safe" or "normal" about what cannot be trusted (contracts.md 18).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from davy.alarm import state as states
from davy.alarm.fold import AlarmView
from davy.alarm.state import PROCESS_BITS
from davy.clock import SECOND
from davy.console import numbers, quality
from davy.console.picture import Picture, is_listed, is_unacknowledged, urgency
from davy.console.quality import Quality
from davy.console.words import Words
from davy.fact.event import AlarmType, Level, State
from davy.reading import Class, Hazard, Tag

#: Reply times by priority, us: design defaults (design/console.md 3), shown as such.
REPLY = {1: 180 * SECOND, 2: 300 * SECOND, 3: 900 * SECOND, 4: 1800 * SECOND}
DUE_SOON = 30 * SECOND
CLASSES = tuple(Class)
_SIGNS = {AlarmType.high: "≥ ", AlarmType.low: "≤ "}
#: More points than this in one area of the wall: only the abnormal and the first few show there.
TILES_AN_AREA = 48
NAMES_IN_SENTENCE = 3
#: A rate below this share of the range an hour is called steady.
STEADY = 0.005

Name = Callable[[str], str | None]


class Scope(NamedTuple):
    """What a view needs besides the picture: the words, the time, the zone, and who is behind a pseudonym."""

    t: Words
    now: int
    zone: tzinfo | None
    name_of: Name


@dataclass(frozen=True, slots=True)
class Bar:
    """A value on its range, in percent of the width: the normal band, the ticks of its limits, the fill."""

    band: tuple[float, float]
    ticks: tuple[float, ...]
    fill: float | None


@dataclass(frozen=True, slots=True)
class Tile:
    """One point. `taken`: us UTC the value was taken, which the page counts its age from.

    `hidden`: (icon, words) of an alarm of it that is kept off the list.
    """

    tag: Tag
    label: str
    text: str
    unit: str
    quality: Quality
    why: str
    age: str
    taken: int
    alarm: AlarmView | None
    note: str
    bar: Bar | None
    hidden: tuple[str, str] | None = None

    @property
    def tone(self) -> str:
        """The colour of its alarm, as a class; none once the alarm has returned."""
        lit = self.alarm is not None and state_of(self.alarm) != "returned"
        return f"al{self.alarm.priority}" if lit and self.alarm else ""

    @property
    def waits(self) -> bool:
        """Whether its alarm waits for an answer."""
        return self.alarm is not None and is_unacknowledged(self.alarm)


@dataclass(frozen=True, slots=True)
class AlarmRow:
    alarm: AlarmView
    tag: Tag | None
    name: str
    title: str
    tile: Tile | None
    limit: str
    state: str
    state_word: str
    since: str
    reply: str
    due: str
    until: str
    who: str


def area_name(area: str) -> str:
    """An area as people read it: `tank-farm` is a slug, "Tank farm" its name."""
    return area.replace("-", " ").capitalize() if area.islower() and area.isascii() else area


def label(tag: Tag, t: Words) -> str:
    return t.pick(tag.label, tag.name)


def value_text(tag: Tag, value: float, t: Words) -> str:
    if tag.type.startswith("bool") and value in (0.0, 1.0):
        return t("on" if value else "off")
    return numbers.number(value, numbers.decimals(tag))


def limits(tag: Tag) -> list[tuple[str, str, float]]:
    """(field, sign, limit) of every limit the tag has, most severe first on each side."""
    sides = (("high_high", "≥"), ("high", "≥"), ("low", "≤"), ("low_low", "≤"))
    return [(field, sign, limit) for field, sign in sides if (limit := getattr(tag, field)) is not None]


def extent(tag: Tag, values: Sequence[float] = ()) -> tuple[float, float] | None:
    """The scale to draw on: the range, widened by limits and values; None where nothing bounds it."""
    known = [v for v in (tag.range_low, tag.range_high, *(x for _, _, x in limits(tag)), *values) if v is not None]
    known = [v for v in known if v == v and abs(v) != float("inf")]
    if not known or min(known) == max(known):
        return None
    return min(known), max(known)


def bar(tag: Tag, value: float) -> Bar | None:
    span = extent(tag)
    if span is None or tag.type.startswith("bool"):
        return None
    low, high = span

    def percent(x: float) -> float:
        return round(100 * min(1.0, max(0.0, (x - low) / (high - low))), 1)

    floor = max((x for x in (tag.low, tag.low_low) if x is not None), default=low)
    ceiling = min((x for x in (tag.high, tag.high_high) if x is not None), default=high)
    ticks = tuple(percent(x) for _, _, x in limits(tag))
    return Bar((percent(floor), percent(ceiling)), ticks, percent(value) if value == value else None)


def _hidden(alarm: AlarmView, s: Scope) -> tuple[str, str]:
    state = state_of(alarm)
    if state == "shelved":
        left = numbers.span(alarm.until - s.now) if alarm.until else "—"
        return "shelf", s.t("shelved_left", span=left)
    return {"suppressed": "supp"}.get(state, "oos"), s.t(f"{state}_note")


def limit_text(alarm: AlarmView) -> str:
    """`≥ 90`, or nothing for an alarm without a limit."""
    known = alarm.kind in _SIGNS and alarm.limit == alarm.limit
    return _SIGNS[alarm.kind] + numbers.limit(alarm.limit) if known else ""


def tile(picture: Picture, tag: Tag, s: Scope, alarm: AlarmView | None = None, hidden: AlarmView | None = None) -> Tile:
    reading = picture.latest(tag.index)
    q = quality.judge(tag, reading, s.now)
    age_us = quality.age_of(reading, s.now)
    shown = q.kind != "bad"
    age = "" if reading.server_time == 0 else numbers.age(age_us)
    if age and q.kind == "stale":
        age = s.t("old", age=age)
    over = (
        f"{s.t('limit_n', limit=numbers.limit(alarm.limit))}"
        if alarm and alarm.kind in _SIGNS and alarm.limit == alarm.limit
        else ""
    )
    return Tile(
        tag,
        label(tag, s.t),
        value_text(tag, reading.value, s.t) if shown else "—",
        numbers.unit(tag.unit),
        q,
        s.t(q.why) if q.why else "",
        age,
        s.now - age_us,
        alarm,
        over,
        bar(tag, reading.value if shown else float("nan")),
        _hidden(hidden, s) if hidden else None,
    )


_BESIDE = (
    (State.out_of_service, "out_of_service"),
    (State.suppressed, "suppressed"),
    (State.shelved, "shelved"),
)
_PROCESS = {
    states.NORMAL: "acknowledged",
    states.UNACKED: "unacknowledged",
    states.ACKED: "acknowledged",
    states.RETURNED: "returned",
    states.LATCHED: "unacknowledged",
    states.LATCHED_ACKED: "latched",
    states.HELD: "unacknowledged",
    states.HELD_ACKED: "latched",
}


def _alarm_word(alarm: AlarmView) -> str:
    """The suffix of type_* and say_* for this alarm."""
    if alarm.kind in (AlarmType.high, AlarmType.low):
        return f"{alarm.kind.name}_{alarm.kind.name}" if alarm.level >= Level.second else alarm.kind.name
    return alarm.kind.name


def state_of(alarm: AlarmView) -> str:
    """The one word for an alarm's state; keys state_* of the catalogue."""
    for bit, word in _BESIDE:
        if alarm.state & bit:
            return word
    return _PROCESS[State(alarm.state & PROCESS_BITS)]


def row(picture: Picture, alarm: AlarmView, s: Scope) -> AlarmRow:
    tag = picture.tags.by_index.get(alarm.tag)
    word = s.t(f"type_{_alarm_word(alarm)}")
    reply, due = "", ""
    if is_unacknowledged(alarm) and alarm.state & State.active and alarm.raised:
        left = alarm.raised + REPLY.get(alarm.priority, REPLY[4]) - s.now
        reply = numbers.span(left) if left >= 0 else s.t("late", span=numbers.span(-left))
        due = "late" if left < 0 else "soon" if left <= DUE_SOON else ""
    state = state_of(alarm)
    return AlarmRow(
        alarm,
        tag,
        tag.name if tag else f"#{alarm.tag}",
        f"{label(tag, s.t)}{s.t.space}{word}" if tag else word,
        tile(picture, tag, s, alarm) if tag else None,
        limit_text(alarm),
        state,
        s.t("state_latched_open" if state == "unacknowledged" and alarm.state & State.latched else f"state_{state}"),
        numbers.span(s.now - alarm.raised) if alarm.raised else "",
        reply,
        due,
        numbers.clock(alarm.until, s.zone) if alarm.until else "",
        (s.name_of(actor) or s.t("someone")) if (actor := alarm.silenced_by or alarm.acked_by) else "",
    )


_TABS: dict[str, Callable[[AlarmView], bool]] = {
    "active": is_listed,
    "shelved": lambda a: bool(a.state & State.shelved),
    "suppressed": lambda a: bool(a.state & State.suppressed),
    "out_of_service": lambda a: bool(a.state & State.out_of_service),
}
TABS = tuple(_TABS)


def tab(picture: Picture, name: str) -> list[AlarmView]:
    """The alarms of one tab, by `urgency`."""
    return sorted((a for a in picture.alarms.values() if _TABS[name](a)), key=urgency)


@dataclass(frozen=True, slots=True)
class Area:
    """One group of the wall; `hidden` points of it are not shown here because nothing is wrong with them."""

    name: str
    tiles: list[Tile]
    total: int
    hidden: int
    oldest: str


def areas(picture: Picture, s: Scope) -> list[Area]:
    """The wall's groups in the order of the tag list; in a big one the abnormal come first."""
    groups: dict[str, list[Tile]] = {}
    worst, hidden = picture.worst(), picture.hidden()
    for tag in picture.tags.tags:
        shown_tile = tile(picture, tag, s, worst.get(tag.index), hidden.get(tag.index))
        groups.setdefault(tag.area, []).append(shown_tile)
    out = []
    for name, tiles in groups.items():
        shown = tiles
        if len(tiles) > TILES_AN_AREA:
            shown = sorted(tiles, key=_abnormality)[:TILES_AN_AREA]
        oldest = max((s.now - x.taken for x in tiles if x.quality.kind in ("good", "unc")), default=0)
        out.append(
            Area(area_name(name) or s.t("other_area"), shown, len(tiles), len(tiles) - len(shown), numbers.age(oldest))
        )
    return out


def _abnormality(x: Tile) -> tuple[int, int]:
    priority = x.alarm.priority if x.alarm else 9
    return priority, -quality.KINDS.index(x.quality.kind)


@dataclass(frozen=True, slots=True)
class Say:
    """The sentence: `strong` first, then `rest`; `worst` is its alarm, `doubt` says that something is not trusted."""

    strong: str
    rest: str
    worst: AlarmView | None
    doubt: bool
    counts: list[str]


def names(given: Sequence[str], t: Words) -> str:
    """The first few, and how many more. Hyphens do not break: a tag stays on one line."""
    few = [name.replace("-", "\u2011") for name in given[:NAMES_IN_SENTENCE]]
    more = len(given) - len(few)
    joined = ("、" if t.language == "zh" else ", ").join(few)
    if not more:
        return joined
    return joined + t.space + t("and_more", n=len(given) if t.language == "zh" else more)


def moving(picture: Picture, tag: Tag, s: Scope) -> tuple[str, str] | None:
    """("rising" | "falling", rate an hour with unit) where the value moves at all."""
    rate = picture.rate(tag.index, s.now)
    span = extent(tag)
    if quality.judge(tag, picture.latest(tag.index), s.now).kind in ("bad", "stale"):
        return None
    if rate is None or tag.type.startswith("bool") or abs(rate) <= STEADY * ((span[1] - span[0]) if span else 0.0):
        return None
    unit = numbers.unit(tag.unit)
    return "rising" if rate > 0 else "falling", f"{numbers.number(abs(rate), numbers.decimals(tag))} {unit}".strip()


def _how(picture: Picture, alarm: AlarmView, s: Scope) -> str:
    """Whether it is getting worse, for the alarm the sentence is about."""
    tag = picture.tags.by_index.get(alarm.tag)
    if tag is None or alarm.kind not in (AlarmType.high, AlarmType.low):
        return ""
    move = moving(picture, tag, s)
    if move is None:
        return ""
    way, rate = move
    worse = (way == "rising") == (alarm.kind is AlarmType.high)
    return s.t("say_worse" if worse else "say_better", way=s.t(way), rate=rate)


def _clause(picture: Picture, alarm: AlarmView, s: Scope) -> str:
    tag = picture.tags.by_index.get(alarm.tag)
    subject = label(tag, s.t) if tag else f"#{alarm.tag}"
    state = state_of(alarm)
    fixed = {"latched": "say_latched", "returned": "say_back"}
    if alarm.state & State.latched and not alarm.state & State.active:
        state = "latched"  # the value is back, whoever has acknowledged it
    predicate = s.t(fixed.get(state) or f"say_{_alarm_word(alarm)}")
    how = "" if state in fixed else _how(picture, alarm, s)
    space, (comma, stop) = s.t.space, ("，", "。") if s.t.language == "zh" else (" ", ".")
    reading = tile(picture, tag, s) if tag else None
    told = reading is not None and reading.quality.kind != "bad" and alarm.kind in _SIGNS
    now = f"{reading.text} {reading.unit}".strip() if reading and told else ""
    now = f" ({now})" if now and s.t.language == "en" else f"（{now}）" if now else ""
    return f"{subject}{space}{predicate}{now}" + (f"{comma}{how}" if how else "") + stop


def say(picture: Picture, s: Scope) -> Say:
    """What is wrong, where, and whether it is getting worse; or that nothing is, as far as it is known."""
    t = s.t
    tags = picture.tags.tags
    kinds = [quality.judge(tag, picture.latest(tag.index), s.now).kind for tag in tags]
    doubted = [tag.name for tag, kind in zip(tags, kinds, strict=True) if kind in ("bad", "stale")]
    listed = tab(picture, "active")
    in_alarm = {a.tag for a in listed}
    normal = sum(kind in ("good", "unc") and tag.index not in in_alarm for tag, kind in zip(tags, kinds, strict=True))
    counts = [t("n_normal", n=normal, all=len(tags))] if tags else []
    tail = [(len(in_alarm), "n_in_alarm")] + [
        (kinds.count(k), f"n_{w}") for k, w in (("bad", "bad"), ("stale", "stale"), ("unc", "uncertain"))
    ]
    if any(n for n, _ in tail):
        counts.append((" · ").join(t(key, n=n) for n, key in tail if n))
    doubt = t("say_untrusted", n=len(doubted), all=len(tags), names=names(doubted, t)) if doubted else ""
    if not listed:
        calm = t("say_calm") if tags else t("say_no_points")
        trust = doubt or (t("say_calm_all", n=len(tags)) if tags and "unc" not in kinds else "")
        return Say(calm, trust, None, bool(doubted), counts)
    first, others = listed[0], listed[1:]
    rest = ""
    if others:
        rest_names = list(dict.fromkeys(row(picture, a, s).name for a in others))
        rest = t("say_more_1" if len(others) == 1 else "say_more", n=len(others), names=names(rest_names, t))
    alone = [
        name for name in doubted if name not in {picture.tags[i].name for i in in_alarm if i in picture.tags.by_index}
    ]
    if alone and not rest:
        rest = t("say_untrusted", n=len(alone), all=len(tags), names=names(alone, t))
    return Say(_clause(picture, first, s), rest, first, bool(doubted), counts)


def over_by(tag: Tag, field: str, limit: float, value: float, t: Words) -> tuple[str, bool]:
    """How far `value` is from a limit, as text, and whether it is beyond."""
    if value != value:
        return "", False
    gap = limit - value if field.startswith("high") else value - limit
    text = numbers.number(abs(gap), numbers.decimals(tag))
    return (t("over_by", n=text), True) if gap <= 0 else (text, False)


def hazard(tag: Tag) -> bool:
    return tag.hazard is not Hazard.none


def add_tallies(pictures: Sequence[Picture]) -> dict[int, tuple[int, int]]:
    """priority -> (listed, unacknowledged) over several origins."""
    each = [picture.tally() for picture in pictures]
    return {p: (sum(t[p][0] for t in each), sum(t[p][1] for t in each)) for p in (1, 2, 3, 4)}


def held_sentence(picture: Picture, s: Scope, holder: str) -> str:
    """Say up to when everything lies with somebody else, or that nothing does."""
    c = picture.checkpoint
    if c.exposure_us is None and not c.held_size:
        return s.t("held_alone")
    if not c.held_size or not c.held_time:
        return s.t("held_nothing", holder=holder)
    return s.t("held_sentence", time=numbers.clock(c.held_time, s.zone), holder=holder)

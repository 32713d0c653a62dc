"""The trend: what is drawn, what is hatched, and that nothing in it can be more than text."""

from datetime import UTC
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.clock import SECOND
from davy.console import chart, trend
from davy.console.history import Buckets, Sealed, buckets_of, transitions_of
from davy.console.words import WORDS
from davy.errors import BadRequest
from davy.fact.event import Cause, Transition
from davy.reading import Tag

T1 = 1_780_000_000 * SECOND
T0 = T1 - 3600 * SECOND
TAG = Tag(uid="u", index=3, name="T", unit="%", range_low=0, range_high=100, low=15, high=85, high_high=90)
EN = WORDS["en"]


def buckets(values: list[float], counts: list[int] | None = None) -> Buckets:
    n = len(values)
    avg = np.array(values, float)
    count = np.array(counts if counts is not None else [0 if v != v else 9 for v in values], np.uint32)
    time = T0 + np.arange(n) * (T1 - T0) // n
    return Buckets(time, count, count, np.zeros(n, np.uint32), avg - 0.1, avg + 0.1, avg)


def drawn(b: Buckets, now: int = T1) -> str:
    a = trend.axis(TAG, b, T0, T1)
    return str(chart.plot(a, TAG, b, now, UTC, EN, "title"))


def test_a_hole_is_hatched_worded_and_never_joined() -> None:
    b = buckets([50.0] * 40 + [np.nan] * 20 + [50.0] * 40)
    a = trend.axis(TAG, b, T0, T1)
    assert [(round((s - T0) / SECOND), round((e - T0) / SECOND)) for s, e in trend.gaps(a, b, T1)] == [(1440, 2160)]
    svg = drawn(b)
    assert svg.count('class="ln"') == 2
    assert "no data 12:00" in svg


def test_a_slow_point_is_one_line_without_gaps() -> None:
    values = [50.0 if i % 4 == 0 else np.nan for i in range(100)]
    b = buckets(values)
    a = trend.axis(TAG, b, T0, T1)
    assert trend.gaps(a, b, T1) == []
    assert drawn(b).count('class="ln"') == 1


def test_what_lies_in_the_future_is_no_gap() -> None:
    b = buckets([50.0] * 50 + [np.nan] * 50)
    a = trend.axis(TAG, b, T0, T1)
    middle = (T0 + T1) // 2
    assert trend.gaps(a, b, middle) == []
    assert "now" in drawn(b, middle)


def test_what_goes_beyond_a_limit_is_filled_and_the_limit_named() -> None:
    svg = drawn(buckets([80.0] * 50 + [92.0] * 50))
    assert 'class="over1"' in svg and 'class="over2"' in svg
    assert "high ≥ 85" in svg and "high-high ≥ 90" in svg
    assert 'class="over1"' not in drawn(buckets([50.0] * 100))


def test_an_over_range_reading_stays_in_sight() -> None:
    b = buckets([50.0] * 90 + [150.0] * 10)
    assert trend.axis(TAG, b, T0, T1).high > 150


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_the_scale_has_a_few_round_marks_inside(low: float, width: float) -> None:
    marks = trend.ticks(low, low + width)
    assert 2 <= len(marks) <= 8
    assert all(low - width * 1e-6 <= m <= low + width * (1 + 1e-6) for m in marks)


@given(st.lists(st.sampled_from([float("nan"), -5.0, 0.0, 50.0, 99.0, 180.0]), min_size=1, max_size=60))
def test_any_data_gives_well_formed_drawings_inside_the_frame(values: list[float]) -> None:
    b = buckets(values)
    a = trend.axis(TAG, b, T0, T1)
    for svg in (chart.plot(a, TAG, b, T1, UTC, EN, "t"), chart.quality_lane(a, b, T1, UTC), chart.scale(a)):
        root = ElementTree.fromstring(str(svg))
        for element in root.iter():
            for name in ("x", "x1", "x2", "width"):
                value = element.get(name, "0%")
                assert not value.endswith("%") or -0.01 <= float(value[:-1]) <= 100.01


def test_a_name_cannot_become_markup() -> None:
    tag = Tag(uid="u", index=0, name="T", high=5.0)
    b = buckets([1.0, 9.0])
    svg = str(chart.plot(trend.axis(tag, b, T0, T1), tag, b, T1, UTC, EN, '"><script>alert(1)</script>'))
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    lane = str(chart.act_lane(trend.axis(tag, b, T0, T1), [(T0, "<b>Wei</b>")], T1, UTC))
    assert "<b>" not in lane


def transition(version: int, cause: Cause, state: int, level: int, s: int, actor: str = "") -> Sealed:
    at = T0 + s * SECOND
    t = Transition(
        24, 3, version, 1, cause, 2, state, 0, level, 1, 1, 86.0, 0, 85.0 if level < 2 else 90.0, at, at, actor
    )
    return Sealed(t, version)


def test_an_alarm_lane_has_one_bar_a_level_and_says_when_it_returned() -> None:
    history = [
        transition(1, Cause.activated, 1, 1, 600),
        transition(2, Cause.escalated, 1, 2, 1200),
        transition(3, Cause.acknowledged, 3, 2, 1300, "p:1"),
        transition(4, Cause.returned, 2, 0, 2400),
    ]
    active = trend.activations(history, EN, UTC)
    assert [(a.words, (a.start - T0) // SECOND, None if a.end is None else (a.end - T0) // SECOND) for a in active] == [
        ("high ≥ 85", 600, 1200),
        ("high-high ≥ 90, 20:06:40", 1200, 2400),
    ]
    a = trend.axis(TAG, buckets([50.0]), T0, T1)
    assert str(chart.alarm_lane(a, active, T1, UTC)).count("al-bar") == 2


def test_words_in_a_lane_do_not_lie_upon_each_other() -> None:
    acts = [(T0 + (1000 + i) * SECOND, "Wei Lan: acknowledged") for i in range(3)]
    a = trend.axis(TAG, buckets([50.0]), T0, T1)
    lane = ElementTree.fromstring(str(chart.act_lane(a, acts, T1, UTC)))
    rows = [e.get("y") for e in lane.iter() if e.tag == "svg" and e.get("y")]
    assert len(rows) == len(set(rows)) == 3


@pytest.mark.parametrize("seconds", trend.RANGES)
def test_the_grid_has_a_handful_of_lines_on_round_times(seconds: int) -> None:
    lines = trend.grid(T1 - seconds * SECOND, T1, UTC)
    assert 3 <= len(lines) <= 10
    assert all(us % (60 * SECOND) == 0 for us, _ in lines)


def test_an_answer_that_does_not_fit_its_shape_is_refused() -> None:
    with pytest.raises(BadRequest, match="column 'time'"):
        buckets_of({"count": b""})
    columns = {"time": b"\0" * 8, "count": b"\0" * 4, "good": b"", "bad": b"", "min": b"", "max": b"", "avg": b""}
    with pytest.raises(BadRequest, match="different lengths"):
        buckets_of(columns)
    assert transitions_of({}) == []

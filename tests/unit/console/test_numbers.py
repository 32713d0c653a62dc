"""Figures, ages and times as the console writes them."""

import math
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from davy.clock import SECOND
from davy.console import numbers
from davy.reading import Tag


def tag(**more: object) -> Tag:
    return Tag(uid="u", index=0, name="T", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("us", "words"),
    [(0, "0:00"), (54, "0:54"), (39 * 60 + 20, "39:20"), (6370, "1:46:10"), (45 * 3600 + 19 * 60, "45:19 h"),
     (6 * 86400 + 7 * 3600, "6 d 7 h"), (-5, "0:00")],
)  # fmt: skip
def test_a_span_is_written_as_the_design_asks(us: int, words: str) -> None:
    assert numbers.span(us * SECOND) == words


def test_an_age_below_a_minute_is_in_seconds() -> None:
    assert numbers.age(1 * SECOND) == "1 s"
    assert numbers.age(252 * SECOND) == "4:12"


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(62.44, 1, "62.4"), (-4.1, 1, "−4.1"), (1234567.0, 0, "1,234,567"), (-0.001, 0, "0"), (math.nan, 1, "—"),
     (math.inf, 1, "—"), (0.000123456, None, "0.0001"), (3.14159, None, "3.142"), (412.0, None, "412"),
     (1e-9, None, "1.000e−09"), (0.0, None, "0")],
)  # fmt: skip
def test_a_number_has_a_true_minus_commas_and_no_made_up_digits(value: float, places: int | None, text: str) -> None:
    assert numbers.number(value, places) == text


@pytest.mark.parametrize(
    ("more", "places"),
    [({"range_low": 0.0, "range_high": 100.0}, 1), ({"range_low": 0.0, "range_high": 4.0}, 2),
     ({"range_low": 0.0, "range_high": 1000.0}, 0), ({"type": "uint16", "scale": 0.1}, 1),
     ({"type": "int32", "scale": 1.0}, 0), ({"type": "bool"}, 0), ({}, None)],
)  # fmt: skip
def test_decimals_follow_the_scale_or_the_range_of_the_instrument(more: dict[str, object], places: int | None) -> None:
    assert numbers.decimals(tag(**more)) == places


def test_a_limit_keeps_the_digits_a_person_wrote() -> None:
    assert numbers.limit(90.0) == "90"
    assert numbers.limit(7.125) == "7.125"
    assert numbers.limit(-20.5) == "−20.5"


def test_times_are_in_the_zone_that_is_named() -> None:
    us = 1_795_000_000 * SECOND
    shanghai = ZoneInfo("Asia/Shanghai")
    assert numbers.clock(us, UTC) == "11:06:40"
    assert numbers.clock(us, shanghai) == "19:06:40"
    assert numbers.day(us, shanghai) == "2026-11-18 19:06:40"
    assert numbers.offset(us, shanghai) == ("CST", "UTC+8", 480)
    assert numbers.offset(us, ZoneInfo("America/St_Johns"))[1:] == ("UTC−3:30", -210)


@pytest.mark.feature("F74")
def test_units_are_written_as_people_write_them() -> None:
    assert [numbers.unit(u) for u in ("Cel", "m3/h", "%LEL", "1", "kPa")] == ["°C", "m³/h", "%LEL", "", "kPa"]

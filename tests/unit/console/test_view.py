"""What the pages say of a picture: the sentence, the order of the list, the areas, the sites."""

from dataclasses import asdict
from datetime import UTC
from typing import Any

import numpy as np
import pytest

from davy.clock import SECOND
from davy.console import sites, view
from davy.console.picture import Checkpoint, Picture
from davy.console.words import WORDS
from davy.errors import BadRequest
from davy.fact.event import Cause, Transition
from davy.reading import Class, Flag, Hazard, Status, Tag

NOW = 1_780_000_000 * SECOND
TAGS = [
    Tag(uid="a", index=0, name="T1.LEVEL", label={"en": "Tank 1 level", "zh": "1罐液位"}, area="tank-farm", unit="%",
        range_low=0, range_high=100, hazard=Hazard.both, low=15, high=85, high_high=90, priority=1),
    Tag(uid="b", index=1, name="AT-07.CH4", label={"en": "Pump room gas"}, area="pump-room", unit="%LEL", range_low=0,
        range_high=100, high=25, priority=2, alarm_class=Class.statutory),
    Tag(uid="c", index=4, name="XV-1", type="bool", area="pump-room", discrete=1.0, priority=3),
]  # fmt: skip


def columns(*rows: tuple[int, float, int, int, int]) -> dict[str, bytes]:
    """(tag, value, status, flags, age in s)."""
    dtypes = {"tag": "<u4", "value": "<f8", "status": "<u4", "flags": "<u4"}
    out = {name: np.array([r[i] for r in rows], dtype).tobytes() for i, (name, dtype) in enumerate(dtypes.items())}
    at = np.array([NOW - r[4] * SECOND for r in rows], "<i8").tobytes()
    return out | {"source_time": at, "server_time": at}


def picture(*rows: tuple[int, float, int, int, int], **more: Any) -> Picture:
    good = {0: (0, 50.0, 0, 0, 1), 1: (1, 2.0, 0, 0, 1), 4: (4, 0.0, 0, 0, 1)} | {r[0]: r for r in rows}
    item = {"site": {"name": {"en": "Harbour"}}, "tags": [t.plain() for t in TAGS], "latest": columns(*good.values())}
    return Picture("davy/h/b", item | more, NOW)


def move(p: Picture, alarm: int, cause: Cause, state: int, level: int = 1, version: int = 1, **more: Any) -> None:
    tag = next(t for t in TAGS if t.index == alarm >> 3)
    fields = {
        "alarm": alarm, "tag": alarm >> 3, "version": version, "activation": 1, "cause": cause, "state_before": 2,
        "state": state, "level_before": 0, "level": level, "priority": tag.priority, "alarm_class": 1, "value": 1.0,
        "status": 0, "limit": 85.0, "source_time": NOW - 60 * SECOND, "time": NOW - 60 * SECOND,
    }  # fmt: skip
    p.transition(asdict(Transition(**(fields | more))))


def scope(language: str = "en") -> view.Scope:
    return view.Scope(WORDS[language], NOW, UTC, {"p:1": "Wei Lan"}.get)


def sentence(p: Picture, language: str = "en") -> str:
    said = view.say(p, scope(language))
    return f"{said.strong} {said.rest}".strip()


def test_a_calm_site_is_said_to_be_read_and_trusted() -> None:
    assert sentence(picture()) == "Nothing is in alarm. All 3 points read and can be trusted."


@pytest.mark.feature("F10")
def test_a_calm_site_with_a_doubtful_point_is_not_called_calm_alone() -> None:
    said = view.say(picture((1, 2.0, Status.BadNotConnected, 0, 1)), scope())
    assert said.rest == "1 of 3 points cannot be trusted: AT\u201107.CH4."
    assert said.doubt and "2 of 3 points normal" in said.counts


def test_an_uncertain_point_is_never_counted_among_the_trusted() -> None:
    assert "can be trusted" not in sentence(picture((1, 2.0, 0, Flag.calibration, 1)))


def test_the_sentence_names_the_worst_its_value_and_the_others() -> None:
    p = picture((0, 90.4, 0, 0, 1))
    move(p, 8, Cause.activated, 1)
    move(p, 0, Cause.activated, 1, level=2, limit=90.0)
    assert sentence(p) == "Tank 1 level is above its high-high limit (90.4 %). 1 more alarm: AT\u201107.CH4."
    assert sentence(p, "zh") == "1罐液位超过高高限（90.4 %）。 另有1条报警：AT\u201107.CH4。"


def test_the_sentence_says_whether_it_is_getting_worse() -> None:
    p = picture((0, 86.0, 0, 0, 1))
    move(p, 0, Cause.activated, 1)
    p.tick(NOW + 31 * SECOND)
    p.readings(columns((0, 87.0, 0, 0, 0)))
    p.tick(NOW + 62 * SECOND)
    later = scope()._replace(now=NOW + 62 * SECOND)
    assert "and still rising, 116.1 % an hour" in view.say(p, later).strong
    p.readings(columns((0, 85.5, 0, 0, 0)))
    assert "and falling" in view.say(p, later).strong


def test_an_alarm_that_went_back_is_said_to_wait_for_an_answer() -> None:
    p = picture()
    move(p, 0, Cause.activated, 1)
    move(p, 0, Cause.returned, 0, level=0, version=2)
    assert sentence(p).startswith("Tank 1 level is back to normal, not acknowledged")
    assert view.row(p, p.alarms[0], scope()).state == "returned"


def test_the_list_goes_by_priority_then_unanswered_then_newest() -> None:
    p = picture()
    move(p, 8, Cause.activated, 1, time=NOW - 10 * SECOND)
    move(p, 34, Cause.activated, 1, time=NOW - 5 * SECOND)
    move(p, 9, Cause.activated, 1, time=NOW - 50 * SECOND)
    move(p, 9, Cause.acknowledged, 3, version=2)
    move(p, 0, Cause.activated, 3)
    assert [a.alarm for a in view.tab(p, "active")] == [0, 8, 9, 34]
    assert p.tally() == {1: (1, 0), 2: (2, 1), 3: (1, 1), 4: (0, 0)}


def test_a_shelved_alarm_leaves_the_list_but_not_its_tab_nor_its_tile() -> None:
    p = picture()
    move(p, 8, Cause.activated, 1)
    move(p, 8, Cause.shelved, 9, version=2, actor="p:1", reason="hot work", until=NOW + 1320 * SECOND)
    assert view.tab(p, "active") == []
    [row] = [view.row(p, a, scope()) for a in view.tab(p, "shelved")]
    assert (row.state_word, row.who, row.alarm.reason) == ("Shelved", "Wei Lan", "hot work")
    [pump] = [a for a in view.areas(p, scope()) if a.name == "Pump room"]
    assert pump.tiles[0].hidden == ("shelf", "shelved, 22:00 left")


def test_a_reply_time_runs_out_and_then_counts_up_as_late() -> None:
    p = picture()
    move(p, 0, Cause.activated, 1, time=NOW - 160 * SECOND)
    row = view.row(p, p.alarms[0], scope())
    assert (row.reply, row.due) == ("0:20", "soon")
    late = view.row(p, p.alarms[0], scope()._replace(now=NOW + 60 * SECOND))
    assert (late.reply, late.due) == ("0:40 late", "late")


def test_a_transition_the_snapshot_already_told_changes_nothing() -> None:
    p = picture()
    move(p, 0, Cause.activated, 1, version=3)
    move(p, 0, Cause.acknowledged, 3, version=2)
    assert p.alarms[0].state == 1
    move(p, 0, Cause.acknowledged, 3, version=4, historical=True)
    assert p.alarms[0].state == 1


def test_what_is_no_snapshot_or_no_reading_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="snapshot of 'x'"):
        Picture("x", {"tags": [{"nonsense": 1}]}, NOW)
    with pytest.raises(BadRequest, match="6 columns of one length"):
        picture().readings({"tag": b"\0\0\0\0", "value": b""})
    with pytest.raises(BadRequest, match="transition of"):
        picture().transition({"alarm": 1})


def test_a_reading_of_a_tag_the_table_lacks_is_passed_over() -> None:
    p = picture()
    assert p.readings(columns((99, 1.0, 0, 0, 0), (0, 7.0, 0, 0, 0))).tolist() == [0]
    assert p.latest(0).value == 7.0


def test_a_big_area_shows_the_abnormal_first_and_says_what_it_leaves_out() -> None:
    tags = [Tag(uid=str(i), index=i, name=f"P{i:03d}", area="a", high=5.0) for i in range(200)]
    rows = [(i, 1.0, Status.BadNotConnected if i == 150 else 0, 0, 0) for i in range(200)]
    p = Picture("o", {"tags": [t.plain() for t in tags], "latest": columns(*rows)}, NOW)
    p.transition(asdict(Transition(199 * 8, 199, 1, 1, 0, 2, 1, 0, 1, 1, 1, 9.0, 0, 5.0, NOW, NOW)))
    [area] = view.areas(p, scope())
    assert [t.tag.name for t in area.tiles[:2]] == ["P199", "P150"]
    assert area.hidden == 200 - view.TILES_AN_AREA


def test_the_black_box_sentence_says_up_to_when_and_by_whom() -> None:
    p = picture(checkpoint={"size": 9, "time": NOW, "held_size": 7, "held_time": NOW, "exposure_us": 2_000_000})
    assert view.held_sentence(p, scope(), "the county") == "Everything before 20:26:40 is held by the county."
    p.checkpoint = Checkpoint(size=9, exposure_us=5)
    assert view.held_sentence(p, scope(), "the county") == "Nothing is held by the county yet."
    p.checkpoint = Checkpoint(size=9)
    assert "no centre" in view.held_sentence(p, scope(), "the county")


def test_a_site_card_never_calls_a_silent_or_doubtful_site_quiet() -> None:
    kinds = {
        "quiet": picture(),
        "doubt": picture((1, 2.0, Status.BadNotConnected, 0, 1)),
        "silent": picture(*((i, 1.0, 0, 0, 900) for i in (0, 1, 4))),
    }
    assert {kind: sites.card(p, scope()).kind for kind, p in kinds.items()} == {k: k for k in kinds}
    alarmed = kinds["silent"]
    move(alarmed, 0, Cause.activated, 1)
    assert sites.card(alarmed, scope()).kind == "alarm"
    assert sites.card(Picture("o", {"tags": []}, NOW), scope()).kind == "silent"

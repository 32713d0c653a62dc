"""Tags and their table."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from davy.errors import UnknownTarget
from davy.reading import Class, Hazard, Tag, TagTable

GAS = Tag(
    "0192", 4, "AT-07.CH4", revision=2, label=MappingProxyType({"en": "Pump room gas", "zh": "泵房可燃气"}),
    unit="%{LEL}", range_low=0.0, range_high=100.0, signal="4-20mA", hazard=Hazard.high, alarm_class=Class.statutory,
    priority=1, high=25.0, high_high=50.0, latch=True, stale_after=3_000_000, position=(121.8412, 30.8625),
)  # fmt: skip
TABLE = TagTable(7, (Tag("0191", 1, "T101.LEVEL"), GAS))


def test_a_tag_comes_back_from_its_plain_form() -> None:
    for tag in TABLE.tags:
        assert Tag.of(tag.plain()) == tag


def test_the_plain_form_leaves_out_what_is_default_and_holds_only_cbor_types() -> None:
    assert TABLE.tags[0].plain() == {"uid": "0191", "index": 1, "name": "T101.LEVEL"}
    plain = GAS.plain()
    assert plain["label"] == {"en": "Pump room gas", "zh": "泵房可燃气"}
    assert plain["position"] == [121.8412, 30.8625]
    assert {type(v) for v in plain.values()} <= {str, int, float, bool, dict, list}


def test_arrays_by_index_leave_room_for_indices_no_longer_used() -> None:
    assert TABLE.size == 5
    assert TABLE.known.tolist() == [False, True, False, False, True]
    high = TABLE.column("high")
    assert high[4] == 25.0
    assert np.isnan(high[:4]).all()
    assert TABLE.column("high", np.inf).tolist() == [np.inf] * 4 + [25.0]


def test_a_tag_is_found_by_index_and_by_name_and_an_unknown_one_is_named() -> None:
    assert TABLE[4] is TABLE.by_name["AT-07.CH4"] is GAS
    with pytest.raises(UnknownTarget, match="tag index 2: not in tag table version 7"):
        TABLE[2]


@pytest.mark.parametrize("twice", [{"index": 4}, {"name": "AT-07.CH4"}])
def test_an_index_or_a_name_given_twice_is_refused(twice: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="an index or a name occurs twice"):
        TagTable(1, (GAS, replace(TABLE.tags[0], **twice)))  # type: ignore[arg-type]


def test_an_empty_table_has_no_room() -> None:
    empty = TagTable(0, ())
    assert (len(empty), empty.size, len(empty.column("high"))) == (0, 0, 0)

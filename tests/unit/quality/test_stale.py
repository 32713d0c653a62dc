"""Silence is always a state: `Judge.stale`, by the tick."""

import numpy as np
import pytest

from davy.quality import Judge
from davy.reading import Flag, Readings, Status, Tag, TagTable

S = 1_000_000
NS = 1_000_000_000
A, B, NONE = 0, 1, 5
TAGS = TagTable(
    3,
    (
        Tag("a", A, "a", range_high=100.0, stale_after=3 * S),
        Tag("b", B, "b", stale_after=10 * S),
        Tag("n", NONE, "n"),
    ),
)


def heard(tag: int, value: float, mono_s: float, status: int = 0, flags: int = 0, source: int = 1000) -> Readings:
    words = [np.array([w], np.uint32) for w in (tag, status, flags)]
    times = [np.array([t], np.int64) for t in (source * S, 2000 * S)]
    return Readings(words[0], np.array([value]), words[1], words[2], *times, "o/s/b", 3, round(mono_s * NS), 9)


@pytest.fixture
def judge() -> Judge:
    judge = Judge(TAGS)
    assert len(judge.stale(0, 100 * NS)) == 0  # the first scan starts the wait
    return judge


def scan(judge: Judge, mono_s: float) -> list[tuple[int, Status]]:
    r = judge.stale(77 * S, round(mono_s * NS))
    return [(int(t), Status(int(s))) for t, s in zip(r.tag, r.status, strict=True)]


@pytest.mark.feature("F09")
def test_a_tag_never_heard_waits_for_its_first_data_and_then_says_so_once(judge: Judge) -> None:
    assert scan(judge, 103) == []
    assert scan(judge, 103.1) == [(A, Status.BadWaitingForInitialData)]
    assert scan(judge, 109) == []
    assert scan(judge, 111) == [(B, Status.BadWaitingForInitialData)]
    assert scan(judge, 1e6) == [], "a tag without stale_after is never stale"


def test_a_silent_tag_gives_its_last_value_as_bad_once_a_silence(judge: Judge) -> None:
    judge.judge(heard(A, 120.0, 101))
    judge.judge(heard(B, 1.0, 101))
    r = judge.stale(77 * S, 105 * NS)
    assert (r.tag.tolist(), r.value.tolist(), r.status.tolist()) == ([A], [120.0], [Status.BadNoCommunication])
    assert r.flags.tolist() == [Flag.stale | Flag.no_source_time | Flag.over_range], "over-range never goes silent"
    assert r.source_time.tolist() == r.server_time.tolist() == [77 * S]
    assert (r.origin, r.tags_version, r.mono_ns, r.boot_id) == ("o/s/b", 3, 105 * NS, 9)
    assert scan(judge, 106) == []
    judge.judge(heard(A, 5.0, 107, source=1001))
    assert scan(judge, 109) == []
    assert scan(judge, 110.5) == [(A, Status.BadNoCommunication)]


def test_the_reason_a_source_gave_last_outlives_its_silence(judge: Judge) -> None:
    judge.judge(heard(A, np.nan, 101, status=Status.BadNotConnected))
    assert scan(judge, 105) == [(A, Status.BadNotConnected)]


def test_late_and_repeated_readings_prove_that_the_link_lives(judge: Judge) -> None:
    judge.judge(heard(A, 1.0, 101))
    judge.judge(heard(A, 1.0, 103))
    judge.judge(heard(A, 9.0, 105, source=900))
    assert scan(judge, 107) == []
    r = judge.stale(0, 109 * NS)
    assert r.value.tolist() == [1.0], "the late 9.0 is not the last value"


def test_historical_readings_do_not_end_a_silence(judge: Judge) -> None:
    judge.judge(heard(A, 1.0, 101))
    judge.judge(heard(A, 2.0, 104, flags=Flag.historical))
    r = judge.stale(0, 105 * NS)
    assert (r.tag.tolist(), r.value.tolist()) == ([A], [1.0])


def test_nothing_is_scanned_where_no_tag_can_grow_stale() -> None:
    judge = Judge(TagTable(1, (Tag("n", 0, "n"),)))
    assert len(judge.stale(0, 0)) == len(judge.stale(0, 10**15)) == 0
    assert len(Judge(TagTable(1, ())).stale(0, 0)) == 0

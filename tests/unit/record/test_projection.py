"""From a real sealed log into history: every leaf once, whatever happens in between."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from davy.clock import SimulatedClock
from davy.errors import Inconsistent, KeyUnknown, Unreachable
from davy.fact import Config, Epoch, Tags, Transition
from davy.reading import Readings, concat
from davy.record.files import HOUR
from davy.record.history import ParquetHistory
from davy.record.project import PATIENCE_NS, TAIL_NS, Item, Projection, rebuild
from davy.record.transitions import columns
from histories import NOON, SECOND, Naive, Site, readings, same, transition

SPAN = (NOON - HOUR, NOON + HOUR)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "log")
    yield site
    site.log.close()


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOON)


def second(k: int, tags: int = 5) -> Readings:
    rng = np.random.default_rng(k)
    return readings(
        np.arange(tags), rng.normal(20, 1, tags).round(2), NOON + k * SECOND, rng.choice([0, 0x808C0000], tags)
    )


def drain(projection: Projection) -> list[Item]:
    items: list[Item] = []
    while found := projection.step():
        items += found
    return items


def test_readings_and_transitions_of_the_log_stand_in_history(
    site: Site, clock: SimulatedClock, tmp_path: Path
) -> None:
    site.table(refs=[20.0] * 5)
    site.put(second(0), transition(8, 1, NOON), second(1), transition(16, 1, NOON + SECOND, actor="p:1", reason="why"))
    site.table(refs=[21.0] * 5)
    site.put(second(2))
    with ParquetHistory(tmp_path / "history") as history:
        items = drain(Projection(site.reader(), site.key, history, clock))
        assert [i.seq for i in items] == list(range(site.log.size))
        assert [type(i.content) for i in items[:4]] == [Epoch, Tags, Readings, Transition]
        same(history.range(range(5), *SPAN), Naive([second(0), second(1), second(2)]).range(range(5), *SPAN))
        found = columns(history.transitions(NOON, NOON + HOUR, 10))
        assert np.frombuffer(found["leaf"], "<i8").tolist() == [3, 5]
        assert found["actor"] == ["", "p:1"]
        assert len(history.transitions(NOON, NOON + HOUR, 1)) == 1
        assert history.transitions(NOON, NOON + HOUR, 9, [2])["reason"].to_pylist() == ["why"]


def test_the_tail_is_written_when_it_is_a_minute_old(site: Site, clock: SimulatedClock, tmp_path: Path) -> None:
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, clock)
        site.put(second(0))
        drain(projection)
        assert history.durable == 0 and len(history.range([1], *SPAN)) == 1
        clock.advance(TAIL_NS // 1000)
        projection.step()
        assert history.durable == site.log.size and len(history.files) == 1
        assert len(history.range([1], *SPAN)) == 1


def test_a_new_process_goes_on_where_the_files_end_and_tells_observers_what_they_need(
    site: Site, clock: SimulatedClock, tmp_path: Path
) -> None:
    site.put(Config("site", {"name": "old"}, NOON))
    site.put(Config("site", {"name": "new"}, NOON))
    site.table([{"uid": "u", "index": 0, "name": "A"}], refs=[20.0] * 5)
    site.put(transition(8, 1, NOON), second(0))
    site.epoch({"alarms": []})
    site.put(transition(8, 2, NOON), second(1))
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, clock)
        assert list(projection.resume()) == []
        drain(projection)
        projection.flush()
        site.put(second(2))
        drain(projection)  # and dies before it is flushed
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, clock)
        told = [i.content for i in projection.resume()]
        assert [type(c) for c in told] == [Config, Tags, Epoch, Transition]
        assert told[0].content == {"name": "new"} and told[3].version == 2
        assert [i.seq for i in drain(projection)] == [site.log.size - 1]
        same(history.range(range(5), *SPAN), Naive([second(0), second(1), second(2)]).range(range(5), *SPAN))
        same(history.latest(), second(2))


def test_what_is_erased_is_a_hole_and_what_follows_is_seen(site: Site, clock: SimulatedClock, tmp_path: Path) -> None:
    site.put(second(0))
    site.epoch(None)
    site.put(second(1), second(2))
    site.epoch(None)
    site.put(second(3))

    def key(key_id: int) -> bytes:
        if key_id >> 4 == 2:
            raise KeyUnknown("erased")
        return site.key(key_id)

    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), key, history, clock, patience_ns=0)
        drain(projection)
        assert projection.holes == [(2, 5)]  # the epoch leaf and both seconds under its keys
        assert history.range([1], *SPAN).source_time.tolist() == [NOON, NOON + 3 * SECOND]


def test_a_key_that_is_late_is_waited_for_once(site: Site, clock: SimulatedClock, tmp_path: Path) -> None:
    site.put(second(0), second(1))
    keys, site.keys = site.keys, {}
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, clock)
        assert projection.step() == []
        site.keys = {k: v for k, v in keys.items() if k & 15}  # those of events come
        assert len(projection.step()) == 1
        clock.advance(PATIENCE_NS // 1000 - 1)
        assert projection.step() == []
        clock.advance(PATIENCE_NS // 1000 + 1)
        assert len(projection.step()) == 2  # given up for good: the second one is not waited for
        assert projection.holes == [(1, 3)]


def test_nothing_is_lost_while_the_signer_does_not_answer(site: Site, clock: SimulatedClock, tmp_path: Path) -> None:
    site.put(second(0))
    site.epoch(None)
    site.put(second(1))
    awake = False

    def key(key_id: int) -> bytes:
        if key_id >> 4 == 2 and not awake:
            raise Unreachable("signer")
        return site.key(key_id)

    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), key, history, clock)
        assert len(projection.step()) == 2  # what came before is told first
        with pytest.raises(Unreachable):
            projection.step()
        awake = True
        assert len(drain(projection)) == 2 and projection.holes == []


def test_a_history_of_another_log_or_of_a_longer_one_is_refused(
    site: Site, clock: SimulatedClock, tmp_path: Path
) -> None:
    other = Site(tmp_path / "other", "acme/harbour/box-2")
    other.put(second(0), second(1))
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(other.reader(), other.key, history, clock)
        drain(projection)
        projection.flush()
    with ParquetHistory(tmp_path / "history") as history:
        with pytest.raises(Inconsistent, match="expected origin acme/harbour/box-1, got acme/harbour/box-2"):
            Projection(site.reader(), site.key, history, clock)
        history.memo["origin"] = site.origin
        with pytest.raises(Inconsistent, match="rebuild"):
            Projection(site.reader(), site.key, history, clock)
    other.log.close()


def test_only_one_process_has_a_history_open(tmp_path: Path) -> None:
    with ParquetHistory(tmp_path / "history"), pytest.raises(Inconsistent, match="another process"):
        ParquetHistory(tmp_path / "history")
    ParquetHistory(tmp_path / "history").close()


@pytest.mark.feature("F30", "F10")
def test_a_rebuilt_history_equals_what_was_there(site: Site, clock: SimulatedClock, tmp_path: Path) -> None:
    site.table(refs=[20.0] * 5)
    for k in range(30):
        site.put(second(k), transition(8, k + 1, NOON + k))
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, clock)
        for _ in range(3):
            drain(projection)
            projection.flush()
        before = history.range(range(5), *SPAN), history.transitions(*SPAN, 100), history.latest()
    done = rebuild(site.reader(), site.key, tmp_path / "history", clock)
    assert (done.leaves, done.readings, done.transitions, done.holes) == (site.log.size, 150, 30, [])
    with ParquetHistory(tmp_path / "history") as history:
        same(history.range(range(5), *SPAN), before[0])
        assert history.transitions(*SPAN, 100).equals(before[1])
        same(history.latest(), before[2])
        assert history.position == site.log.size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history", "log"]


def test_a_rebuild_that_fails_leaves_the_history_as_it_was(site: Site, clock: SimulatedClock, tmp_path: Path) -> None:
    site.put(second(0))
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, clock)
        drain(projection)
        projection.flush()

    def key(key_id: int) -> bytes:
        raise Unreachable("signer")

    with pytest.raises(Unreachable):
        rebuild(site.reader(), key, tmp_path / "history", clock)
    with ParquetHistory(tmp_path / "history") as history:
        same(history.range([0], *SPAN), second(0).take(slice(0, 1)))


@pytest.mark.shared
@pytest.mark.feature("F30", "F10")
def test_the_longwall_file_stands_in_history_value_by_value(
    shared: Path, site: Site, clock: SimulatedClock, tmp_path: Path
) -> None:
    path = shared / "datasets" / "coal_methane" / "methane-train.arff"
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().lower() == "@data")
    rows = [line.split(",") for line in lines[start + 1 :] if line.strip()]
    values = np.array([[float(x) if x.strip() != "?" else np.nan for x in row[:7]] for row in rows])
    n = len(values)
    times = NOON - 30 * SECOND * (n - np.arange(n))
    leaves = [
        readings(np.tile(np.arange(7), len(v)), v.ravel(), np.repeat(t, 7))
        for v, t in zip(np.array_split(values, n // 300), np.array_split(times, n // 300), strict=True)
    ]
    site.put(*leaves)
    with ParquetHistory(tmp_path / "history") as history:
        drain(projection := Projection(site.reader(), site.key, history, clock))
        projection.flush()
        history.tidy(0)
        assert len(history.files) <= 8
        everything = concat(leaves)
        for tag in range(7):
            same(history.range([tag], int(times[0]), NOON), everything.take(everything.tag == tag))

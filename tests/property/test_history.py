"""Laws of a history: whatever is appended, flushed, merged, closed and opened again, it holds the same as a list."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from davy.reading import Readings
from davy.record.files import HOUR, File, hides, merged, partition, plan, visible
from davy.record.history import ParquetHistory
from histories import NOON, SECOND, Naive, readings, same

#: Times near each other, hours and months apart, and impossible ones.
TIMES = st.one_of(
    st.integers(0, 300).map(lambda s: NOON + s * SECOND),
    st.integers(-4000, 4000).map(lambda h: NOON + h * HOUR),
    st.sampled_from([-(1 << 63), -1, 0, (1 << 63) - 1]),
)
BITS = st.one_of(st.integers(0, 3).map(lambda n: int(np.float64(n).view("u8"))), st.integers(0, (1 << 64) - 1))


@st.composite
def batches(draw: st.DrawFn) -> Readings:
    n = draw(st.integers(1, 8))
    time = draw(arrays("<i8", n, elements=TIMES))
    late = draw(st.sampled_from([0, 1, 5 * SECOND]))
    batch = readings(draw(arrays("<u4", n, elements=st.integers(0, 3))), 0.0, np.minimum(time, (1 << 63) - 1 - late))
    value = draw(arrays("<u8", n, elements=BITS)).view("<f8")
    status = draw(arrays("<u4", n, elements=st.sampled_from([0, 0x40900000, 0x80000000, 0xFFFFFFFF])))
    return Readings(batch.tag, value, status, status, batch.source_time, batch.source_time + late)


STEPS = st.lists(st.one_of(batches(), st.sampled_from(["flush", "tidy", "quiet", "reopen"])), min_size=1, max_size=14)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_a_history_is_a_list_however_it_was_kept(steps: list[Readings | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        naive, taken = Naive(), list[Readings]()
        history = ParquetHistory(Path(folder))
        for mono, step in enumerate(steps):
            if isinstance(step, Readings):
                taken.append(step)
                history.append(step, history.position)
            elif step == "flush":
                history.flush()
            elif step == "tidy":
                history.tidy(mono * 3_000_000_000)
            elif step == "quiet":  # a minute without readings: the hours before it are past
                history.advance(history.position + 1)
                history.flush()
            else:
                history.flush()
                history.close()
                history = ParquetHistory(Path(folder))
        for leaf, batch in enumerate(taken):
            naive.append(batch, leaf)
        span = (-(1 << 60), 1 << 60)
        same(history.range([0, 1, 2, 3], *span), naive.range([0, 1, 2, 3], *span))
        same(history.latest(), naive.latest())
        near = (NOON, NOON + HOUR)
        got, expected = history.buckets([0, 1], *near, 7), naive.buckets([0, 1], *near, 7)
        for name in ("count", "good", "bad", "min", "max"):
            assert np.array_equal(getattr(got, name), getattr(expected, name), equal_nan=True)
        history.close()


FLUSHES = st.lists(
    st.tuples(st.lists(st.integers(-40, 40), min_size=1, max_size=4), st.integers(1, 1 << 26)), max_size=40
)


@given(FLUSHES, st.integers(0, 3))
def test_merging_as_planned_never_hides_a_row_nor_shows_it_twice(
    flushes: list[tuple[list[int], int]], quiet: int
) -> None:
    """Files as sets of (flush, hour): what is visible is always a partition of what was written."""
    holds: dict[File, frozenset[tuple[int, int]]] = {}
    on_disk: set[File] = set()
    for leaf, (hours, size) in enumerate(flushes):
        level, cells = partition(NOON + np.array(hours) * HOUR)
        parts = np.zeros(len(hours)) if cells is None else cells
        for part in set(parts.tolist()):
            times = [NOON + h * HOUR for h, p in zip(hours, parts, strict=True) if p == part]
            file = File(level, min(times), max(times), leaf, leaf + 1, size)
            holds[file] = frozenset((leaf, (t - NOON) // HOUR) for t in times)
            on_disk.add(file)
        position = leaf + 1 + (quiet if leaf == len(flushes) - 1 else 0)
        while planned := plan(visible(on_disk), position):
            run, out = planned
            out = File(out.level, out.t0, out.t1, out.first, out.end, sum(f.size for f in run))
            assert out not in on_disk and all(hides(out, f) for f in run)
            holds[out] = frozenset().union(*(holds[f] for f in run))
            on_disk.add(out)
        shown = [row for f in visible(on_disk) for row in holds[f]]
        assert len(shown) == len(set(shown))
        assert set(shown) == {(k, h) for k, (hours, _) in enumerate(flushes[: leaf + 1]) for h in hours}


def test_the_merged_name_spans_its_parts() -> None:
    parts = [File("h", 5, 9, 3, 4), File("h", 1, 7, 0, 2)]
    assert merged(parts, "h") == File("h", 1, 9, 0, 4)

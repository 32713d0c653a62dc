"""History on a disk that dies or fails at each of its steps: nothing is lost, nothing is there twice."""

import errno
import random
from pathlib import Path

import pytest

from chaos.conftest import Died, Disk
from davy.errors import Full
from davy.reading import Readings
from davy.record.files import HOUR
from davy.record.history import ParquetHistory
from histories import NOON, SECOND, Naive, readings, same, transition

SPAN = (NOON - 100 * HOUR, NOON + 100 * HOUR)
LEAVES = 24


def batch(leaf: int) -> Readings:
    """Two tags; some late rows, some in another hour, so that a flush writes several files."""
    late = -3 * HOUR if leaf % 5 == 0 else 0
    return readings([1, 2, 1], [leaf, leaf + 0.5, -leaf], NOON + leaf * 400 * SECOND + late * (leaf % 2))


def live(history: ParquetHistory) -> None:
    """From wherever it stands to the end: a flush every third leaf, merging after each, the last one unflushed."""
    for leaf in range(history.position, LEAVES):
        if leaf % 4 == 3:
            history.add(transition(8, leaf, NOON + leaf), leaf)
        else:
            history.append(batch(leaf), leaf)
        if leaf % 3 == 2:
            history.flush()
            history.tidy(leaf * 3_000_000_000)


def whole(history: ParquetHistory) -> None:
    naive = Naive()
    for leaf in range(history.position):
        if leaf % 4 != 3:
            naive.append(batch(leaf), leaf)
    same(history.range([1, 2], *SPAN), naive.range([1, 2], *SPAN))
    same(history.latest(), naive.latest())
    found = history.transitions(*SPAN, 100)["leaf"].to_pylist()
    assert found == list(range(3, history.position, 4))


def steps(tmp_path: Path) -> int:
    folder = tmp_path / "count"
    folder.mkdir()
    disk = Disk(folder)
    with ParquetHistory(folder, disk) as history:
        live(history)
        whole(history)
    return disk.step


#: How many of the steps each test tries: a few by default, all of them in the long run.
SAMPLES = pytest.mark.parametrize(
    "samples", [4, pytest.param(10**6, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)


@SAMPLES
@pytest.mark.parametrize("names", ["durable", "all", "some"])
def test_a_history_that_dies_at_any_step_is_whole_when_it_has_read_on(tmp_path: Path, names: str, samples: int) -> None:
    rng = random.Random(names)
    count = steps(tmp_path)
    for at in rng.sample(range(count), min(samples, count)):
        folder = tmp_path / str(at)
        folder.mkdir()
        disk = Disk(folder, at, rng.choice(("before", "half", "after")))
        history = None
        with pytest.raises(Died):
            history = ParquetHistory(folder, disk)
            live(history)
        if history is not None:
            history.close()
        disk.cut_power(rng, names)
        with ParquetHistory(folder) as history:
            whole(history)
            live(history)
            assert history.position == LEAVES
            whole(history)


@SAMPLES
@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_a_full_disk_loses_nothing_shows_nothing_by_halves_and_is_told_by_name(
    tmp_path: Path, when: str, samples: int
) -> None:
    rng = random.Random(when)
    count = steps(tmp_path)
    failed = 0
    for at in rng.sample(range(6, count), min(samples, count - 6)):
        folder = tmp_path / str(at)
        folder.mkdir()
        disk = Disk(folder, at, when, errno.ENOSPC)
        with ParquetHistory(folder, disk) as history:
            try:
                live(history)
            except (Full, OSError) as error:
                failed += 1
                assert isinstance(error, Full) or disk.log[at].startswith(("remove", "sync_dir"))
            whole(history)
            history.flush()
            live(history)
            history.flush()
            whole(history)
        with ParquetHistory(folder) as history:
            assert history.position == LEAVES
            whole(history)
    assert failed


def test_history_gives_way_oldest_first_and_keeps_transitions(tmp_path: Path) -> None:
    with ParquetHistory(tmp_path / "history") as history:
        live(history)
        history.flush()
        held = {(f.first, f.end) for f in history.files}
        dropped = history.give_way()
        assert dropped is not None and dropped.t0 < NOON
        assert {(f.first, f.end) for f in history.files} < held
        oldest = min(f.t1 for f in history.files)
        assert dropped.t1 <= oldest
        while history.give_way():
            pass
        assert history.files == () and len(history.range([1, 2], *SPAN)) == 0
        assert len(history.transitions(*SPAN, 100)) == LEAVES // 4
        assert list((tmp_path / "history" / "readings").iterdir()) == []

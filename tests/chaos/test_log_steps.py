"""A log that dies, or whose disk refuses, at each single step: nothing acknowledged is lost or altered."""

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.conftest import ORIGIN, SEGMENT_BYTES, Died, Disk, Life, make_group
from davy.blackbox.fsck import check
from davy.blackbox.log import Log
from davy.blackbox.merkle import leaf_hash, root_of
from davy.blackbox.note import Signer
from davy.fact import decode_leaf

#: Group sizes: several bundles, one group over two of them, three pack hours, journal segments come and go.
COUNTS = [1, 120, 150, 3, 200, 20, 260, 30]

#: How it ends: how much of the step was done, and what the disk still knows.
ENDS = [
    ("before", "kill"), ("half", "kill"), ("after", "kill"),
    ("before", "durable"), ("half", "durable"), ("after", "durable"),
    ("before", "all"), ("half", "all"), ("after", "all"),
    ("before", "some"), ("after", "some"),
]  # fmt: skip


def finds_itself(path: Path, life: Life) -> None:
    """Open the log as a restarted process would and compare it with what was acknowledged."""
    log = Log.open(path, ORIGIN, segment_bytes=SEGMENT_BYTES)
    known = life.acknowledged
    if log.size > len(known):  # a group whose answer was not given may be there, whole
        known = known + life.attempted
    assert log.size == len(known)
    leaves = [leaf for leaf, _, _ in known]
    assert log.leaves(0, log.size) == leaves
    assert log.root() == root_of(map(leaf_hash, leaves))
    assert [log.body(seq, decode_leaf(leaf)) for seq, leaf in enumerate(leaves)] == [chunk for _, chunk, _ in known]
    assert life.published <= (log.published.size if log.published else 0) <= log.size
    log.close()
    life.acknowledged = list(known)


def end(disk: Disk, how: str, rng: random.Random) -> None:
    if how == "kill":
        disk.kill()
    else:
        disk.cut_power(rng, how)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many steps that life has when nothing goes wrong; what they are must be what we mean to try."""
    path = tmp_path_factory.mktemp("whole")
    disk = Disk(path)
    Life(Signer.generate(ORIGIN)).live(path, disk, COUNTS).close()
    done = " ".join(disk.log)
    for what in ("sync 000000000000.pack", "sync 000000000001.journal", "rename checkpoint", "rename 002",
                 "remove 000000000000.journal", "sync_dir tile"):  # fmt: skip
        assert what in done
    return disk.step


@pytest.mark.feature("F31")
@pytest.mark.parametrize("part", range(5))
def test_death_at_any_step_loses_nothing_acknowledged(
    part: int, steps: int, tmp_path: Path, life: Callable[[], Life]
) -> None:
    for at in range(part, steps, 5):
        when, how = ENDS[at * 7 % len(ENDS)]
        path, lived = tmp_path / str(at), life()
        disk = Disk(path, at, when)
        with pytest.raises(Died):
            lived.live(path, disk, COUNTS)
        end(disk, how, random.Random(at))
        finds_itself(path, lived)
        lived.live(path, Disk(path), [3, 60]).close()
        report = check(path, lived.signer.vkey)
        assert report.findings == []
        assert report.size == len(lived.acknowledged)


@pytest.mark.feature("F31")
def test_death_during_recovery_loses_nothing_either(steps: int, tmp_path: Path, life: Callable[[], Life]) -> None:
    for at in range(5, steps, 15):
        path, rng, lived = tmp_path / str(at), random.Random(at), life()
        disk = Disk(path, at, "half")
        with pytest.raises(Died):
            lived.live(path, disk, COUNTS)
        end(disk, rng.choice(("all", "some")), rng)
        for step in range(40):
            second = Disk(path, step, rng.choice(("before", "half", "after")))
            try:
                Log.open(path, ORIGIN, second, SEGMENT_BYTES).close()
                break
            except Died:
                end(second, rng.choice(("all", "some", "durable")), rng)
        finds_itself(path, lived)


@pytest.mark.feature("F31")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_refused_step_is_tried_again_and_nothing_is_doubled(
    error: int, steps: int, tmp_path: Path, life: Callable[[], Life]
) -> None:
    for at in range(error % 4, steps, 4):
        path, lived = tmp_path / str(at), life()
        log = lived.live(path, Disk(path, at, ("before", "half", "after")[at % 3], error), COUNTS)
        lived.acknowledged += (group := make_group(log.size, 1))
        log.append(group, 3)
        assert log.trouble is None
        log.close()
        finds_itself(path, lived)


@pytest.mark.feature("F31")
def test_death_soon_after_a_refused_step_loses_nothing(steps: int, tmp_path: Path, life: Callable[[], Life]) -> None:
    for at in range(0, steps - 10, 3):
        path, rng, lived = tmp_path / str(at), random.Random(at), life()
        disk = Disk(path, at, rng.choice(("half", "after")), errno.ENOSPC, then_die=at + 1 + at % 9)
        with pytest.raises(Died):
            lived.live(path, disk, COUNTS)
        end(disk, rng.choice(("kill", "durable", "some", "all")), rng)
        finds_itself(path, lived)

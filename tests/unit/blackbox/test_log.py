import random
from pathlib import Path

import pytest

from davy.blackbox.log import Item, Log
from davy.blackbox.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from davy.blackbox.note import Checkpoint, Signer, sign_note
from davy.blackbox.tiles import entries_path, tile_path
from davy.errors import Corrupt, Inconsistent
from davy.fact import ErasureClass

ORIGIN = "org/site/box"
SIGNER = Signer.generate(ORIGIN)


def group(first: int, count: int) -> list[Item]:
    """Leaves that are any bytes: the log does not look into them."""
    rng = random.Random(first)
    return [
        (b"%d " % seq + rng.randbytes(20), rng.choice((None, rng.randbytes(30))), rng.choice(list(ErasureClass)))
        for seq in range(first, first + count)
    ]


def grown(path: Path, *counts: int) -> tuple[Log, list[bytes]]:
    """A log with groups of these sizes, and its leaves."""
    log, leaves = Log.open(path, ORIGIN, segment_bytes=5000), list[bytes]()
    for count in counts:
        items = group(log.size, count)
        assert log.append(items, 0) == len(leaves) + count
        leaves += [leaf for leaf, _, _ in items]
    return log, leaves


def note(size: int, root: bytes, origin: str = ORIGIN) -> bytes:
    return sign_note(Checkpoint(origin, size, root).text(), [SIGNER])


def root(leaves: list[bytes]) -> bytes:
    return root_of(map(leaf_hash, leaves))


def test_an_empty_log_has_the_empty_root_and_an_empty_group_changes_nothing(tmp_path: Path) -> None:
    log = Log.open(tmp_path, ORIGIN)
    assert log.append([], 0) == 0
    assert log.root() == root([])
    log.close()


def test_proofs_hold_at_every_size(tmp_path: Path) -> None:
    log, leaves = grown(tmp_path, 1, 255, 300, 44)
    for size in (1, 255, 256, 257, 511, 600):
        for index in {0, size // 2, size - 1}:
            proof = log.inclusion(index, size)
            verify_inclusion(index, size, leaf_hash(leaves[index]), proof, root(leaves[:size]))
        proof = log.consistency(size, 600)
        verify_consistency(size, 600, proof, root(leaves[:size]), log.root())
    log.close()


def test_a_reopened_log_goes_on_where_it_was(tmp_path: Path) -> None:
    log, leaves = grown(tmp_path, 700)
    log.publish(note(700, log.root()), 700)
    log.close()
    log = Log.open(tmp_path, ORIGIN)
    assert log.size == 700
    assert log.root() == root(leaves)
    assert log.leaves(0, 700) == leaves
    log.close()


def test_segments_go_only_when_their_entries_lie_in_bundles(tmp_path: Path) -> None:
    log, leaves = grown(tmp_path, *[20] * 60)
    segments = sorted((tmp_path / "journal").iterdir())
    assert segments[0].name > "000000000000.journal"
    assert len(segments) < 12
    log.close()
    log = Log.open(tmp_path, ORIGIN)
    assert log.leaves(0, log.size) == leaves
    log.close()


def test_a_hole_among_the_newest_bundles_is_filled_from_the_journal(tmp_path: Path) -> None:
    log, leaves = grown(tmp_path, 1300)
    log.close()
    for path in (tile_path(0, 2), entries_path(3)):
        (tmp_path / path).unlink()
        log = Log.open(tmp_path, ORIGIN)
        assert (tmp_path / path).exists()
        assert log.leaves(0, 1300) == leaves
        assert log.root() == root(leaves)
        log.close()


def test_a_checkpoint_names_only_what_is_durable_and_true(tmp_path: Path) -> None:
    log, leaves = grown(tmp_path, 300)
    with pytest.raises(Inconsistent, match="expected size 301, at most 300"):
        log.publish(note(301, log.root()), 301)
    with pytest.raises(Inconsistent, match="expected root"):
        log.publish(note(299, log.root()), 299)
    with pytest.raises(Inconsistent, match="expected origin"):
        log.publish(note(300, log.root(), "org/site/other"), 300)
    with pytest.raises(Corrupt):
        log.publish(b"no note", 300)
    for size in (100, 260, 300):
        log.publish(note(size, root(leaves[:size])), size)
    with pytest.raises(Inconsistent, match="expected at least size 300"):
        log.publish(note(299, root(leaves[:299])), 299)
    assert (tmp_path / "checkpoint").read_bytes().startswith(b"org/site/box\n300\n")
    log.close()


def test_a_log_smaller_than_its_checkpoint_is_refused_and_left_alone(tmp_path: Path) -> None:
    log, _ = grown(tmp_path, 10, 10)
    log.publish(note(20, log.root()), 20)
    log.close()
    segment = tmp_path / "journal" / "000000000000.journal"
    data = segment.read_bytes()
    segment.write_bytes(data[:-1])
    with pytest.raises(Inconsistent, match="names 20 leaves, the log holds 10"):
        Log.open(tmp_path, ORIGIN)
    assert segment.read_bytes() == data[:-1]
    assert not (tmp_path / "quarantine").exists()


def test_a_checkpoint_of_another_history_is_refused(tmp_path: Path) -> None:
    log, leaves = grown(tmp_path, 600)
    log.close()
    for size in (100, 256, 550, 600):
        (tmp_path / "checkpoint").write_bytes(note(size, root(leaves[: size - 1])))
        with pytest.raises(Inconsistent, match="expected root"):
            Log.open(tmp_path, ORIGIN)
        (tmp_path / "checkpoint").write_bytes(note(size, root(leaves[:size])))
        Log.open(tmp_path, ORIGIN).close()


def test_missing_entries_are_named(tmp_path: Path) -> None:
    log, _ = grown(tmp_path, *[20] * 20)
    log.close()
    (tmp_path / "journal" / "000000000001.journal").unlink()
    with pytest.raises(Corrupt, match=r"journal segment 2: expected entries from \d+ on, got \d+"):
        Log.open(tmp_path, ORIGIN)


def test_only_one_process_writes(tmp_path: Path) -> None:
    log = Log.open(tmp_path, ORIGIN)
    with pytest.raises(Inconsistent, match="another process has it open"):
        Log.open(tmp_path, ORIGIN)
    log.close()
    Log.open(tmp_path, ORIGIN).close()


def test_a_leaf_that_no_bundle_could_hold_is_refused_before_it_is_written(tmp_path: Path) -> None:
    log = Log.open(tmp_path, ORIGIN)
    with pytest.raises(ValueError, match="leaves up to 65535"):
        log.append([(bytes(65_536), None, ErasureClass.sensor)], 0)
    with pytest.raises(ValueError, match="bodies up to 4194304"):
        log.append([(b"", bytes((4 << 20) + 1), ErasureClass.sensor)], 0)
    assert log.append([(bytes(65_535), None, ErasureClass.sensor)], 0) == 1
    log.close()

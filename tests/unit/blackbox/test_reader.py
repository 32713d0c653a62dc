import hashlib
from pathlib import Path

import pytest

from davy.blackbox.log import Item, Log
from davy.blackbox.merkle import leaf_hash, root_of
from davy.blackbox.note import Checkpoint, Signer, sign_note
from davy.blackbox.reader import LogReader
from davy.blackbox.tiles import entries_path, pack_entries
from davy.errors import Corrupt, Inconsistent
from davy.fact import ErasureClass, Leaf, decode_leaf

ORIGIN = "org/site/box"
SIGNER = Signer.generate(ORIGIN)


def items(first: int, count: int) -> list[Item]:
    made: list[Item] = []
    for seq in range(first, first + count):
        chunk = b"body of %d" % seq
        digest = hashlib.sha256(chunk).digest()
        leaf = Leaf(1, 2, seq, 1, 0, 0, 1, 0, 1, 1, digest, digest, len(chunk), 17)
        made.append((leaf.encode(), chunk, ErasureClass.event))
    return made


def grow(log: Log, *counts: int) -> None:
    for count in counts:
        log.append(items(log.size, count), 0)
        publish(log)


def publish(log: Log) -> None:
    log.publish(sign_note(Checkpoint(ORIGIN, log.size, log.root()).text(), [SIGNER]), log.size)


def leaves(start: int, end: int) -> list[bytes]:
    return [leaf for leaf, _, _ in items(start, end - start)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log.open(tmp_path, ORIGIN, segment_bytes=20_000)


def test_nothing_is_there_before_the_first_checkpoint(log: Log) -> None:
    log.append(items(0, 3), 0)
    with LogReader(log.path, ORIGIN) as reader:
        assert (reader.checkpoint(), reader.size, reader.leaves(0, 0)) == (None, 0, [])
        with pytest.raises(Inconsistent, match="at most 0, asked for 1"):
            reader.leaves(0, 1)


def test_a_tailing_reader_sees_every_leaf_and_body_once_published(log: Log) -> None:
    with LogReader(log.path, ORIGIN) as reader:
        seen: list[bytes] = []
        for count in (1, 200, 54, 1, 1, 300, 5, 700, 20):
            grow(log, count)
            log.append(items(log.size, 9), 0)  # durable, but no checkpoint names it yet
            new = reader.leaves(len(seen), reader.size)
            for seq, data in enumerate(new, len(seen)):
                assert reader.body(seq, decode_leaf(data)) == b"body of %d" % seq
            seen += new
            assert reader.size == log.size - 9
        assert seen == leaves(0, reader.size)


def test_a_reader_that_slept_through_retired_segments_catches_up(log: Log) -> None:
    grow(log, 100)
    with LogReader(log.path, ORIGIN) as reader:
        assert reader.leaves(99, 100) == leaves(99, 100)
        grow(log, *[90] * 30)
        assert not (log.path / "journal" / "000000000000.journal").exists()
        assert reader.leaves(50, 2800) == leaves(50, 2800)
        assert reader.root(2800) == log.root()


def test_a_reader_told_of_an_old_size_catches_up_to_it_from_bundles(log: Log) -> None:
    grow(log, 500)
    with LogReader(log.path, ORIGIN) as reader:
        assert reader.size == 500
        grow(log, *[90] * 30)
        assert reader.leaves(0, 500) == leaves(0, 500)
        assert reader.root(500) == root_of(map(leaf_hash, leaves(0, 500)))


def test_a_poll_with_nothing_new_opens_one_file(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(log, 300)
    with LogReader(log.path, ORIGIN) as reader:
        assert len(reader.leaves(0, reader.size)) == 300
        monkeypatch.setattr("davy.blackbox.journal.read_frame", None)
        monkeypatch.setattr("davy.blackbox.tiles.Tiles.refresh", None)
        size = reader.size
        assert reader.leaves(size, size) == []


def test_a_folder_without_journal_may_keep_a_partial_bundle(log: Log) -> None:
    grow(log, 300)
    log.close()
    for path in (log.path / "journal").iterdir():
        path.unlink()
    with LogReader(log.path, ORIGIN) as reader, pytest.raises(Corrupt, match="entries 256 to 300"):
        reader.leaves(0, 300)
    partial = log.path / entries_path(1, 44)
    partial.parent.mkdir()
    partial.write_bytes(pack_entries(leaves(256, 300)))
    with LogReader(log.path, ORIGIN) as reader:
        assert reader.leaves(250, 300) == leaves(250, 300)
        assert reader.root(300) == root_of(map(leaf_hash, leaves(0, 300)))


def test_another_origin_and_a_shrinking_log_are_named(log: Log) -> None:
    grow(log, 5)
    old = (log.path / "checkpoint").read_bytes()
    with LogReader(log.path, "org/site/other") as reader, pytest.raises(Inconsistent, match="expected origin"):
        reader.checkpoint()
    with LogReader(log.path, ORIGIN) as reader:
        grow(log, 5)
        assert reader.size == 10
        (log.path / "checkpoint").write_bytes(old)
        with pytest.raises(Inconsistent, match="expected size 10 or more, got 5"):
            reader.checkpoint()


def test_a_changed_body_is_never_handed_out(log: Log) -> None:
    grow(log, 5)
    path = log.path / "pack" / "event" / "000000000000.pack"
    path.write_bytes(path.read_bytes().replace(b"body of 3", b"body of 4"))
    with LogReader(log.path, ORIGIN) as reader:
        assert reader.body(2, decode_leaf(leaves(2, 3)[0])) == b"body of 2"
        with pytest.raises(Corrupt, match="body of leaf 3"):
            reader.body(3, decode_leaf(leaves(3, 4)[0]))

import os
import random
from pathlib import Path

import pytest

from davy.blackbox.journal import Journal, JournalTail, frame

TORN = {
    "half a header": frame(b"x" * 50)[:17],
    "a header without its payload": frame(b"x" * 50)[:40],
    "half a payload": frame(b"x" * 50)[:60],
    "a changed payload": frame(b"x" * 50)[:-1] + b"y",
    "zeros": bytes(4096),
    "noise": random.Random(1).randbytes(999),
    "a length beyond the file": b"DVJ1\xff\xff\xff\xff" + bytes(100),
}


def opened(folder: Path, segment_bytes: int = 1 << 20) -> tuple[Journal, list[bytes]]:
    journal = Journal(folder, segment_bytes=segment_bytes)
    return journal, [each.payload for each in journal.recover()]


def test_what_was_appended_comes_back_in_order(tmp_path: Path) -> None:
    journal, nothing = opened(tmp_path / "journal", 200)
    payloads = [bytes([i]) * i for i in range(60)]
    for payload in payloads:
        journal.append(payload)
    journal.close()
    assert nothing == []
    assert opened(tmp_path / "journal", 200)[1] == payloads
    assert len(os.listdir(tmp_path / "journal")) > 5


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
def test_a_torn_tail_goes_to_quarantine_and_appending_goes_on(torn: bytes, tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "journal")
    journal.append(b"first")
    journal.close()
    segment = tmp_path / "journal" / "000000000000.journal"
    segment.write_bytes(segment.read_bytes() + torn)
    journal, found = opened(tmp_path / "journal")
    journal.append(b"second")
    journal.close()
    assert found == [b"first"]
    assert [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()] == [torn]
    assert opened(tmp_path / "journal")[1] == [b"first", b"second"]


def test_a_tail_reader_gives_each_payload_once_across_segments(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, 100)
    with JournalTail(tmp_path) as tail:
        assert list(tail.read_new()) == []
        for i in range(50):
            journal.append(b"%d" % i)
            if i % 7 == 3:
                assert [int(p) for p in tail.read_new()][-1] == i
        assert [int(p) for p in tail.read_new()] == [46, 47, 48, 49]
        assert list(tail.read_new()) == []


def test_a_tail_reader_takes_only_what_is_asked_of_it(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for payload in (b"a", b"b", b"c"):
        journal.append(payload)
    with JournalTail(tmp_path) as tail:
        assert next(tail.read_new()) == b"a"
        assert list(tail.read_new()) == [b"b", b"c"]


def test_a_tail_reader_passes_over_retired_segments(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, 10)
    with JournalTail(tmp_path) as tail:
        journal.append(b"0")
        assert list(tail.read_new()) == [b"0"]
        for i in range(1, 6):
            journal.append(b"%d" % i)
        journal.retire(4)
        assert list(tail.read_new()) == [b"4", b"5"]


def test_a_tail_reader_waits_for_a_frame_that_is_being_written(tmp_path: Path) -> None:
    segment = tmp_path / "000000000000.journal"
    whole = frame(b"payload")
    with JournalTail(tmp_path) as tail:
        for part in range(len(whole)):
            segment.write_bytes(whole[:part])
            assert list(tail.read_new()) == []
        segment.write_bytes(whole)
        assert list(tail.read_new()) == [b"payload"]


def test_the_segment_being_written_is_never_retired(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, 10)
    journal.append(b"0")
    journal.append(b"1")
    journal.retire(99)
    assert opened(tmp_path)[1] == [b"1"]

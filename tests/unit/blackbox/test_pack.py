from pathlib import Path

import pytest

from davy.blackbox.pack import PackReader, Packs
from davy.errors import Corrupt
from davy.fact import ErasureClass

SENSOR, EVENT = ErasureClass.sensor, ErasureClass.event


def put(packs: Packs, bodies: dict[int, bytes], hour: int = 0, erasure: ErasureClass = SENSOR) -> None:
    for seq, chunk in bodies.items():
        packs.append(seq, erasure, chunk, hour)
    packs.sync()


def bodies(*seqs: int) -> dict[int, bytes]:
    return {seq: b"body %d " % seq * (seq % 5) for seq in seqs}


def read_all(root: Path, seqs: range, erasure: ErasureClass = SENSOR) -> dict[int, bytes]:
    with PackReader(root) as reader:
        found = {seq: reader.read(seq, erasure) for seq in seqs}
    return {seq: chunk for seq, chunk in found.items() if chunk is not None}


def test_bodies_are_found_by_seq_in_their_class_and_hour(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    put(packs, bodies(0, 3, 4), hour=7)
    put(packs, bodies(5, 9), hour=8)
    put(packs, bodies(6), hour=8, erasure=EVENT)
    put(packs, bodies(11), hour=7)  # the clock went back: the pack does not
    assert sorted(path.name for path in (tmp_path / "sensor").glob("*.pack")) == [
        "000000000000.pack",
        "000000000005.pack",
    ]
    assert read_all(tmp_path, range(14)) == bodies(0, 3, 4, 5, 9, 11)
    assert read_all(tmp_path, range(14), EVENT) == bodies(6)
    packs.close()


def test_a_reader_follows_the_writer_into_new_packs(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    with PackReader(tmp_path) as reader:
        for seq in range(30):
            assert reader.read(seq, SENSOR) is None
            put(packs, {seq: b"%d" % seq}, hour=seq // 4)
            assert reader.read(seq, SENSOR) == b"%d" % seq
            assert reader.read(0, SENSOR) == b"0"
    packs.close()


@pytest.mark.parametrize("damage", [b"", bytes(400), b"\xff" * 37], ids=["gone", "zeros", "noise"])
def test_a_lost_index_costs_time_and_nothing_else(damage: bytes, tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    put(packs, bodies(*range(40)))
    ends = {(erasure, name): end for erasure, name, end in packs.ends()}
    packs.close()
    index = tmp_path / "sensor" / "000000000000.idx"
    whole = index.read_bytes()
    for kept in (0, 200, 407):
        index.write_bytes(whole[:kept] + damage)
        assert read_all(tmp_path, range(42)) == bodies(*range(40))
        packs = Packs(tmp_path)
        packs.recover(ends, 40, tmp_path / "quarantine")
        packs.close()
        assert index.read_bytes() == whole
    index.write_bytes(whole[:200] + bytes(100) + whole[300:])  # a page lost in the middle
    assert read_all(tmp_path, range(42)) == bodies(*range(40))
    index.unlink()
    assert read_all(tmp_path, range(42)) == bodies(*range(40))


def test_undo_takes_back_the_last_group_and_packs_begun_in_it(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    put(packs, bodies(0, 1), hour=1)
    put(packs, bodies(2), hour=1)
    ends = packs.ends()
    put(packs, bodies(3, 4), hour=2)
    put_ends = packs.ends()
    packs.undo()
    assert put_ends != ends
    assert packs.ends() == ends
    put(packs, {3: b"again"}, hour=1)
    put(packs, {4: b"other"}, hour=1, erasure=EVENT)
    packs.undo()
    assert read_all(tmp_path, range(9)) == bodies(0, 1, 2) | {3: b"again"}
    assert not list((tmp_path / "event").iterdir())
    packs.close()


def test_recovery_sets_aside_what_no_frame_names(tmp_path: Path) -> None:
    packs = Packs(tmp_path / "pack")
    put(packs, bodies(0, 1))
    ends = {(erasure, name): end for erasure, name, end in packs.ends()}
    put(packs, bodies(2))
    put(packs, bodies(3), erasure=EVENT)
    packs.close()
    packs = Packs(tmp_path / "pack")
    packs.recover(ends, 2, tmp_path / "quarantine")
    assert len(list((tmp_path / "quarantine").iterdir())) == 2
    assert read_all(tmp_path / "pack", range(9)) == bodies(0, 1)
    put(packs, {2: b"new"})
    packs.close()
    assert read_all(tmp_path / "pack", range(9)) == bodies(0, 1) | {2: b"new"}


def test_a_pack_shorter_than_acknowledged_is_named(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    put(packs, bodies(0, 1))
    ends = {(erasure, name): end for erasure, name, end in packs.ends()}
    packs.close()
    path = tmp_path / "sensor" / "000000000000.pack"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=r"sensor/000000000000: expected \d+ bytes, found"):
        Packs(tmp_path).recover(ends, 2, tmp_path / "quarantine")


@pytest.mark.feature("F31")
def test_retention_removes_whole_old_packs_and_says_which(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    for seq in range(12):
        put(packs, {seq: b"x" * 10}, hour=100 + seq // 3)
    aged = packs.aged(SENSOR, 102)
    assert [(pack.hour, pack.first, pack.last, pack.size) for pack in aged] == [(100, 0, 2, 74), (101, 3, 5, 74)]
    assert packs.aged(SENSOR, 999)[-1].hour == 102, "the pack being written stays"
    assert packs.aged(EVENT, 999) == []
    with PackReader(tmp_path) as reader:
        assert reader.read(1, SENSOR)
        packs.retire(aged)
        assert reader.read(1, SENSOR) is None
        assert reader.read(6, SENSOR) == b"x" * 10
    packs.close()

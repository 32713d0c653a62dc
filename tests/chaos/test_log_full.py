"""A disk without room: told by name, nothing acknowledged is lost, and work goes on once there is room."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.conftest import ORIGIN, SEGMENT_BYTES, Life, make_group
from davy.blackbox.fs import Fs
from davy.blackbox.fsck import check
from davy.blackbox.log import Log
from davy.errors import Full
from davy.fact import ErasureClass


class SmallDisk(Fs):
    """Has room for so many bytes; a write beyond them is cut short, as the kernel does it."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: bytes) -> None:
        fits = max(0, min(self.room, len(data)))
        super().write(fd, data[:fits])
        self.room -= fits
        if fits < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, fd: int) -> None: ...  # the log's order is tried elsewhere; this test is about room

    def sync_dir(self, path: Path) -> None: ...

    def truncate(self, fd: int, size: int) -> None:
        self.room += os.fstat(fd).st_size - size
        super().truncate(fd, size)


@pytest.mark.feature("F31")
@pytest.mark.parametrize("room", range(0, 60_000, 2_900))
def test_a_full_disk_is_named_and_costs_nothing_acknowledged(
    room: int, tmp_path: Path, life: Callable[[], Life]
) -> None:
    disk, lived = SmallDisk(room), life()
    log = Log.open(tmp_path, ORIGIN, disk, SEGMENT_BYTES)
    refused = 0
    while refused < 3:
        try:
            group = make_group(log.size, 40)
            log.append(group, 0)
            lived.acknowledged += group
            lived.publish(log)
        except Full as error:
            assert error.errno == errno.ENOSPC
            assert error.retry
            refused += 1
    assert log.size == len(lived.acknowledged)
    before = log.size
    disk.room = 1 << 30
    log.append(make_group(log.size, 300), 1)
    lived.publish(log)
    assert log.trouble is None
    log.close()
    assert Log.open(tmp_path, ORIGIN).size == before + 300
    report = check(tmp_path, lived.signer.vkey)
    assert (report.findings, report.size) == ([], before + 300)


@pytest.mark.feature("F31")
def test_bulk_bodies_that_gave_way_are_missed_unless_a_leaf_says_so(tmp_path: Path, life: Callable[[], Life]) -> None:
    log, lived = Log.open(tmp_path, ORIGIN), life()
    for hour in range(5):
        log.append(make_group(log.size, 30), hour)
    aged = log.aged(ErasureClass.sensor, 2)
    assert [pack.hour for pack in aged] == [0, 1]
    log.retire(aged)
    lived.publish(log)
    report = check(tmp_path, lived.signer.vkey)
    assert {finding.kind for finding in report.findings} == {"body_missing"}
    assert report.findings[0].first >= aged[0].first
    assert report.findings[-1].last <= aged[1].last
    assert not report.ok
    log.close()


@pytest.mark.feature("F31")
def test_a_pack_that_a_refused_group_began_or_closed_is_not_offered_to_give_way(
    tmp_path: Path, life: Callable[[], Life]
) -> None:
    disk, lived = SmallDisk(1 << 30), life()
    log = Log.open(tmp_path, ORIGIN, disk, SEGMENT_BYTES)
    for hour in range(2):
        log.append(make_group(log.size, 30), hour)
    disk.room = 0
    with pytest.raises(Full):
        log.append(make_group(log.size, 30), 2)
    assert [pack.hour for pack in log.aged(ErasureClass.sensor, 9)] == [0]
    disk.room = 1 << 30
    for _ in range(2):
        log.append(make_group(log.size, 30), 2)
    assert [pack.hour for pack in log.aged(ErasureClass.sensor, 9)] == [0, 1]
    lived.publish(log)
    log.close()
    assert check(tmp_path, lived.signer.vkey).findings == []

"""A site whose disk runs full: the alarm is first, bulk gives way oldest first, evidence never without a word."""

import errno
import os
import random
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from davy.alarm import number
from davy.blackbox.fs import REAL, Fs
from davy.blackbox.log import Log
from davy.blackbox.reader import LogReader
from davy.clock import SECOND, SystemClock
from davy.edge import core as cores
from davy.edge import recorder as recorders
from davy.edge import room as rooms
from davy.fact import AlarmType, Kind, Verb
from davy.fact.event import BULK_RETIRED
from davy.record import keep
from davy.record.history import ParquetHistory
from davy.record.keep import Keeper
from davy.record.project import Projection
from davy.record.promise import Dropped
from sites import FLOW, GAS, LEVEL, Box, entries, fsck, many, site

GAS_HIGH, LEVEL_HIGH = number(GAS, AlarmType.high), number(LEVEL, AlarmType.high)
MB = 1_000_000
SIZE, KEEP_FREE = 9 * MB, 4
HOUR = 3600 * SECOND
Usage = namedtuple("Usage", "total used free")


class Quota(Fs):
    """Refuses what is beyond SIZE under `root`, as a disk of that size would."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def free(self, folder: Path) -> int:
        used = 0
        for path in self.root.rglob("*"):
            with suppress(FileNotFoundError):  # another thread removed it meanwhile
                used += path.stat().st_size if path.is_file() else 0
        return SIZE - used

    def write(self, fd: int, data: bytes) -> None:
        fits = max(0, min(self.free(self.root), len(data)))
        super().write(fd, bytes(data)[:fits])
        if fits < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Disk:
    """A disk of SIZE: a real one in memory where this may mount one, else one that is counted."""

    folder: Path
    fs: Fs

    def free(self, folder: Path) -> int:
        return self.fs.free(folder) if isinstance(self.fs, Quota) else rooms.free_bytes(folder)

    def fill(self) -> Path:
        """Somebody else takes all that is left."""
        path = self.folder / "somebody-elses"
        with path.open("wb", buffering=0) as out:
            if isinstance(self.fs, Quota):
                out.write(bytes(self.free(self.folder)))
            try:
                for _ in range(SIZE // 4096 if self.fs is REAL else 0):
                    out.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        return path


def mounted(folder: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(params=["real", "counted"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    is_mount = request.param == "real" and mounted(folder)
    made = Disk(folder, REAL if is_mount else Quota(folder))
    monkeypatch.setattr(cores, "Log", SimpleNamespace(open=lambda path, origin: Log.open(path, origin, made.fs)))
    monkeypatch.setattr(keep, "shutil", SimpleNamespace(disk_usage=lambda path: Usage(SIZE, 0, made.free(path))))
    monkeypatch.setattr(recorders, "RETRY_S", 0.02)
    yield made
    if is_mount:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class District:
    """A site with its history, on one disk; an hour passes at a time."""

    def __init__(self, disk: Disk, threads: ThreadPoolExecutor) -> None:
        self.box = Box(site(disk.folder / "quay", keep_free=KEEP_FREE))
        self.box.core.room._free = disk.free
        self.history = ParquetHistory(self.box.site.data / "history", disk.fs)
        reader = LogReader(self.box.site.log, self.box.site.origin)
        projection = Projection(reader, self.box.signer.key, self.history, SystemClock())
        self.keeper = Keeper(projection, threads, SystemClock(), KEEP_FREE * MB)
        self.keeper._log = self.gives_way  # type: ignore[method-assign]
        self.random = random.Random(5)
        self.noise = np.random.default_rng(5)
        self.told: dict[int, str] = {}  # leaf -> reason of the act
        self.steps: list[str] = []

    async def hour(self) -> None:
        """Incompressible readings, a crossing of a limit, an act; then everyone looks at the disk."""
        box = self.box
        box.reads(level=50.0, gas=1.0)
        box.core.ingest(many(FLOW, self.noise.standard_normal(20_000), box.clock))
        box.core.step()
        box.reads(level=95.0)
        await self.act()
        await box.durable()
        while self.keeper.projection.step():
            pass
        self.keeper.projection.flush()
        packs = self.packs()
        await box.core.room.step()
        box.clock.advance(HOUR)
        box.core.sweep()
        if "DAVY.ROOM" in box.ailing():
            self.note("alarm")
        if self.packs() < packs:
            self.note("readings gave way")
        self.keeper._tidy()

    def note(self, step: str) -> None:
        if step not in self.steps:
            self.steps.append(step)

    async def act(self) -> None:
        reason = f"round {self.random.random()}"
        self.told[await self.box.act(Verb.add_comment, LEVEL_HIGH, reason=reason)] = reason

    def gives_way(self, dropped: list[Dropped], why: str) -> None:
        if dropped:
            self.note("history gave way")

    def packs(self) -> set[Path]:
        return set((self.box.site.log / "pack" / "sensor").glob("*.pack"))


@pytest.mark.feature("F31")
async def test_when_the_disk_runs_full_the_alarm_is_first_and_no_event_is_ever_lost(disk: Disk) -> None:
    with ThreadPoolExecutor(1) as threads:
        here = District(disk, threads)
        box = here.box
        for _ in range(40):
            await here.hour()
            if here.steps[-1:] == ["readings gave way"]:
                break
        assert sorted(here.steps[:2]) == ["alarm", "history gave way"], "before any evidence goes"
        assert here.steps[2:] == ["readings gave way"]
        assert "DAVY.DISK" not in box.ailing(), "it never came to that"
        for _ in range(5):
            await here.hour()

        elses = disk.fill()
        box.reads(gas=60.0)
        assert GAS_HIGH in {t.alarm for t in box.told[-2:]}, "no alarm waits for a disk"
        await box.until(lambda: box.core.recorder.faults.disk, "a refusal")
        box.passes(SECOND // 10)
        assert "DAVY.DISK" in box.ailing()
        await box.core.room.step()  # the ballast goes, and old readings, so that what matters fits
        await here.act()
        elses.unlink()
        await box.durable()
        await here.hour()
        await box.lives(12 * SECOND)
        assert "DAVY.DISK" not in box.ailing()
        box.stop()
        here.history.close()
        here.keeper.projection.log.close()

    made = entries(box.site)
    assert {at: made[at].content.reason for at in here.told} == here.told
    logged = [e.content for e in made if e.kind == Kind.transition]
    assert [(t.alarm, t.version, t.cause) for t in logged] == [(t.alarm, t.version, t.cause) for t in box.told]
    gaps = [e for e in made if e.kind == Kind.gap]
    assert {g.content.what for g in gaps} == {BULK_RETIRED}
    gone = [e.leaf.seq for e in made if e.content is None]
    assert gone and all(made[seq].kind == Kind.readings for seq in gone)
    told = {seq for g in gaps for seq in range(g.content.detail["first"], g.content.detail["last"] + 1)}
    assert set(gone) <= told, "a leaf says so of each"
    assert max(gone) < min(e.leaf.seq for e in made if e.kind == Kind.readings and e.content is not None)
    report = fsck(box.site)
    assert (report.findings, report.erased, report.size) == ([], len(gone), len(made))

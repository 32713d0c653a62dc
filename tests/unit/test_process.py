"""A supervisor keeps its processes running, and leaves none behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from davy import process
from davy.clock import SystemClock
from davy.errors import ConfigError
from davy.process import Child, supervise

CLOCK = SystemClock()

#: A process that notes in run/<name> each start and its end, and does as its name says.
MODULE = """
import asyncio, os, signal, sys
from pathlib import Path
from davy import process, wire

NAME = __spec__.name.rpartition(".")[2]

def note(folder, what):
    with open(folder / "events", "a") as out:
        out.write(f"{NAME} {what}\\n")

async def run(folder, clock):
    (folder / f"{NAME}.pid").write_text(str(os.getpid()))
    note(folder, "began")
    if NAME == "fails":
        sys.exit(3)
    if NAME == "misconfigured":
        from davy.errors import ConfigError, Problem
        raise ConfigError([Problem("site.yaml", 3, "links", "unknown key")])
    if NAME == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        import time
        while True:
            time.sleep(1)
    server = await wire.serve(folder / "run" / f"{NAME}.sock", {})
    if NAME == "hangs":
        import time
        await asyncio.sleep(0.5)
        time.sleep(1000)
    try:
        await asyncio.Event().wait()
    finally:
        note(folder, "ended")

if __name__ == "__main__":
    process.main(NAME, run)
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "kids"
    package.mkdir()
    for name in ("first", "second", "third", "fails", "misconfigured", "deaf", "hangs"):
        (package / f"{name}.py").write_text(textwrap.dedent(MODULE))
    sources = Path(__file__).parents[2] / "src"
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{sources}")
    folder = tmp_path / "house"
    folder.mkdir()
    return folder


def child(name: str, house: Path, socket: bool = False) -> Child:
    return Child(name, f"kids.{name}", house, house / "run" / f"{name}.sock" if socket else None)


@asynccontextmanager
async def supervised(house: Path, *names: str):
    task = asyncio.create_task(supervise([child(name, house) for name in names], CLOCK, house / "logs"))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ConfigError):
            await asyncio.wait_for(task, 60)


def events(house: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return (house / "events").read_text().splitlines()
    return []


def pid(house: Path, name: str) -> int:
    with suppress(FileNotFoundError, ValueError):
        return int((house / f"{name}.pid").read_text())
    return 0


def is_alive(number: int) -> bool:
    """Whether there is such a process; 0 for one that never began, and one that only waits to be reaped, is none."""
    with suppress(FileNotFoundError):
        return number > 0 and Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(true, what: str) -> None:
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what}: not within a minute")


async def test_what_is_killed_comes_back_and_the_rest_is_left_alone(house: Path, monkeypatch) -> None:
    monkeypatch.setattr(process, "BACKOFF_S", (0.05,))
    async with supervised(house, "first", "second"):
        await until(lambda: len(events(house)) == 2, "both begin")
        before = pid(house, "first"), pid(house, "second")
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: events(house).count("first began") == 2, "the first begins again")
        await until(lambda: pid(house, "first") != before[0], "with another pid")
        assert pid(house, "second") == before[1]


async def test_at_the_end_the_last_one_stops_first_and_none_is_left(house: Path) -> None:
    async with supervised(house, "first", "second", "third"):
        await until(lambda: len(events(house)) == 3, "all begin")
        numbers = [pid(house, name) for name in ("first", "second", "third")]
    assert [e for e in events(house) if e.endswith("ended")] == ["third ended", "second ended", "first ended"]
    assert not any(map(is_alive, numbers))


async def test_who_keeps_failing_is_started_ever_more_seldom_but_always_again(house: Path, monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(process, "BACKOFF_S", (0.01, 0.02, 0.03))
    monkeypatch.setattr(
        process.log_line, "warning", lambda event, **said: waits.append(said["restart_in_s"]), raising=False
    )
    async with supervised(house, "fails"):
        await until(lambda: len(waits) >= 4, "it fails four times")
    assert waits[:4] == [0.01, 0.02, 0.03, 0.03]


async def test_a_configuration_only_a_person_can_mend_ends_it_all(house: Path) -> None:
    async with supervised(house, "first", "misconfigured") as task:
        with pytest.raises(ConfigError):
            await asyncio.wait_for(asyncio.shield(task), 60)
    assert "site.yaml" in (house / "logs" / "misconfigured.log").read_text()
    assert not is_alive(pid(house, "first"))


async def test_who_does_not_heed_the_end_is_killed(house: Path, monkeypatch) -> None:
    monkeypatch.setattr(process, "STOP_S", 0.3)
    async with supervised(house, "deaf"):
        await until(lambda: events(house), "it begins")
        number = pid(house, "deaf")
    assert not is_alive(number)


async def test_who_no_longer_answers_is_started_again(house: Path, monkeypatch) -> None:
    quick = {"PING_EVERY_S": 0.05, "PING_DEADLINE_S": 0.2, "PINGS_MISSED": 3, "PINGS_MISSED_AT_START": 1000}
    for name, value in (quick | {"BACKOFF_S": (0.01,)}).items():
        monkeypatch.setattr(process, name, value)
    task = asyncio.create_task(supervise([child("hangs", house, socket=True)], CLOCK, house / "logs"))
    try:
        await until(lambda: events(house).count("hangs began") >= 2, "it is started again")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_when_the_supervisor_is_killed_its_processes_end(house: Path) -> None:
    code = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from davy.clock import SystemClock
        from davy.process import Child, supervise
        asyncio.run(supervise([Child("first", "kids.first", Path({str(house)!r}))], SystemClock()))
    """)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.DEVNULL)
    await until(lambda: events(house), "the child begins")
    parent.kill()
    await parent.wait()
    await until(lambda: "first ended" in events(house), "the child ends by itself")


def test_a_wrong_configuration_has_an_exit_code_of_its_own(house: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "kids.misconfigured", str(house)], capture_output=True, text=True)
    assert done.returncode == process.EXIT_CONFIG
    assert "line 3" in done.stderr or "site.yaml:3" in done.stderr

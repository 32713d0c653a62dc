"""A site and a centre as real processes on loopback, for tests that kill, fill or wait for them."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from davy import wire
from davy.blackbox.note import Checkpoint, parse_note
from davy.centre import config as centres
from davy.centre import enrolment
from davy.centre.config import Centre
from davy.cli.blackbox import _judged, boxes
from davy.clock import SECOND, SystemClock
from davy.edge import config as edges
from davy.edge import signer
from davy.edge.config import Site
from davy.errors import DavyError
from davy.reading.uid import uuid7
from davy.uplink.enrol import Invitation, join

CLOCK = SystemClock()
#: Generous: two cores may be shared with much else.
PATIENCE_S = 240.0


async def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """What `true` gives, as soon as it is something."""
    deadline = CLOCK.mono_ns() + int(seconds * 1e9)
    while not (found := true()):
        assert CLOCK.mono_ns() < deadline, f"{what}: not within {seconds:.0f} s"
        await asyncio.sleep(0.02)
    return found


def environment() -> dict[str, str]:
    """For processes that run this checkout."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Process:
    """One process of the house, started as the supervisor starts it; what it says is kept in a file."""

    module: str
    folder: Path
    socket: str = ""
    running: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    @property
    def said(self) -> str:
        """The end of what it wrote on stderr."""
        with suppress(FileNotFoundError):
            return (self.folder / f"{self.name}.log").read_text()[-3000:]
        return ""

    async def start(self) -> None:
        """Started, and where it has a socket, answering."""
        with open(self.folder / f"{self.name}.log", "ab") as log:  # noqa: ASYNC230  (once a start)
            self.running = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", self.module, str(self.folder)),
                env=environment(),
                stderr=log,
            )
        if self.socket:
            await self._answers(self.folder / "run" / self.socket)

    async def _answers(self, path: Path) -> None:
        deadline = CLOCK.mono_ns() + int(PATIENCE_S * 1e9)
        async with wire.Client(path) as client:
            while True:
                assert self.running is not None and self.running.returncode is None, f"{self.name} ended:\n{self.said}"
                assert CLOCK.mono_ns() < deadline, f"{self.name} does not answer:\n{self.said}"
                with suppress(DavyError, TimeoutError):
                    return await asyncio.wait_for(client.call("ping"), 1.0)
                await asyncio.sleep(0.03)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        assert self.running is not None
        with suppress(ProcessLookupError):
            self.running.send_signal(number)
        return await asyncio.wait_for(self.running.wait(), PATIENCE_S)


@dataclass
class District:
    """One site enrolled at one centre."""

    site: Site
    centre: Centre

    @property
    def origin(self) -> str:
        return self.site.origin

    def signed(self) -> Checkpoint | None:
        return _checkpoint(self.site.log)

    def held(self) -> Checkpoint | None:
        """What the centre has cosigned."""
        return _checkpoint(self.centre.log(self.origin))

    async def everything_is_held(self) -> int:
        """Wait until the centre holds all that is signed; how many leaves. Nothing new may be coming."""

        def same() -> int:
            ours, theirs = self.signed(), self.held()
            return ours.size if ours and theirs and ours.size == theirs.size else 0

        return int(await until(same, "the centre holds all"))

    def fsck(self) -> list[dict[str, Any]]:
        """What `davy fsck` says of both copies."""
        return [_judged(*box) for folder in (self.site.folder, self.centre.folder) for box in boxes(folder)]

    def sound(self) -> None:
        """Assert that both copies are whole, open, and one."""
        ours, theirs = self.fsck()
        for answer in (ours, theirs):
            assert answer["ok"] and not answer["findings"], [str(f) for f in answer["findings"]]
            assert answer["opened"] == answer["bodies"] == answer["size"] > 0
        assert (ours["size"], ours["root"]) == (theirs["size"], theirs["root"])


def _checkpoint(log: Path) -> Checkpoint | None:
    with suppress(FileNotFoundError):
        return parse_note((log / "checkpoint").read_bytes()).checkpoint()
    return None


def make_centre(folder: Path) -> Centre:
    """A centre's folder with a free port, on loopback only."""
    centres.init(folder, "county", ["127.0.0.1"], free_port(), CLOCK)
    path = folder / "centre.yaml"
    path.write_text(path.read_text().replace("0.0.0.0", "127.0.0.1").replace("port: 8100", "port: 0"))
    return centres.load(folder)


def make_site(folder: Path, yaml: str, tags: str, centre: Centre | None = None) -> Site:
    """A site's folder of these files, tags locked and keys drawn."""
    folder.mkdir()
    (folder / "site.yaml").write_text(yaml + (f"centre: {{url: '{centre.config.url}'}}\n" if centre else ""))
    (folder / "tags.csv").write_text(tags)
    edges.write(folder, lambda: uuid7(CLOCK.now_us(), os.urandom(10)))
    made = edges.load(folder)
    made.run.mkdir(mode=0o700)
    signer.build(made)
    return made


async def enrol(site: Site, centre: Centre) -> None:
    """The centre's intake must be running."""
    keys = signer.build(site)
    invitation = Invitation.parse(enrolment.invite(centre, CLOCK, 600 * SECOND))
    (await join(invitation, site.origin, keys.vkey, keys.box, CLOCK)).write(site.secrets / "centre.json")


def intake_of(centre: Centre) -> Process:
    return Process("davy.centre.intake", centre.folder, "intake.sock")


@asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    """Start them in this order; at the end stop, the other way round, those that still run."""
    async with AsyncExitStack() as ends:
        for process in processes:
            await process.start()
            ends.push_async_callback(_stop, process)
        yield


async def _stop(process: Process) -> None:
    if process.running is not None and process.running.returncode is None:
        try:
            await process.end()
        except TimeoutError:
            await process.end(signal.SIGKILL)


def uplink_state(site: Site) -> dict[str, Any]:
    """What run/uplink.json says now."""
    with suppress(FileNotFoundError, ValueError):
        return dict(json.loads((site.run / "uplink.json").read_text()))
    return {}

"""kill -9 of the intake under load: whatever a client was told is held, once, and in order."""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from davy.blackbox.fs import Fs
from davy.blackbox.held import Claim, Held
from davy.blackbox.held import Link as Proven
from davy.blackbox.log import Log
from davy.blackbox.note import Checkpoint, Signer, open_note, sign_note
from davy.blackbox.reader import LogReader
from davy.centre import config as centres
from davy.centre.config import Centre
from davy.centre.enrolment import invite
from davy.clock import SECOND, SystemClock
from davy.errors import Unreachable
from davy.fact import ErasureClass, Kind, Leaf, decode_leaf
from davy.uplink.enrol import Invitation, join
from davy.uplink.envelope import Advance, Entries
from davy.uplink.link import Link

CLOCK = SystemClock()
KILLS = 6
EDGES = 3


class Quick(Fs):
    """Real files without waiting for the disk: it is not the client's log that is put to the test."""

    def sync(self, fd: int) -> None: ...

    def sync_dir(self, path: Path) -> None: ...


class Process:
    """The intake, as the supervisor would run it."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "davy.centre.intake",
            str(self.centre.folder),
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(500):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.centre.config.intake.port), 1).close()
                return
            assert self.process.returncode is None, "the intake ended by itself"
            await asyncio.sleep(0.02)
        raise AssertionError("the intake did not start within 10 s")

    async def end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        await self.process.wait()


@dataclass
class Client:
    """One edge: its log, and all it was ever told."""

    log: Log
    key: Signer
    link: Link
    rng: random.Random
    items: list[tuple[bytes, bytes]] = field(default_factory=list)
    told: list[Held] = field(default_factory=list)

    def grow(self) -> None:
        group = []
        for seq in range(self.log.size, self.log.size + self.rng.randint(1, 40)):
            chunk = self.rng.randbytes(self.rng.randint(1, 2000))
            digest = hashlib.sha256(chunk).digest()
            kind = Kind.transition if seq % 7 == 0 else Kind.readings
            leaf = Leaf(1, kind, seq, 0, seq, seq, 1, seq, 1, 1, digest, digest, len(chunk), 0).encode()
            group.append((leaf, chunk, ErasureClass.sensor))
            self.items.append((leaf, chunk))
        self.log.append(group, 0)

    async def step(self) -> None:
        """Grow, and send a part or all from where the last answer stood; sometimes a claim first, or all again."""
        self.grow()
        held, size = self.told[-1], self.log.size
        note = sign_note(Checkpoint(self.log.origin, size, self.log.root()).text(), [self.key])
        link = Proven(held.seen, self.log.consistency(held.seen, size) if held.seen else [])
        if self.rng.random() < 0.3:
            seq = self.rng.randrange(size)
            claim = Claim(*self.items[seq], self.log.inclusion(seq, size))
            self.told.append(await self.link.advance(Advance([claim], note, link)))
            return
        start = max(0, held.size - self.rng.choice((0, 0, 30)))
        end = self.rng.randint(held.size, size) if self.rng.random() < 0.2 else size
        leaves, chunks = zip(*self.items[start:end], strict=True) if start < end else ((), ())
        proof = self.log.consistency(end, size) if 0 < end < size else []
        self.told.append(await self.link.entries(Entries(start, leaves, chunks, note, proof, link)))

    async def go_on(self) -> None:
        """Send until cancelled, asking anew where the centre stands after each loss."""
        while True:
            try:
                await self.step()
            except Unreachable:
                await self.ask_until_answered()

    async def ask_until_answered(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            with contextlib.suppress(Unreachable):
                self.told.append(await self.link.state())
                return


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    folder = tmp_path / "centre"
    centres.init(folder, "county.zs", ["127.0.0.1"], 8443, CLOCK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (folder / "centre.yaml").read_text()
    (folder / "centre.yaml").write_text(text.replace("8443", str(port)).replace("0.0.0.0", "127.0.0.1"))
    return centres.load(folder)


async def enrolled(centre: Centre, folder: Path, number: int) -> Client:
    origin = f"zs/kiln/bb{number}"
    key, invited = Signer.generate(origin), Invitation.parse(invite(centre, CLOCK, 60 * SECOND))
    keys = await join(invited, origin, key.vkey, bytes(32), CLOCK)
    client = Client(Log.open(folder / f"edge{number}", origin, Quick()), key, Link(keys), random.Random(number))
    client.told.append(await client.link.state())
    return client


@pytest.mark.feature("F30", "F39")
async def test_nothing_a_client_was_told_is_lost_or_doubled_by_kills(centre: Centre, tmp_path: Path):
    intake, rng = Process(centre), random.Random(7)
    await intake.start()
    clients = [await enrolled(centre, tmp_path, n) for n in range(EDGES)]
    work = [asyncio.create_task(client.go_on()) for client in clients]
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        await intake.end(signal.SIGKILL)
        await intake.start()
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in work), "a client was refused"
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    for client in clients:
        await settle(client)
    await intake.end(signal.SIGTERM)
    for client in clients:
        check(centre, client)


async def settle(client: Client) -> None:
    """Send what is left, then let go."""
    client.told.append(await client.link.state())
    size = client.log.size
    note = sign_note(Checkpoint(client.log.origin, size, client.log.root()).text(), [client.key])
    held = client.told[-1]
    leaves, chunks = zip(*client.items[held.size :], strict=True) if held.size < size else ((), ())
    link = Proven(held.seen, client.log.consistency(held.seen, size) if held.seen else [])
    client.told.append(await client.link.entries(Entries(held.size, leaves, chunks, note, [], link)))
    await client.link.close()


def check(centre: Centre, client: Client) -> None:
    """The oracle: each answer in turn, then every leaf and body."""
    ours = [client.key.verifier, centre.cosigner().verifier]
    sizes = [held.size for held in client.told]
    assert sizes == sorted(sizes), "the centre went back behind what it had told"
    for held in client.told:
        if held.checkpoint:
            checkpoint = open_note(held.checkpoint, ours).checkpoint()
            assert checkpoint.size <= held.size
    with LogReader(centre.log(client.log.origin), client.log.origin) as copy:
        size = copy.size
        assert size == client.log.size
        leaves = copy.leaves(0, size)
        assert leaves == [leaf for leaf, _ in client.items]
        assert copy.root(size) == client.log.root()
        bodies = [copy.body(seq, decode_leaf(leaf)) for seq, leaf in enumerate(leaves)]
        assert bodies == [chunk for _, chunk in client.items]
    folder = centre.log(client.log.origin)
    assert not list((folder / "claims").glob("*.cbor"))
    assert not (folder / "proofs").exists()

"""The cursor: from the log on this disk to the centre, transitions first, then everything in order.

Two loops share one `Held`, the centre's last answer. `_advances` looks at each new checkpoint and sends
the transitions in it ahead; `_entries` sends all leaves from the cursor on. Either may be told that the
centre stands elsewhere, and then goes on from there: nothing here needs to survive a restart.
"""

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import structlog

from davy.blackbox.fs import REAL
from davy.blackbox.held import Claim, Held
from davy.blackbox.held import Link as Proven
from davy.blackbox.note import Checkpoint, cosignature_time, open_note
from davy.blackbox.reader import LogReader
from davy.clock import SECOND, Clock
from davy.errors import Conflict, Corrupt, DavyError, Inconsistent, Refused, Unreachable
from davy.fact import Kind, Leaf, decode_leaf
from davy.uplink.envelope import BATCH, MAX_LEAVES, Advance, Entries
from davy.uplink.exposure import Exposure
from davy.uplink.link import Link

log_line = structlog.get_logger()

POLL_S = 0.02  # how often the checkpoint file is looked at
REPORT_S = 1.0
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
#: After a refusal or a conflict nothing changes by itself; ask again this seldom.
REFUSED_S = 60.0
_FIRST_BATCH, _LEAST_BATCH = 256 << 10, 16 << 10
_QUICK_S = 2.0  # a batch answered within this makes the next one larger
_SLICE = 256  # leaves read at a time
_CLAIMS = 100  # of one advance
_LOOK_BACK = 5000  # leaves of a backlog searched for transitions to send ahead
_STUBBORN = 5  # answers in a row that move nothing, before we wait


class Uplink:
    """Sends one log to one centre until cancelled.

    Writes `run/uplink.json` (state for the consoles, each second and on every change), `cosigned` beside
    the log (the newest checkpoint with the mirror's cosignature), and `proofs/` (what a conflict said).
    """

    def __init__(
        self, reader: LogReader, link: Link, keyring: Path, run: Path, clock: Clock, jitter: random.Random
    ) -> None:
        self._reader = reader
        self._link = link
        self._keyring = keyring
        self._run = run
        self._clock = clock
        self._jitter = jitter
        self._exposure = Exposure()
        self._held: Held | None = None
        self._held_size = 0  # of the newest checkpoint cosigned, and when that was, us UTC
        self._held_time = 0
        self._state = "connecting"
        self._detail = ""
        self._batch = _FIRST_BATCH
        self._scanned = 0  # leaves looked through for transitions
        self._keyrings_seen = (-2, 0)  # the centre's newest epoch and our folder's time, when last looked at
        self._ahead: list[int] = []  # transitions not yet known to be at the centre

    async def run(self) -> None:
        """Work until cancelled; trouble with the centre is never raised, it is in the state."""
        self._load_cosigned()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(self._entries), name="entries")
            tasks.create_task(self._again_and_again(self._advances), name="advances")
            tasks.create_task(self._reports(), name="reports")

    async def _again_and_again(self, step: Callable[[], Awaitable[bool]]) -> None:
        """Repeat `step` (which says whether it found work); back off while the centre is in trouble."""
        failures = 0
        while True:
            try:
                pause = 0.0 if await step() else POLL_S
                failures = 0
            except (Refused, Conflict) as error:
                pause = REFUSED_S
                self._failed(error)
            except (DavyError, OSError) as error:  # Unreachable, or our own disk: both pass
                pause = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)] * self._jitter.uniform(0.5, 1.0)
                failures += 1
                self._failed(error)
            if pause:
                await self._clock.sleep_until(self._clock.mono_ns() + int(pause * 1e9))

    # Everything, in order

    async def _entries(self) -> bool:
        held = self._held or await self._resume()
        newest = self._reader.checkpoint()
        if newest is None:
            return False
        note, checkpoint = newest
        await self._send_keyrings(held)
        if held.size >= checkpoint.size and self._held_size >= checkpoint.size:
            return False
        entries = self._cut(held, note, checkpoint)
        began = self._clock.mono_ns()
        try:
            answer = await self._link.entries(entries)
        except Unreachable:
            self._batch = max(_LEAST_BATCH, self._batch // 2)
            raise
        if self._clock.mono_ns() - began < _QUICK_S * 1e9:
            self._batch = min(BATCH, self._batch * 2)
        self._took(answer)
        if answer.size == held.size and answer.seen == held.seen and self._held_size < checkpoint.size:
            raise Unreachable(f"centre {self._link.keys.url}: it neither takes nor refuses leaf {held.size}")
        return True

    async def _resume(self) -> Held:
        newest = self._reader.checkpoint()
        answer = await (self._link.resume(newest[0]) if newest else self._link.state())
        if answer.seen and (newest is None or answer.seen > newest[1].size):
            raise Conflict(f"centre {self._link.keys.url} has seen {answer.seen} leaves, more than this log has")
        try:
            self._took(answer)
        except Conflict:
            if newest:  # show it ours, so that it sees the contradiction too and keeps the proof
                note, checkpoint = newest
                await self._link.entries(Entries(answer.size, [], [], note, [], self._proven(answer, checkpoint)))
            raise
        return answer

    async def _send_keyrings(self, held: Held) -> None:
        """Wrapped keys the centre lacks, oldest first; without them it holds what it cannot read."""
        look = (held.epoch, self._keyring.stat().st_mtime_ns if self._keyring.exists() else 0)
        if look == self._keyrings_seen:
            return
        for path in sorted(self._keyring.glob("*.cbor")):
            if int(path.stem) > held.epoch:
                self._took(await self._link.keyring(int(path.stem), path.read_bytes()))
        self._keyrings_seen = look

    def _cut(self, held: Held, note: bytes, checkpoint: Checkpoint) -> Entries:
        """The next batch: as many leaves as fit, at least one."""
        leaves: list[bytes] = []
        chunks: list[bytes | None] = []
        size, end = 0, held.size
        for data, chunk in self._items(held.size, checkpoint.size):
            size += len(data) + len(chunk or b"")
            if leaves and (size > self._batch or len(leaves) >= MAX_LEAVES):
                break
            leaves.append(data)
            chunks.append(chunk)
            end += 1
        proof = self._reader.consistency(end, checkpoint.size) if 0 < end < checkpoint.size else []
        return Entries(held.size, leaves, chunks, note, proof, self._proven(held, checkpoint))

    def _items(self, start: int, end: int) -> Iterator[tuple[bytes, bytes | None]]:
        for at in range(start, end, _SLICE):
            for seq, data in enumerate(self._reader.leaves(at, min(at + _SLICE, end)), at):
                yield data, self._body(seq, decode_leaf(data))

    def _body(self, seq: int, leaf: Leaf) -> bytes | None:
        """A damaged body must not hold up all that comes after it: the leaf goes without, and fsck tells."""
        try:
            return self._reader.body(seq, leaf)
        except Corrupt as error:
            log_line.error("body_damaged", leaf=seq, err=str(error))
            return None

    def _proven(self, held: Held, checkpoint: Checkpoint) -> Proven:
        """The proof that `checkpoint` continues what the centre has seen."""
        if held.seen in (0, checkpoint.size):
            return Proven(held.seen, [])
        return Proven(held.seen, self._reader.consistency(*sorted((held.seen, checkpoint.size))))

    # Transitions, ahead

    async def _advances(self) -> bool:
        newest = self._reader.checkpoint()
        if newest is None:
            return False
        note, checkpoint = newest
        self._scan(self._held.size if self._held else self._held_size, checkpoint.size)
        for _ in range(_STUBBORN):
            if self._held is None:
                return False
            held = self._held
            self._ahead = [seq for seq in self._ahead if seq >= held.size]
            now = self._ahead[:_CLAIMS]
            if not now:
                return False
            claims = [self._claim(seq, checkpoint.size) for seq in now]
            answer = await self._link.advance(Advance(claims, note, self._proven(held, checkpoint)))
            self._took(answer)
            if answer.taken:
                self._ahead = [seq for seq in self._ahead if seq > now[-1]]
                return True
        raise Unreachable(f"centre {self._link.keys.url}: it keeps moving while we send ahead")

    def _scan(self, held: int, size: int) -> None:
        """Look through the leaves that are new: transitions go ahead, and all ages are noted."""
        if self._scanned < held:
            self._scanned = held
        if self._scanned < size - _LOOK_BACK:  # a backlog: its oldest leaf says how long we are exposed
            self._note_age(self._scanned)
            self._scanned = size - _LOOK_BACK
        for at in range(self._scanned, size, _SLICE):
            for seq, data in enumerate(self._reader.leaves(at, min(at + _SLICE, size)), at):
                leaf = decode_leaf(data)
                self._exposure.sealed(seq, leaf.t1)
                if leaf.kind == Kind.transition:
                    self._ahead.append(seq)
        self._scanned = max(self._scanned, size)

    def _note_age(self, seq: int) -> None:
        self._exposure.sealed(seq, decode_leaf(self._reader.leaves(seq, seq + 1)[0]).t1)

    def _claim(self, seq: int, size: int) -> Claim:
        (data,) = self._reader.leaves(seq, seq + 1)
        return Claim(data, self._body(seq, decode_leaf(data)), self._reader.inclusion(seq, size))

    # What we know

    def _took(self, answer: Held) -> None:
        """Go on from the centre's answer. Two loops ask at once, so an older answer may come later."""
        if self._held is None or answer.size >= self._held.size or not answer.taken:
            self._held = answer
        if answer.checkpoint:
            self._cosigned(answer.checkpoint)
        self._become("held" if self._held_size >= answer.seen else "behind", "")

    def _cosigned(self, note: bytes) -> None:
        """Check a cosigned checkpoint against our own log, and keep it if it is newer."""
        opened = open_note(note, [self._link.keys.verifier()])
        checkpoint = opened.checkpoint()
        if checkpoint.size <= self._held_size:
            return
        if checkpoint.origin != self._reader.origin or self._reader.root(checkpoint.size) != checkpoint.root:
            raise Conflict(f"centre {self._link.keys.url} cosigned {checkpoint.size} leaves that are not ours")
        self._held_size = checkpoint.size
        self._held_time = cosignature_time(opened.verified[0]) * SECOND
        self._exposure.covered(checkpoint.size, self._clock.now_us())
        REAL.replace(self._reader.path / "cosigned", note)
        self._report()

    def _load_cosigned(self) -> None:
        try:
            self._cosigned((self._reader.path / "cosigned").read_bytes())
        except FileNotFoundError:
            pass
        except (Conflict, Corrupt, Inconsistent) as error:  # of another centre, or of a log begun anew
            log_line.warning("cosigned_not_ours", err=str(error))

    def _failed(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, DavyError) else "disk"
        if isinstance(error, (Refused, Conflict)):
            self._held = None  # begin with `resume` next time
        if isinstance(error, Conflict) and error.proof:
            folder = self._reader.path / "proofs"
            folder.mkdir(exist_ok=True)
            REAL.replace(folder / "conflict.json", error.proof)
        self._become(reason, str(error))

    def _become(self, state: str, detail: str) -> None:
        if state != self._state:
            log_line.info("uplink_state", state=state, detail=detail, before=self._state)
            self._state, self._detail = state, detail
            self._report()

    async def _reports(self) -> None:
        while True:
            self._report()
            await self._clock.sleep_until(self._clock.mono_ns() + int(REPORT_S * 1e9))

    def _report(self) -> None:
        """`run/uplink.json`, whole or not at all.

        exposure_us: how long the oldest leaf that is not held yet has waited; exposure_p99_us: within which
        recent leaves were held; state: held, behind, or the reason of the last error.
        """
        report = {
            "held_size": self._held_size,
            "held_time": self._held_time,
            "exposure_us": self._exposure.current(self._clock.now_us()),
            "exposure_p99_us": self._exposure.p99(),
            "state": self._state,
            "detail": self._detail,
            "at": self._clock.now_us(),
        }
        temporary = self._run / "uplink.json.tmp"
        temporary.write_text(json.dumps(report))
        os.replace(temporary, self._run / "uplink.json")

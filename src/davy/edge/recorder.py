"""What happened, made durable: events and sealed seconds -> leaves -> group commit -> checkpoint.

One thread owns the log's writing end. The event loop puts work in and never waits for the disk;
the order of `put_*` calls is the order of the leaves.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from davy.blackbox.log import Log
from davy.blackbox.seal import Draft, Sealer
from davy.clock import SECOND, Clock
from davy.errors import DavyError
from davy.fact import Epoch, ErasureClass, Kind, Note, Tags
from davy.fact.codec import ReadingsEncoder
from davy.fact.event import _Event as Event
from davy.reading import Readings, TagTable

log_line = structlog.get_logger()

#: A leaf holds at most this many readings, so its body stays far below 4 MiB (river.md 2).
LEAF_READINGS = 5_000
#: Work that arrives within this time of the first shares one commit; transitions are durable in <= 100 ms.
GROUP_S = 0.02
#: At most ten checkpoints a second (contracts.md 10).
CHECKPOINT_NS = 100_000_000
#: Readings kept while the disk refuses; beyond it the oldest go, counted and recorded as a gap.
BACKLOG_READINGS = 4_000_000
RETRY_S = 0.5


class SignerPort(Protocol):
    """What the recorder asks of the signer process. Each call raises DavyError; may be repeated."""

    def sign(self, origin: str, size: int, root: bytes) -> bytes: ...
    def epoch(self, number: int) -> tuple[dict[int, bytes], bytes]:
        """Keys by erasure class of the epoch, made durable there, and the SHA-256 of its wraps."""

    def key(self, key_id: int) -> bytes: ...


@dataclass(slots=True)
class _Work:
    kind: Kind
    event: Event | None = None
    readings: Readings | None = None
    epoch: tuple[Any, str] | None = None  # (alarm snapshot, reason)
    durable: "Future[int]" = field(default_factory=Future)


@dataclass(slots=True)
class Faults:
    """What keeps the record from being complete, for the core to turn into readings of its own tags."""

    disk: bool = False
    signer: bool = False
    dropped: int = 0


class Recorder:
    """The writing end of one log, with its thread. All `put_*` may be called from the event loop.

    A future gives the leaf index once the leaf is durable (bodies and journal synced). Events are
    never dropped; readings are when the disk refuses for long, and then a `gap` leaf says how many.
    """

    def __init__(
        self, log: Log, signer: SignerPort, clock: Clock, pace: Clock, *, boot: int, epoch: int, tags_version: int
    ) -> None:
        self.log = log
        self.signer = signer
        self.clock = clock
        self.pace = pace
        self.boot = boot
        self.epoch = epoch
        self.tags_version = tags_version
        self.faults = Faults()
        self.on_checkpoint: Callable[[int], object] = lambda size: None
        self._sealer: Sealer | None = None
        self._encoder = ReadingsEncoder(None)
        # The queue and its counters belong to `_condition`; everything below them to the thread.
        self._condition = threading.Condition()
        self._queue: deque[_Work] = deque()
        self._queued_readings = 0
        self._stopping = False
        self._unreported_drops = (0, 0, 0)  # readings, first and last server_time
        self._checkpoint_due = False
        self._last_checkpoint_ns = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Make everything put so far durable and signed, then end the thread."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(timeout_s)

    def put_event(self, kind: Kind, event: Event) -> "Future[int]":
        return self._put(_Work(kind, event=event))

    def put_epoch(self, snapshot: Any, reason: str) -> "Future[int]":
        """Begin a new key epoch here; `snapshot` is the alarm state after everything put before."""
        return self._put(_Work(Kind.epoch, epoch=(snapshot, reason)))

    def put_tags(self, tags: TagTable, refs: NDArray[np.float64] | None) -> "Future[int]":
        """Record the tag table; readings put after this are coded against `refs` (float64[size] or None)."""
        self.tags_version += 1
        plain = [t.plain() for t in tags.tags]
        data = b"" if refs is None else refs.astype("<f8").tobytes()
        return self.put_event(Kind.tags, Tags(self.tags_version, plain, data))

    def put_readings(self, readings: Readings) -> None:
        """Record judged readings; cut into leaves of at most LEAF_READINGS."""
        readings = replace(readings, tags_version=self.tags_version)
        for start in range(0, len(readings), LEAF_READINGS):
            self._put(_Work(Kind.readings, readings=readings.take(slice(start, start + LEAF_READINGS))))

    @property
    def backlog(self) -> int:
        """Works waiting to be made durable."""
        return len(self._queue)

    def oldest_wait(self) -> bool:
        """Whether something is waiting now."""
        return bool(self._queue)

    def _put(self, work: _Work) -> "Future[int]":
        with self._condition:
            self._queue.append(work)
            if work.readings is not None:
                self._queued_readings += len(work.readings)
                if self._queued_readings > BACKLOG_READINGS:
                    self._drop_oldest()
            self._condition.notify()
        return work.durable

    def _drop_oldest(self) -> None:
        at = next(i for i, w in enumerate(self._queue) if w.readings is not None)
        gone = self._queue[at].readings
        del self._queue[at]
        assert gone is not None
        self._queued_readings -= len(gone)
        count, first, _ = self._unreported_drops
        self._unreported_drops = (
            count + len(gone),
            first if count else int(gone.server_time.min()),
            int(gone.server_time.max()),
        )
        self.faults.dropped += len(gone)

    # The thread

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._stopping:
                    if not self._condition.wait(GROUP_S if self._checkpoint_due else None) and self._checkpoint_due:
                        break
                if self._stopping and not self._queue:
                    break
                if self._queue and not self._stopping:
                    self._condition.wait_for(lambda: self._stopping, GROUP_S)
                group = list(self._queue)
            if group and not self._commit(group):
                with self._condition:
                    if self._stopping:
                        break  # the disk refuses and we are told to go; what waited was never acknowledged
                    self._condition.wait_for(lambda: self._stopping, RETRY_S)
            self._checkpoint(force=False)
        self._checkpoint(force=True)

    def _commit(self, group: list[_Work]) -> bool:
        """Seal and append; on success the works leave the queue and their futures are set."""
        try:
            sealed: list[tuple[bytes, bytes | None, ErasureClass]] = []
            first: dict[int, int] = {}
            seq = self.log.size
            gap, gap_drops = self._gap()
            for work in ([gap] if gap else []) + group:
                draft = self._draft(work)
                assert self._sealer is not None, "the first work of a recorder is an epoch"
                leaf, chunk = self._sealer.seal(draft, seq)
                first[id(work)] = seq
                sealed.append((leaf, chunk, ErasureClass(draft.erasure)))
                seq += 1
            self.log.append(sealed, self.clock.now_us() // (3600 * SECOND))
        except OSError as error:  # Full, and a disk that is read-only or failing: kept, and tried again
            if not self.faults.disk:
                log_line.error("log_append_failed", reason=getattr(error, "reason", "disk"), err=str(error))
            self.faults.disk = True
            return False
        except DavyError as error:  # the signer would not give an epoch: try again, the works are kept
            if not self.faults.signer:
                log_line.error("log_append_failed", reason=error.reason, err=str(error))
            self.faults.signer = True
            return False
        self.faults.disk = False
        with self._condition:
            kept = set(map(id, group))
            self._queue = deque(w for w in self._queue if id(w) not in kept)
            self._queued_readings = sum(len(w.readings) for w in self._queue if w.readings is not None)
            if gap:
                count, start, end = self._unreported_drops
                self._unreported_drops = (count - gap_drops, start, end)
        self._checkpoint_due = True
        for work in group:
            work.durable.set_result(first[id(work)])
        return True

    def _gap(self) -> tuple[_Work | None, int]:
        with self._condition:
            count, start, end = self._unreported_drops
        if not count or self._sealer is None:
            return None, 0
        detail = {"readings": count, "from": start, "to": end}
        return _Work(Kind.gap, event=Note("readings_dropped", detail, self.clock.now_us())), count

    def _draft(self, work: _Work) -> Draft:
        now, mono = self.clock.now_us(), self.clock.mono_ns()
        if work.readings is not None:
            r = work.readings
            encoded, blocks = self._encoder.encode_with_blocks(r)
            return Draft(
                kind=Kind.readings,
                t0=int(r.server_time.min()),
                t1=int(r.server_time.max()),
                mono=r.mono_ns or mono,
                n=len(r),
                tags_version=r.tags_version,
                blocks=blocks,
                encoded=encoded,
                erasure=ErasureClass.sensor,
            )
        event = work.event
        if work.epoch is not None:
            event = self._begin_epoch(*work.epoch, now)
        assert event is not None
        if isinstance(event, Tags):
            self._encoder = ReadingsEncoder(np.frombuffer(event.refs, "<f8") if event.refs else None)
        body = event.encode()
        when = int(getattr(event, "time", now))
        return Draft(
            kind=work.kind, t0=when, t1=when, mono=mono, n=1, tags_version=self.tags_version,
            blocks=[memoryview(body)], encoded=body, erasure=ErasureClass.event,
        )  # fmt: skip

    def _begin_epoch(self, snapshot: Any, reason: str, now: int) -> Epoch:
        number = self.epoch + 1
        keys, wraps_hash = self.signer.epoch(number)
        self.epoch = number
        self._sealer = Sealer(self.log.origin, self.boot, number, keys)
        return Epoch(number, wraps_hash, snapshot, self.tags_version, now, reason)

    def _checkpoint(self, force: bool) -> None:
        now = self.pace.mono_ns()
        if not self._checkpoint_due or (not force and now - self._last_checkpoint_ns < CHECKPOINT_NS):
            return
        try:
            size, root = self.log.size, self.log.root()
            self.log.publish(self.signer.sign(self.log.origin, size, root), size)
        except DavyError as error:
            if not self.faults.signer:
                log_line.error("checkpoint_failed", reason=error.reason, err=str(error))
            self.faults.signer = True
            self._last_checkpoint_ns = now + 1_000_000_000 - CHECKPOINT_NS  # once a second until it signs again
            return
        self.faults.signer = False
        self._checkpoint_due = False
        self._last_checkpoint_ns = now
        self.on_checkpoint(size)

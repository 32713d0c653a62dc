"""What happened, made durable: events and sealed seconds -> leaves -> group commit -> checkpoint.

One thread owns the log's writing end. The event loop puts work in and never waits for the disk;
the order of `put_*` calls is the order of the leaves.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from davy.blackbox.log import Log
from davy.blackbox.seal import Draft, Sealer
from davy.clock import SECOND, Clock
from davy.edge.faults import Faults
from davy.errors import BadRequest, DavyError
from davy.fact import Epoch, ErasureClass, Kind, Note, Tags
from davy.fact.codec import ReadingsEncoder
from davy.fact.event import _Event as Event
from davy.reading import Readings, TagTable

log_line = structlog.get_logger()

#: A leaf holds at most this many readings: above what the core seals at once, so a busy site leaves no small
#: rest; a body stays far below 4 MiB. Leaves of 20,000 cost a fifth less of the whole river than of 5,000.
LEAF_READINGS = 25_000
#: Work that arrives within this time of the first shares one commit; transitions are durable in <= 100 ms.
GROUP_S = 0.02
#: At most ten checkpoints a second (contracts.md 10).
CHECKPOINT_NS = 100_000_000
#: Readings kept while the disk refuses; beyond it the oldest go, counted and recorded as a gap.
BACKLOG_READINGS = 4_000_000
#: One commit takes no more of them, so a backlog neither holds up what follows nor needs room for all at once.
GROUP_READINGS = 100_000
RETRY_S = 0.5


Answer = TypeVar("Answer")


class SignerPort(Protocol):
    """What the recorder asks of the signer process. Each call raises DavyError; may be repeated."""

    def sign(self, origin: str, size: int, root: bytes) -> bytes: ...
    def epoch(self, number: int) -> tuple[dict[int, bytes], bytes]:
        """Keys by erasure class of the epoch, made durable there, and the SHA-256 of its wraps."""

    def key(self, key_id: int) -> bytes: ...


@dataclass(slots=True)
class _Work:
    kind: Kind
    tags_version: int
    event: Event | None = None
    readings: Readings | None = None
    epoch: tuple[Any, str] | None = None  # (alarm snapshot, reason)
    durable: "Future[int]" = field(default_factory=Future)


class Recorder:
    """The writing end of one log, with its thread. All `put_*` may be called from the event loop.

    log: None where it could not be opened yet; the thread tries `reopen` until it can, and what was put
    waits. boot, epoch and tags_version are counted on from what the log holds, then as well.
    A future gives the leaf index once the leaf is durable (bodies and journal synced). Events are
    never dropped; readings are when the disk refuses for long, and then a `gap` leaf says how many.
    """

    def __init__(
        self,
        log: Log | None,
        signer: SignerPort,
        clock: Clock,
        pace: Clock,
        *,
        boot: int,
        epoch: int,
        tags_version: int,
        reopen: Callable[[], tuple[Log, tuple[int, int, int]]] | None = None,
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
        self._reopen = reopen
        self._tables_before = 0  # tag tables in a log that was opened late: ours are counted on from there
        self._sealer: Sealer | None = None
        self._encoder = ReadingsEncoder(None)
        # The queue and its counters belong to `_condition`; everything below them to the thread.
        self._condition = threading.Condition()
        self._queue: deque[_Work] = deque()
        self._queued_readings = 0
        self._committing = 0  # works at the head of the queue that the thread is writing just now
        self._most = 0  # works in the next group, 0: as many as fit
        self._asked: deque[tuple[Callable[[Log], Any], Future[Any]]] = deque()
        self._stopping = False
        self._unreported_drops = (0, 0, 0)  # readings, first and last server_time
        self._checkpoint_due = False
        self._last_checkpoint_ns = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Make everything put so far durable and signed, then end the thread.

        Where the disk refuses, what waits is given up; it was never acknowledged.
        """
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(timeout_s)

    def put_event(self, kind: Kind, event: Event) -> "Future[int]":
        """Record an event. Its future cannot be cancelled: what was put will be written, whoever still waits."""
        return self._put(_Work(kind, self.tags_version, event=event))

    def put_epoch(self, snapshot: Any, reason: str) -> "Future[int]":
        """Begin a new key epoch here; `snapshot` is the alarm state after everything put before."""
        return self._put(_Work(Kind.epoch, self.tags_version, epoch=(snapshot, reason)))

    def put_tags(self, tags: TagTable, refs: NDArray[np.float64] | None) -> "Future[int]":
        """Record the tag table; readings put after this are coded against `refs` (float64[size] or None).

        The leaf holds them moved by a digit here and there, to what the encoder has learnt of each tag.
        """
        self.tags_version += 1
        plain = [t.plain() for t in tags.tags]
        data = b"" if refs is None else refs.astype("<f8").tobytes()
        return self.put_event(Kind.tags, Tags(self.tags_version, plain, data))

    def put_readings(self, readings: Readings) -> None:
        """Record judged readings; cut into leaves of at most LEAF_READINGS."""
        readings = replace(readings, tags_version=self.tags_version)
        for start in range(0, len(readings), LEAF_READINGS):
            part = readings.take(slice(start, start + LEAF_READINGS))
            self._put(_Work(Kind.readings, self.tags_version, readings=part))

    def put_first(self, kind: Kind, event: Event) -> "Future[int]":
        """As `put_event`, but before everything that still waits: for what makes room for the rest."""
        work = _Work(kind, self.tags_version, event=event)
        work.durable.set_running_or_notify_cancel()
        with self._condition:
            self._queue.insert(max(self._committing, 1 if self._sealer is None else 0), work)
            self._condition.notify()
        return work.durable

    def ask(self, question: Callable[[Log], Answer]) -> "Future[Answer]":
        """Run `question` with the log in the thread that owns it, between two groups."""
        answer: Future[Answer] = Future()
        answer.set_running_or_notify_cancel()
        with self._condition:
            self._asked.append((question, answer))
            self._condition.notify()
        return answer

    @property
    def backlog(self) -> int:
        """Works waiting to be made durable."""
        return len(self._queue)

    @property
    def waiting_readings(self) -> int:
        return self._queued_readings

    def _put(self, work: _Work) -> "Future[int]":
        work.durable.set_running_or_notify_cancel()
        with self._condition:
            self._queue.append(work)
            if work.readings is not None:
                self._queued_readings += len(work.readings)
                if self._queued_readings > BACKLOG_READINGS:
                    self._drop_oldest()
            self._condition.notify()
        return work.durable

    def _drop_oldest(self) -> None:
        queue = enumerate(self._queue)
        at = next((i for i, w in queue if i >= self._committing and w.readings is not None), None)
        if at is None:
            return  # all of it is being written
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
                while not (self._queue or self._asked or self._stopping):
                    if not self._condition.wait(GROUP_S if self._checkpoint_due else None) and self._checkpoint_due:
                        break
                if self._stopping and not self._queue:
                    break
                if self._queue and not self._stopping:
                    self._condition.wait_for(lambda: self._stopping, GROUP_S)
                group = self._next_group()
            log = self._opened()
            if log is not None:
                self._answer(log)
            if group and (log is None or not self._commit(log, group)):
                with self._condition:
                    if self._stopping:
                        break
                    self._condition.wait_for(lambda: self._stopping, RETRY_S)
            if log is not None:
                self._checkpoint(log, force=False)
        if self.log is not None:
            self._checkpoint(self.log, force=True)

    def _opened(self) -> Log | None:
        """The log, opened now if it could not be before."""
        if self.log is None and self._reopen is not None:
            try:
                self.log, (self.boot, self.epoch, self._tables_before) = self._reopen()
                self.boot += 1
            except (OSError, DavyError) as error:
                self.faults.failed("open", error)
            else:
                self.faults.went("open")
        return self.log

    def _answer(self, log: Log) -> None:
        while self._asked:
            question, answer = self._asked.popleft()
            try:
                answer.set_result(question(log))
            except Exception as error:  # noqa: BLE001  (whoever asked is told, and judges)
                answer.set_exception(error)

    def _next_group(self) -> list[_Work]:
        """The works to write now, oldest first; they stay in the queue until they are durable."""
        group: list[_Work] = []
        readings = 0
        for work in self._queue:
            readings += len(work.readings) if work.readings is not None else 0
            if group and (readings > GROUP_READINGS or len(group) == self._most):
                break
            group.append(work)
        self._committing = len(group)
        return group

    def _commit(self, log: Log, group: list[_Work]) -> bool:
        """Seal and append; on success the works leave the queue and their futures are set."""
        before = self._sealer, self._encoder, self.epoch  # a group that fails is sealed again from its beginning
        gap, gap_drops = self._gap(group[0].tags_version)
        works = ([gap] if gap else []) + group
        first = log.size
        try:
            sealed = [self._seal(log.origin, work, seq) for seq, work in enumerate(works, first)]
            log.append(sealed, self.clock.now_us() // (3600 * SECOND))
        except (OSError, DavyError) as error:  # the disk, or the signer would not give an epoch: kept, and tried again
            self._sealer, self._encoder, self.epoch = before
            self.faults.failed("append", error)
            self._most = max(1, len(group) // 2)  # a part may fit where the whole does not
        except Exception as error:  # the outermost edge: one leaf that cannot be made must not end the record
            self._sealer, self._encoder, self.epoch = before
            log_line.exception("leaf_not_made", works=len(group), err=repr(error))
            self._find_bad_work(group, error)
        else:
            self._durable(log, group, gap_drops)
            for seq, work in enumerate(works, first):
                work.durable.set_result(seq)
            return True
        self._committing = 0
        return False

    def _durable(self, log: Log, group: list[_Work], gap_drops: int) -> None:
        self.faults.went("append")
        if log.trouble:
            self.faults.failed("bundles", log.trouble)
        else:
            self.faults.went("bundles")
        with self._condition:
            for work in group:
                self._queue.popleft()
                self._queued_readings -= len(work.readings) if work.readings is not None else 0
            self._committing = 0
            self._most = 0
            count, start, end = self._unreported_drops
            self._unreported_drops = (count - gap_drops, start, end)
        self._checkpoint_due = True

    def _find_bad_work(self, group: list[_Work], error: Exception) -> None:
        """Narrow down what cannot be recorded; put a gap leaf in its place."""
        if len(group) > 1:
            self._most = max(1, len(group) // 2)
            return
        if group[0].epoch is not None:
            return  # nothing can be sealed without it: try again
        detail = {"kind": int(group[0].kind), "why": repr(error)[:500]}
        note = Note("not_recorded", detail, self.clock.now_us())
        with self._condition:
            self._queue[0] = _Work(Kind.gap, group[0].tags_version, event=note)
            self._queued_readings -= len(group[0].readings) if group[0].readings is not None else 0
            self._most = 0
        group[0].durable.set_exception(BadRequest(f"it cannot be recorded: {error!r}"))

    def _gap(self, tags_version: int) -> tuple[_Work | None, int]:
        with self._condition:
            count, start, end = self._unreported_drops
        if not count or self._sealer is None:
            return None, 0
        detail = {"readings": count, "from": start, "to": end}
        note = Note("readings_dropped", detail, self.clock.now_us())
        return _Work(Kind.gap, tags_version, event=note), count

    def _seal(self, origin: str, work: _Work, seq: int) -> tuple[bytes, bytes | None, ErasureClass]:
        draft = self._draft(origin, work)
        assert self._sealer is not None, "the first work of a recorder is an epoch"
        leaf, chunk = self._sealer.seal(draft, seq)
        return leaf, chunk, ErasureClass(draft.erasure)

    def _draft(self, origin: str, work: _Work) -> Draft:
        now, mono = self.clock.now_us(), self.clock.mono_ns()
        tags_version = self._tables_before + work.tags_version
        if work.readings is not None:
            r = work.readings
            encoded, blocks = self._encoder.encode_with_blocks(r)
            return Draft(
                kind=Kind.readings,
                t0=int(r.server_time.min()),
                t1=int(r.server_time.max()),
                mono=r.mono_ns or mono,
                n=len(r),
                tags_version=tags_version,
                blocks=blocks,
                encoded=encoded,
                erasure=ErasureClass.sensor,
            )
        event = work.event
        if work.epoch is not None:
            event = self._begin_epoch(origin, *work.epoch, tags_version, now)
        assert event is not None
        if isinstance(event, Tags):
            event = self._begin_table(replace(event, version=tags_version))
        body = event.encode()
        when = int(getattr(event, "time", now))
        return Draft(
            kind=work.kind, t0=when, t1=when, mono=mono, n=1, tags_version=tags_version,
            blocks=[memoryview(body)], encoded=body, erasure=ErasureClass.event,
        )  # fmt: skip

    def _begin_table(self, table: Tags) -> Tags:
        """Readings are coded against this table from here on."""
        if not table.refs:
            self._encoder = ReadingsEncoder(None)
            return table
        refs = self._encoder.references(np.frombuffer(table.refs, "<f8"))
        self._encoder = ReadingsEncoder(refs)
        return replace(table, refs=refs.astype("<f8").tobytes())

    def _begin_epoch(self, origin: str, snapshot: Any, reason: str, tags_version: int, now: int) -> Epoch:
        number = self.epoch + 1
        keys, wraps_hash = self.signer.epoch(number)
        self.epoch = number
        self._sealer = Sealer(origin, self.boot, number, keys)
        return Epoch(number, wraps_hash, snapshot, tags_version, now, reason)

    def _checkpoint(self, log: Log, force: bool) -> None:
        now = self.pace.mono_ns()
        if not self._checkpoint_due or (not force and now - self._last_checkpoint_ns < CHECKPOINT_NS):
            return
        try:
            size, root = log.size, log.root()
            log.publish(self.signer.sign(log.origin, size, root), size)
        except (OSError, DavyError) as error:
            self.faults.failed("checkpoint", error)
            self._last_checkpoint_ns = now + 1_000_000_000 - CHECKPOINT_NS  # once a second until it signs again
            return
        self.faults.went("checkpoint")
        self._checkpoint_due = False
        self._last_checkpoint_ns = now
        self.on_checkpoint(size)

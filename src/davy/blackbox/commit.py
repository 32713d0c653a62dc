"""Group commit: many writers, one journal frame and one sync for all that came meanwhile.

A record is durable when its future resolves. Then it waits in memory until `settle` has put it where it
belongs, and only after that may its journal segment go. Whatever a crash leaves in the journal is settled
at the next start, so `settle` is idempotent.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import cbor2
import structlog

from davy.blackbox.journal import Journal
from davy.errors import Corrupt, DavyError, Full

log_line = structlog.get_logger()

#: What is committed: plain CBOR values, first of them a number that says which kind.
Record = list[Any]

_VERSION = 1
_GROUP_BYTES = 4 << 20  # a group takes no further record beyond this
_GROUPS_WAITING = 32  # not yet settled; when full, `submit`ted records wait (policy: block)
_RETRY_S = 1.0

_Waiting = tuple[Record, int, "Future[None]"]


class GroupCommit:
    """Owns `journal`. Two threads: one appends groups, one settles them in the same order."""

    def __init__(self, journal: Journal, settle: Callable[[Sequence[Record]], None]) -> None:
        """Recovers the journal and settles what it holds before returning. Raises Corrupt or OSError."""
        self._journal = journal
        self._settle = settle
        self._incoming: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._settling: queue.Queue[tuple[int, list[Record]] | None] = queue.Queue(_GROUPS_WAITING)
        self._settled_segment = 0  # every record in segments below it is settled
        self._stop = threading.Event()
        self.failure: Exception | None = None
        settle([record for frame in journal.recover() for record in _decode(frame.payload)])
        journal.retire(journal.segment)
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=work.__name__.strip("_"), daemon=True)
            for work in (self._append_groups, self._settle_groups)
        ]
        for thread in reversed(self._threads):
            thread.start()

    def submit(self, record: Record, size: int) -> "Future[None]":
        """Add a record of about `size` bytes. The future resolves when it is durable, or raises Full (retry)."""
        future: Future[None] = Future()
        if self.failure is not None:
            future.set_exception(self.failure)
        else:
            self._incoming.put((record, size, future))
        return future

    def close(self) -> None:
        """Commit what was submitted and settle it, unless the disk refuses: then the next start does."""
        self._stop.set()
        self._incoming.put(None)
        for thread in self._threads:
            thread.join()
        self._journal.close()

    def _append_groups(self) -> None:
        more, retired = True, 0
        while more:
            group, more = self._next_group()
            if group:
                self._commit(group)
            if self._settled_segment > retired:
                retired = self._settled_segment
                self._journal.retire(retired)
        self._hand_on(None)

    def _hand_on(self, item: tuple[int, list[Record]] | None) -> None:
        """Give a group to the settling thread; if that has ended, the journal keeps the group."""
        while self._threads[1].is_alive():
            try:
                self._settling.put(item, timeout=_RETRY_S)
                return
            except queue.Full:
                pass

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """Everything that is waiting, at least one, up to the size of a group; False after `close`."""
        group: list[_Waiting] = []
        total = 0
        while total < _GROUP_BYTES:
            try:
                item = self._incoming.get(block=not group)
            except queue.Empty:
                break
            if item is None:
                return group, False
            group.append(item)
            total += item[1]
        return group, True

    def _commit(self, group: list[_Waiting]) -> None:
        records = [record for record, _, _ in group]
        try:
            self._journal.append(cbor2.dumps([_VERSION, records]))
        except OSError as error:  # Full is one; any other is as passing as far as we can know
            failed = error if isinstance(error, Full) else Full(error.errno, f"journal: {error.strerror}")
            for _, _, future in group:
                future.set_exception(failed)
            return
        for _, _, future in group:
            future.set_result(None)
        self._hand_on((self._journal.segment, records))

    def _settle_groups(self) -> None:
        closing = False
        while not closing:
            segment, records, closing = self._next_settling()
            while records and not self._try_settle(records):
                if self._stop.wait(_RETRY_S):
                    return  # the journal keeps them for the next start
            if records:
                self._settled_segment = segment

    def _next_settling(self) -> tuple[int, list[Record], bool]:
        """All groups that wait, as one; the segment of the last."""
        segment, records = 0, list[Record]()
        while True:
            try:
                item = self._settling.get(block=not records)
            except queue.Empty:
                return segment, records, False
            if item is None:
                return segment, records, True
            segment = item[0]
            records += item[1]

    def _try_settle(self, records: list[Record]) -> bool:
        try:
            self._settle(records)
        except OSError as error:
            log_line.error("mirror_settle_failed", err=str(error), retry_in_s=_RETRY_S)
            return False
        return True

    def _guard(self, work: Callable[[], None]) -> None:
        """A thread's outermost edge: remember why it died, so that everyone after is told and the process restarts."""
        try:
            work()
        except Exception as error:  # whatever it is, nothing more can be promised
            self.failure = error if isinstance(error, DavyError) else Corrupt(f"mirror: {error!r}")
            log_line.critical("mirror_failed", exc_info=True)
            while (item := self._next_failed()) is not None:
                item[2].set_exception(self.failure)

    def _next_failed(self) -> _Waiting | None:
        try:
            return self._incoming.get(block=False)
        except queue.Empty:
            return None


def _decode(payload: bytes) -> list[Record]:
    version, records = cbor2.loads(payload)
    if version != _VERSION:
        raise Corrupt(f"mirror journal: expected version {_VERSION}, got {version}")
    return list(records)

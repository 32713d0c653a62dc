"""Answers to `query` on a history process's socket: columns as little-endian bytes.

DuckDB works in threads, a few at a time; so many questions wait, the rest are turned away; each ends
by its deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, Self

from davy.errors import BadRequest, UnknownTarget, Unreachable
from davy.reading import Readings
from davy.reading.readings import COLUMNS
from davy.record import transitions
from davy.record.history import ParquetHistory
from davy.record.promise import Buckets
from davy.record.query import joined

WORKERS = 2
WAITING = 16
DEADLINE_S = 10.0
MAX_TAGS = 256
MAX_BUCKETS = 10_000
MAX_CELLS = 400_000  # buckets x tags of one answer: 17 MB
MAX_ROWS = 1_000_000  # readings of one answer: 36 MB, and a frame holds 64
MAX_TRANSITIONS = 100_000


class Queries:
    """The handler behind the verb `query`. `histories` gives each origin's; "" means the only one there is."""

    def __init__(self, histories: Mapping[str, ParquetHistory], deadline_s: float = DEADLINE_S) -> None:
        self._histories, self._deadline_s = histories, deadline_s
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="query")
        self._busy = asyncio.Semaphore(WORKERS)
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the questions under way; turn away the rest."""
        self._threads.shutdown(cancel_futures=True)

    async def query(
        self, kind: str, origin: str = "", tags: Sequence[int] = (), t0: int = 0, t1: int = 0, n: int = 0
    ) -> dict[str, Any]:
        """Answer one question over [t0, t1), us UTC, about tag indices `tags`.

        buckets: n buckets a tag, by tag as asked, then time: tag u4, time i8 (start of each), count, good, bad u4,
        min, max, avg f8. range: tag u4, value f8, status, flags u4, source_time, server_time i8, by tag,
        then source time. latest: the same columns, one row a tag; no tags = all. transitions: the fields
        of fact.Transition and `leaf`, the newest n by time, oldest first; no tags = all; whole numbers i8, floats
        f8, Booleans u1, texts as lists.

        Raises BadRequest, UnknownTarget (origin), Unreachable (retry: too busy, or not done by its deadline).
        """
        kinds = {"buckets": self._buckets, "range": self._range, "latest": self._latest, "transitions": self._alarms}
        if kind not in kinds:
            raise BadRequest(f"query kind: expected one of {', '.join(kinds)}, got {kind!r}")
        _check(tags, (t0, t1, n))
        history = self._history(origin)
        if self._asked >= WAITING:
            raise Unreachable(f"history: {WAITING} questions are waiting already")
        self._asked += 1
        try:
            async with asyncio.timeout(self._deadline_s):
                return await kinds[kind](history, list(tags), t0, t1, n)
        except TimeoutError:
            raise Unreachable(f"history: no answer within {self._deadline_s} s; ask for less") from None
        finally:
            self._asked -= 1

    def _history(self, origin: str) -> ParquetHistory:
        if not origin and len(self._histories) == 1:
            return next(iter(self._histories.values()))
        try:
            return self._histories[origin]
        except KeyError:
            raise UnknownTarget(f"history: expected an origin known here, got {origin!r}") from None

    async def _thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        async with self._busy:  # so that a cancelled question leaves no thread's queue behind it
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _each(self, work: Callable[..., Any], tags: list[int], *arguments: Any) -> list[Any]:
        """One tag after the other, so that a question past its deadline stops between two."""
        return [await self._thread(work, [tag], *arguments) for tag in tags]

    async def _buckets(self, history: ParquetHistory, tags: list[int], t0: int, t1: int, n: int) -> dict[str, Any]:
        if not (tags and 0 < n <= MAX_BUCKETS and n * len(tags) <= MAX_CELLS):
            raise BadRequest(f"buckets: expected tags and 1 to {MAX_BUCKETS} buckets each, got {len(tags)} and {n}")
        return columns(joined(await self._each(history.buckets, tags, t0, t1, n)))

    async def _range(self, history: ParquetHistory, tags: list[int], t0: int, t1: int, n: int) -> dict[str, Any]:
        rows: list[Readings] = []
        for tag in tags:
            rows.append(await self._thread(history.range, [tag], t0, t1))
            if sum(map(len, rows)) > MAX_ROWS:
                raise BadRequest(f"range: expected at most {MAX_ROWS} readings; ask for a shorter time or fewer tags")
        return {name: b"".join(getattr(r, name).astype(dtype).tobytes() for r in rows) for name, dtype in COLUMNS}

    async def _latest(self, history: ParquetHistory, tags: list[int], t0: int, t1: int, n: int) -> dict[str, Any]:
        return columns(history.latest(tags or None))

    async def _alarms(self, history: ParquetHistory, tags: list[int], t0: int, t1: int, n: int) -> dict[str, Any]:
        limit = min(n or MAX_TRANSITIONS, MAX_TRANSITIONS)
        return transitions.columns(await self._thread(history.transitions, t0, t1, limit, tags))

    def handlers(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        return {"query": self.query}


def _check(tags: Sequence[int], numbers: tuple[int, ...]) -> None:
    if not all(type(x) is int for x in (*tags, *numbers)):
        raise BadRequest("query: expected whole numbers for tags, t0, t1 and n")
    if len(tags) > MAX_TAGS or not all(0 <= tag < 1 << 32 for tag in tags):
        raise BadRequest(f"query: expected at most {MAX_TAGS} tag indices, got {len(tags)}")


def columns(table: Readings | Buckets) -> dict[str, bytes]:
    """Each array by name as little-endian bytes."""
    names = [name for name, _ in COLUMNS] if isinstance(table, Readings) else [f.name for f in fields(table)]
    return {name: getattr(table, name).astype(getattr(table, name).dtype.newbyteorder("<")).tobytes() for name in names}

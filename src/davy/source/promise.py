"""What every source of readings promises, and nothing else.

A source belongs to one link (one connection, one device bus or one file) and to one asyncio task.
It never raises for what happens in the field. When its peer is lost, every tag that was due gets a
row with a Bad status and value NaN: rows are never left out, and an old value is never given as new.
It comes back by itself, and logs once on loss and once on recovery.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from davy.reading import Flag, Readings, Status, Tag

#: Takes a batch at once; must not block and must not raise.
Sink = Callable[[Readings], None]


Indices = NDArray[np.uint32]


def indices(tags: Sequence[Tag]) -> Indices:
    """uint32[n]: tag indices in this order. Tags of a list not locked yet (-1, when probing) wrap round."""
    return np.array([t.index for t in tags], np.int64).astype(np.uint32)


class Batch(NamedTuple):
    """What all readings of this process share (see Readings)."""

    origin: str = ""
    tags_version: int = 0
    boot_id: int = 0

    def readings(
        self, tag: Indices, value: NDArray[np.float64], now_us: int, mono_ns: int, status: Status = Status.Good
    ) -> Readings:
        """Readings of one instant, from a device that gives no time. `tag` and `value` are not copied."""
        n = len(tag)
        times = np.full(n, now_us, np.int64)
        flags = np.full(n, Flag.no_source_time, np.uint32)
        statuses = np.full(n, status, np.uint32)
        return Readings(
            tag, value, statuses, flags, times, times, self.origin, self.tags_version, mono_ns, self.boot_id
        )

    def bad(self, tag: Indices, status: Status, now_us: int, mono_ns: int) -> Readings:
        """One row a tag saying that there is no value and why."""
        return self.readings(tag, np.full(len(tag), np.nan), now_us, mono_ns, status)


@dataclass(frozen=True, slots=True)
class Grid:
    """Poll instants on the wall clock: every multiple of `period`, moved by `offset`; both us."""

    period: int
    offset: int = 0

    def after(self, us: int) -> int:
        """The first instant later than `us`."""
        return ((us - self.offset) // self.period + 1) * self.period + self.offset

    def between(self, first: int, last: int) -> int:
        """How many instants lie strictly between the two instants `first` and `last`."""
        return max(0, (last - first) // self.period - 1)


@dataclass(slots=True)
class Diagnostics:
    """Counts since the start, for the status page and the benches; written by the source's task only."""

    polls: int = 0
    late: int = 0  # began more than LATE after their instant
    missed: int = 0  # instants passed over because the poll before was still running
    worst_late: int = 0  # us
    requests: int = 0
    readings: int = 0
    bad: int = 0
    losses: int = 0
    up: bool | None = None  # None until the first attempt
    reason: str = ""  # of the last loss
    units_down: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One tag out of an exchange: where it stands, its raw bytes, its value and its status."""

    tag: str
    address: str
    raw: str
    value: float
    status: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, byte for byte; `answer` is empty where none came."""

    sent: bytes
    answer: bytes
    meaning: str
    decoded: tuple[Decoded, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe saw. `error` is empty when every exchange went well."""

    source: str
    exchanges: tuple[Exchange, ...]
    error: str = ""

    @property
    def alive(self) -> bool:
        return not self.error

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The exchanges as plain values, bytes in hex."""
        return [
            asdict(e)
            | {"sent": e.sent.hex(" "), "answer": e.answer.hex(" "), "decoded": [asdict(d) for d in e.decoded]}
            for e in self.exchanges
        ]

    def text(self) -> str:
        """For a terminal: hex, then each tag decoded, with the reason of what failed."""
        lines = [f"{self.source}: {self.error or 'answers'}"]
        for exchange in self.exchanges:
            lines.append(f"  {exchange.meaning}")
            lines += [f"    > {exchange.sent.hex(' ')}", f"    < {exchange.answer.hex(' ') or '(nothing)'}"]
            if exchange.error:
                lines.append(f"    ! {exchange.error}")
            lines += [f"    {d.tag:20} {d.address:12} {d.raw:24} {d.value:g}" for d in exchange.decoded]
        return "\n".join(lines)


@runtime_checkable
class Probe(Protocol):
    async def probe(self) -> ProbeResult:
        """Read every tag once on a connection of its own. Safe beside a running poll; never raises."""
        ...


@runtime_checkable
class Source(Probe, Protocol):
    name: str
    diagnostics: Diagnostics

    def lost(self, status: Status) -> Readings:
        """A Bad row for every tag, now."""
        ...

    async def close(self) -> None:
        """Let the peer go. Idempotent; after it no task and no socket is left."""
        ...


@runtime_checkable
class Pull(Source, Protocol):
    """A source that is asked."""

    grid: Grid

    async def poll(self, sink: Sink) -> None:
        """Hand on every tag exactly once, in parts as the answers come; returns within its deadlines."""
        ...


@runtime_checkable
class Subscribe(Source, Protocol):
    """A source that tells."""

    async def follow(self, deliver: Callable[[Readings], Awaitable[None]]) -> None:
        """Hand on what comes, in order, until the source is exhausted. Waits for each delivery."""
        ...

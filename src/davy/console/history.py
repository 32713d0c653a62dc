"""What the history process is asked for: buckets for a trend, transitions for its lanes.

One wire.Client, one deadline for every question. Answers are little-endian columns by name; what
does not fit the shape is BadRequest, an absent or slow history is Unreachable (retry).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from davy.errors import BadRequest, Unreachable
from davy.fact.event import Transition
from davy.wire import Client

DEADLINE_S = 8.0
MOST_TRANSITIONS = 400

_BUCKETS = {
    "time": "<i8", "count": "<u4", "good": "<u4", "bad": "<u4", "min": "<f8", "max": "<f8", "avg": "<f8",
}  # fmt: skip
_TEXT = ("actor", "reason")
_FLOAT = ("value", "limit")


@dataclass(frozen=True, slots=True)
class Buckets:
    """[t0, t1) of one tag in N parts; arrays of length N. time: start of each, us UTC by source time.

    count, good, bad: readings by severity; min, max, avg: float64, NaN where there is no value. A
    bucket without readings is a gap.
    """

    time: NDArray[np.int64]
    count: NDArray[np.uint32]
    good: NDArray[np.uint32]
    bad: NDArray[np.uint32]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    avg: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, mask: NDArray[np.bool_]) -> "Buckets":
        return Buckets(*(getattr(self, name)[mask] for name in _BUCKETS))


def _column(answer: Mapping[str, Any], name: str, dtype: str) -> NDArray[Any]:
    try:
        return np.frombuffer(answer[name], dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"history answer: column {name!r}: {error!r}") from error


def buckets_of(answer: Mapping[str, Any]) -> Buckets:
    """Decode an answer of kind "buckets". Raises BadRequest."""
    columns = {name: _column(answer, name, dtype) for name, dtype in _BUCKETS.items()}
    if len({len(c) for c in columns.values()}) != 1:
        raise BadRequest(f"history answer: columns of different lengths { {k: len(v) for k, v in columns.items()} }")
    return Buckets(**columns)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A transition and the leaf that holds it, if the history says so."""

    transition: Transition
    leaf: int | None


def transitions_of(answer: Mapping[str, Any]) -> list[Sealed]:
    """Decode an answer of kind "transitions". Raises BadRequest."""
    if not answer.get("alarm"):
        return []
    columns: dict[str, list[Any]] = {}
    for name in (f.name for f in fields(Transition)):
        if name in _TEXT:
            columns[name] = list(answer[name])
        else:
            dtype = "<f8" if name in _FLOAT else "u1" if name == "historical" else "<i8"
            columns[name] = _column(answer, name, dtype).tolist()
    leaves: list[int | None] = _column(answer, "leaf", "<i8").tolist() if "leaf" in answer else []
    rows = [Transition(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    return [Sealed(t, leaf) for t, leaf in zip(rows, leaves or [None] * len(rows), strict=True)]


class HistoryClient:
    """Safe to share between requests."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def _query(self, **question: Any) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer: Mapping[str, Any] = await self._client.call("query", **question)
        except TimeoutError:
            raise Unreachable(f"history: expected an answer within {DEADLINE_S:.0f} s, got none") from None
        return answer

    async def buckets(self, origin: str, tag: int, t0: int, t1: int, n: int) -> Buckets:
        """`tag` of `origin` over [t0, t1) in at most `n` buckets. Raises Unreachable, BadRequest."""
        return buckets_of(await self._query(kind="buckets", origin=origin, tags=[tag], t0=t0, t1=t1, n=n))

    async def transitions(self, origin: str, tag: int, t0: int, t1: int) -> list[Sealed]:
        """The live transitions of `tag` in [t0, t1), oldest first. Raises as `buckets`."""
        answer = await self._query(kind="transitions", origin=origin, tags=[tag], t0=t0, t1=t1, n=MOST_TRANSITIONS)
        return [s for s in transitions_of(answer) if s.transition.tag == tag and not s.transition.historical]

    async def close(self) -> None:
        await self._client.close()

"""The columnar batch every sample travels in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

#: (field, dtype) of the six columns, in the order of the canonical row.
COLUMNS: tuple[tuple[str, str], ...] = (
    ("tag", "<u4"),
    ("value", "<f8"),
    ("status", "<u4"),
    ("flags", "<u4"),
    ("source_time", "<i8"),
    ("server_time", "<i8"),
)

#: One reading as 36 packed little-endian bytes; what the black box commits to.
ROW = np.dtype([(field, dtype) for field, dtype in COLUMNS])


@dataclass(frozen=True, slots=True)
class Readings:
    """N samples as six arrays of one length, with what they share (contracts.md 4).

    tag: uint32[N] index in the tag table of `tags_version`; status: uint32[N] OPC UA StatusCode;
    flags: uint32[N] bits of `Flag`; value: float64[N] in the tag's unit, NaN where there is none;
    source_time, server_time: int64[N] us UTC. Where the device gave no time, source_time equals
    server_time and Flag.no_source_time is set. Counters and Booleans are float64.
    `mono_ns` is the monotonic time of arrival, `boot_id` counts the core's starts.
    Arrays are not copied and must not be written to once handed on.
    """

    tag: NDArray[np.uint32]
    value: NDArray[np.float64]
    status: NDArray[np.uint32]
    flags: NDArray[np.uint32]
    source_time: NDArray[np.int64]
    server_time: NDArray[np.int64]
    origin: str = ""
    tags_version: int = 0
    mono_ns: int = 0
    boot_id: int = 0

    def __len__(self) -> int:
        return len(self.tag)

    def __post_init__(self) -> None:
        for field, dtype in COLUMNS:
            array = getattr(self, field)
            if array.dtype != np.dtype(dtype) or array.ndim != 1 or len(array) != len(self.tag):
                raise TypeError(f"Readings.{field}: expected {dtype}[{len(self.tag)}], got {array.dtype}{array.shape}")

    @classmethod
    def empty(cls) -> Self:
        columns: dict[str, Any] = {field: np.empty(0, dtype) for field, dtype in COLUMNS}
        return cls(**columns)

    def take(self, index: NDArray[np.generic] | slice) -> Self:
        """The rows `index` picks (mask, positions or slice), sharing the batch fields."""
        columns: dict[str, Any] = {field: getattr(self, field)[index] for field, _ in COLUMNS}
        return replace(self, **columns)

    def rows(self) -> NDArray[np.void]:
        """The readings as packed ROW records, in this order. uint8-viewable, C-contiguous."""
        rows = np.empty(len(self.tag), ROW)
        for field, _ in COLUMNS:
            rows[field] = getattr(self, field)
        return rows

    @classmethod
    def from_rows(cls, rows: NDArray[np.void], **batch: Any) -> Self:
        """Readings from ROW records; inverse of `rows`."""
        columns: dict[str, Any] = {field: np.ascontiguousarray(rows[field]) for field, _ in COLUMNS}
        return cls(**columns, **batch)


def concat(batches: Sequence[Readings]) -> Readings:
    """One batch of all rows in order; batch fields are the last one's."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return Readings.empty()
    columns: dict[str, Any] = {field: np.concatenate([getattr(b, field) for b in batches]) for field, _ in COLUMNS}
    return replace(batches[-1], **columns)

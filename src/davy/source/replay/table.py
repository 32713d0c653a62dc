"""Rows of a text or Parquet file as arrays, chunk by chunk. Blocking: call it in a thread.

A cell that is empty, `?`, `nan`, `null` or no number at all is NaN.
"""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, TextIO

import numpy as np
from numpy.typing import NDArray

from davy.errors import CodecError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZONED = re.compile(r"(Z|z|[+-]\d\d:?\d\d)\s*$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows. value: float64[rows, columns], NaN where a cell is missing; time: int64[rows] us as
    UTC, or None where the file gives none."""

    value: NDArray[np.float64]
    time: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.value)


def read(path: Path, columns: Sequence[str], time: str, rows: int, zone: int = 0) -> Generator[Chunk]:
    """The named columns of `path`, at most `rows` rows at a time, in file order.

    `zone`: us ahead of UTC of times that name no zone themselves; seconds since the epoch are UTC.
    Raises OSError when it cannot be read and CodecError when it is not what its suffix says or a
    column is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path, columns, time, rows, zone)
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        names, delimiter = _arff_head(file, path) if suffix == ".arff" else _csv_head(file)
        wanted = [*columns, *([time] if time else [])]
        missing = [c for c in wanted if c not in names]
        if missing:
            raise CodecError(f"{path.name}: expected columns {', '.join(missing)}, found {', '.join(names)}")
        places = [names.index(c) for c in columns]
        yield from _text(file, delimiter, places, names.index(time) if time else None, rows, zone)


def _csv_head(file: TextIO) -> tuple[list[str], str]:
    """Column names and delimiter, whichever of , ; and tab the first line holds most of."""
    line = file.readline()
    delimiter = max(",;\t", key=line.count)
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])], delimiter


def _arff_head(file: TextIO, path: Path) -> tuple[list[str], str]:
    names = []
    for line in iter(file.readline, ""):
        word, _, rest = line.strip().partition(" ")
        if word.lower() == "@attribute":
            rest = rest.strip()
            quote = rest[:1]
            names.append(rest[1:].split(quote)[0] if quote in ("'", '"') else rest.split()[0] if rest else "")
        elif word.lower() == "@data":
            return names, ","
    raise CodecError(f"{path.name}: expected @DATA, found the end of the file")


def _text(file: TextIO, delimiter: str, places: list[int], time: int | None, rows: int, zone: int) -> Iterator[Chunk]:
    lines = (line for line in file if line.strip() and not line.startswith("%"))
    width = max([*places, time or 0]) + 1
    while block := list(islice(lines, rows)):
        # a short row is a row whose last cells are missing
        cells = [row + [""] * (width - len(row)) for row in csv.reader(block, delimiter=delimiter)]
        columns = list(zip(*cells, strict=False))
        value = np.stack([_numbers(columns[place]) for place in places], axis=1)
        yield Chunk(value, None if time is None else _times(columns[time], zone))


def _numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    try:
        return np.array(cells).astype(np.float64)
    except ValueError:
        return np.array([_number(cell) for cell in cells])


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _times(cells: Sequence[str], zone: int) -> NDArray[np.int64]:
    """us UTC of ISO 8601 text, with or without its own zone, or of seconds since the epoch."""
    with suppress(ValueError):
        return np.rint(np.array(cells).astype(np.float64) * 1e6).astype(np.int64)
    try:
        if _ZONED.search(cells[0]):
            moments = [datetime.fromisoformat(cell.strip()) for cell in cells]
            return np.array([(moment - _EPOCH) // timedelta(microseconds=1) for moment in moments])
        plain = np.char.replace(np.char.strip(np.array(cells)), "/", "-")
        return plain.astype("datetime64[us]").astype(np.int64) - zone
    except (ValueError, TypeError) as error:  # TypeError: some cells name a zone and some do not
        raise CodecError(f"time column: expected ISO 8601 text or seconds, {error}") from error


def _parquet(path: Path, columns: Sequence[str], time: str, rows: int, zone: int) -> Iterator[Chunk]:
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    task = json.dumps({"path": str(path), "columns": list(columns), "time": time, "rows": rows, "zone": zone})
    command = [sys.executable, "-m", "davy.source.replay.parquet", task]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        try:
            yield from _chunks(child.stdout, len(columns), bool(time))
            if child.wait() != 0:
                raise CodecError(f"{path.name}: {child.stderr.read().decode(errors='replace').strip()}")
        finally:
            child.kill()


def _chunks(pipe: IO[bytes], columns: int, has_time: bool) -> Iterator[Chunk]:
    """What parquet.py writes: per chunk a row count (int64), the times if any, the values column by column."""
    while head := pipe.read(8):
        rows = int.from_bytes(head, "little")
        time = np.frombuffer(pipe.read(8 * rows), "<i8") if has_time else None
        value = np.frombuffer(pipe.read(8 * rows * columns), "<f8").reshape(columns, rows).T
        yield Chunk(value, time)

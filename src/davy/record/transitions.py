"""Transitions as a table: one row each, with the leaf that holds it."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from davy.errors import Corrupt
from davy.fact import Transition
from davy.record.files import pick
from davy.record.parquet import Table
from davy.record.shelf import Shelf

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_FIELDS = [(f.name, _ARROW[f.type]) for f in fields(Transition)]  # type: ignore[index]  # annotations here are types

TRANSITIONS = Table(
    "transitions",
    pa.schema([("tag", pa.int64()), ("leaf", pa.int64()), *(f for f in _FIELDS if f[0] != "tag")]),
    time="time",
    split=("leaf", "source_time", "time"),
)


def row(leaf: int, transition: Transition) -> pa.Table:
    """A table of one. Raises Corrupt where a field is not of its type (the log of another box may hold anything)."""
    values = dict(zip((name for name, _ in _FIELDS), astuple(transition), strict=True), leaf=leaf)
    try:
        return pa.table({name: [values[name]] for name in TRANSITIONS.schema.names}, schema=TRANSITIONS.schema)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise Corrupt(f"transition of leaf {leaf}: {error}") from error


def join(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).combine_chunks() if tables else TRANSITIONS.schema.empty_table()


def query(shelf: Shelf[pa.Table], t0: int, t1: int, limit: int, tags: Sequence[int] = ()) -> pa.Table:
    """The newest `limit` transitions of `tags` (none: of all) with t0 <= time < t1, in order of their leaves."""
    view = shelf.view
    files = [pq.read_table(path) for path in shelf.paths(pick(view.files, t0, t1))]
    found = join([t.replace_schema_metadata() for t in files] + list(view.tail))
    wanted = (pc.field("time") >= t0) & (pc.field("time") < t1)
    if tags:
        wanted &= pc.field("tag").isin(list(tags))
    found = found.filter(wanted).sort_by("leaf")
    return found.slice(max(0, len(found) - limit))


def columns(table: pa.Table) -> dict[str, Any]:
    """Each column by name: little-endian int64, float64 or uint8 (Boolean) bytes, or a list of strings."""
    out: dict[str, Any] = {}
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        array = table.column(name)
        if kind == pa.string():
            out[name] = array.to_pylist()
        else:
            dtype = {pa.float64(): "<f8", pa.bool_(): "u1"}.get(kind, "<i8")
            out[name] = np.asarray(array.to_numpy(), dtype).tobytes()
    return out

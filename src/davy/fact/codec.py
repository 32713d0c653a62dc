"""Readings as the body of a leaf, and back. Pure.

A body is one CBOR array (docs/leaf.cddl, `readings-body`) and needs nothing but the references of its
tag table (`Tags.refs`), never another leaf. Readings are put in (tag, arrival) order; each column is
turned into small whole numbers (a value through its tag's mode, less the sample before or the tag's
reference; times through a table of stamps); zeros at a column's end are dropped; what is left is
packed as one array of numbers (bits.py). Lossless on bits.

The body is not canonical: two encoders may choose different bytes for the same readings. The leaf
commits to the stored bytes by `body_hash` and to the readings by their blocks (order.py).
"""

from typing import Any, Final, NamedTuple

import cbor2
import numpy as np
import zstandard
from numpy.typing import NDArray

from davy.errors import Corrupt
from davy.fact import mode as modes
from davy.fact.bits import LEVEL, inflate, pack, unpack, unzigzag, zigzag
from davy.fact.memory import ModeMemory, References
from davy.fact.order import Layout, blocks, sort_order
from davy.fact.times import Coding, code_server, code_source, differences
from davy.reading import Readings

BODY_VERSION: Final = 1
MAX_READINGS: Final = 1 << 16  # a busy second of a site is a few thousand; this bounds a decoder's memory

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_NONE: Final = np.zeros(0, np.int64)

#: The columns of numbers in a body, in order, and whether each is differenced (less the entry before).
_COLUMNS: Final = {
    "tag": True,  # less its position: how many indices are skipped
    "count": True,  # less 1
    "mode": False,  # less the reference's
    "first": False,  # of each tag, less the reference
    "step": False,
    "misfit": True,  # position of each reading that its tag's mode does not fit
    "stamp_first": True,  # which stamp a tag's first reading has; steps from there
    "stamp_step": True,
    "server": False,  # one a stamp, by Coding
    "source": False,
    "status": True,
    "flags": True,
}


class ReadingsEncoder:
    """Encodes the readings of one tag table, leaf after leaf, learning how each tag makes its numbers.

    Each body stands alone: given the same references, `decode_readings` reads it. Make a new encoder
    with each tag table. Not safe to share between threads.
    """

    def __init__(self, refs: References | F64 | None = None) -> None:
        self._refs = refs if isinstance(refs, References) else References(refs)
        self._memory = ModeMemory(self._refs)
        self._deflate = zstandard.ZstdCompressor(level=LEVEL).compress

    def encode(self, r: Readings) -> bytes:
        """The body of `r`, given in order of arrival. ValueError for none or more than MAX_READINGS."""
        return self._body(_arrange(r))

    def encode_with_blocks(self, r: Readings) -> tuple[bytes, list[memoryview]]:
        """`encode` and `blocks_of` in one go: sorts once."""
        arranged = _arrange(r)
        return self._body(arranged), blocks(arranged.readings, arranged.layout)

    def references(self, last: F64) -> F64:
        """Good references for the next tag table: `last`, but for a digit here and there.

        last: float64, one a tag index, the latest value or better a recent mean; NaN where none was seen.
        The digits are moved so that each tells its tag's mode, which saves up to 0.2 B a reading where a
        leaf holds one sample a tag. Ask once the encoder has seen some ten samples of each tag.
        """
        return self._memory.settle(last)

    def _body(self, a: "_Arranged") -> bytes:
        r, layout = a.readings, a.layout
        mode, base, n, fits = self._memory.integers(r.value, layout)
        odd = misfit = _NONE
        if not fits.all():
            odd = (~fits).nonzero()[0]
            misfit = odd[layout.spread(mode)[odd] != modes.RAW]
            n = _carried(n, fits, layout, base)
        first, steps = layout.split(n)
        stamp_first, stamp_step = layout.split(a.stamp) if len(a.server) > 1 else (_NONE, _NONE)
        server_coding, server = code_server(a.server)
        source_coding, source = code_source(a.source, a.server)
        columns = {
            "tag": _skipped(layout.tag),
            "count": _NONE if layout.one_each else layout.count - 1,
            "mode": _NONE if self._memory.as_told else mode - self._refs.modes[self._refs.slot(layout.tag)],
            "first": first - base,
            "step": steps,
            "misfit": misfit,
            "stamp_first": stamp_first,
            "stamp_step": stamp_step,
            "server": server,
            "source": source,
            "status": r.status.astype(np.int64) if r.status.any() else _NONE,
            "flags": r.flags.astype(np.int64) if r.flags.any() else _NONE,
        }
        left = [_trim(differences(columns[name]) if differenced else columns[name])
                for name, differenced in _COLUMNS.items()]  # fmt: skip
        lengths, words = pack(zigzag(np.concatenate(left)))
        raw = r.value[odd].astype("<f8").tobytes()
        header = _Header(
            len(r), len(layout.tag), len(server), len(misfit), len(odd), server_coding.plain(), source_coding.plain(),
            [len(column) for column in left], self._deflate(lengths), words, self._deflate(raw) if raw else b"",
        )  # fmt: skip
        return cbor2.dumps([BODY_VERSION, *header])


class _Arranged(NamedTuple):
    """Readings in order, their layout, and stamps: distinct (server, source) times as they came.

    stamp: int64[N], which one each reading has; empty where there is but one.
    """

    readings: Readings
    layout: Layout
    stamp: I64
    server: I64
    source: I64


def _arrange(r: Readings) -> _Arranged:
    if not 0 < len(r) <= MAX_READINGS:
        raise ValueError(f"readings of one leaf: expected 1 to {MAX_READINGS}, got {len(r)}")
    order = sort_order(r.tag)
    server, source = r.server_time, r.source_time
    changed = (server[1:] != server[:-1]) | (source[1:] != source[:-1])
    at, stamp = np.zeros(1, np.int64), _NONE
    if changed.any():
        at = np.append(0, changed.nonzero()[0] + 1)
        stamp = np.append(0, np.cumsum(changed))
        stamp = stamp if order is None else stamp[order]
    r = r if order is None else r.take(order)
    return _Arranged(r, Layout.of(r.tag), stamp, server[at], source[at])


def _carried(n: I64, fits: NDArray[np.bool_], layout: Layout, base: I64) -> I64:
    """`n` where a reading that does not fit repeats the one before of its tag, or the tag's base: it costs nothing."""
    before = np.maximum.accumulate(np.where(fits, np.arange(layout.size), -1))
    return np.where(before >= layout.spread(layout.first), n[before], layout.spread(base))


def _skipped(tag: I64) -> I64:
    """Each tag less its position, which is one number where no index is skipped."""
    dense = int(tag[-1]) - int(tag[0]) == len(tag) - 1
    return tag[:1] if dense else tag - np.arange(len(tag))


def _trim(x: I64) -> I64:
    """`x` without the zeros at its end."""
    if not len(x) or x[-1]:
        return x
    used = x[::-1] != 0
    zeros = int(used.argmax())
    return x[: len(x) - zeros] if used[zeros] else x[:0]


def encode_readings(r: Readings, refs: References | F64 | None = None) -> bytes:
    """One body alone. A stream of leaves is smaller and several times faster with one `ReadingsEncoder`."""
    return ReadingsEncoder(refs).encode(r)


class _Header(NamedTuple):
    """The array a body is, without its version."""

    n: int
    tags: int
    stamps: int
    misfits: int
    raw: int
    server_coding: int
    source_coding: int
    left: list[int]
    bit_lengths: bytes
    words: bytes
    raw_values: bytes

    def sizes(self) -> tuple[int, ...]:
        """Entries of each column before its zeros were dropped."""
        n, k, s = self.n, self.tags, self.stamps
        first, step = (k, n - k) if s > 1 else (0, 0)
        return (k, k, k, k, n - k, self.misfits, first, step, s, s, n, n)


def decode_readings(data: bytes, refs: References | F64 | None = None, **batch: Any) -> Readings:
    """The readings of a body in (tag, arrival) order; `batch` gives origin, tags_version, mono_ns, boot_id.

    `refs` are those of the leaf's tag table. Takes any bytes: raises Corrupt, and never needs more
    memory than some tens of MB.
    """
    refs = refs if isinstance(refs, References) else References(refs)
    h = _header(data)
    c = _columns(h)
    layout = _layout(h, c)
    server = Coding.of(h.server_coding).restore(c["server"], _NONE[:1])
    source = Coding.of(h.source_coding).restore(c["source"], server)
    stamp = layout.join(c["stamp_first"], c["stamp_step"]) if h.stamps > 1 else np.zeros(h.n, np.int64)
    _within("stamp", stamp, 0, h.stamps - 1)
    return Readings(
        layout.spread(layout.tag).astype(np.uint32),
        _values(h, c, layout, refs),
        _within("status", c["status"], 0, 2**32 - 1).astype(np.uint32),
        _within("flags", c["flags"], 0, 2**32 - 1).astype(np.uint32),
        source[stamp],
        server[stamp],
        **batch,
    )


def _header(data: bytes) -> _Header:
    try:
        fields = cbor2.loads(data)
    except Exception as error:  # cbor2 raises many kinds on garbage; all mean the same here
        raise Corrupt(f"readings body: not CBOR: {error}") from error
    if not isinstance(fields, list) or len(fields) != 1 + len(_Header._fields) or fields[0] != BODY_VERSION:
        raise Corrupt(f"readings body: expected an array of {1 + len(_Header._fields)}, version {BODY_VERSION}")
    h = _Header(*fields[1:])
    numbers = [*h[:7], *h.left] if isinstance(h.left, list) else [None]
    if not all(type(x) is int and 0 <= x <= MAX_READINGS for x in numbers):
        raise Corrupt(f"readings body: expected counts of 0 to {MAX_READINGS}")
    if not all(type(x) is bytes for x in h[8:]):
        raise Corrupt("readings body: expected bytes in its last three fields")
    if not (1 <= h.tags <= h.n and 1 <= h.stamps <= h.n and h.misfits <= h.raw <= h.n):
        raise Corrupt("readings body: counts that do not fit together")
    if len(h.left) != len(_COLUMNS) or any(left > size for left, size in zip(h.left, h.sizes(), strict=True)):
        raise Corrupt("readings body: a column longer than the readings")
    return h


def _columns(h: _Header) -> dict[str, I64]:
    packed = unzigzag(unpack(inflate(h.bit_lengths, sum(h.left)), h.words))
    columns, start = {}, 0
    for (name, differenced), left, size in zip(_COLUMNS.items(), h.left, h.sizes(), strict=True):
        columns[name] = _column(packed[start : start + left], size, differenced)
        start += left
    return columns


def _column(left: I64, size: int, differenced: bool) -> I64:
    if differenced and len(left) <= 1:
        return np.full(size, left[0] if len(left) else 0)
    if len(left) < size:
        left = np.concatenate([left, np.zeros(size - len(left), np.int64)])
    return np.cumsum(left) if differenced else left


def _within(name: str, x: I64, low: int, high: int) -> I64:
    if len(x) and not (low <= int(x.min()) and int(x.max()) <= high):
        raise Corrupt(f"readings body: {name}: expected {low} to {high}")
    return x


def _layout(h: _Header, c: dict[str, I64]) -> Layout:
    tag = _within("tag", c["tag"] + np.arange(h.tags), 0, 2**32 - 1)
    count = _within("samples of a tag", c["count"], 0, h.n - 1) + 1
    end = np.cumsum(count)
    if (tag[1:] <= tag[:-1]).any() or int(end[-1]) != h.n:
        raise Corrupt("readings body: tags out of order, or not as many samples as stated")
    return Layout(tag, end - count, count, h.n)


def _values(h: _Header, c: dict[str, I64], layout: Layout, refs: References) -> F64:
    slot = refs.slot(layout.tag)
    mode = _within("mode", c["mode"] + refs.modes[slot], 0, modes.MODES - 1)
    base = modes.nearest(refs.values[slot], mode) if c["mode"].any() else refs.base[slot]
    each = layout.spread(mode)
    value = modes.from_integers(layout.join(c["first"] + base, c["step"]), each)
    misfit = _within("misfit", c["misfit"], 0, h.n - 1)
    odd = each == modes.RAW
    odd[misfit] = True
    if int(np.count_nonzero(odd)) != h.raw:
        raise Corrupt(f"readings body: expected {np.count_nonzero(odd)} values kept raw, got {h.raw}")
    if h.raw:
        value[odd] = np.frombuffer(inflate(h.raw_values, 8 * h.raw), "<f8")
    return value

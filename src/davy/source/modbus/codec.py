"""Modbus data: addresses, types and byte orders, merged requests, vectorised decoding. Pure.

Sources: Modbus Application Protocol 1.1b3 (6.1-6.4 reads, 7 exceptions), Modbus Messaging on TCP/IP
Implementation Guide 1.0b (3.1.3 MBAP header).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import lcm
from typing import Self

import numpy as np
from numpy.typing import NDArray

from davy.errors import CodecError
from davy.reading import Status

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Area:
    """One of the four tables of a device. `limit`: items one request may read (AP 1.1b3 6.1-6.4)."""

    name: str
    function: int
    limit: int
    is_bits: bool


#: First digit of the 5- or 6-digit notation -> area.
AREAS = {
    "0": Area("coil", 1, 2000, True),
    "1": Area("discrete input", 2, 2000, True),
    "3": Area("input register", 4, 125, False),
    "4": Area("holding register", 3, 125, False),
}

#: Word order and byte order relative to ABCD (most significant byte first): (words reversed, bytes swapped).
ORDERS = {"ABCD": (False, False), "CDAB": (True, False), "BADC": (False, True), "DCBA": (True, True)}

#: name -> numpy type, most significant byte first
TYPES = {
    name: np.dtype(code)
    for name, code in {
        "int16": ">i2", "uint16": ">u2", "int32": ">i4", "uint32": ">u4",
        "int64": ">i8", "uint64": ">u8", "float32": ">f4", "float64": ">f8",
    }.items()
}  # fmt: skip

#: Exception code -> what it says about the tags that were asked for (AP 1.1b3 7).
STATUS_OF_EXCEPTION = {
    1: Status.BadConfigurationError,  # illegal function
    2: Status.BadConfigurationError,  # illegal data address
    3: Status.BadConfigurationError,  # illegal data value
    4: Status.BadDeviceFailure,  # server device failure
    5: Status.BadNoData,  # acknowledge: still working on it
    6: Status.BadNoData,  # server device busy
    8: Status.BadDeviceFailure,  # memory parity error
    10: Status.BadNotConnected,  # gateway path unavailable
    11: Status.BadNoCommunication,  # gateway target device failed to respond
}
ILLEGAL_ADDRESS = 2
GATEWAY = (10, 11)  # the gateway answers for a unit that does not

EXCEPTION_NAMES = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target failed to respond",
}  # fmt: skip

_ADDRESS = re.compile(r"(?:(\d{1,3})!)?([0134])(\d{4,5})(?:\.(\d{1,2}))?", re.ASCII)
_TYPE = re.compile(r"(\w+)(?:\s+([ABCD]{4}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a value stands. `start` counts from 0, as on the wire."""

    unit: int
    area: Area
    start: int
    bit: int | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """How registers make a number. `dtype` None is a Boolean."""

    dtype: np.dtype[np.generic] | None
    order: str = "ABCD"

    @property
    def words(self) -> int:
        return 1 if self.dtype is None else self.dtype.itemsize // 2

    def permutation(self) -> NDArray[np.intp]:
        """intp[bytes]: which byte of the registers is the first, second ... most significant one."""
        words, swapped = ORDERS[self.order]
        index = np.arange(2 * self.words).reshape(-1, 2)
        if words:
            index = index[::-1]
        return (index[:, ::-1] if swapped else index).ravel()


def parse_address(text: str, unit: int = 1) -> Address:
    """`text` as an address: `[unit!]` + area digit + number counted from **1** + `[.bit]`.

    `4!40001` is the first holding register of unit 4; `30001` the first input register, `10001` the
    first discrete input and `00001` the first coil of the link's own unit; `40007.3` is bit 3 of a
    register. Six digits (`400001`) reach all 65536. Raises ValueError.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'expected a Modbus address such as "40001", "4!30011" or "40007.3", got {text!r}')
    named, digit, number, bit = found.groups()
    address = Address(int(named or unit), AREAS[digit], int(number) - 1, None if bit is None else int(bit))
    if address.unit > 255:
        raise ValueError(f"expected a unit between 0 and 255, got {address.unit} in {text!r}")
    if not 0 <= address.start < 65536:
        raise ValueError(f"expected a number between 1 and 65536 (addresses count from 1), got {number} in {text!r}")
    if bit is not None and (address.area.is_bits or int(bit) > 15):
        raise ValueError(f"expected a bit between 0 and 15 of a register, got {text!r}")
    return address


def parse_type(text: str) -> Format:
    """`text` as a format: a type name and, where it matters, a byte order; `float32 CDAB`. Raises ValueError.

    ABCD sends the most significant byte first; CDAB swaps words, BADC bytes, DCBA both. For 16 bits
    only the bytes matter, for 64 bits all four words turn round.
    """
    found = _TYPE.fullmatch(text.strip())
    name, order = (found[1], found[2] or "ABCD") if found else ("", "")
    if order not in ORDERS or (name != "bool" and name not in TYPES):
        names = ", ".join([*TYPES, "bool"])
        raise ValueError(f"expected a type ({names}) and a byte order ({', '.join(ORDERS)}), got {text!r}")
    return Format(TYPES.get(name), order)


def check(address: str, type: str, unit: int = 1) -> tuple[Address, Format]:
    """Both of one tag, and that they fit each other. Raises ValueError."""
    where, how = parse_address(address, unit), parse_type(type)
    if (where.area.is_bits or where.bit is not None) and how.dtype is not None:
        raise ValueError(f'expected type "bool" for {where.area.name} {address}, got {type!r}')
    if where.start + how.words > 65536:
        raise ValueError(f"{type} at {address} reaches past the last register")
    return where, how


@dataclass(frozen=True, slots=True)
class Point:
    """One tag to be read: `row` is its place in the link's arrays; value = raw * scale + offset."""

    row: int
    address: Address
    format: Format
    scale: float = 1.0
    offset: float = 0.0

    @property
    def end(self) -> int:
        return self.address.start + self.format.words

    @property
    def kind(self) -> str:
        """How it is decoded: a numpy type code, `bit`, or `word` for a whole register as a Boolean."""
        if self.address.area.is_bits or self.address.bit is not None:
            return "bit"
        return "word" if self.format.dtype is None else self.format.dtype.str

    def places(self, start: int) -> NDArray[np.intp]:
        """Where it stands in an answer that begins at item `start`: byte numbers, or one bit number."""
        place = self.address.start - start
        if self.address.area.is_bits:
            return np.array([place])
        if self.address.bit is not None:  # bits count from the least significant one, in the second byte
            return np.array([16 * place + (self.address.bit ^ 8)])
        return 2 * place + self.format.permutation()


@cache
def _exactly(scale: float, offset: float) -> tuple[float, float, float]:
    """(multiplier, addend, divisor): raw * scale + offset as (raw * m + a) / d, rounded once.

    A scale of 0.1 is meant as a tenth: 933 counts are 93.3, not 93.30000000000001.
    """
    factor, addend = Fraction(repr(scale)), Fraction(repr(offset))
    divisor = lcm(factor.denominator, addend.denominator)
    exact = (factor * divisor, addend * divisor, Fraction(divisor))
    fits = all(abs(x) < 1 << 36 for x in exact)  # leaves 16 bits for the raw value, and no rounding
    m, a, d = map(float, exact) if fits else (scale, offset, 1.0)
    return m, a or -0.0, d  # x + -0.0 is x for every x, 0.0 would lose the sign of -0.0


def _scaling(points: Sequence[Point]) -> tuple[Floats, Floats, Floats] | None:
    """(multipliers, addends, divisors) of all points; None where nothing is scaled."""
    if all(p.scale == 1.0 and p.offset == 0.0 for p in points):
        return None
    m, a, d = np.ascontiguousarray(np.array([_exactly(p.scale, p.offset) for p in points], np.float64).T)
    return m, a, d


class Request:
    """One read that serves many tags, with the arrays that decode its answer at once.

    rows: intp[n], places of its tags in the link's arrays, ascending by address.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        first = points[0].address
        self.points = tuple(points)
        self.unit, self.area, self.start = first.unit, first.area, first.start
        self.count = max(p.end for p in points) - self.start
        self.rows = np.array([p.row for p in points], np.intp)
        self.size = (self.count + 7) // 8 if self.area.is_bits else 2 * self.count
        self._scaling = _scaling(points)
        self._groups = [
            (kind, np.array([i for i, _ in mine], np.intp), np.array([p.places(self.start) for _, p in mine], np.intp))
            for kind in sorted({p.kind for p in points})
            for mine in [[(i, p) for i, p in enumerate(points) if p.kind == kind]]
        ]

    def decode(self, data: bytes) -> Floats:
        """float64[n] of its points, scaled, from the data bytes of the answer. Raises CodecError."""
        if len(data) != self.size:
            raise CodecError(
                f"{self.area.name} {self.start + 1} of unit {self.unit}: expected {self.size} bytes, got {len(data)}",
                data,
            )
        raw = np.frombuffer(data, np.uint8)
        out = np.empty(len(self.points))
        with np.errstate(all="ignore"):  # a device may send signalling NaN; it is its value
            for kind, positions, places in self._groups:
                if kind == "bit":
                    out[positions] = np.unpackbits(raw, bitorder="little")[places[:, 0]]
                elif kind == "word":
                    out[positions] = raw[places].any(axis=1)
                else:
                    out[positions] = raw[places].view(kind)[:, 0]
            if self._scaling is not None:
                multiplier, addend, divisor = self._scaling
                out = (out * multiplier + addend) / divisor
        return out

    def raw(self, point: Point, data: bytes) -> bytes:
        """The bytes of an answer that hold `point`, as they came."""
        place = point.address.start - self.start
        return data[place // 8 :][:1] if self.area.is_bits else data[2 * place :][: 2 * point.format.words]

    def split(self) -> tuple["Request", "Request"]:
        """Two requests that together read the same points, cut at the widest gap."""
        gaps = [b.address.start - a.end for a, b in zip(self.points, self.points[1:], strict=False)]
        widest = max(gaps)
        middle = len(self.points) // 2
        cut = min((i + 1 for i, gap in enumerate(gaps) if gap == widest), key=lambda i: abs(i - middle))
        return Request(self.points[:cut]), Request(self.points[cut:])

    def __repr__(self) -> str:
        return f"<unit {self.unit} {self.area.name} {self.start + 1}+{self.count}: {len(self.points)} tags>"


def merge(points: Iterable[Point], max_gap: int = 8, max_registers: int = 125) -> list[Request]:
    """The fewest reads, unit by unit, that cover `points` without reading more than `max_gap` in vain.

    Gaps count in registers; a register's room is 16 coils.
    """
    ordered = sorted(points, key=lambda p: (p.address.unit, p.address.area.function, p.address.start, p.end))
    requests: list[Request] = []
    group: list[Point] = []
    end = 0
    for p in ordered:
        if group:
            first, area = group[0].address, p.address.area
            limit, gap = (
                (min(area.limit, 16 * max_registers), 16 * max_gap) if area.is_bits else (max_registers, max_gap)
            )
            same = (first.unit, first.area.function) == (p.address.unit, area.function)
            if not same or p.address.start - end > gap or max(end, p.end) - first.start > limit:
                requests.append(Request(group))
                group = []
        end = max(end, p.end) if group else p.end
        group.append(p)
    return [*requests, Request(group)] if group else requests


def encode(values: Sequence[float], format: Format) -> list[int]:
    """The registers that hold `values`, one after the other; what a device would serve."""
    if format.dtype is None:
        return [int(v != 0) for v in values]
    data = np.array(values).astype(format.dtype).view(np.uint8).reshape(len(values), -1)
    placed = np.empty_like(data)
    placed[:, format.permutation()] = data
    return [int(word) for word in placed.ravel().view(">u2")]


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes of a frame on TCP (MBAP) and the function code behind them."""

    transaction: int
    unit: int
    function: int
    end: int  # length of the whole frame

    @classmethod
    def of(cls, data: bytes) -> Self | None:
        """The header at the start of `data`, None while it is incomplete. Raises CodecError on nonsense."""
        if len(data) >= 4 and (protocol := int.from_bytes(data[2:4], "big")) != 0:
            raise CodecError(f"protocol identifier: expected 0, got {protocol}", data, 2)
        if len(data) < 8:
            return None
        length = int.from_bytes(data[4:6], "big")
        if not 3 <= length <= 254:  # unit, function and 1 to 252 bytes
            raise CodecError(f"length field: expected 3 to 254, got {length}", data, 4)
        return cls(int.from_bytes(data[:2], "big"), data[6], data[7], 6 + length)


def check_frames(data: bytes, transaction: int, function: int) -> None:
    """See that what has come so far can still be the answer to `transaction`. Raises CodecError.

    Whole frames of other transactions are late answers and are let pass; what follows the answer is
    nobody's.
    """
    while data and (header := Header.of(data)) is not None:
        frame, data = data[: header.end], data[header.end :]
        if header.transaction != transaction:
            continue
        if header.function not in (function, function | 0x80):
            raise CodecError(f"function code: expected {function}, got {header.function}", frame, 7)
        if len(frame) < header.end:
            return
        if header.function & 0x80:
            if header.end != 9:
                raise CodecError(f"exception: expected 9 bytes, got {header.end}", frame, 4)
        elif frame[8] != header.end - 9:
            raise CodecError(f"byte count: expected {header.end - 9}, got {frame[8]}", frame, 8)
        return

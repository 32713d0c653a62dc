"""Histories for tests: a naive one that serves as oracle, and a real sealed log to project from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from davy.blackbox.log import Log
from davy.blackbox.note import Checkpoint, Cosigner, Signer, sign_note
from davy.blackbox.reader import LogReader
from davy.blackbox.seal import Draft, Sealer
from davy.errors import KeyUnknown
from davy.fact import Config, Epoch, ErasureClass, Kind, Tags, Transition, key_id
from davy.fact.codec import ReadingsEncoder
from davy.reading import Readings, concat
from davy.reading.readings import COLUMNS
from davy.reading.status import is_bad, is_good
from davy.record.promise import Buckets, Dropped

SECOND = 1_000_000
NOON = 1_763_812_800 * SECOND  # a full hour


def readings(tag: Any, value: Any, source_time: Any, status: Any = 0, flags: Any = 0, delay: Any = 0) -> Readings:
    """A batch; what is one number holds for all rows."""
    source = np.atleast_1d(np.asarray(source_time, np.int64))
    n = max(len(source), np.size(tag), np.size(value))

    def full(value: Any, dtype: str) -> Any:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype), n))

    source = full(source, "<i8")
    return Readings(
        full(tag, "<u4"), full(value, "<f8"), full(status, "<u4"), full(flags, "<u4"), source, source + delay
    )


@dataclass
class Naive:
    """A list. Slow and plainly right: the oracle of this suite and of the property tests."""

    batches: list[Readings] = field(default_factory=list)
    position: int = 0

    def append(self, readings: Readings, leaf: int) -> None:
        if leaf >= self.position:
            self.batches.append(readings)
            self.position = leaf + 1

    def flush(self) -> None: ...

    def latest(self, tags: Sequence[int] | None = None) -> Readings:
        newest: dict[int, tuple[int, int]] = {}
        rows = concat(self.batches)
        for i, tag in enumerate(rows.tag.tolist()):
            time = min(int(rows.source_time[i]), int(rows.server_time[i]))
            if tag not in newest or time >= newest[tag][0]:
                newest[tag] = time, i
        wanted = sorted(newest) if tags is None else [t for t in tags if t in newest]
        return rows.take(np.array([newest[t][1] for t in wanted], np.int64))

    def range(self, tags: Sequence[int], t0: int, t1: int) -> Readings:
        rows = concat(self.batches)
        found = []
        for tag in tags:
            at = [i for i in range(len(rows)) if rows.tag[i] == tag and t0 <= rows.source_time[i] < t1]
            found.append(sorted(at, key=lambda i: (rows.source_time[i], rows.server_time[i])))
        return rows.take(np.array([i for at in found for i in at], np.int64))

    def _sums(self, groups: list[tuple[int, int, list[int]]]) -> Buckets:
        rows = concat(self.batches)
        out: list[tuple[Any, ...]] = []
        for tag, time, at in groups:
            status, value = rows.status[at], rows.value[at]
            value = value[~np.isnan(value)]
            with np.errstate(all="ignore"):
                sums = (value.min(), value.max(), value.mean()) if len(value) else (np.nan, np.nan, np.nan)
            out.append((tag, time, len(at), is_good(status).sum(), is_bad(status).sum(), *sums))
        columns = list(zip(*out, strict=True)) or [()] * 8
        dtypes = ("<u4", "<i8", "<u4", "<u4", "<u4", "<f8", "<f8", "<f8")
        return Buckets(*(np.array(c, d) for c, d in zip(columns, dtypes, strict=True)))

    def buckets(self, tags: Sequence[int], t0: int, t1: int, n: int) -> Buckets:
        rows, span, groups = concat(self.batches), t1 - t0, []
        for tag in tags:
            within = [i for i in range(len(rows)) if rows.tag[i] == tag and t0 <= rows.source_time[i] < t1]
            for b in range(n):
                at = [i for i in within if (int(rows.source_time[i]) - t0) * n // span == b]
                groups.append((tag, t0 + -(-b * span // n), at))
        return self._sums(groups)

    def rollup(self, t0: int, t1: int, step: int) -> Buckets:
        rows, groups = concat(self.batches), {}
        for i, (tag, time) in enumerate(zip(rows.tag.tolist(), rows.source_time.tolist(), strict=True)):
            if t0 <= time < t1:
                groups.setdefault((tag, time // step * step), []).append(i)
        return self._sums([(*key, at) for key, at in sorted(groups.items())])

    def retention(self, before: int) -> list[Dropped]:
        gone = [b for b in self.batches if b.source_time.max() < before]
        self.batches = [b for b in self.batches if b.source_time.max() >= before]
        return [Dropped("", int(b.source_time.min()), int(b.source_time.max()), 0, 0, 0) for b in gone]


def same(got: Readings, expected: Readings) -> None:
    """Bit for bit."""
    for name, _ in COLUMNS:
        assert getattr(got, name).tobytes() == getattr(expected, name).tobytes(), name


def same_sums(got: Buckets, expected: Buckets) -> None:
    for name in ("tag", "time", "count", "good", "bad"):
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name
    for name in ("min", "max"):
        assert np.array_equal(getattr(got, name), getattr(expected, name), equal_nan=True), name
    assert np.allclose(got.avg, expected.avg, rtol=1e-9, equal_nan=True)


_KIND = {Transition: Kind.transition, Tags: Kind.tags, Config: Kind.config, Epoch: Kind.epoch}


class Site:
    """A log as an edge writes it: sealed, appended, signed. `key` is what its signer would answer."""

    def __init__(self, folder: Path, origin: str = "acme/harbour/box-1", cosigner: Cosigner | None = None) -> None:
        """cosigner: sign as a mirror does, too."""
        self.folder, self.origin, self._cosigner = folder, origin, cosigner
        self.log = Log.open(folder, origin)
        self._signer = Signer.generate(origin)
        self.keys: dict[int, bytes] = {}
        self.tables = 0
        self._encoder = ReadingsEncoder(None)
        self.epoch(None)

    def epoch(self, snapshot: Any) -> int:
        """Begin a key epoch."""
        number = 1 + max((k >> 4 for k in self.keys), default=0)
        keys = {int(c): bytes([number, c] * 16) for c in ErasureClass}
        self.keys |= {key_id(number, c): key for c, key in keys.items()}
        self._sealer = Sealer(self.origin, 1, number, keys)
        return self.put(Epoch(number, b"", snapshot, self.tables, NOON, "hour"))

    def table(self, tags: Sequence[dict[str, Any]] = (), refs: Sequence[float] = ()) -> int:
        """Seal a tag table; readings after it are coded against `refs`."""
        self.tables += 1
        data = np.array(refs, "<f8")
        self._encoder = ReadingsEncoder(data)
        return self.put(Tags(self.tables, list(tags), data.tobytes()))

    def put(self, *contents: Any) -> int:
        """Seal Readings and events, one leaf each, in one group with a checkpoint; the size after it."""
        group = []
        for seq, content in enumerate(contents, self.log.size):
            if isinstance(content, Readings):
                encoded, blocks = self._encoder.encode_with_blocks(content)
                draft = Draft(Kind.readings, NOON, NOON, 0, len(content), self.tables, blocks, encoded, 0)
            else:
                body = content.encode()
                draft = Draft(_KIND[type(content)], NOON, NOON, 0, 1, self.tables, [body], body, 1)
            leaf, chunk = self._sealer.seal(draft, seq)
            group.append((leaf, chunk, ErasureClass(draft.erasure)))
        size = self.log.append(group, NOON // (3600 * SECOND))
        text = Checkpoint(self.origin, size, self.log.root()).text()
        held = self._cosigner.cosign(text, NOON // SECOND) if self._cosigner else b""
        self.log.publish(sign_note(text, [self._signer]) + held, size)
        return size

    def key(self, key_id: int) -> bytes:
        try:
            return self.keys[key_id]
        except KeyError:
            raise KeyUnknown(f"key {key_id}: not here") from None

    def reader(self) -> LogReader:
        return LogReader(self.folder, self.origin)


def transition(alarm: int, version: int, time: int, **more: Any) -> Transition:
    """One like the alarm room makes; an activation unless `more` says otherwise."""
    made = Transition(
        alarm=alarm, tag=alarm >> 3, version=version, activation=version, cause=0, state_before=2, state=1,
        level_before=0, level=1, priority=1, alarm_class=0, value=1.5, status=0, limit=1.0, source_time=time, time=time,
    )  # fmt: skip
    return replace(made, **more)

"""From the log into history: leaves are read from disk, opened, and taken in order, each once.

After a crash the history's position says where to go on. What a leaf no longer gives (its key was destroyed,
its body erased or damaged) is a hole: counted, remembered, and passed over, so that what follows is seen.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import structlog

from davy.blackbox.fs import REAL
from davy.blackbox.seal import open_chunk
from davy.clock import SECOND, Clock
from davy.errors import Corrupt, DavyError, Inconsistent, KeyUnknown
from davy.fact import Config, Epoch, Kind, Leaf, Tags, Transition, decode_leaf
from davy.fact.codec import decode_readings
from davy.fact.event import BODY
from davy.fact.memory import References
from davy.reading import Readings
from davy.record.history import ParquetHistory

log_line = structlog.get_logger(room="record")

#: The tail in memory gets this old before it is written: a query for the last minute opens no file.
TAIL_NS = 60 * SECOND * 1000
#: A key that is not here yet (its wrap travels beside the log) is waited for this long.
PATIENCE_NS = 60 * SECOND * 1000
_PAGE = 256  # leaves read at once
_STEP_READINGS = 50_000  # taken at once: about 10 ms, and 2 MB
_KEPT = 16  # tag tables and keys in memory; each lives an hour or more


class Log(Protocol):
    """A log as it is read: blackbox.reader.LogReader."""

    origin: str

    @property
    def size(self) -> int: ...
    def leaves(self, start: int, end: int) -> list[bytes]: ...
    def body(self, seq: int, leaf: Leaf) -> bytes | None: ...


#: key_id -> key. Raises KeyUnknown, or another DavyError if it cannot be asked now.
Keys = Callable[[int], bytes]


class Item(NamedTuple):
    """Leaf `seq`, read. leaf: None where its header is damaged. content: Readings, an event of `fact`, or None."""

    seq: int
    leaf: Leaf | None
    content: Any


_EVENTS = {int(kind): event for kind, event in BODY.items()}


class Projection:
    """Keeps one history up with one log. One thread; `step` again and again, `resume` once before."""

    def __init__(
        self, log: Log, keys: Keys, history: ParquetHistory, clock: Clock, patience_ns: int = PATIENCE_NS
    ) -> None:
        """Raises Inconsistent if the history is of another log, or of more of it than there is."""
        self.log, self.history = log, history
        self._ask_key, self._clock, self._patience_ns = keys, clock, patience_ns
        self._keys: dict[int, bytes] = {}
        self._given_up: set[int] = set()
        self._references = {0: References(None)}  # of readings sealed before any tag table
        self._tail_since: int | None = None
        self._waiting_since: int | None = None
        memo = history.memo
        if memo.setdefault("origin", log.origin) != log.origin:
            raise Inconsistent(f"history {history.folder}: expected origin {log.origin}, got {memo['origin']}")
        if history.position > (size := log.size):
            raise Inconsistent(
                f"history of {log.origin}: expected at most {size} leaves, it holds {history.position}; rebuild it"
            )
        memo.setdefault("tags", {})  # version -> leaf of the table; readings are coded against its references
        memo.setdefault("config", {})  # name -> leaf of the newest
        memo.setdefault("epoch", 0)  # leaf of the newest epoch, where a fold of alarms starts
        memo.setdefault("holes", [])  # [first, end) of leaves that could not be read

    @property
    def holes(self) -> list[tuple[int, int]]:
        """Leaves [first, end) whose contents are missing here."""
        return [(first, end) for first, end in self.history.memo["holes"]]

    def resume(self) -> Iterator[Item]:
        """What an observer must know before the first `step`, in order of leaves.

        The newest configuration and tag table, and every event since the newest epoch leaf.
        """
        memo, position = self.history.memo, self.history.position
        first = memo["epoch"]
        for seq in sorted({*sorted(memo["tags"].values())[-1:], *memo["config"].values()}):
            if seq < first:
                yield from self._events(seq, seq + 1)
        for start in range(first, position, _PAGE):
            yield from self._events(start, min(position, start + _PAGE))

    def _events(self, start: int, end: int) -> Iterator[Item]:
        for leaf in map(decode_leaf, self.log.leaves(start, end)):
            if leaf.kind != Kind.readings:
                try:
                    yield Item(leaf.seq, leaf, self._open(leaf))
                except (KeyUnknown, Corrupt) as error:
                    log_line.warning("leaf_not_readable", origin=self.log.origin, leaf=leaf.seq, reason=error.reason)

    def step(self) -> list[Item]:
        """Read what is new, up to some 50,000 readings, and give it in order; empty when there is nothing.

        Flushes when the tail is a minute old. Raises Full (make room and call again), or what `keys` raised
        when it could not be asked; either way nothing is lost and the next call goes on where this one stopped.
        """
        if self._tail_since is not None and self._clock.mono_ns() - self._tail_since >= TAIL_NS:
            self.flush()
        start = self.history.position
        items: list[Item] = []
        readings = 0
        for seq, data in enumerate(self.log.leaves(start, min(self.log.size, start + _PAGE)), start):
            try:
                item = self._read(seq, data)
            except DavyError:  # could not ask for a key, or no room: tell of the others first
                if not items:
                    raise
                break
            if item is None:
                break
            items.append(item)
            readings += len(item.content) if isinstance(item.content, Readings) else 0
            if readings >= _STEP_READINGS:
                break
        if items and self._tail_since is None:
            self._tail_since = self._clock.mono_ns()
        return items

    def flush(self) -> None:
        """Make it durable now. Raises Full."""
        self._keys.clear()  # once a minute they are asked for again: what was destroyed must not live on here
        self.history.flush()
        self._tail_since = None

    def _read(self, seq: int, data: bytes) -> Item | None:
        """Read one leaf and take it; None while its key is waited for."""
        leaf: Leaf | None = None
        try:
            leaf = decode_leaf(data)
            if leaf.seq != seq:
                raise Corrupt(f"leaf {seq}: it says it is {leaf.seq}")
            item = Item(seq, leaf, self._open(leaf))
            self._take(item)
        except KeyUnknown as error:
            if leaf is not None and self._may_come(leaf.key_id):
                return None
            item = self._hole(seq, leaf, error)
        except Corrupt as error:
            item = self._hole(seq, leaf, error)
        self._waiting_since = None
        return item

    def _may_come(self, key_id: int) -> bool:
        """Whether to wait for that key; once given up, it is not waited for again."""
        now = self._clock.mono_ns()
        if self._waiting_since is None:
            self._waiting_since = now
        if key_id not in self._given_up and now - self._waiting_since >= self._patience_ns:
            self._given_up.add(key_id)
        return key_id not in self._given_up

    def _hole(self, seq: int, leaf: Leaf | None, error: DavyError) -> Item:
        log_line.warning("leaf_not_readable", origin=self.log.origin, leaf=seq, reason=error.reason, err=str(error))
        holes = self.history.memo["holes"]
        if holes and holes[-1][1] == seq:
            holes[-1][1] += 1
        else:
            holes.append([seq, seq + 1])
        self.history.advance(seq + 1)
        return Item(seq, leaf, None)

    def _open(self, leaf: Leaf) -> Any:
        """The contents of a leaf; None if it has none, or of a kind that history keeps nothing of."""
        event = _EVENTS.get(leaf.kind)
        if not leaf.body_size or (event is None and leaf.kind != Kind.readings):
            return None
        chunk = self.log.body(leaf.seq, leaf)
        if chunk is None:  # erased or retired: no key will bring it back
            raise Corrupt(f"leaf {leaf.seq}: its body is not here")
        plain = open_chunk(leaf, chunk, self._key(leaf.key_id), self.log.origin)
        if event is not None:
            return _checked(event.decode(plain))
        return decode_readings(
            plain, self._refs(leaf.tags_version),
            origin=self.log.origin, tags_version=leaf.tags_version, mono_ns=leaf.mono, boot_id=leaf.boot,
        )  # fmt: skip

    def _key(self, key_id: int) -> bytes:
        if key_id not in self._keys:
            key = self._ask_key(key_id)
            _make_room(self._keys)
            self._keys[key_id] = key
        return self._keys[key_id]

    def _refs(self, version: int) -> References:
        """What readings sealed under that tag table are coded against."""
        if version not in self._references:
            seq = self.history.memo["tags"].get(version)
            if seq is None:
                raise Corrupt(f"tag table {version}: no leaf holds it")
            self._remember_table(self._open(decode_leaf(self.log.leaves(seq, seq + 1)[0])))
        return self._references[version]

    def _remember_table(self, table: Tags) -> None:
        _make_room(self._references)
        self._references[table.version] = References(np.frombuffer(table.refs, "<f8") if table.refs else None)

    def _take(self, item: Item) -> None:
        """Put it into history and remember where the rest lies."""
        seq, content, memo = item.seq, item.content, self.history.memo
        if isinstance(content, Readings):
            self.history.append(content, seq)
        elif isinstance(content, Transition):
            self.history.add(content, seq)
        elif isinstance(content, Tags):
            memo["tags"][content.version] = seq
            _make_room(memo["tags"])
            self._remember_table(content)
        elif isinstance(content, Config):
            memo["config"][content.name] = seq
        elif isinstance(content, Epoch):
            memo["epoch"] = seq
        self.history.advance(seq + 1)


def _checked(event: Any) -> Any:
    """The event, if what is used of it here has its type; the log of another box may hold anything. Raises Corrupt."""
    if isinstance(event, Tags):
        fits = type(event.version) is int and isinstance(event.tags, list) and isinstance(event.refs, bytes)
        fits = fits and event.version > 0 and len(event.refs) % 8 == 0
    elif isinstance(event, Config):
        fits = isinstance(event.name, str)
    else:
        fits = True
    if not fits:
        raise Corrupt(f"{type(event).__name__} body: fields are not of their types")
    return event


def _make_room(kept: dict[int, Any]) -> None:
    """Forget the oldest beyond _KEPT."""
    while len(kept) >= _KEPT:
        del kept[min(filter(None, kept))]  # 0 stays: see `_references`


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """leaves: read. holes: [first, end) of those whose contents are gone."""

    leaves: int
    readings: int
    transitions: int
    holes: list[tuple[int, int]]


def rebuild(log: Log, keys: Keys, folder: Path, clock: Clock) -> Rebuilt:
    """Make the history in `folder` anew from the log, then put it in the place of what was there.

    Until then what was there stays as it is. Raises Inconsistent if a process has it open, Full, or what
    `keys` raises when it cannot be asked.
    """
    new = folder.with_name(folder.name + ".rebuild")
    old = folder.with_name(folder.name + ".old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    with ParquetHistory(folder), ParquetHistory(new) as history:
        projection = Projection(log, keys, history, clock, patience_ns=0)
        readings = transitions = 0
        while items := projection.step():
            readings += sum(len(i.content) for i in items if isinstance(i.content, Readings))
            transitions += sum(isinstance(i.content, Transition) for i in items)
        projection.flush()
        history.tidy(clock.mono_ns())
        REAL.rename(folder, old)
        REAL.rename(new, folder)
        REAL.sync_dir(folder.parent)
    shutil.rmtree(old)
    return Rebuilt(history.position, readings, transitions, projection.holes)

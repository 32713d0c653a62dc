"""Read a whole log and say whether it is what its checkpoint says, and where not.

Works on an edge's log and on a centre's mirrored folder (the same files, perhaps without a journal), while
a writer runs or not, and changes nothing. Without keys it checks everything but what bodies mean: each
leaf commits to its stored chunk.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from davy.blackbox.journal import MAGIC, Journal, read_frame
from davy.blackbox.log import decode_frame
from davy.blackbox.merkle import Frontier, leaf_hash, root_of
from davy.blackbox.note import Checkpoint, Verifier, cosignature_time, open_note, parse_note
from davy.blackbox.pack import PackReader
from davy.blackbox.tiles import HEIGHT, WIDTH, Tiles, entries_path, tile_path, unpack_entries
from davy.clock import Clock, SystemClock
from davy.errors import Corrupt, Inconsistent, KeyUnknown, LogError
from davy.fact import Kind, Leaf, Note, decode_leaf
from davy.fact.event import BULK_RETIRED

#: Opens a body: the leaf and its chunk in, the plain body out, `body_root` checked.
#: Raises KeyUnknown (not held, or erased), Corrupt or Inconsistent (not what the leaf commits to).
OpenBody = Callable[[Leaf, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with leaves `first` to `last` (both included; -1: with the log as a whole).

    kind: checkpoint, signature, cosignature, origin, root, tile, bundle, leaf, seq, epoch, body_missing,
    body_unexplained, body_changed, body_wrong, journal, quarantine.
    """

    kind: str
    first: int
    last: int
    message: str

    def __str__(self) -> str:
        place = "log" if self.first < 0 else f"leaf {self.first}"
        if self.last > self.first:
            place = f"leaves {self.first} to {self.last}"
        return f"{place}: {self.kind}: {self.message}"


#: Not shown to be wrong: an erase leaf that could not be read here may well explain it.
UNPROVEN = frozenset({"body_unexplained"})


_RECENT = 8  # findings looked back upon to widen one: more than there are kinds about one leaf


@dataclass(slots=True)
class Report:
    """What a check found.

    size, root: of the checkpoint; unsigned: entries after it, in the journal only; bodies: chunks read;
    opened: of them, opened with a key; erased: missing, with a leaf that says so; data: bytes of
    leaves, chunks and tiles read; quarantined: bytes set aside by recoveries; cosigned: size and POSIX
    second of the mirror's cosignature, if one was checked.
    """

    origin: str = ""
    size: int = 0
    root: bytes = b""
    unsigned: int = 0
    bodies: int = 0
    opened: int = 0
    erased: int = 0
    data: int = 0
    quarantined: int = 0
    cosigned: tuple[int, int] | None = None
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is shown to be wrong up to `size`. Says nothing about the unsigned entries."""
        return all(finding.kind in UNPROVEN for finding in self.findings)

    @property
    def mb_s(self) -> float:
        """1e6 bytes a second."""
        return self.data / self.seconds / 1e6 if self.seconds else 0.0

    def add(self, kind: str, leaf: int, message: str, last: int | None = None) -> None:
        """Add a finding, or widen a recent one of this kind that says the same of the leaf before."""
        last = leaf if last is None else last
        for at in range(len(self.findings) - 1, max(-1, len(self.findings) - 1 - _RECENT), -1):
            before = self.findings[at]
            if (before.kind, before.message, before.last + 1) == (kind, message, leaf) and leaf > 0:
                self.findings[at] = Finding(kind, before.first, last, message)
                return
        self.findings.append(Finding(kind, leaf, last, message))


def check(
    path: Path,
    verifier: Verifier | str | None = None,
    open_body: OpenBody | None = None,
    *,
    cosigner: Verifier | str | None = None,
    cosigned: Path | None = None,
    clock: Clock | None = None,
) -> Report:
    """Check the log in folder `path`; wrong things are findings, never exceptions (OSError excepted).

    verifier: the log's key (or its text); without one the signature is not checked. cosigned: a note
    that `cosigner`, a mirror's key, has cosigned (default: the checkpoint itself).
    """
    clock = clock or SystemClock()
    begin = clock.mono_ns()
    report = Report()
    checkpoint = _open_checkpoint(path / "checkpoint", _parsed(verifier), report)
    if checkpoint:
        report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root
    checking = _Checking(path, report, open_body)
    cosignature = _open_cosignature(cosigned or path / "checkpoint", _parsed(cosigner), report)
    checking.run({c.size: c for c in (checkpoint, cosignature) if c})
    _check_quarantine(path / "quarantine", report)
    report.seconds = (clock.mono_ns() - begin) / 1e9
    return report


def _parsed(verifier: Verifier | str | None) -> Verifier | None:
    return Verifier.parse(verifier) if isinstance(verifier, str) else verifier


def _open_checkpoint(path: Path, verifier: Verifier | None, report: Report) -> Checkpoint | None:
    try:
        note = path.read_bytes()
        checkpoint = parse_note(note).checkpoint()
    except FileNotFoundError:
        report.add("checkpoint", -1, "expected a checkpoint, found none: no entry is signed")
        return None
    except Corrupt as error:
        report.add("checkpoint", -1, str(error))
        return None
    if verifier:
        try:
            open_note(note, [verifier])
        except LogError as error:
            report.add("signature", -1, str(error))
    return checkpoint


def _open_cosignature(path: Path, cosigner: Verifier | None, report: Report) -> Checkpoint | None:
    """The checkpoint a mirror cosigned; it must be of this log, and the walk checks its root too."""
    if cosigner is None:
        return None
    try:
        note = open_note(path.read_bytes(), [cosigner])
        checkpoint = note.checkpoint()
    except FileNotFoundError:
        report.add("cosignature", -1, f"expected a cosigned checkpoint at {path.name}, found none")
        return None
    except LogError as error:
        report.add("cosignature", -1, str(error))
        return None
    if checkpoint.origin != report.origin or checkpoint.size > report.size:
        found = f"{checkpoint.origin} of size {checkpoint.size}"
        report.add("cosignature", -1, f"expected {report.origin} up to size {report.size}, got {found}")
        return None
    report.cosigned = checkpoint.size, cosignature_time(note.verified[0])
    return checkpoint


class _Checking:
    """One walk over all entries, lowest first."""

    def __init__(self, path: Path, report: Report, open_body: OpenBody | None) -> None:
        self._path = path
        self._report = report
        self._open_body = open_body
        self._tiles = Tiles(path)
        self._packs = PackReader(path / "pack")
        self._frontier = Frontier()
        self._tile_roots: dict[int, list[bytes]] = {}  # tile level 1 and up -> hashes of its unfinished tile
        self._epoch: int | None = -1  # -1: none yet; None: not known, since entries could not be read
        self._missing: list[tuple[int, int]] = []  # leaf, class
        self._explaining: list[int] = []  # leaves that may say what is gone
        self._unread = 0  # of them, not opened here
        self._erased: list[tuple[int, int, int]] = []  # class, first, last

    def run(self, checkpoints: dict[int, Checkpoint]) -> None:
        journal, journal_end = self._read_journal()
        self._report.unsigned = max(0, journal_end - self._report.size)
        for first, entries, hashes in self._groups(journal):
            self._compare_journal(first, entries, journal)
            for size in sorted(checkpoints):
                if first < size <= first + len(hashes):
                    self._check_root(checkpoints[size], hashes[: size - first])
            self._frontier.extend(hashes)
            for index, entry in enumerate(entries, first):
                self._check_leaf(index, entry)
            if not entries:
                self._epoch = None
        if 0 in checkpoints:
            self._check_root(checkpoints[0], [])
        self._explain_missing()
        self._packs.close()

    def _read_journal(self) -> tuple[dict[int, bytes], int]:
        """Entries in the journal by index, and the index after the last."""
        entries: dict[int, bytes] = {}
        end = 0
        for segment, payload in Journal(self._path / "journal").scan():
            try:
                first, leaves, _ = decode_frame(payload)
            except Corrupt as error:
                self._report.add("journal", -1, f"segment {segment}: {error}")
                continue
            if entries and first != end:
                self._report.add("journal", end, f"segment {segment}: expected entries from {end} on, got {first}")
            entries |= dict(enumerate(leaves, first))
            end = first + len(leaves)
        return entries, end

    def _compare_journal(self, first: int, entries: list[bytes], journal: dict[int, bytes]) -> None:
        for index, entry in enumerate(entries, first):
            if journal.get(index, entry) != entry:
                self._report.add("journal", index, "the journal and the bundle hold different entries")

    def _groups(self, journal: dict[int, bytes]) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
        """First index, entries and leaf hashes of each bundle, and of what follows the last full one.

        A bundle that cannot be read gives no entries and the hashes of its tile, so the rest is checked.
        """
        size = self._report.size
        for n in range(size // WIDTH):
            entries, hashes = self._read_bundle(n)
            if len(hashes) < WIDTH:
                return
            self._climb(1, root_of(hashes))
            yield n * WIDTH, entries, hashes
        if size % WIDTH:
            first = size // WIDTH * WIDTH
            entries = self._read_newest(first, size, journal)
            self._report.data += sum(map(len, entries))
            yield first, entries, list(map(leaf_hash, entries))

    def _read_newest(self, first: int, size: int, journal: dict[int, bytes]) -> list[bytes]:
        """Entries after the last full bundle that the checkpoint covers: in the journal or in a bundle."""
        if all(index in journal for index in range(first, size)):
            return [journal[index] for index in range(first, size)]
        for width in (size - first, WIDTH):
            with suppress(FileNotFoundError, Corrupt):
                data = (self._path / entries_path(first // WIDTH, width)).read_bytes()
                return unpack_entries(data, width)[: size - first]
        self._report.add("bundle", first, "expected the newest entries in the journal, found none", last=size - 1)
        return []

    def _read_bundle(self, n: int) -> tuple[list[bytes], list[bytes]]:
        first, last = n * WIDTH, (n + 1) * WIDTH - 1
        entries: list[bytes] = []
        tile: list[bytes] = []
        try:
            entries = self._tiles.bundle(n)
        except Corrupt as error:
            self._report.add("bundle", first, str(error), last=last)
        try:
            tile = self._tiles.tile(0, n)
        except Corrupt as error:
            self._report.add("tile", first, str(error), last=last)
        hashes = list(map(leaf_hash, entries)) or tile
        if tile and hashes != tile:
            for index, (found, expected) in enumerate(zip(hashes, tile, strict=True), first):
                if found != expected:
                    self._report.add("leaf", index, "the entry does not have the hash that the tile holds")
        self._report.data += sum(map(len, entries)) + 32 * len(tile)
        return entries, hashes

    def _climb(self, level: int, root: bytes) -> None:
        """Compare each full tile above level 0 with what the entries make of it."""
        hashes = self._tile_roots.setdefault(level, [])
        hashes.append(root)
        if len(hashes) == WIDTH:
            span = WIDTH << HEIGHT * level
            first = self._frontier.size + WIDTH - span
            n = first // span
            try:
                if self._tiles.tile(level, n) != hashes:
                    message = f"{tile_path(level, n)} does not hold what the entries make of it"
                    self._report.add("tile", first, message, last=first + span - 1)
            except Corrupt as error:
                self._report.add("tile", first, str(error), last=first + span - 1)
            self._tile_roots[level] = []
            self._climb(level + 1, root_of(hashes))

    def _check_root(self, checkpoint: Checkpoint, hashes: Sequence[bytes]) -> None:
        frontier = self._frontier.copy()
        frontier.extend(hashes)
        if frontier.root() != checkpoint.root:
            message = f"expected root {checkpoint.root.hex()}, the entries give {frontier.root().hex()}"
            self._report.add("root", 0, message, last=checkpoint.size - 1)

    def _check_leaf(self, index: int, entry: bytes) -> None:
        try:
            leaf = decode_leaf(entry)
        except Corrupt as error:
            self._report.add("leaf", index, str(error))
            return
        if leaf.seq != index:
            self._report.add("seq", index, f"expected the leaf's place, got {leaf.seq - index:+d} from it")
        self._check_epoch(index, leaf)
        plain = self._check_body(index, leaf) if leaf.body_hash else None
        if leaf.kind in (Kind.erase, Kind.gap):
            self._explaining.append(index)
            self._note_erased(index, leaf.kind, plain)

    def _check_epoch(self, index: int, leaf: Leaf) -> None:
        """Epochs rise, each by a leaf of its own; before the first only leaves about the start may come."""
        known, self._epoch = self._epoch, leaf.epoch
        if known is None:
            return
        if known < 0 and leaf.kind in _BEFORE_EPOCHS:
            self._epoch = known
            return
        if leaf.kind == Kind.epoch and leaf.epoch <= known:
            self._report.add("epoch", index, f"expected an epoch after {known}, got {leaf.epoch}")
        if leaf.kind != Kind.epoch and leaf.epoch != known:
            self._report.add("epoch", index, f"expected epoch {max(known, 0)}, got {leaf.epoch}")
            self._epoch = known

    def _check_body(self, index: int, leaf: Leaf) -> bytes | None:
        chunk = self._packs.read(index, leaf.key_id & 15)
        if chunk is None:
            self._missing.append((index, leaf.key_id & 15))
            return None
        self._report.bodies += 1
        self._report.data += len(chunk)
        if len(chunk) != leaf.body_size or hashlib.sha256(chunk).digest() != leaf.body_hash:
            self._report.add("body_changed", index, "the stored chunk is not the one the leaf commits to")
            return None
        if self._open_body is None:
            return None
        try:
            plain = self._open_body(leaf, chunk)
        except KeyUnknown:
            return None
        except (Corrupt, Inconsistent) as error:
            self._report.add("body_wrong", index, str(error))
            return None
        self._report.opened += 1
        return plain

    def _note_erased(self, index: int, kind: int, plain: bytes | None) -> None:
        """What is gone by an erase leaf, or a gap leaf `bulk_retired`: a Note whose detail has class, first, last."""
        if plain is None:
            self._unread += 1
            return
        try:
            note = Note.decode(plain)
            if kind == Kind.erase or note.what == BULK_RETIRED:
                self._erased.append((note.detail["class"], note.detail["first"], note.detail["last"]))
        except (Corrupt, KeyError, TypeError) as error:
            self._report.add("body_wrong", index, f"{Kind(kind).name} leaf: expected class, first and last: {error!r}")

    def _explain_missing(self) -> None:
        for index, erasure in self._missing:
            if any(erasure == c and first <= index <= last for c, first, last in self._erased):
                self._report.erased += 1
            elif self._unread and self._explaining[-1] > index:
                message = f"no body; {self._unread} erase or gap leaves could not be read here"
                self._report.add("body_unexplained", index, message)
            else:
                self._report.add("body_missing", index, "no body, and no erase or gap leaf that says so")


#: Kinds that may stand before the first epoch leaf (contracts.md 9).
_BEFORE_EPOCHS = frozenset({Kind.unverified_start, Kind.reorigin})


def _check_quarantine(folder: Path, report: Report) -> None:
    """Count what recoveries set aside; a whole journal frame there was perhaps acknowledged, so it is told."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".tmp":
            continue
        report.quarantined += path.stat().st_size
        if ".journal@" in path.name:
            for first, count in _sound_frames(path):
                report.add("quarantine", first, f"{path.name} holds a whole journal frame", last=first + count - 1)


def _sound_frames(path: Path) -> Iterable[tuple[int, int]]:
    data = path.read_bytes()
    with path.open("rb") as file:
        at = data.find(MAGIC)
        while at >= 0:
            payload = read_frame(file.fileno(), at)
            if payload is not None:
                first, leaves, _ = decode_frame(payload)
                yield first, len(leaves)
            at = data.find(MAGIC, at + 1)

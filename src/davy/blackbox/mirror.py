"""The centre's copy of many logs: verified before it is stored, durable before it is acknowledged.

    journal/           one for all origins: a group commit each few milliseconds
    logs/<origin>/     a log as its edge keeps it (mirrored.py); its checkpoint carries our cosignature

What is `held` may be relied on: journal and folders together. The folders follow the journal within
milliseconds; a reader sees new leaves once a checkpoint covers them that is held whole.
"""

import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from davy.blackbox.commit import GroupCommit, Record
from davy.blackbox.conflict import Contradiction, contradiction, keep
from davy.blackbox.fs import REAL, Fs, full_is_named
from davy.blackbox.held import Claim, Held, Link
from davy.blackbox.journal import Journal
from davy.blackbox.merkle import EMPTY_ROOT, Frontier, leaf_hash, verify_consistency, verify_inclusion
from davy.blackbox.mirrored import Kind, Mirrored
from davy.blackbox.note import Checkpoint, Cosigner, Verifier, open_note, parse_note
from davy.clock import SECOND, Clock
from davy.errors import BadRequest, Conflict, Inconsistent, Refused
from davy.fact.leaf import ErasureClass, decode_leaf

ORIGIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9-]{0,62}){2}")
MAX_KEYRING = 1 << 20
MAX_CLAIMS = 10_000  # of one origin, unconfirmed
_CLASSES = frozenset(ErasureClass)


@dataclass
class _State:
    """What is held of one log. `lock` owns everything but `copy`, from verifying until durable."""

    copy: Mirrored
    lock: threading.Lock = field(default_factory=threading.Lock)
    frontier: Frontier = field(default_factory=Frontier)
    checkpoint: bytes = b""
    seen: Checkpoint | None = None
    seen_note: bytes = b""
    claims: dict[int, bytes] = field(default_factory=dict)  # seq -> leaf hash
    epoch: int = -1

    def load(self) -> None:
        """Take what is held from the folder, once the journal is settled."""
        self.frontier = self.copy.log.frontier.copy()
        self.checkpoint = self.copy.note("checkpoint")
        for note in (self.checkpoint, self.copy.note("seen")):
            if note:
                self.saw(parse_note(note).checkpoint(), note)
        self.claims = self.copy.claims()
        self.epoch = self.copy.newest_epoch()

    def saw(self, checkpoint: Checkpoint, note: bytes) -> None:
        if self.seen is None or checkpoint.size > self.seen.size:
            self.seen, self.seen_note = checkpoint, note

    def held(self, taken: bool = True) -> Held:
        return Held(self.frontier.size, self.seen.size if self.seen else 0, self.epoch, self.checkpoint, taken)


class Mirror:
    """Holds the logs of many origins. Safe to call from many threads; one process has it open.

    Every method that stores returns only when what it says is durable; the same request twice changes
    nothing. Any may raise Full (retry), Refused (unknown origin, foreign signature), BadRequest or Corrupt
    (malformed: nothing was stored), Conflict (the log contradicts itself: only the proof was stored).
    """

    def __init__(self, root: Path, cosigner: Cosigner, clock: Clock, fs: Fs = REAL) -> None:
        """Open or begin the mirror in folder `root`; a crash at any point is recovered from."""
        self.root = root
        self._cosigner = cosigner
        self._clock = clock
        self._fs = fs
        self._enrolling = threading.Lock()
        self._logs: dict[str, _State] = {}
        fs.make_dir(root / "logs")
        for path in sorted((root / "logs").glob("*/*/*/vkey")):
            name = "/".join(path.parent.parts[-3:])
            verifier = Verifier.parse(path.read_text().strip())
            self._logs[name] = _State(Mirrored(path.parent, name, verifier, fs))
        self._commit = GroupCommit(Journal(root / "journal", fs), self._settle)
        for log in self._logs.values():
            log.load()

    def close(self) -> None:
        """Finish what was submitted and let go of the files."""
        self._commit.close()
        for log in self._logs.values():
            log.copy.close()

    @property
    def failure(self) -> Exception | None:
        """Why nothing more can be stored until the process starts again, or None."""
        return self._commit.failure

    def origins(self) -> list[str]:
        return sorted(self._logs)

    def folder(self, origin: str) -> Path:
        """Where a LogReader finds this log. Raises Refused for a name that is none."""
        if not ORIGIN.fullmatch(origin):
            raise Refused(f"origin: expected org/site/box in small letters, digits and hyphens, got {origin[:200]!r}")
        return self.root / "logs" / origin

    def enrol(self, origin: str, vkey: str) -> None:
        """Accept logs of `origin` signed with `vkey`, for good. Raises Refused if it is bound to another key."""
        verifier, folder = Verifier.parse(vkey), self.folder(origin)
        with self._enrolling:
            if (known := self._logs.get(origin)) is not None:
                if known.copy.verifier != verifier:
                    raise Refused(f"origin {origin}: expected key {known.copy.verifier.vkey}, got {vkey}")
                return
            with full_is_named("enrolment"):
                self._fs.make_dir(folder)
                self._fs.replace(folder / "vkey", verifier.vkey.encode() + b"\n")
                self._fs.sync_dir(folder)
            self._logs[origin] = _State(Mirrored(folder, origin, verifier, self._fs))

    def held(self, origin: str) -> Held:
        """What we hold now."""
        return self._known(origin).held()

    def resume(self, origin: str, note: bytes) -> Held:
        """The log says that `note` is its newest checkpoint. Raises Conflict if it was larger before."""
        log = self._known(origin)
        checkpoint = _opened(log, note)
        with log.lock:
            if log.seen and checkpoint.size < log.seen.size:
                raise self._contradicts(log, Contradiction.rollback, note)
            if log.seen and checkpoint.size == log.seen.size and checkpoint.root != log.seen.root:
                raise self._contradicts(log, Contradiction.fork, note)
            return log.held()

    def add(
        self,
        origin: str,
        old: int,
        leaves: Sequence[bytes],
        chunks: Sequence[bytes | None],
        note: bytes,
        proof: Sequence[bytes],
        link: Link,
    ) -> Held:
        """Store the leaves from index `old` on and their bodies; cosign `note` if we then hold all of it.

        proof: consistency from size `old` + len(leaves) to the size in `note`, empty where they are equal.
        A leaf whose body the edge no longer has comes with None: we hold the leaf, and fsck tells.
        """
        log = self._known(origin)
        checkpoint, end = _opened(log, note), old + len(leaves)
        if old < 0 or len(chunks) != len(leaves) or end > checkpoint.size:
            raise BadRequest(
                f"entries: expected a chunk each and at most {checkpoint.size} leaves, got {len(chunks)} up to {end}"
            )
        with log.lock:
            held = log.frontier.size
            if old > held or not self._linked(log, checkpoint, note, link):
                return log.held(taken=False)
            if end < held or (end == held and _is_covered(log, checkpoint)):
                return log.held()  # sent twice
            leaves, chunks = leaves[held - old :], chunks[held - old :]
            for seq, (leaf, chunk) in enumerate(zip(leaves, chunks, strict=True), held):
                _check_entry(seq, leaf, chunk)
            frontier, hashes = log.frontier.copy(), list(map(leaf_hash, leaves))
            frontier.extend(hashes)
            _check_prefix(frontier, checkpoint, proof)
            self._check_claims(log, hashes, note)
            cosigned = self._cosign(log, note) if end == checkpoint.size else b""
            self._store([Kind.add, origin, held, leaves, chunks, note, cosigned], leaves, chunks)
            log.frontier = frontier
            log.checkpoint = cosigned or log.checkpoint
            log.saw(checkpoint, note)
            log.claims = {seq: claimed for seq, claimed in log.claims.items() if seq >= end}
            return log.held()

    def advance(self, origin: str, claims: Sequence[Claim], note: bytes, link: Link) -> Held:
        """Store leaves ahead of their turn, each shown by a proof to lie in the log of `note`."""
        log = self._known(origin)
        checkpoint = _opened(log, note)
        with log.lock:
            if not self._linked(log, checkpoint, note, link):
                return log.held(taken=False)
            new = {seq: claim for seq, claim in _checked_claims(claims, checkpoint) if seq >= log.frontier.size}
            new = {seq: claim for seq, claim in new.items() if seq not in log.claims}
            if len(log.claims) + len(new) > MAX_CLAIMS:
                raise BadRequest(f"advance: expected at most {MAX_CLAIMS} leaves ahead of what is held")
            if new:
                record = [Kind.advance, origin, [list(claim) for claim in new.values()], note]
                self._store(record, [c.leaf for c in new.values()], [c.chunk for c in new.values()])
                log.claims |= {seq: leaf_hash(claim.leaf) for seq, claim in new.items()}
                log.saw(checkpoint, note)
            return log.held()

    def put_keyring(self, origin: str, epoch: int, data: bytes) -> Held:
        """Store the wrapped keys of an epoch. Raises Refused if another file is held for it already."""
        log = self._known(origin)
        if not 0 <= epoch < 10**8 or not 0 < len(data) <= MAX_KEYRING:
            raise BadRequest(f"keyring: expected an epoch and 1 to {MAX_KEYRING} bytes, got {epoch}, {len(data)} bytes")
        with log.lock:
            log.copy.put_keyring(epoch, data)
            log.epoch = max(log.epoch, epoch)
            return log.held()

    # The caller of these holds log.lock

    def _linked(self, log: _State, new: Checkpoint, note: bytes, link: Link) -> bool:
        """Whether `new` agrees with all this log has shown; False if `link` starts from another checkpoint."""
        if log.seen is None:
            return True
        if new.size == log.seen.size or new.size <= log.frontier.size:
            root = log.seen.root if new.size == log.seen.size else log.copy.root_at(new.size)
            if new.root != root:
                raise self._contradicts(log, Contradiction.fork, note, root)
            return True
        if link.seen != log.seen.size:
            return False
        small, large = sorted((log.seen, new), key=lambda checkpoint: checkpoint.size)
        try:
            _verify_growth(small.size, small.root, large, link.proof)
        except Inconsistent:
            raise self._contradicts(log, Contradiction.unlinked, note) from None
        return True

    def _check_claims(self, log: _State, hashes: Sequence[bytes], note: bytes) -> None:
        """A claim that its turn does not confirm means two checkpoints that are not of one log."""
        for seq, leaf in enumerate(hashes, log.frontier.size):
            if log.claims.get(seq, leaf) != leaf:
                raise self._contradicts(log, Contradiction.fork, note, leaf)

    def _contradicts(self, log: _State, kind: Contradiction, note: bytes, root: bytes = b"") -> Conflict:
        proof = contradiction(kind, log.copy.origin, self._clock.now_us(), log.seen_note, note, root)
        with full_is_named("proof"):
            keep(log.copy.folder / "proofs", proof, self._fs)
        return Conflict(f"log {log.copy.origin}: {kind}; the proof is kept", proof.data())

    def _cosign(self, log: _State, note: bytes) -> bytes:
        """The log's own signature and ours; whatever else was put below the text is left out."""
        opened = open_note(note, [log.copy.verifier])
        time_s = self._clock.now_us() // SECOND
        return opened.text + b"\n" + opened.verified[0].line() + self._cosigner.cosign(opened.text, time_s)

    def _store(self, record: Record, leaves: Iterable[bytes], chunks: Iterable[bytes | None]) -> None:
        size = sum(map(len, leaves)) + sum(len(chunk or b"") for chunk in chunks)
        self._commit.submit(record, size).result()

    # Anyone's

    def _known(self, origin: str) -> _State:
        if (found := self._logs.get(origin)) is None:
            raise Refused(f"origin {origin[:200]!r} is not enrolled here")
        return found

    def _settle(self, records: Sequence[Record]) -> None:
        by_origin: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_origin[record[1]].append(record)
        for name, own in by_origin.items():
            self._logs[name].copy.settle(own)


def _opened(log: _State, note: bytes) -> Checkpoint:
    """The checkpoint in `note` if the log's own key signed it; foreign signatures are looked over."""
    origin = log.copy.origin
    try:
        checkpoint = open_note(note, [log.copy.verifier]).checkpoint()
    except Inconsistent as error:
        raise Refused(f"checkpoint of {origin}: {error}") from error
    if checkpoint.origin != origin:
        raise Refused(f"checkpoint: expected origin {origin}, got {checkpoint.origin}")
    return checkpoint


def _is_covered(log: _State, checkpoint: Checkpoint) -> bool:
    """Whether the newest checkpoint held whole says as much already."""
    return bool(log.checkpoint) and parse_note(log.checkpoint).checkpoint().size >= checkpoint.size


def _check_entry(seq: int, data: bytes, chunk: bytes | None) -> None:
    """That `data` is leaf `seq` and `chunk` the body it commits to. Raises BadRequest or Corrupt."""
    leaf = decode_leaf(data)
    if leaf.seq != seq or leaf.key_id & 15 not in _CLASSES:
        raise BadRequest(f"leaf: expected seq {seq} and a known erasure class, got {leaf.seq} and {leaf.key_id & 15}")
    if chunk is None:
        return
    if not leaf.body_hash or len(chunk) != leaf.body_size or hashlib.sha256(chunk).digest() != leaf.body_hash:
        raise BadRequest(f"body of leaf {seq}: expected {leaf.body_size} bytes with the hash in the leaf, got others")


def _checked_claims(claims: Iterable[Claim], checkpoint: Checkpoint) -> Iterable[tuple[int, Claim]]:
    """Each claim with its seq. Raises BadRequest or Corrupt."""
    for claim in claims:
        seq = decode_leaf(claim.leaf).seq
        _check_entry(seq, claim.leaf, claim.chunk)
        try:
            verify_inclusion(seq, checkpoint.size, leaf_hash(claim.leaf), claim.proof, checkpoint.root)
        except Inconsistent as error:
            raise BadRequest(f"advance: {error}") from error
        yield seq, claim


def _check_prefix(frontier: Frontier, checkpoint: Checkpoint, proof: Sequence[bytes]) -> None:
    """That the leaves of `frontier` begin the tree of `checkpoint`. Raises BadRequest."""
    try:
        _verify_growth(frontier.size, frontier.root(), checkpoint, proof)
    except Inconsistent as error:
        raise BadRequest(f"entries: the leaves do not lead to the signed root: {error}") from error


def _verify_growth(size: int, root: bytes, larger: Checkpoint, proof: Sequence[bytes]) -> None:
    """As `verify_consistency`, where growth from nothing needs no proof."""
    if size or root != EMPTY_ROOT or not larger.size:
        verify_consistency(size, larger.size, proof, root, larger.root)

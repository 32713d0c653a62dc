"""The mirror: what it takes, what it refuses, and what it still knows after it died."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cbor2
import pytest

from davy.blackbox.conflict import ConflictProof
from davy.blackbox.fs import Fs
from davy.blackbox.held import Claim, Held, Link
from davy.blackbox.log import Log
from davy.blackbox.mirror import Mirror
from davy.blackbox.mirrored import read_claims
from davy.blackbox.note import Checkpoint, Cosigner, Signer, cosignature_time, open_note, sign_note
from davy.blackbox.reader import LogReader
from davy.clock import SECOND, SimulatedClock
from davy.errors import BadRequest, Conflict, Corrupt, Full, Refused
from davy.fact import ErasureClass, Kind, Leaf

ORIGIN = "zs/kiln/bb1"
CENTRE = Cosigner.generate("county.zs")
NOW_S = 1_800_000_000


class Quick(Fs):
    """Real files without waiting for the disk."""

    def sync(self, fd: int) -> None: ...

    def sync_dir(self, path: Path) -> None: ...


class Edge:
    """A log as an edge keeps it, and what it would send."""

    def __init__(self, folder: Path, key: Signer | None = None, salt: bytes = b"") -> None:
        self.log = Log.open(folder, ORIGIN, Quick())
        self.key = key or Signer.generate(ORIGIN)
        self.salt = salt
        self.items: list[tuple[bytes, bytes | None]] = []

    def grow(self, count: int) -> bytes:
        """Append leaves, every third without a body; the new checkpoint."""
        group = []
        for seq in range(self.log.size, self.log.size + count):
            chunk = None if seq % 3 == 2 else b"body %d " % seq + self.salt
            digest = hashlib.sha256(chunk).digest() if chunk else b""
            t = (NOW_S + seq) * SECOND
            size = len(chunk or b"")
            leaf = Leaf(1, Kind.readings, seq, 0, t, t, 1, seq, 1, 1, digest, digest, size, 0).encode()
            group.append((leaf, chunk, ErasureClass.sensor))
            self.items.append((leaf, chunk))
        self.log.append(group, NOW_S // 3600)
        return self.note()

    def note(self) -> bytes:
        return sign_note(Checkpoint(ORIGIN, self.log.size, self.log.root()).text(), [self.key])

    def link(self, held: Held) -> Link:
        return Link(held.seen, self.log.consistency(held.seen, self.log.size) if 0 < held.seen <= self.log.size else [])

    def send(self, mirror: Mirror, held: Held, end: int | None = None, old: int | None = None) -> Held:
        old = min(held.size, self.log.size) if old is None else old
        end = self.log.size if end is None else end
        leaves, chunks = [leaf for leaf, _ in self.items[old:end]], [chunk for _, chunk in self.items[old:end]]
        proof = self.log.consistency(end, self.log.size) if end < self.log.size else []
        return mirror.add(ORIGIN, old, leaves, chunks, self.note(), proof, self.link(held))

    def claim(self, seq: int) -> Claim:
        return Claim(*self.items[seq], self.log.inclusion(seq, self.log.size))


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    return Edge(tmp_path / "edge")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Mirror]]:
    """Opens the mirror; a second call opens it anew, as after a crash."""
    mirrors: list[Mirror] = []

    def open_mirror() -> Mirror:
        if mirrors:
            mirrors[-1].close()
        mirrors.append(Mirror(tmp_path / "mirror", CENTRE, SimulatedClock(NOW_S * SECOND), Quick()))
        return mirrors[-1]

    yield open_mirror
    mirrors[-1].close()


@pytest.fixture
def mirror(opened: Callable[[], Mirror], edge: Edge) -> Mirror:
    mirror = opened()
    mirror.enrol(ORIGIN, edge.key.vkey)
    return mirror


@pytest.mark.feature("F30", "F31")
def test_what_is_held_whole_is_cosigned_and_read_like_the_edge_s_own_log(mirror: Mirror, edge: Edge, opened):
    edge.grow(700)
    held = edge.send(mirror, mirror.held(ORIGIN))
    note = open_note(held.checkpoint, [edge.key.verifier, CENTRE.verifier])
    assert note.checkpoint() == Checkpoint(ORIGIN, 700, edge.log.root())
    assert cosignature_time(note.verified[1]) == NOW_S
    assert (held.size, held.seen, held.taken) == (700, 700, True)
    mirror = opened()
    with LogReader(mirror.folder(ORIGIN), ORIGIN) as reader:
        assert reader.size == 700
        assert reader.leaves(0, 700) == [leaf for leaf, _ in edge.items]
        for seq in (0, 2, 699):
            assert reader.body(seq, Leaf(*cbor2.loads(edge.items[seq][0]))) == edge.items[seq][1]


def test_batches_of_one_checkpoint_are_cosigned_when_the_last_has_come(mirror: Mirror, edge: Edge):
    edge.grow(600)
    held = edge.send(mirror, mirror.held(ORIGIN), end=250)
    assert (held.size, held.seen, held.checkpoint) == (250, 600, b"")
    held = edge.send(mirror, held, end=500)
    edge.grow(10)
    held = edge.send(mirror, held)
    assert held.size == held.seen == 610
    assert open_note(held.checkpoint, [CENTRE.verifier]).checkpoint().size == 610


def test_everything_acknowledged_is_there_after_opening_again(mirror: Mirror, edge: Edge, opened):
    held = mirror.held(ORIGIN)
    for count in (1, 300, 5):
        edge.grow(count)
        held = edge.send(mirror, held)
    edge.grow(40)
    held = edge.send(mirror, held, end=320)
    assert opened().held(ORIGIN) == held


def test_the_same_entries_twice_change_nothing(mirror: Mirror, edge: Edge):
    edge.grow(20)
    first = edge.send(mirror, mirror.held(ORIGIN))
    assert edge.send(mirror, first, old=0) == first
    edge.grow(5)
    second = edge.send(mirror, first, old=7)  # overlapping
    assert second.size == 25
    assert edge.send(mirror, second, old=3, end=20) == second


def test_entries_beyond_the_cursor_or_linked_to_another_checkpoint_are_not_taken(mirror: Mirror, edge: Edge):
    edge.grow(10)
    held = edge.send(mirror, mirror.held(ORIGIN))
    edge.grow(10)
    ahead = edge.send(mirror, held, old=15)
    assert not ahead.taken and ahead.size == 10
    astray = mirror.add(ORIGIN, 10, [], [], edge.note(), [], Link(9, []))
    assert not astray.taken


def test_two_threads_sending_at_once_lose_and_double_nothing(mirror: Mirror, edge: Edge, opened):
    edge.grow(400)

    def push() -> None:
        held = mirror.held(ORIGIN)
        while held.size < 400:
            held = edge.send(mirror, held, end=min(held.size + 7, 400))

    edge.log.consistency(1, 400)  # proofs come from one thread only in an edge; warm, they are read-only
    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with LogReader(opened().folder(ORIGIN), ORIGIN) as reader:
        assert reader.leaves(0, 400) == [leaf for leaf, _ in edge.items]


@pytest.mark.parametrize("change", ["leaf", "body", "order", "count", "missing body of another"])
def test_entries_that_are_not_what_was_signed_are_refused_and_nothing_is_stored(
    mirror: Mirror, edge: Edge, change: str
):
    note = edge.grow(4)
    leaves, chunks = map(list, zip(*edge.items, strict=True))
    if change == "leaf":
        fields = Leaf(*cbor2.loads(leaves[1]))
        leaves[1] = fields._replace(n=99).encode()
    elif change == "body":
        chunks[1] = b"body 2 "
    elif change == "order":
        leaves[0], leaves[1] = leaves[1], leaves[0]
    elif change == "count":
        chunks = chunks[:-1]
    else:
        chunks[2] = b"none is due"
    with pytest.raises(BadRequest):
        mirror.add(ORIGIN, 0, leaves, chunks, note, [], Link(0, []))
    assert mirror.held(ORIGIN).size == 0
    assert edge.send(mirror, mirror.held(ORIGIN)).size == 4


def test_garbage_leaves_are_refused(mirror: Mirror, edge: Edge):
    note = edge.grow(1)
    with pytest.raises(Corrupt):
        mirror.add(ORIGIN, 0, [b"\xff\x00"], [None], note, [], Link(0, []))


def test_a_body_the_edge_no_longer_has_may_be_left_out(mirror: Mirror, edge: Edge):
    note = edge.grow(1)
    assert mirror.add(ORIGIN, 0, [edge.items[0][0]], [None], note, [], Link(0, [])).size == 1


def test_a_foreign_key_a_foreign_origin_and_an_unknown_one_are_refused(mirror: Mirror, edge: Edge, tmp_path: Path):
    edge.grow(1)
    stranger = Edge(tmp_path / "stranger")
    stranger.grow(1)
    with pytest.raises(Refused, match="found none"):
        stranger.send(mirror, mirror.held(ORIGIN))
    other = sign_note(Checkpoint("zs/kiln/bb2", 1, edge.log.root()).text(), [edge.key])
    with pytest.raises(Refused, match="expected origin"):
        mirror.resume(ORIGIN, other)
    with pytest.raises(Refused, match="not enrolled"):
        mirror.held("zs/kiln/bb2")


def test_an_origin_is_bound_to_one_key(mirror: Mirror, edge: Edge, opened):
    mirror.enrol(ORIGIN, edge.key.vkey)
    for each in (mirror, opened()):
        with pytest.raises(Refused, match="expected key"):
            each.enrol(ORIGIN, Signer.generate(ORIGIN).vkey)


@pytest.mark.parametrize("origin", ["", "a/b", "a/b/c/d", "../x/y", "a/../b", "A/b/c", "a/b/c\n", "a//c"])
def test_an_origin_never_leaves_its_folder(mirror: Mirror, edge: Edge, origin: str):
    with pytest.raises(Refused, match="org/site/box"):
        mirror.enrol(origin, edge.key.vkey)


def proofs(mirror: Mirror) -> list[ConflictProof]:
    return [ConflictProof.parse(path.read_bytes()) for path in (mirror.folder(ORIGIN) / "proofs").glob("*.json")]


@pytest.mark.feature("F31")
def test_a_rolled_back_log_is_refused_and_both_checkpoints_kept(mirror: Mirror, edge: Edge, opened):
    early = edge.grow(5)
    edge.grow(5)
    held = edge.send(mirror, mirror.held(ORIGIN))
    with pytest.raises(Conflict) as refused:
        mirror.resume(ORIGIN, early)
    (proof,) = proofs(mirror)
    assert ConflictProof.parse(refused.value.proof) == proof
    assert (proof.kind, proof.offered.encode()) == ("rollback", early)
    proof.verify(edge.key.verifier)
    mirror = opened()
    assert mirror.held(ORIGIN) == held
    with pytest.raises(Conflict):
        mirror.resume(ORIGIN, early)
    assert len(proofs(mirror)) == 1


@pytest.mark.feature("F31")
@pytest.mark.parametrize(("mine", "theirs"), [(10, 10), (10, 8), (10, 14)])
def test_a_forked_log_is_refused_and_the_proof_kept(mirror: Mirror, edge: Edge, tmp_path: Path, mine: int, theirs: int):
    twin = Edge(tmp_path / "twin", edge.key, salt=b"rewritten")
    edge.grow(mine)
    twin.grow(theirs)
    held = edge.send(mirror, mirror.held(ORIGIN))
    with pytest.raises(Conflict):
        twin.send(mirror, held)
    (proof,) = proofs(mirror)
    assert proof.kind == ("unlinked" if theirs > mine else "fork")
    proof.verify(edge.key.verifier)
    assert mirror.held(ORIGIN) == held


def test_a_checkpoint_shown_but_not_yet_held_binds_too(mirror: Mirror, edge: Edge, tmp_path: Path, opened):
    edge.grow(5)
    twin = Edge(tmp_path / "twin", edge.key)
    twin.grow(5)  # the same so far
    edge.grow(5)
    edge.send(mirror, mirror.held(ORIGIN), end=5)
    twin.salt = b"rewritten"
    twin.grow(7)
    mirror = opened()
    assert mirror.held(ORIGIN).seen == 10
    with pytest.raises(Conflict):
        twin.send(mirror, mirror.held(ORIGIN))


@pytest.mark.feature("F38")
def test_an_advance_is_kept_as_a_claim_and_confirmed_when_its_turn_comes(mirror: Mirror, edge: Edge, opened):
    note = edge.grow(300)
    held = edge.send(mirror, mirror.held(ORIGIN), end=100)
    claims = [edge.claim(250), edge.claim(299), edge.claim(50)]
    held = mirror.advance(ORIGIN, claims, note, edge.link(held))
    assert held.size == 100
    mirror = opened()
    assert read_claims(mirror.folder(ORIGIN)) == {250: edge.items[250], 299: edge.items[299]}
    held = edge.send(mirror, mirror.held(ORIGIN))
    assert held.size == 300
    mirror = opened()
    assert read_claims(mirror.folder(ORIGIN)) == {}


def test_an_advance_binds_the_log_to_its_checkpoint(mirror: Mirror, edge: Edge, tmp_path: Path):
    twin = Edge(tmp_path / "twin", edge.key, salt=b"rewritten")
    note = edge.grow(10)
    twin.grow(10)
    mirror.advance(ORIGIN, [edge.claim(9)], note, Link(0, []))
    with pytest.raises(Conflict):
        twin.send(mirror, mirror.held(ORIGIN))
    assert edge.send(mirror, mirror.held(ORIGIN)).size == 10


def test_a_claim_without_a_valid_proof_is_refused(mirror: Mirror, edge: Edge):
    note = edge.grow(10)
    with pytest.raises(BadRequest):
        mirror.advance(ORIGIN, [edge.claim(9)._replace(proof=[])], note, Link(0, []))
    with pytest.raises(BadRequest):
        mirror.advance(ORIGIN, [edge.claim(9)._replace(chunk=b"other")], note, Link(0, []))
    assert mirror.held(ORIGIN).seen == 0


def test_keyring_files_are_kept_and_never_change(mirror: Mirror, opened):
    assert mirror.put_keyring(ORIGIN, 3, b"wraps").epoch == 3
    assert mirror.put_keyring(ORIGIN, 3, b"wraps").epoch == 3
    mirror = opened()
    assert mirror.held(ORIGIN).epoch == 3
    with pytest.raises(Refused, match="never change"):
        mirror.put_keyring(ORIGIN, 3, b"others")
    for epoch, data in ((-1, b"x"), (10**8, b"x"), (4, b""), (4, bytes(1 << 20) + b"x")):
        with pytest.raises(BadRequest):
            mirror.put_keyring(ORIGIN, epoch, data)


class Filling(Quick):
    """A disk that is full while `full` is set."""

    full = False

    def write(self, fd: int, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(fd, data)


def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(tmp_path: Path, edge: Edge):
    fs = Filling()
    mirror = Mirror(tmp_path / "mirror", CENTRE, SimulatedClock(NOW_S * SECOND), fs)
    mirror.enrol(ORIGIN, edge.key.vkey)
    edge.grow(5)
    fs.full = True
    with pytest.raises(Full):
        edge.send(mirror, mirror.held(ORIGIN))
    assert mirror.held(ORIGIN).size == 0
    fs.full = False
    held = edge.send(mirror, mirror.held(ORIGIN))
    mirror.close()
    again = Mirror(tmp_path / "mirror", CENTRE, SimulatedClock(NOW_S * SECOND), Quick())
    assert again.held(ORIGIN) == held and held.size == 5
    again.close()


@pytest.mark.feature("F30")
def test_many_origins_share_one_journal(tmp_path: Path):
    mirror = Mirror(tmp_path / "mirror", CENTRE, SimulatedClock(NOW_S * SECOND), Quick())
    names = [f"zs/kiln/bb{n}" for n in range(5)]
    key = Signer.generate("zs")
    digest_free = [Leaf(1, Kind.heartbeat, 0, 0, 0, 0, 1, 0, 1, 0, b"", b"", 0, 0).encode()]
    for name in names:
        mirror.enrol(name, key.vkey)
        root = hashlib.sha256(b"\0" + digest_free[0]).digest()
        note = sign_note(Checkpoint(name, 1, root).text(), [key])
        assert mirror.add(name, 0, digest_free, [None], note, [], Link(0, [])).size == 1
    mirror.close()
    again = Mirror(tmp_path / "mirror", CENTRE, SimulatedClock(NOW_S * SECOND), Quick())
    assert again.origins() == names
    assert all(again.held(name).size == 1 for name in names)
    again.close()

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from davy.blackbox.fs import Fs
from davy.blackbox.fsck import Finding, check
from davy.blackbox.journal import frame
from davy.blackbox.log import Item, Log, encode_frame
from davy.blackbox.note import Checkpoint, Cosigner, Signer, sign_note
from davy.blackbox.tiles import entries_path, pack_entries, tile_path
from davy.errors import Inconsistent, KeyUnknown
from davy.fact import ErasureClass, Kind, Leaf, Note, key_id

ORIGIN = "org/site/box"
SIGNER = Signer.generate(ORIGIN)
MIRROR = Cosigner.generate("mirror.example/1")
SENSOR = ErasureClass.sensor


class Unsynced(Fs):
    def sync(self, fd: int) -> None: ...

    def sync_dir(self, path: Path) -> None: ...


def make_leaf(
    seq: int, kind: Kind = Kind.readings, epoch: int = 1, chunk: bytes | None = None, own_seq: int = -1
) -> Item:
    digest = b"" if chunk is None else hashlib.sha256(chunk).digest()
    at = own_seq if own_seq >= 0 else seq
    leaf = Leaf(1, kind, at, epoch, 0, 0, 1, 0, 1, 1, digest, digest, len(chunk or b""), key_id(epoch, SENSOR))
    return leaf.encode(), chunk, SENSOR


def make_log(path: Path, count: int, strange: dict[int, Item] | None = None, bodies: bool = True) -> None:
    log = Log.open(path, ORIGIN, Unsynced())
    group = [make_leaf(0, Kind.epoch)]
    group += [make_leaf(seq, chunk=b"body %d" % seq if bodies else None) for seq in range(1, count)]
    for seq, item in (strange or {}).items():
        group[seq] = item
    log.append(group, 0)
    publish(log)
    log.close()


def publish(log: Log) -> None:
    log.publish(sign_note(Checkpoint(ORIGIN, log.size, log.root()).text(), [SIGNER]), log.size)


def found(path: Path, **options: object) -> list[tuple[str, int, int]]:
    report = check(path, SIGNER.vkey, **options)  # type: ignore[arg-type]
    return [(finding.kind, finding.first, finding.last) for finding in report.findings]


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


@pytest.mark.feature("F31")
def test_a_sound_log_has_no_findings(tmp_path: Path) -> None:
    make_log(tmp_path, 600)
    report = check(tmp_path, SIGNER.vkey)
    assert report.findings == []
    assert report.ok
    assert (report.origin, report.size, report.bodies, report.unsigned) == (ORIGIN, 600, 599, 0)
    assert report.data > 600 * 100
    assert report.mb_s > 0


def test_an_empty_folder_says_that_nothing_is_signed(tmp_path: Path) -> None:
    assert found(tmp_path) == [("checkpoint", -1, -1)]
    Log.open(tmp_path, ORIGIN).close()
    assert found(tmp_path) == [("checkpoint", -1, -1)]


DAMAGE: dict[str, tuple[Callable[[Path], object], list[tuple[str, int, int]]]] = {
    "an entry changed in a bundle": (
        lambda p: change(p / entries_path(0), make_leaf(77, chunk=b"body 77")[0], make_leaf(77, chunk=b"body 78")[0]),
        [("root", 0, 599), ("journal", 77, 77), ("leaf", 77, 77), ("body_changed", 77, 77)],
    ),
    "a bundle gone": (lambda p: os.unlink(p / entries_path(1)), [("bundle", 256, 511)]),
    "a bundle cut short": (
        lambda p: os.truncate(p / entries_path(0), 999),
        [("bundle", 0, 255)],
    ),
    "a tile changed": (
        lambda p: change(p / tile_path(0, 1), hashlib.sha256(b"\0" + make_leaf(300, chunk=b"body 300")[0]).digest(),
                         bytes(32)),
        [("leaf", 300, 300)],
    ),
    "a tile gone": (lambda p: os.unlink(p / tile_path(0, 1)), [("tile", 256, 511)]),
    "the journal gone": (lambda p: os.unlink(p / "journal/000000000000.journal"), [("bundle", 512, 599)]),
    "a body changed": (
        lambda p: change(p / "pack/sensor/000000000001.pack", b"body 555", b"body 666"),
        [("body_changed", 555, 555)],
    ),
    "the bodies gone": (lambda p: os.unlink(p / "pack/sensor/000000000001.pack"), [("body_missing", 1, 599)]),
    "a checkpoint of another key": (
        lambda p: change(p / "checkpoint", SIGNER.sign((p / "checkpoint").read_bytes().split(b"\n\n")[0] + b"\n"),
                         Signer.generate(ORIGIN).sign(b"x\n")),
        [("signature", -1, -1)],
    ),
    "a checkpoint that is none": (lambda p: (p / "checkpoint").write_bytes(b"garbage"), [("checkpoint", -1, -1)]),
    "a signed checkpoint with another root": (
        lambda p: (p / "checkpoint").write_bytes(sign_note(Checkpoint(ORIGIN, 600, bytes(32)).text(), [SIGNER])),
        [("root", 0, 599)],
    ),
    "a signed checkpoint of more than there is": (
        lambda p: (p / "checkpoint").write_bytes(sign_note(Checkpoint(ORIGIN, 700, bytes(32)).text(), [SIGNER])),
        [("bundle", 512, 699)],
    ),
}  # fmt: skip


@pytest.mark.feature("F31")
@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_located(what: str, tmp_path: Path) -> None:
    harm, expected = DAMAGE[what]
    make_log(tmp_path, 600)
    harm(tmp_path)
    assert sorted(found(tmp_path)) == sorted(expected)


def test_a_rewritten_log_differs_from_its_checkpoint(tmp_path: Path) -> None:
    make_log(tmp_path / "true", 600)
    make_log(tmp_path / "false", 600, {300: make_leaf(300, chunk=b"nothing happened")})
    (tmp_path / "false" / "checkpoint").write_bytes((tmp_path / "true" / "checkpoint").read_bytes())
    assert found(tmp_path / "false") == [("root", 0, 599)]


STRANGE: dict[str, tuple[dict[int, Item], list[tuple[str, int, int]]]] = {
    "no leaf at all": ({5: (b"garbage", None, SENSOR)}, [("leaf", 5, 5)]),
    "a seq that is not its place": ({5: make_leaf(5, own_seq=4)}, [("seq", 5, 5)]),
    "an epoch nobody announced": ({5: make_leaf(5, epoch=2)}, [("epoch", 5, 5)]),
    "an epoch announced again": ({5: make_leaf(5, Kind.epoch)}, [("epoch", 5, 5)]),
    "a new epoch, an old key after it": (
        {5: make_leaf(5, Kind.epoch, 2), 6: make_leaf(6, epoch=2)}, [("epoch", 7, 9)]),
    "a start that could not be verified": (
        {0: make_leaf(0, Kind.unverified_start, 0), 1: make_leaf(1, Kind.epoch)}, []),
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGE)
def test_strange_leaves_are_named(what: str, tmp_path: Path) -> None:
    strange, expected = STRANGE[what]
    make_log(tmp_path, 10, strange)
    assert found(tmp_path) == expected


def test_entries_after_the_checkpoint_are_counted_as_unsigned(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    log = Log.open(tmp_path, ORIGIN)
    log.append([make_leaf(seq) for seq in range(300, 700)], 0)
    log.close()
    report = check(tmp_path, SIGNER.vkey)
    assert (report.size, report.unsigned, report.findings) == (300, 400, [])


def test_a_cosignature_is_checked_with_its_own_root(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    log = Log.open(tmp_path, ORIGIN)
    text = Checkpoint(ORIGIN, 300, log.root()).text()
    log.append([make_leaf(seq) for seq in range(300, 320)], 0)
    publish(log)
    log.close()
    held = tmp_path / "held"
    held.write_bytes(sign_note(text, [SIGNER]) + MIRROR.cosign(text, 1_800_000_000))
    report = check(tmp_path, SIGNER.vkey, cosigner=MIRROR.verifier.vkey, cosigned=held)
    assert (report.findings, report.cosigned) == ([], (300, 1_800_000_000))
    other = Checkpoint(ORIGIN, 300, bytes(32)).text()
    held.write_bytes(sign_note(other, [SIGNER]) + MIRROR.cosign(other, 1))
    assert found(tmp_path, cosigner=MIRROR.verifier, cosigned=held) == [("root", 0, 299)]
    assert found(tmp_path, cosigner=MIRROR.verifier) == [("cosignature", -1, -1)]
    assert found(tmp_path, cosigner=MIRROR.verifier, cosigned=tmp_path / "no") == [("cosignature", -1, -1)]


def test_bodies_are_opened_where_a_key_is_given(tmp_path: Path) -> None:
    make_log(tmp_path, 10)

    def open_body(leaf: Leaf, chunk: bytes) -> bytes:
        if leaf.seq < 4:
            raise KeyUnknown("erased")
        if leaf.seq == 7:
            raise Inconsistent("body_root: expected a, got b")
        return chunk

    report = check(tmp_path, SIGNER.vkey, open_body)
    assert report.findings == [Finding("body_wrong", 7, 7, "body_root: expected a, got b")]
    assert (report.bodies, report.opened) == (9, 5)
    assert str(report.findings[0]) == "leaf 7: body_wrong: body_root: expected a, got b"


def test_a_missing_body_is_excused_by_an_erase_leaf_that_can_be_read(tmp_path: Path) -> None:
    body = Note("retention", {"class": 0, "first": 1, "last": 9}, 0).encode()
    log = Log.open(tmp_path, ORIGIN)
    log.append([make_leaf(0, Kind.epoch), *(make_leaf(seq, chunk=b"x") for seq in range(1, 10))], 0)
    log.append([make_leaf(10, Kind.erase, chunk=body)], 1)
    publish(log)
    log.retire(log.aged(SENSOR, 1))
    log.close()
    report = check(tmp_path, SIGNER.vkey, lambda leaf, chunk: chunk)
    assert (report.findings, report.erased) == ([], 9)
    report = check(tmp_path, SIGNER.vkey)
    assert [(f.kind, f.first, f.last) for f in report.findings] == [("body_unexplained", 1, 9)]
    assert report.ok, "not shown to be wrong"


def test_a_whole_frame_in_quarantine_is_told(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    segment = tmp_path / "journal" / "000000000000.journal"
    lost = frame(encode_frame(300, [b"leaf"] * 7, []))
    segment.write_bytes(segment.read_bytes() + b"torn" + lost)
    Log.open(tmp_path, ORIGIN).close()
    report = check(tmp_path, SIGNER.vkey)
    assert [(f.kind, f.first, f.last) for f in report.findings] == [("quarantine", 300, 306)]
    assert report.quarantined == 4 + len(lost)


@pytest.mark.feature("F31")
def test_higher_tiles_are_compared_with_the_entries(tmp_path: Path) -> None:
    make_log(tmp_path, 65_600, bodies=False)
    tile = tmp_path / tile_path(1, 0)
    tile.write_bytes(tile.read_bytes()[:-32] + bytes(32))
    assert found(tmp_path) == [("tile", 0, 65_535)]


def test_findings_of_one_sort_in_a_row_are_one(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    entries = [make_leaf(seq, chunk=b"other")[0] for seq in range(100)]
    old = [make_leaf(0, Kind.epoch)[0], *(make_leaf(seq, chunk=b"body %d" % seq)[0] for seq in range(1, 256))]
    (tmp_path / entries_path(0)).write_bytes(pack_entries([*entries, *old[100:]]))
    report = check(tmp_path, SIGNER.vkey)
    assert Finding("leaf", 0, 99, "the entry does not have the hash that the tile holds") in report.findings
    assert len(report.findings) < 8

"""Signed notes against C2SP's, Go's and tessera's own, and against what they must refuse."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from davy.blackbox.merkle import EMPTY_ROOT, leaf_hash, root_of
from davy.blackbox.note import (
    Checkpoint,
    Cosigner,
    Signer,
    Verifier,
    cosignature_time,
    open_note,
    parse_note,
    sign_note,
)
from davy.errors import Corrupt, Inconsistent

CHECKPOINT = Checkpoint("zs/kiln/box1", 3, EMPTY_ROOT)


def signer(name: str = "zs/kiln/box1", seed: int = 1) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def cosigner(name: str = "centre.zs", seed: int = 9) -> Cosigner:
    return Cosigner(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_the_note_of_the_specification_verifies(shared: Path):
    example = json.loads((shared / "vectors/c2sp/spec_examples.json").read_text())
    signed = example["signed_note"]
    note = open_note(signed["note"].encode(), [Verifier.parse(signed["vkey"])])
    assert note.text == b"This is an example message.\n"
    cosigned = parse_note(example["checkpoint_with_cosignature"].encode())
    assert cosigned.checkpoint().size == 20852163
    assert cosigned.checkpoint().text() == cosigned.text
    assert cosignature_time(cosigned.signatures[1]) == 1679315147


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_keys_of_go_sumdb_are_read_and_its_bad_ones_refused(shared: Path):
    vectors = json.loads((shared / "vectors/go-sumdb-note/note_test_vectors.json").read_text())
    for vkey in vectors["vkeys"]:
        assert Verifier.parse(vkey).vkey == vkey
    for vkey in vectors["bad_vkeys"]:
        with pytest.raises(Corrupt):
            Verifier.parse(vkey)
    key = Signer.parse(vectors["skey"])
    assert key.skey == vectors["skey"]
    assert key.vkey == vectors["vkeys"][0]


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_every_checkpoint_of_tessera_verifies_and_names_its_root(shared: Path):
    keys = json.loads((shared / "vectors/tessera/KEYS_AND_ENTRIES.json").read_text())
    hashes = [leaf_hash(entry.encode()) for entry in keys["entries"]]
    log = Signer.parse(keys["skey"])
    for size in range(len(hashes) + 1):
        data = (shared / f"vectors/tessera/testdata/log/checkpoint.{size}").read_bytes()
        note = open_note(data, [Verifier.parse(keys["vkey"])])
        assert note.checkpoint() == Checkpoint(keys["origin"], size, root_of(hashes[:size]))
        assert sign_note(note.text, [log]) == data


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_a_checkpoint_cosigned_by_a_foreign_witness_is_read(shared: Path):
    data = (shared / "vectors/interop-generated/checkpoint_cosigned_by_aics-witness.txt").read_bytes()
    note = parse_note(data)
    assert note.checkpoint().size == 700
    assert [s.name for s in note.signatures] == ["edge.test/site1", "witness.test/w1"]
    assert len(note.signatures[1].data) == 72


@pytest.mark.feature("F31")
def test_a_log_and_a_mirror_sign_one_checkpoint():
    log, mirror = signer(), cosigner()
    data = sign_note(CHECKPOINT.text(), [log])
    data += mirror.cosign(CHECKPOINT.text(), 1_800_000_000)
    note = open_note(data, [Verifier.parse(log.vkey), Verifier.parse(mirror.vkey)])
    assert note.checkpoint() == CHECKPOINT
    assert cosignature_time(note.verified[1]) == 1_800_000_000


def test_private_keys_round_trip():
    assert Cosigner.parse(cosigner().skey).vkey == cosigner().vkey
    with pytest.raises(Corrupt, match="type"):
        Signer.parse(cosigner().skey)


def test_a_cosignature_is_bound_to_its_time():
    mirror = cosigner()
    line = mirror.cosign(CHECKPOINT.text(), 1000)
    (signature,) = parse_note(CHECKPOINT.text() + b"\n" + line).signatures
    earlier = signature._replace(data=(999).to_bytes(8, "big") + signature.data[8:])
    with pytest.raises(Inconsistent, match="does not fit"):
        open_note(CHECKPOINT.text() + b"\n" + earlier.line(), [mirror.verifier])


def test_unknown_keys_are_ignored_and_sixteen_signatures_accepted():
    log = signer()
    others = [signer(f"other{n}", n + 2) for n in range(15)]
    data = sign_note(CHECKPOINT.text(), [*others, log])
    note = open_note(data, [log.verifier])
    assert len(note.signatures) == 16 and len(note.verified) == 1


def test_a_known_key_that_did_not_sign_is_missed():
    with pytest.raises(Inconsistent, match="expected a signature of centre"):
        open_note(sign_note(CHECKPOINT.text(), [signer()]), [signer().verifier, cosigner().verifier])


def test_the_same_name_under_another_key_is_not_taken_for_it():
    with pytest.raises(Inconsistent, match="found none"):
        open_note(sign_note(CHECKPOINT.text(), [signer(seed=7)]), [signer().verifier])


def test_one_changed_byte_of_the_text_is_refused():
    data = sign_note(CHECKPOINT.text(), [signer()])
    with pytest.raises(Inconsistent):
        open_note(data.replace(b"\n3\n", b"\n4\n"), [signer().verifier])


def test_a_note_without_any_verifier_is_never_trusted():
    with pytest.raises(Inconsistent, match="at least one"):
        open_note(sign_note(CHECKPOINT.text(), [signer()]), [])


GOOD = sign_note(CHECKPOINT.text(), [signer()])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        GOOD[:-1],
        GOOD.replace(b"\n\n", b"\n"),
        GOOD.replace("—".encode(), b"-"),
        GOOD.replace(b"box1\n3", b"box1\r\n3"),
        GOOD.replace(b"zs/kiln/box1\n", b"zs\xff\n"),
        GOOD + b"junk\n",
        GOOD + "— name \n".encode(),
        GOOD + "— name !!!!\n".encode(),
        GOOD + "— na+me AAAAAAAA\n".encode(),
        GOOD + "— name AAAA\n".encode(),
        GOOD + GOOD.split(b"\n\n")[1] * 100,
        b"x" * (1 << 20) + b"\n" + GOOD,
    ],
)
def test_what_is_not_a_note_is_refused(data: bytes):
    with pytest.raises(Corrupt):
        parse_note(data)


@pytest.mark.parametrize(
    "text",
    [
        b"o\n1\n",
        b"o\n01\n" + CHECKPOINT.text().split(b"\n")[2] + b"\n",
        b"o\n-1\n" + CHECKPOINT.text().split(b"\n")[2] + b"\n",
        b"o\n9223372036854775808\n" + CHECKPOINT.text().split(b"\n")[2] + b"\n",
        b"o\n1\nAAAA\n",
        b"\n1\n" + CHECKPOINT.text().split(b"\n")[2] + b"\n",
        CHECKPOINT.text() + b"\n",
        CHECKPOINT.text()[:-1],
        CHECKPOINT.text().replace(b"=", b""),
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: bytes):
    with pytest.raises(Corrupt):
        Checkpoint.parse(text)


def test_extension_lines_are_kept():
    text = CHECKPOINT.text() + b"more\n"
    assert Checkpoint.parse(text).extensions == ("more",)
    assert Checkpoint.parse(text).text() == text


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b"])
def test_a_key_name_has_no_spaces_and_no_plus(name: str):
    with pytest.raises(Corrupt):
        signer(name)

"""The signer: an identity made once, one history signed, epoch keys made once."""

import asyncio
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from davy import wire
from davy.blackbox import note, signer
from davy.blackbox.keyring import Keyring
from davy.blackbox.signer import Signer, create, read_box_key
from davy.errors import BadRequest, Corrupt, Inconsistent, KeyUnknown
from davy.fact import key_id

ORIGIN = "acme/tank-farm/box-1"
ROOT, OTHER = bytes([1]) * 32, bytes([2]) * 32


@pytest.fixture
def box(tmp_path: Path) -> Path:
    create(tmp_path / "secrets", ORIGIN)
    return tmp_path


def opened(box: Path) -> Signer:
    return Signer(box / "secrets", box / "keyring")


def checkpoint(data: bytes, made_by: Signer) -> note.Checkpoint:
    return note.open_note(data, [note.Verifier.parse(made_by.vkey)]).checkpoint()


@pytest.mark.feature("F31")
def test_a_checkpoint_is_signed_under_the_name_of_the_log(box: Path):
    made = opened(box)
    assert checkpoint(made.sign(ORIGIN, 5, ROOT), made) == note.Checkpoint(ORIGIN, 5, ROOT)
    assert made.vkey.startswith(f"{ORIGIN}+")


def test_keys_are_for_the_owner_only_and_never_made_twice(box: Path):
    before = {p.name: p.read_bytes() for p in (box / "secrets").iterdir()}
    assert set(before) == {"log.key", "box.key"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (box / "secrets").iterdir()} == {0o600}
    with pytest.raises(FileExistsError, match="never replaced"):
        create(box / "secrets", ORIGIN)
    assert {p.name: p.read_bytes() for p in (box / "secrets").iterdir()} == before


def test_making_keys_may_die_anywhere_and_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for dies_at in range(4):
        folder, calls = tmp_path / str(dies_at), []
        real = signer.os.link

        def link(source: Path, target: Path, calls: list = calls, dies_at: int = dies_at, real=real) -> None:
            calls.append(target)
            if len(calls) == dies_at // 2 + 1 and dies_at % 2 == 0:
                raise KeyboardInterrupt
            real(source, target)
            if len(calls) == dies_at // 2 + 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(signer.os, "link", link)
            create(folder, ORIGIN)
        if not signer.exists(folder):
            create(folder, ORIGIN)
        assert Signer(folder, tmp_path / "keyring").origin == ORIGIN


def test_a_smaller_tree_or_another_root_is_never_signed_even_after_a_restart(box: Path):
    opened(box).sign(ORIGIN, 5, ROOT)
    again = opened(box)
    assert checkpoint(again.sign(ORIGIN, 5, ROOT), again).size == 5
    for size, root in ((4, ROOT), (5, OTHER), (0, ROOT)):
        with pytest.raises(Inconsistent, match="signed size 5"):
            again.sign(ORIGIN, size, root)
    assert checkpoint(again.sign(ORIGIN, 6, OTHER), again).size == 6
    with pytest.raises(Inconsistent, match=f"expected origin {ORIGIN}"):
        again.sign("acme/tank-farm/box-2", 7, ROOT)


def test_what_was_signed_is_on_disk_before_the_signature_exists(box: Path, monkeypatch: pytest.MonkeyPatch):
    made = opened(box)
    monkeypatch.setattr(note, "sign_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        made.sign(ORIGIN, 5, ROOT)
    monkeypatch.undo()
    with pytest.raises(Inconsistent):
        opened(box).sign(ORIGIN, 5, OTHER)


def test_an_epoch_has_its_keys_once_whoever_asks_again(box: Path):
    centre = X25519PrivateKey.generate()
    keys, wraps_hash = opened(box).epoch(1, [centre.public_key().public_bytes_raw()])
    again = opened(box)
    assert again.epoch(1, []) == (keys, wraps_hash)
    assert again.epoch(2, [])[0] != keys
    assert {len(k) for k in keys.values()} == {32} and keys[0] != keys[1]
    assert again.key(key_id(1, 1)) == keys[1]
    assert Keyring(box / "keyring", ORIGIN, centre).keys(1) == keys
    assert Keyring(box / "keyring", ORIGIN, read_box_key(box / "secrets")).keys(2) == again.epoch(2)[0]
    with pytest.raises(KeyUnknown):
        Keyring(box / "keyring", ORIGIN, centre).keys(2)


def test_a_recipient_that_is_no_key_makes_no_epoch(box: Path):
    with pytest.raises(BadRequest, match="X25519"):
        opened(box).epoch(1, [b"nonsense"])
    with pytest.raises(KeyUnknown):
        opened(box).wraps(1)


def test_missing_or_broken_secrets_are_named(box: Path, tmp_path: Path):
    with pytest.raises(KeyUnknown, match=r"log\.key"):
        Signer(tmp_path / "nowhere", box / "keyring")
    (box / "secrets" / "signed.cbor").write_bytes(b"\xff")
    with pytest.raises(Corrupt, match=r"signed\.cbor"):
        opened(box)
    (box / "secrets" / "box.key").write_text("no hex")
    with pytest.raises(Corrupt, match=r"box\.key"):
        opened(box)


async def test_the_core_asks_over_a_socket(box: Path):
    made = opened(box)
    server = await wire.serve(box / "run" / "signer.sock", made.handlers())
    async with wire.Client(box / "run" / "signer.sock") as client:
        await client.call("ping")
        public = await client.call("vkey")
        assert public == {"vkey": made.vkey, "box": made.box, "origin": ORIGIN}
        assert checkpoint(await client.call("sign", origin=ORIGIN, size=3, root=ROOT), made).size == 3
        with pytest.raises(Inconsistent):
            await client.call("sign", origin=ORIGIN, size=2, root=ROOT)
        answer = await client.call("epoch", number=1, recipients=[])
        assert await client.call("key", key_id=key_id(1, 0)) == answer["keys"][0]
        assert await client.call("wraps", epoch=1) == made.wraps(1)
        with pytest.raises(KeyUnknown):
            await client.call("key", key_id=key_id(2, 0))
    server.close()
    await asyncio.wait_for(server.wait_closed(), 60)

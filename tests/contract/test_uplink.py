"""Uplink and intake over real HTTPS on loopback: what an edge writes, a centre holds, and both can prove it."""

import asyncio
import hashlib
import itertools
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from davy import wire
from davy.blackbox.conflict import ConflictProof
from davy.blackbox.fsck import check
from davy.blackbox.log import Log
from davy.blackbox.mirrored import read_claims
from davy.blackbox.note import Checkpoint, Signer, Verifier, open_note, sign_note
from davy.blackbox.reader import LogReader
from davy.centre import config as centres
from davy.centre.config import Centre
from davy.centre.enrolment import invite
from davy.centre.intake import Intake, build, serve
from davy.clock import SECOND, SystemClock
from davy.edge import config as edges
from davy.edge import signer as signers
from davy.edge import site as sites
from davy.edge import uplink as uplinks
from davy.errors import ConfigError, Refused, Unreachable
from davy.fact import ErasureClass, Kind, Leaf
from davy.uplink import client
from davy.uplink.client import Uplink
from davy.uplink.enrol import CentreKeys, Invitation, join
from davy.uplink.enrol import enrol as enrol_site
from davy.uplink.envelope import MEDIA_TYPE
from davy.uplink.link import Link

ORIGIN = "zs/kiln/bb1"
CLOCK = SystemClock()


class Box:
    """An edge's log, grown and signed by the test."""

    def __init__(self, folder: Path, origin: str = ORIGIN, key: Signer | None = None) -> None:
        self.folder = folder
        self.origin = origin
        self.key = key or Signer.generate(origin)
        self.log = Log.open(folder / "log", origin)
        (folder / "run").mkdir(exist_ok=True)

    def grow(self, count: int, kind: Kind = Kind.readings, body: int = 100, salt: bytes = b"") -> None:
        group = []
        for seq in range(self.log.size, self.log.size + count):
            chunk = hashlib.sha256(seq.to_bytes(8, "big") + salt).digest() * (body // 32 + 1)
            digest, now = hashlib.sha256(chunk).digest(), CLOCK.now_us()
            leaf = Leaf(1, kind, seq, 0, now, now, 1, seq, 1, 1, digest, digest, len(chunk), 0)
            group.append((leaf.encode(), chunk, ErasureClass.sensor))
        self.log.append(group, CLOCK.now_us() // (3600 * SECOND))
        text = Checkpoint(self.origin, self.log.size, self.log.root()).text()
        self.log.publish(sign_note(text, [self.key]), self.log.size)

    def state(self) -> dict:
        try:
            return json.loads((self.folder / "run" / "uplink.json").read_text())
        except FileNotFoundError:
            return {}

    @asynccontextmanager
    async def uplink(self, keys: CentreKeys) -> AsyncIterator[Uplink]:
        link = Link(keys)
        with LogReader(self.folder / "log", self.origin) as reader:
            up = Uplink(reader, link, self.folder / "keyring", self.folder / "run", CLOCK, random.Random(1))
            task = asyncio.create_task(up.run())
            try:
                yield up
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await link.close()


async def until(true: Callable[[], object], seconds: float = 90) -> None:
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"this did not become true within {seconds} s")


@asynccontextmanager
async def running(centre: Centre) -> AsyncIterator[tuple[Intake, str]]:
    """An intake on a free loopback port, and its address."""
    intake = build(centre, CLOCK)
    server, bound = serve(intake.app(), centre)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield intake, f"https://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        intake.mirror.close()


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    folder = tmp_path / "centre"
    centres.init(folder, "county.zs", ["127.0.0.1"], 8443, CLOCK)
    (folder / "centre.yaml").write_text(
        (folder / "centre.yaml").read_text().replace("host: 0.0.0.0, port: 8443", "host: 127.0.0.1, port: 0")
    )
    return centres.load(folder)


@pytest.fixture
async def intake(centre: Centre) -> AsyncIterator[tuple[Intake, str]]:
    async with running(centre) as pair:
        yield pair


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "box").mkdir()
    return Box(tmp_path / "box")


@pytest.fixture
def enrol(centre: Centre, intake: tuple[Intake, str], box: Box) -> Callable[..., Awaitable[CentreKeys]]:
    async def enrol(box: Box = box, text: str | None = None) -> CentreKeys:
        invited = Invitation.parse(text or invite(centre, CLOCK, 60 * SECOND))
        here = Invitation(intake[1], invited.fingerprint, invited.token)
        return await join(here, box.origin, box.key.vkey, b"\7" * 32, CLOCK)

    return enrol


@pytest.mark.feature("F30", "F39")
async def test_what_the_log_says_is_held_and_cosigned_at_the_centre(centre: Centre, box: Box, enrol, intake):
    keys = await enrol()
    box.grow(300)
    (box.folder / "keyring").mkdir()
    (box.folder / "keyring" / "00000000.cbor").write_bytes(b"wrapped")
    async with box.uplink(keys):
        await until(lambda: box.state().get("held_size") == 300)
        for _ in range(5):
            box.grow(1)
            await asyncio.sleep(0.01)
        await until(lambda: box.state()["held_size"] == 305)
    cosigned = (box.folder / "log" / "cosigned").read_bytes()
    note = open_note(cosigned, [box.key.verifier, centre.cosigner().verifier, keys.verifier()])
    assert note.checkpoint() == Checkpoint(ORIGIN, 305, box.log.root())
    await until(lambda: centre.log(ORIGIN).joinpath("checkpoint").read_bytes() == cosigned)
    with LogReader(centre.log(ORIGIN), ORIGIN) as copy, LogReader(box.folder / "log", ORIGIN) as own:
        assert copy.leaves(0, 305) == own.leaves(0, 305)
        assert copy.root(305) == box.log.root()
    assert (centre.log(ORIGIN) / "keyring" / "00000000.cbor").read_bytes() == b"wrapped"
    assert box.state()["state"] == "held" and box.state()["exposure_us"] == 0
    assert 0 < box.state()["exposure_p99_us"] < 20 * SECOND
    assert await intake[0].origins() == {ORIGIN: {"held": 305, "seen": 305, "epoch": 0}}


@pytest.mark.feature("F39")
async def test_a_backlog_travels_in_bounded_batches_and_survives_a_restart_of_both_ends(
    centre: Centre, box: Box, enrol, intake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "_FIRST_BATCH", 64 << 10)
    monkeypatch.setattr(client, "BATCH", 64 << 10)
    keys = await enrol()
    box.grow(1000, body=1000)
    async with box.uplink(keys):
        await until(lambda: intake[0].mirror.held(ORIGIN).size > 200)
    assert intake[0].mirror.held(ORIGIN).size < 1000
    box.grow(10)
    async with box.uplink(keys):
        await until(lambda: box.state()["held_size"] == 1010)


@pytest.mark.feature("F39")
async def test_an_uplink_waits_for_its_centre_and_goes_on(centre: Centre, box: Box):
    async with running(centre) as (_, url):
        invited = Invitation.parse(invite(centre, CLOCK, 60 * SECOND))
        keys = await join(Invitation(url, invited.fingerprint, invited.token), ORIGIN, box.key.vkey, bytes(32), CLOCK)
        box.grow(5)
        async with box.uplink(keys):
            await until(lambda: box.state().get("held_size") == 5)
    port = int(url.rpartition(":")[2])
    settings = centre.folder / "centre.yaml"
    settings.write_text(settings.read_text().replace("port: 0", f"port: {port}"))
    box.grow(5)
    async with box.uplink(keys):
        await until(lambda: box.state().get("state") == "unreachable")
        await until(lambda: box.state()["exposure_us"] > 0)
        assert box.state()["held_size"] == 5
        async with running(centres.load(centre.folder)):
            await until(lambda: box.state()["held_size"] == 10)


@pytest.mark.feature("F38")
async def test_a_transition_overtakes_the_backlog(
    centre: Centre, box: Box, enrol, intake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "BATCH", 1000)
    monkeypatch.setattr(client, "_FIRST_BATCH", 1000)
    keys = await enrol()
    box.grow(100, body=1000)  # a hundred requests of one leaf
    async with box.uplink(keys):
        await until(lambda: intake[0].mirror.held(ORIGIN).size > 3)
        box.grow(1, Kind.transition)
        await until(lambda: 100 in read_claims(centre.log(ORIGIN)))
        held = intake[0].mirror.held(ORIGIN).size
        assert held < 100
        await until(lambda: box.state()["held_size"] == 101)
    await until(lambda: not read_claims(centre.log(ORIGIN)))


@pytest.mark.feature("F30", "F37")
async def test_the_uplink_process_waits_for_enrolment_and_then_delivers(centre: Centre, intake, tmp_path: Path):
    folder = tmp_path / "site"
    sites.init(folder)
    numbers = itertools.count()
    edges.write(folder, lambda: f"0190a1b2-0000-7000-8000-{next(numbers):012d}")
    site = edges.load(folder)
    signer = signers.build(site)
    work = asyncio.create_task(uplinks.run(folder, CLOCK))
    log = Log.open(site.log, site.origin)
    for _ in range(3):
        kind = Kind.heartbeat if log.size else Kind.epoch
        leaf = Leaf(1, kind, log.size, 0, CLOCK.now_us(), CLOCK.now_us(), 1, 0, 1, 0, b"", b"", 0, 0)
        log.append([(leaf.encode(), None, ErasureClass.event)], 0)
        log.publish(signer.sign(site.origin, log.size, log.root()), log.size)

    def told() -> dict:
        path = site.run / "uplink.json"
        return json.loads(path.read_text()) if path.exists() else {}

    await until(lambda: told().get("state") == "not_enrolled")
    invited = Invitation.parse(invite(centre, CLOCK, 60 * SECOND))
    text = Invitation(intake[1], invited.fingerprint, invited.token).text()
    server = await wire.serve(site.run / "signer.sock", signer.handlers())
    assert (await enrol_site(folder, site.origin, text, CLOCK))["centre"] == "county.zs"
    server.close()
    await until(lambda: told().get("held_size") == 3)
    assert told()["state"] == "held" and told()["held_time"] > CLOCK.now_us() - 60 * SECOND
    assert not work.done()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    log.close()
    await until(lambda: (centre.log(site.origin) / "checkpoint").exists())  # the folder follows the journal
    report = check(centre.log(site.origin), Verifier.parse(signer.vkey), cosigner=centre.cosigner().vkey)
    assert report.ok and report.cosigned, report


@pytest.mark.feature("F31")
async def test_a_box_put_back_to_an_earlier_day_is_found_out(centre: Centre, box: Box, enrol, tmp_path: Path):
    keys = await enrol()
    (tmp_path / "old").mkdir()
    old = Box(tmp_path / "old", key=box.key)
    old.grow(3)
    box.grow(5)
    async with box.uplink(keys):
        await until(lambda: box.state().get("held_size") == 5)
    async with old.uplink(keys):
        await until(lambda: old.state().get("state") == "conflict")
    for folder in (centre.log(ORIGIN), old.folder / "log"):
        (path,) = (folder / "proofs").glob("*.json")
        ConflictProof.parse(path.read_bytes()).verify(box.key.verifier)
    with LogReader(centre.log(ORIGIN), ORIGIN) as copy:
        assert copy.size == 5


@pytest.mark.feature("F31")
async def test_a_rewritten_log_is_found_out(centre: Centre, box: Box, enrol, tmp_path: Path):
    keys = await enrol()
    (tmp_path / "twin").mkdir()
    twin = Box(tmp_path / "twin", key=box.key)
    box.grow(5)
    twin.grow(9, salt=b"other")
    async with box.uplink(keys):
        await until(lambda: box.state().get("held_size") == 5)
    async with twin.uplink(keys):
        await until(lambda: twin.state().get("state") == "conflict")
    assert list((centre.log(ORIGIN) / "proofs").glob("unlinked-*.json"))


@pytest.mark.feature("F37")
async def test_an_invitation_is_good_once_and_for_a_while(centre: Centre, box: Box, enrol):
    text = invite(centre, CLOCK, 60 * SECOND)
    await enrol(text=text)
    with pytest.raises(Refused, match="not spent"):
        await enrol(text=text)
    with pytest.raises(Refused, match="expired"):
        await enrol(text=invite(centre, CLOCK, -1))
    assert all(oct(path.stat().st_mode)[-3:] == "600" for path in (centre.folder / "secrets").iterdir())
    stored = b"".join(path.read_bytes() for path in centre.data.rglob("*.json"))
    assert Invitation.parse(text).token.hex().encode() not in stored


@pytest.mark.feature("F37")
async def test_an_origin_keeps_its_key_and_a_new_token_ends_the_old(box: Box, enrol, tmp_path: Path):
    first = await enrol()
    (tmp_path / "thief").mkdir()
    with pytest.raises(Refused, match="expected key"):
        await enrol(Box(tmp_path / "thief"))
    second = await enrol()
    with pytest.raises(Refused, match="token"):
        await _state(first)
    assert (await _state(second)).size == 0


async def _state(keys: CentreKeys):
    link = Link(keys)
    try:
        return await link.state()
    finally:
        await link.close()


@pytest.mark.feature("F37")
async def test_another_certificate_is_never_spoken_to(centre: Centre, box: Box, enrol, intake, tmp_path: Path):
    keys = await enrol()
    other = tmp_path / "other"
    centres.init(other, "county.zs", [], 8443, CLOCK)
    impostor = centres.load(other)
    invited = Invitation(intake[1], impostor.fingerprint(), b"t" * 32)
    with pytest.raises(Refused, match="SHA-256"):
        await join(invited, ORIGIN, box.key.vkey, bytes(32), CLOCK)
    swapped = CentreKeys(intake[1], impostor.certificate.read_text(), keys.token, keys.vkey, keys.recipient, ORIGIN)
    with pytest.raises(Unreachable, match="certificate"):
        await _state(swapped)


async def test_a_centre_is_not_made_over_another(centre: Centre):
    before = {path: path.read_bytes() for path in (centre.folder / "secrets").iterdir()}
    with pytest.raises(ConfigError, match="exists already"):
        centres.init(centre.folder, "county.zs", [], 8443, CLOCK)
    assert {path: path.read_bytes() for path in (centre.folder / "secrets").iterdir()} == before


BAD = [
    ("POST", "/api/v1/log/entries", b"", 400),
    ("POST", "/api/v1/log/entries", b"\xff" * 100, 400),
    ("POST", "/api/v1/log/entries", b"\x87\x01\x00\x80\x80", 400),
    ("POST", "/api/v1/log/advance", b"\x9f" * 1000, 400),
    ("POST", "/api/v1/log/advance", b"\x85\x01\x80\x44abcd\x00\x80", 400),
    ("POST", "/api/v1/log/resume", b"not a note", 400),
    ("POST", "/api/v1/log/resume", bytes(17 << 10), 413),
    ("POST", "/api/v1/log/entries", bytes(10 << 20), 413),
    ("PUT", "/api/v1/log/keyring/0", b"", 400),
    ("PUT", "/api/v1/log/keyring/999999999", b"x", 400),
    ("PUT", "/api/v1/log/keyring/0", bytes((1 << 20) + 1), 413),
    ("PUT", "/api/v1/log/keyring/..%2f", b"x", 404),
    ("POST", "/api/v1/enrol", b"{}", 400),
    ("POST", "/api/v1/enrol", b'{"token": 1, "origin": "", "vkey": "", "box": ""}', 400),
    ("POST", "/api/v1/enrol", b"[" * 4000, 400),
    ("GET", "/api/v1/log/entries", b"", 405),
]


async def test_garbage_gets_a_clear_refusal_and_nothing_is_stored(centre: Centre, enrol):
    keys = await enrol()
    before = {p for p in centre.mirror.rglob("*") if p.is_file()}
    async with httpx.AsyncClient(verify=keys.tls(), trust_env=False) as http:
        headers = {"authorization": f"Bearer {keys.token}", "content-type": MEDIA_TYPE}
        for method, path, body, status in BAD:
            answer = await http.request(method, keys.url + path, content=body, headers=headers)
            assert answer.status_code == status, (method, path, body[:20])
            if status in (400, 413):
                assert answer.json()["reason"] and answer.json()["detail"]
    assert {p for p in centre.mirror.rglob("*") if p.is_file()} == before
    assert (await _state(keys)).size == 0


async def test_without_a_token_nothing_is_answered(enrol):
    keys = await enrol()
    async with httpx.AsyncClient(verify=keys.tls(), trust_env=False) as http:
        for authorization in ("", "Bearer", "Bearer x", "Bearer " + "00" * 32, "Basic abc"):
            answer = await http.get(keys.url + "/api/v1/log/state", headers={"authorization": authorization})
            assert (answer.status_code, answer.json()["reason"]) == (403, "refused")


async def test_a_body_cut_off_on_the_way_stores_nothing(centre: Centre, enrol, intake):
    keys = await enrol()
    context = keys.tls()
    _, writer = await asyncio.open_connection("127.0.0.1", int(keys.url.rpartition(":")[2]), ssl=context)
    head = f"POST /api/v1/log/entries HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {keys.token}\r\n"
    writer.write(f"{head}content-length: 100000\r\n\r\n".encode() + b"\x87\x01" * 100)
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.05)
    assert intake[0].mirror.held(ORIGIN).seen == 0
    assert (await _state(keys)).size == 0


async def test_speaking_without_tls_is_answered_with_nothing(intake):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(intake[1].rpartition(":")[2]))
    writer.write(b"GET /api/v1/log/state HTTP/1.1\r\n\r\n")
    with suppress(ConnectionError, ssl.SSLError):
        assert not (await reader.read(100)).startswith(b"HTTP")
    writer.close()

"""Bytes of every kind of leaf as version 1 wrote them: what this reads back must never change.

`python tests/golden/test_leaf.py` writes the files of cases that have none; it changes no file that exists.
"""

from pathlib import Path

import numpy as np
import pycddl
import pytest

from davy.blackbox.seal import Draft, Sealer, check_root, open_chunk
from davy.fact import Act, Config, Epoch, ErasureClass, Kind, Leaf, Tags, Transition, decode_leaf
from davy.fact.codec import decode_readings, encode_readings
from davy.fact.event import BODY, Note
from davy.fact.order import blocks_of
from davy.reading import Flag, Readings, Status

HERE = Path(__file__).parent / "leaf"
CDDL = (Path(__file__).parents[2] / "docs" / "leaf.cddl").read_text()
ORIGIN, SEQ, EPOCH = "acme/tank-farm/box-1", 70_000, 17
KEYS = {ErasureClass.sensor: bytes(range(32)), ErasureClass.event: bytes(range(32, 64))}
T0 = 1_790_000_000_123_456
REFS = np.array([93.2, np.nan, 0.0, 21.25, 1e300, float(np.float32(7.3))])


def note(what: str, **detail: object) -> Note:
    return Note(what, detail, T0)


EVENTS = {
    Kind.transition: Transition(
        1543 * 8, 1543, 7, 3, 0, 2, 1, 0, 1, 1, 0, 25.3, 0, 25.0, T0 - 1_000, T0, "p:0190", "gas", T0 + 5, True
    ),
    Kind.act: Act("p:0190", "operator", 1, 1543 * 8, 7, "calibration", T0 + 60_000_000, T0, "edge", "p:0191"),
    Kind.tags: Tags(3, [{"uid": "u1", "index": 0, "name": "T101.LEVEL", "high": 85.0}], REFS.astype("<f8").tobytes()),
    Kind.config: Config("site", {"site": "tank-farm", "links": {"plc": {"poll": 1_000_000}}}, T0),
    Kind.epoch: Epoch(EPOCH, bytes([7]) * 32, {"alarms": []}, 3, T0, "hour"),
    Kind.clock: note("jump", us=-3_000_000),
    Kind.gap: note("readings_dropped", readings=12, **{"from": T0, "to": T0 + 1}),
    Kind.heartbeat: note("alive"),
    Kind.reorigin: note("rollback", old=b"checkpoint", new=b"checkpoint"),
    Kind.unverified_start: note("mirror_unreachable"),
}
RULES = {kind: f"{type(event).__name__.lower()}-body" for kind, event in EVENTS.items()} | {
    Kind.readings: "readings-body"
}


def readings() -> Readings:
    """Every mode, a misfit, a NaN with a payload, -0.0, two stamps, a gap in the tags, statuses and flags."""
    nan = np.uint64(0x7FF8_0000_DEAD_BEEF).view(np.float64)
    rows = [
        (0, 93.3, 0, 0, 0), (1, 7.0, 0, 0, 0), (3, 21.5, 0, 0, 0), (4, nan, Status.BadSensorFailure, 0, 0),
        (5, float(np.float32(7.4)), 0, 0, 0), (9, 3 * 0.1, 0, Flag.spike, 0), (10, 1 / 3, 0, 0, 0),
        (0, 93.4, 0, 0, 1), (1, -0.0, 0, 0, 1), (3, 21.5, 0, 0, 1), (4, 1e-320, 0, 0, 1),
        (5, float(np.float32(7.5)), 0, Flag.frozen, 1), (9, 7 * 0.1, 0, 0, 1), (10, float("inf"), Status.Bad, 0, 1),
    ]  # fmt: skip
    tag, value, status, flags, poll = (np.array(c) for c in zip(*rows, strict=True))
    server = T0 + 1_000_037 * poll.astype("i8")
    return Readings(
        tag.astype("u4"), value.astype("f8"), status.astype("u4"), flags.astype("u4"), server - server % 1000, server
    )


def draft(kind: Kind, body: bytes) -> Draft:
    r = readings()
    if kind == Kind.readings:
        return Draft(kind, T0, T0 + 1_000_037, 5_000, len(r), 3, blocks_of(r), body, ErasureClass.sensor)
    return Draft(kind, T0, T0, 5_000, 1, 3, [body], body, ErasureClass.event)


def seal(kind: Kind, body: bytes) -> tuple[bytes, bytes]:
    nonce = bytes([kind]) * 12
    return Sealer(ORIGIN, 4, EPOCH, KEYS, lambda size: nonce[:size]).seal(draft(kind, body), SEQ)


def golden(kind: Kind, what: str) -> bytes:
    return (HERE / f"{kind.name}.{what}").read_bytes()


def erasure(leaf: Leaf) -> ErasureClass:
    return ErasureClass(leaf.key_id & 15)


def test_every_kind_with_a_schema_has_golden_bytes():
    assert set(EVENTS) | {Kind.readings} >= set(BODY) | {Kind.readings}


@pytest.mark.parametrize("kind", [*EVENTS, Kind.readings])
def test_the_golden_chunk_opens_to_the_golden_body(kind: Kind):
    leaf = decode_leaf(golden(kind, "leaf"))
    assert (leaf.kind, leaf.seq, leaf.epoch, leaf.t0, leaf.tags_version) == (kind, SEQ, EPOCH, T0, 3)
    body = open_chunk(leaf, golden(kind, "chunk"), KEYS[erasure(leaf)], ORIGIN)
    assert body == golden(kind, "body")
    check_root(leaf, draft(kind, body).blocks, KEYS[erasure(leaf)])


@pytest.mark.parametrize("kind", [*EVENTS, Kind.readings])
def test_the_golden_body_sealed_today_is_the_golden_leaf(kind: Kind):
    assert seal(kind, golden(kind, "body")) == (golden(kind, "leaf"), golden(kind, "chunk"))


@pytest.mark.parametrize("kind", list(EVENTS))
def test_an_event_is_written_today_as_it_was(kind: Kind):
    body = golden(kind, "body")
    assert EVENTS[kind].encode() == body
    assert type(EVENTS[kind]).decode(body) == EVENTS[kind]


def test_golden_readings_come_back_bit_for_bit():
    """Only read: zstd's own output may differ from version to version (river.md 7)."""
    blocks = np.frombuffer(b"".join(blocks_of(readings())), np.uint8)
    assert decode_readings(golden(Kind.readings, "body"), REFS).rows().tobytes() == blocks.tobytes()


@pytest.mark.parametrize("kind", [*EVENTS, Kind.readings])
def test_golden_bytes_follow_the_published_cddl(kind: Kind):
    """Judged by a parser that is not ours."""
    for rule, what in ((RULES[kind], "body"), ("leaf", "leaf")):
        pycddl.Schema(f"start = {rule}\n{CDDL}").validate_cbor(golden(kind, what))


def test_the_cddl_refuses_what_is_not_a_leaf():
    with pytest.raises(pycddl.ValidationError):
        pycddl.Schema(f"start = leaf\n{CDDL}").validate_cbor(golden(Kind.act, "body"))


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for kind in [*EVENTS, Kind.readings]:
        body = encode_readings(readings(), REFS) if kind == Kind.readings else EVENTS[kind].encode()
        leaf, chunk = seal(kind, body)
        for what, data in (("body", body), ("leaf", leaf), ("chunk", chunk)):
            path = HERE / f"{kind.name}.{what}"
            if not path.exists():
                path.write_bytes(data)

"""Readings bodies: how small, how robust, and what an encoder learns."""

import csv
from collections.abc import Iterator
from pathlib import Path

import cbor2
import numpy as np
import pytest
import zstandard

from davy.errors import Corrupt
from davy.fact import mode as modes
from davy.fact.codec import MAX_READINGS, ReadingsEncoder, References, decode_readings, encode_readings
from davy.fact.order import ordered
from davy.reading import ROW, Readings, Status

T0 = 1_790_000_000_000_000
#: What a leaf costs beside its body: header, nonce and tag, a byte of form, and its share of the tree.
AROUND = 115 + 28 + 1 + 34.2


def readings(tag, value, time=T0, source=None) -> Readings:
    tag, value = np.asarray(tag, "u4"), np.ascontiguousarray(value, "f8")
    zero = np.zeros(len(tag), "u4")
    server = np.broadcast_to(np.asarray(time, "i8"), len(tag)).copy()
    return Readings(tag, value, zero, zero, server if source is None else np.asarray(source, "i8"), server)


def polls(table: np.ndarray, period: int, count: int) -> Iterator[Readings]:
    """Leaves of `count` readings, as they arrive row by row. table: float64[rows, tags]."""
    rows, width = table.shape
    every = readings(np.tile(np.arange(width), rows), table.ravel(), np.repeat(T0 + period * np.arange(rows), width))
    return (every.take(slice(start, start + count)) for start in range(0, rows * width - count + 1, count))


def bytes_a_reading(leaves: Iterator[Readings], refs: np.ndarray | None = None) -> float:
    """Mean over all leaves of one encoder, each decoded and compared bit for bit."""
    encoder, held, size, count = ReadingsEncoder(refs), References(refs), 0.0, 0
    for r in leaves:
        body = encoder.encode(r)
        assert decode_readings(body, held).rows().tobytes() == ordered(r).rows().tobytes()
        size, count = size + len(body) + AROUND, count + len(r)
    return size / count


def coal(shared: Path) -> np.ndarray:
    lines = (shared / "datasets/coal_methane/methane-train.arff").read_text().splitlines()
    return np.array([line.split(",")[:7] for line in lines if line.strip() and line[0] not in "%@"], "f8")


def skab(shared: Path, name: str) -> np.ndarray:
    with (shared / "datasets/SKAB" / name).open() as file:
        return np.array([row[1:9] for row in csv.reader(file, delimiter=";")][1:], "f8")


def tep(shared: Path, name: str) -> np.ndarray:
    return np.loadtxt(shared / "datasets/TEP" / name)


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_real_leaves_of_2000_readings_stay_within_their_bytes(shared: Path):
    assert bytes_a_reading(polls(coal(shared), 30_000_000, 2_000)) <= 0.40
    assert bytes_a_reading(polls(skab(shared, "anomaly-free/anomaly-free.csv"), 1_000_000, 2_000)) <= 2.1
    assert bytes_a_reading(polls(skab(shared, "valve1/7.csv"), 1_000_000, 2_000)) <= 2.1
    for name in ("d00_te.dat", "d06_te.dat", "d13_te.dat"):
        assert bytes_a_reading(polls(tep(shared, name), 180_000_000, 2_000)) <= 1.7


@pytest.mark.shared
def test_sealed_seconds_of_2000_tags_stay_within_their_bytes(shared: Path):
    columns = [*coal(shared).T]
    columns += [c for i in range(16) for c in skab(shared, f"valve1/{i}.csv").T]
    columns += [
        c for fault in ("00", "01", "02", "04", "06", "07", "10", "13") for c in tep(shared, f"d{fault}_te.dat").T
    ]
    width, rows = 2_000, 120
    table = np.empty((rows, width))
    for i in range(width):
        column, start = columns[i % len(columns)], i // len(columns) * 131
        table[:, i] = column[start : start + rows]
    learning = ReadingsEncoder()
    for r in polls(table[:20], 1_000_000, width):
        learning.encode(r)
    refs = learning.references(table[19])
    assert bytes_a_reading(polls(table[20:40], 1_000_000, width), refs) <= 2.1
    assert bytes_a_reading(polls(table[100:], 1_000_000, width), refs) <= 2.2


def test_shared_stamps_cost_nothing_however_they_jitter():
    rng = np.random.default_rng(1)
    table = np.round(rng.normal(50, 3, (40, 50)), 2)
    tags, stamps = np.tile(np.arange(50), 40), T0 + 1_000_000 * np.arange(40)
    exact = encode_readings(readings(tags, table.ravel(), np.repeat(stamps, 50)))
    shaky = encode_readings(readings(tags, table.ravel(), np.repeat(stamps + rng.integers(0, 20_000, 40), 50)))
    assert len(shaky) < len(exact) + 40 * 3


def test_device_times_are_kept_in_the_devices_own_unit():
    n = 2_000
    tags, latency = np.zeros(n), np.random.default_rng(1).integers(0, 30, n)
    source = T0 + 1_000_000 * np.arange(n) + latency * 1000
    assert len(encode_readings(readings(tags, np.zeros(n), T0 + n * 1_000_000, source))) < n


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("decimals", lambda n: n / 100, 1.6),
        ("steps of a register", lambda n: n * 0.01, 1.6),
        ("single precision", lambda n: (n / 100).astype("f4").astype("f8"), 1.6),
        ("whole numbers", lambda n: n.astype("f8"), 1.6),
        ("full mantissas", lambda n: n / 3 + 1e-9, 8.5),
    ],
)
def test_numbers_cost_what_they_hold_whatever_way_they_were_made(name: str, value, limit: float):
    n = np.random.default_rng(1).normal(5_000, 60, (10, 1_000)).round()
    encoder = ReadingsEncoder()
    for r in polls(value(n[:5]), 1_000_000, 1_000):
        encoder.encode(r)
    refs = encoder.references(value(n[4]))
    assert bytes_a_reading(polls(value(n[5:]), 1_000_000, 1_000), refs) - AROUND / 1_000 < limit, name


def test_references_tell_the_mode_of_every_tag_and_stay_near_the_value():
    n = np.random.default_rng(1).integers(0, 5_000, (20, 600))
    table = np.concatenate([n[:, :200] / 100, n[:, 200:400] * 0.01, (n[:, 400:] / 100).astype("f4")], axis=1)
    encoder = ReadingsEncoder()
    for r in polls(table, 1_000_000, 600):
        encoder.encode(r)
    last = np.append(table[-1], np.nan)  # a tag never seen
    refs = encoder.references(last)
    assert np.isnan(refs[-1])
    assert np.abs(refs - last)[:-1].max() < 0.65
    assert sorted(set(References(refs).modes.tolist())) == [modes.RAW, 3, modes.TIMES + 1, modes.SINGLE + 2]


def test_a_bad_sensor_costs_little_beside_its_neighbours():
    table = np.round(np.random.default_rng(1).normal(50, 3, (40, 50)), 2)
    whole = readings(np.tile(np.arange(50), 40), table.ravel(), np.repeat(T0 + 1_000_000 * np.arange(40), 50))
    bad = whole.tag == 7
    value, status = whole.value.copy(), whole.status.copy()
    value[bad], status[bad] = np.nan, Status.BadSensorFailure
    broken = Readings(whole.tag, value, status, whole.flags, whole.source_time, whole.server_time)
    body = encode_readings(broken)
    assert len(body) < len(encode_readings(whole)) + 40
    assert decode_readings(body).rows().tobytes() == ordered(broken).rows().tobytes()


def test_a_tag_keeps_its_mode_when_a_value_happens_to_be_shorter():
    encoder = ReadingsEncoder()
    sizes = [len(encoder.encode(readings(range(100), np.full(100, x)))) for x in (93.25, 93.2, 93.0, 93.27, 93.1)]
    assert max(sizes) - min(sizes) < 20


def test_an_encoder_refuses_what_no_leaf_holds():
    with pytest.raises(ValueError, match="got 0"):
        encode_readings(Readings.empty())
    with pytest.raises(ValueError, match=f"1 to {MAX_READINGS}"):
        encode_readings(readings(np.zeros(MAX_READINGS + 1), np.zeros(MAX_READINGS + 1)))


def _body() -> list:
    return cbor2.loads(encode_readings(readings([1, 2, 3], [1.5, np.nan, 2.5])))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({0: 2}, "version 1"),
        ({1: MAX_READINGS + 1}, "counts of 0"),
        ({1: 2}, "not fit together"),
        ({1: True}, "counts of 0"),
        ({2: 2}, "column longer"),
        ({3: 4}, "not fit together"),
        ({6: 3}, "no meaning"),
        ({8: [0] * 11}, "column longer"),
        ({8: 7}, "counts of 0"),
        ({9: b"junk"}, "zstd"),
        ({10: bytes(8)}, "packed numbers"),
        ({11: b""}, "zstd"),
        ({11: 5}, "bytes in its last"),
    ],
)
def test_a_body_that_contradicts_itself_is_corrupt(change: dict, says: str):
    body = _body()
    for field, value in change.items():
        body[field] = value
    with pytest.raises(Corrupt, match=says):
        decode_readings(cbor2.dumps(body))


def test_a_bomb_is_refused_by_its_stated_size_before_it_opens():
    body = _body()
    body[9] = zstandard.compress(bytes(1 << 28))
    with pytest.raises(Corrupt, match=r"expected .* bytes of content"):
        decode_readings(cbor2.dumps(body))


def test_the_row_a_leaf_commits_to_has_36_bytes():
    assert ROW.itemsize == 36

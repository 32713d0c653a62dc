"""`davy bench log`: sealing and committing alone, and what a reading weighs once it is in the log.

leaves: transitions encoded, sealed and appended in groups, as many as 20 ms bring at the goal; every
group is synced twice (bodies, journal). readings: four of each of 5,000 tags a leaf, as a core under
full load seals them, four leaves a group.
Both by CPU time, so waiting for the disk is left out; medians of RUNS runs after one that is not
counted. What the machine does without us stands beside them.

Bytes are those that stay on disk: header, chunk, its record and index entry in the pack, and the leaf's
share of the tree. Real data is read from ../shared/datasets beside the checkout.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import davy
from davy.blackbox.log import Item, Log
from davy.blackbox.seal import Draft, Sealer
from davy.clock import SECOND, SystemClock, cpu_ns
from davy.edge.core import SEAL_READINGS
from davy.fact import ErasureClass, Kind, Transition
from davy.fact.codec import ReadingsEncoder
from davy.lab.bench import Figure
from davy.lab.bench.rig import Walk, site
from davy.reading import Readings, concat
from davy.source.replay.table import read

DATASETS = Path(davy.__file__).resolve().parents[3] / "shared" / "datasets"
RUNS = 5
LEAVES, GROUP = 12_000, 600
TAGS, BODIES, PER_GROUP = 5_000, 28, 4  # leaves of readings in a run, and in a group
#: Bytes a leaf takes beside header and chunk: its hash and the nodes above, its length in a bundle; record and index
#: entry in the pack.
TREE, PACK = 34.2, 32
HOUR = 1
T0 = 1_790_000_000 * SECOND

Floats = NDArray[np.float64]
#: (CPU s, wall s) for how many.
Cost = tuple[float, float]


# Speed


def _timed(work: Callable[..., object], *arguments: object) -> Cost:
    clock = SystemClock()
    wall, cpu = clock.mono_ns(), cpu_ns()
    work(*arguments)
    return (cpu_ns() - cpu) / 1e9, (clock.mono_ns() - wall) / 1e9


def _transition(i: int) -> Transition:
    return Transition(
        alarm=i % 5000 * 8, tag=i % 5000, version=i // 5000 + 1, activation=i // 10_000, cause=i // 5000 % 2 * 3,
        state_before=2, state=1, level_before=0, level=1, priority=2, alarm_class=1, value=90.0 + i % 997 / 100,
        status=0, limit=90.0, source_time=T0 + 1000 * i, time=T0 + 1000 * i + 730,
    )  # fmt: skip


def _event_draft(t: Transition, i: int) -> Draft:
    body = t.encode()
    return Draft(Kind.transition, t.time, t.time, i, 1, 1, [memoryview(body)], body, ErasureClass.event)


def _readings_draft(r: Readings, encoder: ReadingsEncoder) -> Draft:
    encoded, blocks = encoder.encode_with_blocks(r)
    first, last = int(r.server_time.min()), int(r.server_time.max())
    return Draft(Kind.readings, first, last, r.mono_ns, len(r), 1, blocks, encoded, ErasureClass.sensor)


def _commit(log: Log, sealer: Sealer, erasure: ErasureClass, drafts: Iterator[Draft], group: int) -> None:
    """Seal and append all `drafts`, of one class, so many at a time."""
    items: list[Item] = []
    for draft in drafts:
        leaf, chunk = sealer.seal(draft, log.size + len(items))
        items.append((leaf, chunk, erasure))
        if len(items) == group:
            log.append(items, HOUR)
            items.clear()
    log.append(items, HOUR)


def _speed(runs: int, leaves: int, bodies: int) -> tuple[list[Cost], list[Cost]]:
    """What `leaves` transitions cost, and `bodies` leaves of readings, in each run."""
    rows = SEAL_READINGS // TAGS
    with site(TAGS) as (where, signer):
        keys, _ = signer.epoch(1)
        log, sealer = Log.open(where.log, where.origin), Sealer(where.origin, 1, 1, keys)
        walk = Walk(TAGS, T0, 0)
        encoder = ReadingsEncoder(walk.rows(1)[0].value)
        events, readings = [], []
        for _ in range(runs + 1):
            happened = list(map(_transition, range(leaves)))
            drafts = (_event_draft(t, i) for i, t in enumerate(happened))
            events.append(_timed(_commit, log, sealer, ErasureClass.event, drafts, GROUP))
            batches = [concat(walk.rows(rows)) for _ in range(bodies)]
            drafts = (_readings_draft(r, encoder) for r in batches)
            readings.append(_timed(_commit, log, sealer, ErasureClass.sensor, drafts, PER_GROUP))
        log.close()
    return events[1:], readings[1:]


def _per_second(count: int, costs: list[Cost], goal: float, what: str) -> Figure:
    cpu, wall = (median(count / cost[i] for cost in costs) for i in (0, 1))
    return Figure(cpu, "1/s of CPU", goal, True, f"{what}; {wall:,.0f}/s of wall time, syncs included")


def _raw() -> dict[str, Figure]:
    """The machine alone: hashing, and making bytes durable."""
    block = os.urandom(1 << 20)
    cpu = min(_timed(hashlib.sha256, block)[0] for _ in range(20))
    figures = {"raw_sha256_mb_s": Figure(len(block) / cpu / 1e6, "MB/s of CPU", against="hashlib, 1 MiB at a time")}
    with tempfile.TemporaryFile(prefix="davy-bench-") as file:
        for kib in (16, 1024):
            spent = sorted(_timed(_durable, file.fileno(), block[: kib << 10])[1] for _ in range(40))
            beside = f"longest of 40: {spent[-1] * 1000:.2f} ms"
            figures[f"raw_sync_{kib}k_ms"] = Figure(median(spent) * 1000, "ms", against=f"write + fdatasync; {beside}")
    return figures


def _durable(fd: int, data: bytes) -> None:
    os.write(fd, data)
    os.fdatasync(fd)


# Weight


def _polls(table: Floats, period: int, count: int) -> Iterator[Readings]:
    """Leaves of `count` readings as they arrive row by row, all of a row at once. table: [rows, tags]."""
    rows, width = table.shape
    tag = np.tile(np.arange(width, dtype=np.uint32), rows)
    time = np.repeat(T0 + period * np.arange(rows), width)
    good = np.zeros(rows * width, np.uint32)
    every = Readings(tag, np.ascontiguousarray(table).ravel(), good, good, time, time)
    return (every.take(slice(start, start + count)) for start in range(0, len(every) - count + 1, count))


def _weight(leaves: Iterator[Readings], refs: Floats | None = None) -> tuple[float, int]:
    """(bytes on disk, readings) of these leaves, sealed in turn by one encoder."""
    encoder = ReadingsEncoder(refs)
    sealer = Sealer("bench/bench/bench", 1, 1, {ErasureClass.sensor: bytes(32)})
    size, count = 0.0, 0
    for seq, r in enumerate(leaves):
        leaf, chunk = sealer.seal(_readings_draft(r, encoder), seq)
        size, count = size + len(leaf) + len(chunk) + TREE + PACK, count + len(r)
    return size, count


def _mean(tables: Sequence[Floats], period: int, count: int) -> float:
    weights = [_weight(_polls(table, period, count)) for table in tables]
    return sum(size for size, _ in weights) / sum(n for _, n in weights)


def _coal(folder: Path) -> list[Floats]:
    columns = ["MM31", "MM116", "AS038", "PG072", "PD", "BA13", "DMM116"]
    return [_all(folder / "coal_methane" / "methane-train.arff", columns)]


def _skab(folder: Path) -> list[Floats]:
    columns = ["Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature", "Thermocouple",
               "Voltage", "Volume Flow RateRMS"]  # fmt: skip
    return [_all(file, columns) for file in sorted((folder / "SKAB").glob("*/*.csv"))]


def _tep(folder: Path) -> list[Floats]:
    return [np.loadtxt(file) for file in sorted((folder / "TEP").glob("*_te.dat"))]


def _all(file: Path, columns: list[str]) -> Floats:
    return np.concatenate([chunk.value for chunk in read(file, columns, "", 100_000)])


def _seconds(tables: Sequence[Floats], width: int, warm: int = 20, rows: int = 60) -> float:
    """Bytes a reading of one-second leaves: `width` real columns at once, some of them more than once from other
    rows on, coded against references that `warm` seconds have taught."""
    columns = [column for table in tables for column in table.T]
    picked = [columns[(i * 7) % len(columns)] for i in range(width)]
    starts = [i // len(columns) * 131 for i in range(width)]
    whole = np.stack([c[s : s + warm + rows] for c, s in zip(picked, starts, strict=True)], axis=1)
    learning = ReadingsEncoder()
    for r in _polls(whole[:warm], SECOND, width):
        learning.encode(r)
    refs = learning.references(np.ascontiguousarray(whole[warm - 1]))
    size, count = _weight(_polls(whole[warm:], SECOND, width), refs)
    return size / count


def weigh(folder: Path) -> dict[str, Figure]:
    """Bytes a reading of the data sets in `folder`."""
    coal, skab, tep = _coal(folder), _skab(folder), _tep(folder)
    figures = {
        "bytes_coal": Figure(_mean(coal, 30 * SECOND, 2000), "B", 0.40, against="7 tags each 30 s, leaves of 2,000"),
        "bytes_tep": Figure(_mean(tep, 180 * SECOND, 2000), "B", 1.7, against="52 tags each 3 min, leaves of 2,000"),
        "bytes_skab": Figure(_mean(skab, SECOND, 2000), "B", 2.1, against="8 tags each second, leaves of 2,000"),
    }
    for width, goal in ((50, None), (200, None), (2000, 2.2)):
        beside = f"leaves of one second of {width} tags, columns of all sets, references in the tag table"
        figures[f"bytes_second_{width}"] = Figure(_seconds([*coal, *skab, *tep], width), "B", goal, against=beside)
    return figures


def run(datasets: Path = DATASETS, runs: int = RUNS, leaves: int = LEAVES, bodies: int = BODIES) -> dict[str, Figure]:
    """`leaves` of transitions and `bodies` leaves of readings in a run."""
    events, readings = _speed(runs, leaves, bodies)
    figures = {
        "leaves_per_s": _per_second(leaves, events, 30_000, f"transitions, {GROUP} a group"),
        "readings_per_s": _per_second(
            bodies * SEAL_READINGS, readings, 4_000_000, f"leaves of {SEAL_READINGS:,}, {PER_GROUP} a group"
        ),
        **_raw(),
    }
    found = datasets.is_dir()
    beside = "real data found" if found else f"no real data at {datasets}: the bytes_* figures are left out"
    figures["datasets"] = Figure(int(found), "folders", against=beside)
    return figures | (weigh(datasets) if found else {})

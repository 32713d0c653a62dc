"""`davy bench pipeline`: readings in -> judged -> alarms -> sealed and synced, on one core.

The real Core, Recorder, Log and Signer on a throw-away folder, fed as fast as the disk takes it. A
figure is readings by CPU time of the whole process, the recorder's thread and the signer included;
waiting for the disk costs none. Each is the median of RUNS runs, after one that is not counted.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import uvloop

from davy.alarm import Alarms
from davy.clock import SystemClock, cpu_ns
from davy.edge.core import SWEEP_S, Core, build
from davy.fact import Transition
from davy.lab.bench import Figure
from davy.lab.bench.rig import Walk, count_of, site
from davy.quality import Judge
from davy.reading import Readings

TAGS, BATCH, SMALL = 5_000, 5_000, 50
RUNS = 5
#: Works that may wait for the disk before the bench waits for them, and how long it then sleeps.
BACKLOG, PAUSE_S = 64, 0.005

Make = Callable[[Walk], list[Readings]]


class _Tally:
    """An output: counts what it is told."""

    def __init__(self) -> None:
        self.transitions = 0

    def __call__(self, transitions: Sequence[Transition]) -> None:
        self.transitions += len(transitions)


@contextmanager
def _quick_switches() -> Iterator[None]:
    """As the core process has it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def _settled(core: Core, most: int = 0) -> None:
    """Wait until at most `most` works are not durable yet."""
    while core.recorder.backlog > most:  # noqa: ASYNC110  (the recorder's thread has no event to tell)
        await asyncio.sleep(PAUSE_S)


async def _through(core: Core, batches: list[Readings]) -> float:
    """CPU ns a reading, from `ingest` to durable."""
    began = cpu_ns()
    sweep = asyncio.create_task(_sweep(core))
    for i, batch in enumerate(batches):
        core.ingest(batch)
        if i % 16 == 0:
            await asyncio.sleep(0)
            await _settled(core, BACKLOG)
    core.step()
    core.seal()
    await _settled(core)
    sweep.cancel()
    return (cpu_ns() - began) / count_of(batches)


async def _sweep(core: Core) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        core.sweep()


def _pipeline(make: Make, runs: int, tags: int) -> tuple[list[float], int]:
    """(CPU ns a reading of each run, transitions told), on a site of its own."""
    clock, tally = SystemClock(), _Tally()
    with site(tags) as (where, signer):
        walk = Walk(tags, clock.now_us(), clock.mono_ns())
        core = build(where, clock, signer, [tally])
        core.recorder.start()

        async def all_runs() -> list[float]:
            await _through(core, make(walk))
            core.begin_epoch("hour")  # from here on leaves are coded against what the tags last were
            return [await _through(core, make(walk)) for _ in range(runs)]

        try:
            return uvloop.run(all_runs()), tally.transitions
        finally:
            core.recorder.stop()
            assert core.recorder.log is not None
            core.recorder.log.close()


def _judge(make: Make, runs: int, tags: int) -> list[float]:
    """CPU ns a reading of quality and alarms alone."""
    clock = SystemClock()
    walk = Walk(tags, clock.now_us(), clock.mono_ns())
    with site(tags) as (where, _):
        judge, alarms = Judge(where.tags), Alarms(where.tags)
    spent = []
    for _ in range(runs + 1):
        batches = make(walk)
        began = cpu_ns()
        for batch in batches:
            alarms.judge(judge.judge(batch), clock.now_us(), clock.mono_ns())
        spent.append((cpu_ns() - began) / count_of(batches))
    return spent[1:]


def _spread(ns: list[float]) -> str:
    return f"{len(ns)} runs: {min(ns):,.0f} to {max(ns):,.0f} ns of CPU a reading"


def run(tags: int = TAGS, rows: int = 160, runs: int = RUNS) -> dict[str, Figure]:
    """`rows`: readings of each tag in a run."""
    batches = max(1, tags * rows // BATCH)

    def one_tag(walk: Walk) -> list[Readings]:
        return walk.one(batches, BATCH)

    with _quick_switches():
        large, told = _pipeline(lambda walk: walk.rows(rows), runs, tags)
        small, _ = _pipeline(lambda walk: walk.rows(max(1, rows // 2), cut=SMALL), runs, tags)
        judge = _judge(one_tag, runs, tags)
        one, _ = _pipeline(one_tag, runs, tags)
    beside = f"{tags} tags, 2 limits each, {told} transitions; {_spread(large)}"
    return {
        "readings_per_s_core": Figure(1e9 / median(large), "1/s", 2_000_000, True, beside),
        "readings_per_s_core_50": Figure(1e9 / median(small), "1/s", 400_000, True, f"by {SMALL}; {_spread(small)}"),
        "one_tag_judge_ns": Figure(median(judge), "ns", 200, against=_spread(judge)),
        "one_tag_pipeline_ns": Figure(median(one), "ns", 450, against=_spread(one)),
    }

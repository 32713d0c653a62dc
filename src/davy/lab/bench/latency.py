"""`davy bench alarm-latency`: from a device's answer to the alarm's output, while everything else goes on.

The processes of a site run: core, signer and history, and a Modbus device in one more. The core
polls the device every 25 ms, takes 20,000 readings/s from a recorded file beside it, and has a second
link whose device takes the connection and never says a word. Limits are crossed at random instants.

socket to output: from just before the device writes the first response with the new value, by the
monotonic clock all processes share, to the transition at an output. judge to output: from the begin of
the `Core.step` that takes the batch up. Both at the 99th percentile of a run.
"""

import asyncio
import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from davy import process, wire
from davy.clock import Clock, SystemClock, cpu_ns, rfc3339
from davy.edge import config, core
from davy.errors import DavyError
from davy.fact import Transition
from davy.lab.bench import Figure
from davy.lab.modbus_server import HOST, ServerProcess
from davy.reading.uid import uuid7

RUNS, SECONDS = 5, 6.0
CHANGES = 208  # a run: each tag's alarm comes and goes twice
MEASURED, STALLED = 52, 10  # tags of the two devices
FLOW_TAGS, FLOW_ROWS = 200, 100  # of the recorded file, a second
CALM, ALARM, LIMIT = 10, 90, 50
SETTLE_S, READY_S, STOP_S = 1.0, 45.0, 30.0
TOLD = "told.json"

_SITE = """\
version: 1
site: bench
links:
  plc: {{kind: modbus-tcp, address: "{host}:{port}", poll: 25ms}}
  mute: {{kind: modbus-tcp, address: "{host}:{mute}", poll: 100ms}}
  flow: {{kind: replay, path: "{flow}", start: "{start}", step: {step}ms, speed: 1, stamp: clock, batch: 100000}}
"""
_LINKS = {"plc": MEASURED, "mute": STALLED, "flow": FLOW_TAGS}


class Told(NamedTuple):
    """A transition at the output: tag index, level, when its step began and when it was out (monotonic ns)."""

    tag: int
    level: int
    began: int
    out: int


class Run(NamedTuple):
    """socket, judge: ms, one a change; lost: changes without their transition; flow: readings/s."""

    socket: list[float]
    judge: list[float]
    lost: int
    flow: float


# The site


def _write_site(folder: Path, port: int, mute: int, seconds: float, clock: Clock) -> None:
    flow = folder / "flow.parquet"
    steps = np.random.default_rng(1).integers(-1, 2, (int(seconds * FLOW_ROWS), FLOW_TAGS))
    values = np.clip(4000 + np.cumsum(steps, axis=0), 0, 8000) / 100
    pq.write_table(pa.table({f"flow{i}": column for i, column in enumerate(values.T)}), flow)
    start = rfc3339(clock.now_us())
    ports = {"host": HOST, "port": port, "mute": mute}
    text = _SITE.format(**ports, flow=flow, start=start, step=1000 // FLOW_ROWS)
    (folder / "site.yaml").write_text(text, encoding="utf-8")
    with (folder / "tags.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["uid", "tag", "link", "address", "type", "hazard", "low", "high", "stale_after"])
        for link, count in _LINKS.items():
            for i in range(count):
                address, kind = (f"flow{i}", "float64") if link == "flow" else (str(40001 + i), "uint16")
                lines.writerow(
                    ["", f"{link}{i}", link, address, kind, "high", -1, LIMIT if link == "plc" else 95, "2s"]
                )
    config.write(folder, lambda: uuid7(clock.now_us(), os.urandom(10)))


@contextmanager
def _running(folder: Path, *modules: str) -> Iterator[None]:
    """A process for each module, as the supervisor starts them; stopped on the way out, the last one first."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for module in modules:
            started.append(subprocess.Popen([sys.executable, "-m", module, str(folder)], stderr=subprocess.DEVNULL))
        yield
    finally:
        for each in reversed(started):
            each.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                each.wait(STOP_S)
            each.kill()
            each.wait()


# The core, in a process of its own: `python -m davy.lab.bench.latency FOLDER`


async def _core(folder: Path, clock: Clock) -> None:
    """`core.run`, its steps timed and its transitions kept; they are written to TOLD at the end."""
    began = 0
    told: list[Told] = []

    class TimedCore(core.Core):
        def step(self) -> None:
            nonlocal began
            began = clock.mono_ns()
            super().step()

    def output(transitions: Sequence[Transition]) -> None:
        now = clock.mono_ns()
        told.extend(Told(t.tag, t.level, began, now) for t in transitions)

    core.Core = TimedCore  # type: ignore[misc]  # `core.run` makes it; this process runs nothing else
    started, cpu = clock.mono_ns(), cpu_ns()
    try:
        await core.run(folder, clock, [output])
    finally:
        used = (cpu_ns() - cpu) / (clock.mono_ns() - started)
        (folder / TOLD).write_text(json.dumps({"told": told, "cpu": used}))


# A run


async def _ready(folder: Path, clock: Clock) -> None:
    """Wait until readings flow and the history answers."""
    until = clock.mono_ns() + int(READY_S * 1e9)
    while not (folder / "run" / "history.sock").exists() or not await _readings_in(folder):
        if clock.mono_ns() > until:
            raise RuntimeError(f"bench site: expected readings and a history within {READY_S:g} s, got none")
        await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLE_S)


async def _readings_in(folder: Path) -> int:
    with suppress(DavyError):  # not there yet
        async with wire.Client(folder / "run" / "core.sock") as client:
            return int((await client.call("status"))["readings_in"])
    return 0


async def _change(device: ServerProcess, orders: range, seconds: float, clock: Clock) -> None:
    """Set one register after the other beyond its limit, and next time back, at instants of no pattern."""
    chance = random.Random(orders.start)
    began, pause = clock.mono_ns(), seconds / len(orders)
    for i, order in enumerate(orders):
        await clock.sleep_until(began + int((i + chance.random()) * pause * 1e9))
        device.set(1, "4", _tag(order), [ALARM if _level(order) else CALM], id=order)
    await asyncio.sleep(2 * pause)


def _tag(order: int) -> int:
    """The tag of the device that change number `order` sets, counted from 0."""
    return order % MEASURED


def _level(order: int) -> int:
    """The level its alarm then has."""
    return 1 - order // MEASURED % 2


async def _all_runs(folder: Path, device: ServerProcess, orders: Sequence[range], seconds: float) -> list[float]:
    """Wait for the site, make the changes of each run; readings/s that the core took meanwhile."""
    clock, flow = SystemClock(), []
    await _ready(folder, clock)
    for each in orders:
        first, began = await _readings_in(folder), clock.mono_ns()
        await _change(device, each, seconds, clock)
        flow.append((await _readings_in(folder) - first) * 1e9 / (clock.mono_ns() - began))
    await asyncio.sleep(0.5)
    return flow


def _matched(orders: range, sent: dict[int, int], told: dict[int, deque[Told]]) -> tuple[list[float], list[float], int]:
    """(socket to output, step to output: ms, lost) of the changes `orders`; takes their transitions out of `told`.

    The k-th change of a tag makes its k-th transition. told: by tag, in order.
    """
    of_socket, of_judge, lost = [], [], 0
    for order in orders:
        mine = told.get(_tag(order))
        if order not in sent or not mine or mine[0].level != _level(order):
            lost += 1
            continue
        t = mine.popleft()
        of_socket.append((t.out - sent[order]) / 1e6)
        of_judge.append((t.out - t.began) / 1e6)
    return of_socket, of_judge, lost


def measure(runs: int = RUNS, changes: int = CHANGES, seconds: float = SECONDS) -> tuple[list[Run], float]:
    """(the runs, one after the other on one site; CPU time of its core process, in cores)."""
    orders = [range(i * changes, (i + 1) * changes) for i in range(runs)]
    with (
        tempfile.TemporaryDirectory(prefix="davy-bench-") as name,
        socket.create_server((HOST, 0), backlog=64) as mute,
        ServerProcess("--size", "1024") as device,
    ):
        folder = Path(name)
        device.set(1, "4", 0, [CALM] * MEASURED)
        _write_site(folder, device.port, mute.getsockname()[1], runs * seconds + READY_S, SystemClock())
        with _running(folder, "davy.edge.signer", "davy.lab.bench.latency", "davy.edge.history"):
            flow = asyncio.run(_all_runs(folder, device, orders, seconds))
        sent = {news["sent"]: news["mono_ns"] for news in device.news() if "sent" in news}
        if not (folder / TOLD).exists():
            raise RuntimeError(f"bench core: expected it to stop within {STOP_S:g} s and tell what it saw")
        kept = json.loads((folder / TOLD).read_text())
        place = {t.index: i for i, t in enumerate(config.load(folder).tags.tags[:MEASURED])}
    told: dict[int, deque[Told]] = {}
    for tag, *rest in kept["told"]:
        told.setdefault(place.get(tag, -1), deque()).append(Told(tag, *rest))
    return [Run(*_matched(o, sent, told), f) for o, f in zip(orders, flow, strict=True)], kept["cpu"]


def _p99(ms: list[float]) -> float:
    return float(np.percentile(ms, 99, method="higher")) if ms else float("nan")


def _figures(key: str, runs: list[list[float]], goal: float) -> dict[str, Figure]:
    each = [_p99(ms) for ms in runs]
    every = [x for ms in runs for x in ms] or [float("nan")]
    beside = f"median of {len(each)} runs; of {len(every)} changes p50 {median(every):.2f}, largest {max(every):.2f} ms"
    return {
        f"{key}_p99_ms": Figure(median(each), "ms", goal, against=beside),
        f"{key}_p99_ms_max": Figure(max(each), "ms", against=f"runs: {', '.join(f'{ms:.2f}' for ms in each)}"),
    }


def run(runs: int = RUNS, changes: int = CHANGES, seconds: float = SECONDS) -> dict[str, Figure]:
    """`changes` a run of `seconds`."""
    done, cpu = measure(runs, changes, seconds)
    flow = f"core process: {100 * cpu:.0f} % of a core, sealing for its history, one link stalled"
    return {
        **_figures("socket_to_output", [r.socket for r in done], 50),
        **_figures("judge_to_output", [r.judge for r in done], 5),
        "lost": Figure(sum(r.lost for r in done), "changes", 0, against=f"{runs * changes} changes made"),
        "flow": Figure(median(r.flow for r in done), "readings/s", 20_000, True, flow),
    }


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)  # as davy.edge.core has it
    process.main("core", _core)

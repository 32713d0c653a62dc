"""`davy bench modbus`: 5,000 tags a second from 8 devices, two of them dead, beside a bare pymodbus client.

Six live devices are served by another process; of the dead ones, one refuses connections and one
takes them and says nothing. `cpu_percent_core` is the CPU time of this process while it polls, decodes
and hands on, as a share of one core; the bare client reads the same registers of the live devices on
the same second and throws them away.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from pymodbus.client import AsyncModbusTcpClient

from davy.clock import Clock, SystemClock, cpu_ns
from davy.lab.bench import Figure
from davy.lab.modbus_server import HOST, ServerProcess
from davy.process import configure_log
from davy.reading import Readings, Tag
from davy.source import KINDS, Diagnostics

TAGS, LIVE, DEAD = 5_000, 6, 2
SPAN = 125  # registers a request


def _tags(link: str, first: int, count: int) -> list[Tag]:
    """`count` tags on consecutive registers, scaled as a site would have them."""
    return [
        Tag(f"{link}{i}", first + i, f"{link}.{i}", link=link, address=str(40001 + i), type="int16", scale=0.1)
        for i in range(count)
    ]


@contextmanager
def _mute() -> Iterator[int]:
    """A port that takes connections (in the kernel's backlog) and never answers."""
    with socket.create_server((HOST, 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def _refusing() -> int:
    """A port nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


async def _measured(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    """CPU time of this process as a share of one core while `work` runs, its first second left out."""
    task = asyncio.ensure_future(work())
    await asyncio.sleep(1.0)
    began, cpu = asyncio.get_running_loop().time(), cpu_ns()
    await asyncio.sleep(seconds)
    share = (cpu_ns() - cpu) / 1e7 / (asyncio.get_running_loop().time() - began)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return share


async def _ours(ports: list[int], seconds: float) -> tuple[float, list[Diagnostics], int]:
    kind, clock, taken = KINDS["modbus-tcp"], SystemClock(), 0

    def sink(r: Readings) -> None:
        nonlocal taken
        taken += len(r)

    share = TAGS // len(ports)
    sources = []
    for i, port in enumerate(ports):
        tags = _tags(f"d{i}", i * share, share)
        config = kind.model.model_validate({"kind": "modbus-tcp", "address": f"{HOST}:{port}", "poll": "1s"})
        sources.append(kind.make(f"d{i}", config, tags, clock, ("bench", 1, 1)))

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            for source in sources:
                tasks.create_task(kind.run(source, sink, clock))

    cpu = await _measured(work, seconds)
    return cpu, [source.diagnostics for source in sources], taken


async def _bare(ports: list[int], registers: int, seconds: float) -> float:
    """pymodbus as it comes: the same reads at the same instants, nothing decoded."""
    clock: Clock = SystemClock()

    async def one(port: int) -> None:
        client = AsyncModbusTcpClient(HOST, port=port)
        await client.connect()
        try:
            while True:
                await clock.sleep_until(clock.mono_ns() + 1_000_000_000 - clock.now_us() % 1_000_000 * 1000)
                for start in range(0, registers, SPAN):
                    await client.read_holding_registers(start, count=min(SPAN, registers - start))
        finally:
            client.close()

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            for port in ports:
                tasks.create_task(one(port))

    return await _measured(work, seconds)


def run(seconds: float = 20.0) -> dict[str, Figure]:
    """Both clients, one after the other, half of `seconds` each."""
    configure_log("bench")  # the dead devices are told of on stderr, beside the figures
    half = seconds / 2
    with ServerProcess("--size", "1024", "--listeners", str(LIVE)) as server, _mute() as mute:
        ports = [*server.ports, _refusing(), mute]
        cpu, diagnostics, taken = asyncio.run(_ours(ports, half))
        bare = asyncio.run(_bare(server.ports, TAGS // len(ports), half))
    live = diagnostics[:LIVE]
    late = sum(d.late + d.missed for d in live)
    worst = max(d.worst_late for d in live) / 1000
    polls, rows = sum(d.polls for d in live), sum(d.readings - d.bad for d in live)
    beside = f"{polls} polls of {LIVE} live devices, beside {DEAD} dead ones"
    rate = f"{taken / (half + 1):,.0f} readings/s, {rows:,} of them Good"
    return {
        "late_polls": Figure(late, "polls", 0, against=beside),
        "worst_late_ms": Figure(worst, "ms"),
        "cpu_percent_core": Figure(cpu, "%", 5, against=rate),
        "ratio_to_bare_client": Figure(cpu / bare, "x", against=f"bare pymodbus client, live ones only: {bare:.2f} %"),
    }

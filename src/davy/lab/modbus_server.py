"""Modbus TCP devices in a process of their own: `python -m davy.lab.modbus_server`.

Served by pymodbus on free loopback ports: either the tank farm (`--farm`) or plain registers
(`--units 1,2 --size 700`). Orders come as JSON lines on stdin, news go as JSON lines on stdout; the
process ends when stdin does, so it never outlives who started it. First line out: {"ports": [...]}.

Orders: {"set": [unit, area, start, [words]], "id": n}, area "3" or "4" for registers, "0" or "1" for
bits (words of 0 or 1); the first response that carries the change is told as {"sent": n, "mono_ns":
t}, taken just before it is written to the socket. {"silent": [units]} stop answering, {"close": true}
and {"open": true} for the listeners, {"begin": true} starts the farm's script.
"""

import argparse
import asyncio
import json
import logging
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, Self

import numpy as np
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from davy.clock import Clock, SystemClock
from davy.lab.plant import Instrument
from davy.lab.tankfarm import TankFarm
from davy.process import end_with_parent
from davy.source.modbus import codec

HOST = "127.0.0.1"
STEP_S = 0.1  # of the plant
#: function code -> area digit
_AREA = {area.function: digit for digit, area in codec.AREAS.items()}


class Memory:
    """The four tables of one unit, all items as words, and who waits for a change to be carried."""

    def __init__(self, size: int) -> None:
        self.words = {digit: np.zeros(size, np.uint16) for digit in codec.AREAS}
        self.waiting: dict[tuple[str, int], int] = {}  # (area, item) -> change id

    def put(self, area: str, start: int, words: list[int]) -> None:
        self.words[area][start : start + len(words)] = words


def _device(unit: int, size: int, action: Any) -> SimDevice:
    bits = [SimData(0, count=size, values=False, datatype=DataType.BITS)]
    registers = [SimData(0, count=size, values=0, datatype=DataType.REGISTERS)]
    return SimDevice(unit, (bits, bits, registers, registers), action=action)


class Devices:
    """What every listener serves. One loop owns it."""

    def __init__(self, units: list[int], size: int, clock: Clock, tell: Any) -> None:
        self.memory = {unit: Memory(size) for unit in units}
        self.silent: set[int] = set()
        self.requests = 0
        self._clock, self._tell = clock, tell
        self._carried: list[int] = []  # changes in the response being made
        self._devices = [_device(unit, size, self._action(memory)) for unit, memory in self.memory.items()]
        self._servers: list[ModbusTcpServer] = []
        self.ports: list[int] = []

    def _action(self, memory: Memory) -> Any:
        async def serve(
            function: int, start: int, address: int, count: int, current: list[int], values: Any
        ) -> ExcCodes | None:
            """pymodbus asks this before it answers; `current` is its own copy of the words."""
            self.requests += 1
            if values is not None:
                return ExcCodes.ILLEGAL_FUNCTION  # the lab's instruments are read only
            area = _AREA[function]
            if codec.AREAS[area].is_bits:
                first, items = 16 * (address // 16), 16 * count
                packed = np.packbits(memory.words[area][first : first + items].astype(bool), bitorder="little")
                words = packed.view("<u2") if len(packed) % 2 == 0 else np.append(packed, np.uint8(0)).view("<u2")
                at = first // 16 - start
                current[at : at + len(words)] = words.tolist()
            else:
                first, items = address, count
                current[address - start : address - start + count] = memory.words[area][first : first + items].tolist()
            if memory.waiting:
                found = [key for key in memory.waiting if key[0] == area and first <= key[1] < first + items]
                self._carried += [memory.waiting.pop(key) for key in found]
            return None

        return serve

    def _packet(self, sending: bool, data: bytes) -> bytes:
        if sending and len(data) > 6 and data[6] in self.silent:
            return b""
        if sending and self._carried:
            now = self._clock.mono_ns()
            for change in self._carried:
                self._tell({"sent": change, "mono_ns": now})
            self._carried.clear()
        return data

    async def open(self, listeners: int) -> None:
        """Listen; on the ports of the last time, if there was one."""
        ports = self.ports or [0] * listeners
        for port in ports:
            server = ModbusTcpServer(self._devices, address=(HOST, port), trace_packet=self._packet)
            await server.serve_forever(background=True)
            self._servers.append(server)
        if not self.ports:
            self.ports = [s.transport.sockets[0].getsockname()[1] for s in self._servers]  # type: ignore[attr-defined]  # an asyncio.Server

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
        self._servers.clear()


def raw(instrument: Instrument, value: float) -> list[int]:
    """The registers, or the bit, that show `value`."""
    how = codec.parse_type(instrument.type)
    if how.dtype is None:
        return [int(value >= 0.5)]
    raw = (value - instrument.offset) / instrument.scale
    if how.dtype.kind != "f":
        limits = np.iinfo(how.dtype.str)
        raw = min(max(round(raw), limits.min), limits.max)
    return codec.encode([raw], how)


class Farm:
    """Steps the plant and keeps the units' memory like it."""

    def __init__(self, devices: Devices, seed: int, tell: Any) -> None:
        self.plant = TankFarm(seed)
        self._devices, self._tell = devices, tell
        self._places = {i.tag: (i, codec.parse_address(i.address)) for i in self.plant.instruments}
        self._on: set[str] = set()
        self.step(0.0)

    def step(self, dt: float) -> None:
        for tag, value in self.plant.step(dt).items():
            instrument, where = self._places[tag]
            digit = _AREA[where.area.function]
            self._devices.memory[where.unit].put(digit, where.start, raw(instrument, value))
        self._devices.silent = self.plant.silent_units()
        on = {i.name for i in self.plant.script if i.is_on(self.plant.time)} if self.plant.time else set()
        for name in sorted(on ^ self._on):
            self._tell({"incident": name, "on": name in on})
        self._on = on

    async def run(self, clock: Clock, begin_after: float | None) -> None:
        """Until cancelled. The script begins `begin_after` seconds after the first request, if given."""
        due, waited = clock.mono_ns(), 0.0
        while True:
            due += int(STEP_S * 1e9)
            await clock.sleep_until(due)
            if begin_after is not None and self._devices.requests:
                waited += STEP_S
                if waited >= begin_after:
                    self.plant.begin()
                    begin_after = None
            self.step(STEP_S)


async def _orders(devices: Devices, farm: Farm | None) -> None:
    """Obey stdin until it ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        if "set" in order:
            unit, area, start, words = order["set"]
            devices.memory[unit].put(area, start, words)
            if "id" in order:
                devices.memory[unit].waiting[area, start] = order["id"]
        if "silent" in order:
            devices.silent = set(order["silent"])
        if "close" in order:
            await devices.close()
        if "open" in order:
            await devices.open(0)
        if "begin" in order and farm is not None:
            farm.plant.begin()


async def _main(arguments: argparse.Namespace) -> None:
    def tell(news: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # who started us is gone; stdin will end next
            print(json.dumps(news), flush=True)

    clock = SystemClock()
    units = [1, 2, 3] if arguments.farm else [int(u) for u in arguments.units.split(",")]
    devices = Devices(units, arguments.size, clock, tell)
    farm = Farm(devices, arguments.seed, tell) if arguments.farm else None
    await devices.open(arguments.listeners)
    tell({"ports": devices.ports})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(farm.run(clock, arguments.begin_after)) if farm else None
        await _orders(devices, farm)
        if running:
            running.cancel()
        await devices.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Simulated Modbus TCP devices on loopback.")
    parser.add_argument("--farm", action="store_true", help="serve the tank farm (units 1, 2 and 3)")
    parser.add_argument("--seed", type=int, default=1, help="of the plant's noise")
    parser.add_argument("--begin-after", type=float, help="start the script so many seconds after the first request")
    parser.add_argument("--units", default="1", help="units of plain registers, such as 1,2,3")
    parser.add_argument("--size", type=int, default=1024, help="items in each of a unit's four tables")
    parser.add_argument("--listeners", type=int, default=1, help="how many ports serve the same units")
    return parser


class ServerProcess:
    """The process above, seen from who starts it. A context manager; stops the process on the way out."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "davy.lab.modbus_server", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="modbus server news", daemon=True)
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if not first:
            raise RuntimeError(f"Modbus server: expected its ports, it ended with {self.process.wait()}")
        self.ports: list[int] = json.loads(first)["ports"]
        self._reader.start()

    @property
    def port(self) -> int:
        return self.ports[0]

    def order(self, **order: Any) -> None:
        """Send one order (see the module's docstring)."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def set(self, unit: int, area: str, start: int, words: list[int], id: int | None = None) -> None:
        """Change items from `start` (counted from 0). With `id`, its first response is told in `news`."""
        self.order(set=[unit, area, start, words], **({} if id is None else {"id": id}))

    def news(self) -> list[dict[str, Any]]:
        """What the process has told since the last call; does not wait."""
        out = []
        with suppress(queue.Empty):
            while True:
                out.append(self._news.get_nowait())
        return out

    def stop(self) -> None:
        """End the process and wait for it. Idempotent."""
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:  # stopped by a signal, or stuck: it holds nothing worth keeping
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._news.put(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


if __name__ == "__main__":
    end_with_parent()
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    asyncio.run(_main(_parser().parse_args()))

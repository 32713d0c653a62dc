"""The lab's Modbus process, read by a plain pymodbus client: values, change times, silence, a clean end."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from davy.lab.modbus_server import HOST, ServerProcess
from davy.lab.tankfarm import INSTRUMENTS

pytestmark = pytest.mark.feature("F79")


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--units", "1,2", "--listeners", "2") as process:
        yield process


async def wait_for_news(server: ServerProcess, wanted: int) -> list[dict[str, int]]:
    news: list[dict[str, int]] = []
    for _ in range(200):
        news += server.news()
        if len(news) >= wanted:
            break
        await asyncio.sleep(0.01)
    return news


async def test_every_change_is_told_with_the_time_of_the_response_that_first_carries_it(server):
    client = AsyncModbusTcpClient(HOST, port=server.ports[1], timeout=2)
    await client.connect()
    for change in range(20):
        server.set(1, "4", 10 + change % 4, [1000 + change], id=change)
        while True:
            before = time.monotonic_ns()
            answer = await client.read_holding_registers(10, count=4)
            after = time.monotonic_ns()
            if answer.registers[change % 4] == 1000 + change:
                break
        (told,) = await wait_for_news(server, 1)
        assert told["sent"] == change
        assert before < told["mono_ns"] < after
    client.close()


async def test_silent_units_say_nothing_and_writes_are_refused(server):
    client = AsyncModbusTcpClient(HOST, port=server.port, timeout=0.2, retries=0)
    await client.connect()
    assert (await client.write_register(0, 1)).isError()
    server.order(silent=[2])
    await asyncio.sleep(0.1)
    with pytest.raises(ModbusIOException):
        await client.read_coils(0, count=1, device_id=2)
    assert not (await client.read_coils(0, count=1, device_id=1)).isError()
    server.order(silent=[])
    await asyncio.sleep(0.1)
    assert not (await client.read_coils(0, count=1, device_id=2)).isError()
    client.close()


async def test_the_farm_is_served_and_its_script_begins_when_told():
    with ServerProcess("--farm") as farm:
        client = AsyncModbusTcpClient(HOST, port=farm.port, timeout=2)
        await client.connect()
        gas = await client.read_input_registers(0, count=4, device_id=2)
        assert all(4_000 < r < 5_000 for r in gas.registers), "microamperes a little above zero"
        running = await client.read_discrete_inputs(0, count=2, device_id=3)
        assert running.bits[:2] == [True, True]
        client.close()
    assert len(INSTRUMENTS) == 22


def test_the_process_ends_with_its_stdin():
    process = ServerProcess("--farm", "--begin-after", "1")
    process.stop()
    assert process.process.returncode == 0

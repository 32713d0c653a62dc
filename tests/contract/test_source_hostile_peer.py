"""Modbus peers that break the protocol, by hand on a raw socket: nothing raises, grows or lies."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from structlog.testing import capture_logs

from davy.clock import SystemClock
from davy.reading import Readings, Status, Tag, concat
from davy.source import KINDS
from davy.source.modbus import ModbusLink

pytestmark = pytest.mark.feature("F01")
VALUE = 4321


def honest(request: bytes) -> list[bytes]:
    """Every register is VALUE."""
    transaction, unit, function = request[:2], request[6], request[7]
    (count,) = struct.unpack(">H", request[10:12])
    data = struct.pack(">H", VALUE) * count
    return [transaction + struct.pack(">HHBBB", 0, 3 + len(data), unit, function, len(data)) + data]


def _frame(request: bytes, change: Callable[[bytearray], object]) -> list[bytes]:
    frame = bytearray(honest(request)[0])
    change(frame)
    return [bytes(frame)]


def _exception(request: bytes, *codes: int) -> list[bytes]:
    return [request[:2] + struct.pack(">HHBB", 0, 2 + len(codes), request[6], request[7] | 0x80) + bytes(codes)]


HANG_UP = b""  # in an answer: close the connection
EVIL: dict[str, Callable[[bytes], list[bytes]]] = {
    "silence": lambda q: [],
    "hangs up": lambda q: [HANG_UP],
    "truncated, then silence": lambda q: [honest(q)[0][:-1]],
    "truncated header, then silence": lambda q: [honest(q)[0][:5]],
    "truncated, then hangs up": lambda q: [honest(q)[0][:9], HANG_UP],
    "wrong transaction": lambda q: _frame(q, lambda f: f.__setitem__(1, f[1] ^ 0x55)),
    "wrong unit": lambda q: _frame(q, lambda f: f.__setitem__(6, 99)),
    "wrong protocol": lambda q: _frame(q, lambda f: f.__setitem__(3, 7)),
    "wrong function": lambda q: _frame(q, lambda f: f.__setitem__(7, 4)),
    "unknown function": lambda q: _frame(q, lambda f: f.__setitem__(7, 0x66)),
    "byte count too small": lambda q: _frame(q, lambda f: f.__setitem__(8, 2)),
    "length too large": lambda q: _frame(q, lambda f: f.__setitem__(slice(4, 6), b"\xff\xff")),
    "length zero": lambda q: _frame(q, lambda f: f.__setitem__(slice(4, 6), b"\0\0")),
    "fewer registers than asked": lambda q: honest(q[:10] + b"\0\1"),
    "more registers than asked": lambda q: honest(q[:10] + b"\0\7"),
    "exception without a code": lambda q: _exception(q),
    "exception with too much": lambda q: _exception(q, 2, 2, 2),
    "garbage": lambda q: [np.random.default_rng(q[1]).bytes(200)],
    "a flood of garbage": lambda q: [b"\0" * (1 << 20)],
    "a flood of answers to others": lambda q: _frame(q, lambda f: f.__setitem__(0, 0x7F)) * 20_000,
    "text": lambda q: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
}
ODD_BUT_RIGHT: dict[str, Callable[[bytes], list[bytes]]] = {
    "byte by byte": lambda q: [bytes([b]) for b in honest(q)[0]],
    "behind a late answer": lambda q: [_frame(q, lambda f: f.__setitem__(0, 0x7F))[0] + honest(q)[0]],
    "twice": lambda q: honest(q) * 2,
    "followed by garbage": lambda q: [honest(q)[0] + b"\1\2\3\4\5\6\7\10\11"],
}


class Device:
    """A TCP server whose manners can be changed at any time."""

    def __init__(self) -> None:
        self.manners: Callable[[bytes], list[bytes]] = honest
        self.units: dict[int, Callable[[bytes], list[bytes]]] = {}
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                request = await reader.readexactly(12)
                self.requests.append(request)
                for piece in self.units.get(request[6], self.manners)(request):
                    if piece == HANG_UP:
                        return
                    writer.write(piece)
                    await writer.drain()
                    if len(piece) == 1:
                        await asyncio.sleep(0)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def device() -> AsyncIterator[tuple[Device, int]]:
    made = Device()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, server.sockets[0].getsockname()[1]
    server.close()


def build(port: int, units: tuple[int, ...] = (1,), **settings: object) -> ModbusLink:
    tags = [
        Tag(f"{u}-{i}", 10 * u + i, f"{u}-{i}", address=f"{u}!{40001 + i}", type="uint16")
        for u in units
        for i in range(4)
    ]
    given = {"poll": "30ms", "timeout": "50ms", "retry": "5ms", "retry_max": "20ms"} | settings
    kind = KINDS["modbus-tcp"]
    config = kind.model.model_validate({"kind": "modbus-tcp", "address": f"127.0.0.1:{port}", **given})
    return kind.make("link", config, tags, SystemClock(), ("o", 1, 1))  # type: ignore[return-value]


@asynccontextmanager
async def running(source: ModbusLink) -> AsyncIterator[list[Readings]]:
    """Runs it, and sees that nothing was thrown into the loop behind our back."""
    got: list[Readings] = []
    thrown: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: thrown.append(context))
    task = asyncio.create_task(KINDS["modbus-tcp"].run(source, got.append, SystemClock()))
    try:
        yield got
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
    assert thrown == []


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.005)


def has_good(got: list[Readings]) -> bool:
    return any((r.status == 0).any() for r in got)


@pytest.mark.parametrize("manners", EVIL)
async def test_a_broken_answer_is_a_bad_row_and_the_link_comes_back(device, manners):
    fake, port = device
    fake.manners = EVIL[manners]
    source = build(port)
    with capture_logs() as logs:
        async with running(source) as got:
            await until(lambda: len(got) >= 4)
            client = source._client._client
            assert client is None or len(client.ctx.recv_buffer) <= 520
            fake.manners = honest
            told = concat(list(got))
            await until(lambda: has_good(got))
    assert np.isnan(told.value).all()
    assert (told.status >= Status.Bad).all()
    assert set(np.unique_counts(told.tag).counts) == {len(told) // 4}
    good = concat(got)
    assert set(good.value[good.status == 0]) == {VALUE}
    events = [line["event"] for line in logs]
    assert events == ["source_lost", "source_recovered"]


@pytest.mark.parametrize("manners", ODD_BUT_RIGHT)
async def test_an_odd_but_right_answer_is_taken(device, manners):
    fake, port = device
    fake.manners = ODD_BUT_RIGHT[manners]
    async with running(build(port, timeout="1s")) as got:
        await until(lambda: len(got) >= 4)
    assert set(concat(got).value) == {VALUE}


@pytest.mark.parametrize(
    ("code", "status"),
    [(1, Status.BadConfigurationError), (4, Status.BadDeviceFailure), (6, Status.BadNoData),
     (10, Status.BadNotConnected), (11, Status.BadNoCommunication), (77, Status.BadCommunicationError)],
)  # fmt: skip
async def test_an_exception_of_the_device_becomes_its_status_and_keeps_the_connection(device, code, status):
    fake, port = device
    fake.manners = lambda q: _exception(q, code)
    async with running(build(port)) as got:
        await until(lambda: len(got) >= 4)
    assert set(concat(got).status) == {status}
    assert fake.connections == 1


async def test_one_refused_address_does_not_poison_its_neighbours(device):
    fake, port = device

    def picky(request: bytes) -> list[bytes]:
        start, count = struct.unpack(">HH", request[8:12])
        return _exception(request, 2) if start <= 2 < start + count else honest(request)

    fake.manners = picky
    async with running(build(port)) as got:
        await until(lambda: {10, 11, 13} <= {int(t) for r in got for t in r.tag[r.status == 0]})
        got.clear()
        await until(lambda: len(got) >= 6)
    batch = concat(got)
    assert set(batch.status[batch.tag == 12]) == {Status.BadConfigurationError}
    assert set(batch.status[batch.tag != 12]) == {0}


async def test_a_dead_unit_is_skipped_and_does_not_delay_the_others(device):
    fake, port = device
    fake.units[2] = EVIL["silence"]
    source = build(port, units=(1, 2, 3), poll="400ms", timeout="300ms", skip_after=2, skip_for="10min")
    with capture_logs() as logs:
        async with running(source) as got:
            await until(lambda: source.diagnostics.polls >= 4)
            asked = sum(q[6] == 2 for q in fake.requests)
            got.clear()
            await until(lambda: source.diagnostics.polls >= 9)
    batch = concat(got)
    assert asked == sum(q[6] == 2 for q in fake.requests) == 2, "left alone after two failures"
    assert set(batch.status[batch.tag // 10 == 2]) == {Status.BadNoCommunication}
    assert set(batch.status[batch.tag // 10 != 2]) == {0}
    assert np.abs(np.diff(np.unique_counts(batch.tag).counts)).max() <= 1, "the dead unit has rows too"
    assert source.diagnostics.units_down == {2: "no_answer"}
    assert fake.connections == 1
    assert [(line["event"], line["unit"]) for line in logs] == [("source_lost", 2)]


async def test_a_skipped_unit_is_tried_again_and_comes_back(device):
    fake, port = device
    fake.units[2] = EVIL["silence"]
    with capture_logs() as logs:
        async with running(build(port, units=(1, 2), skip_after=1, skip_for="80ms")) as got:
            await until(lambda: len(got) > 6)
            fake.units.clear()
            await until(lambda: any((r.status[r.tag // 10 == 2] == 0).any() for r in got))
    assert [line["event"] for line in logs] == ["source_lost", "source_recovered"]


async def test_a_peer_that_takes_connections_and_drops_them_is_not_hammered(device):
    fake, port = device
    fake.manners = EVIL["hangs up"]
    source = build(port, poll="10ms", retry="1s", retry_max="10s")
    async with running(source) as got:
        await until(lambda: source.diagnostics.polls >= 30)
    assert fake.connections == 1
    assert set(concat(got).status) == {Status.BadNotConnected}


async def test_polls_that_could_not_start_are_counted_and_not_caught_up(device):
    fake, port = device
    fake.manners = EVIL["silence"]
    source = build(port, poll="20ms", timeout="110ms")
    async with running(source):
        await until(lambda: source.diagnostics.polls >= 3)
    assert source.diagnostics.missed >= 3


async def test_random_comes_in_and_sets_the_pause():
    class Always:
        def uniform(self, low: float, high: float) -> float:
            return high

    kind, clock = KINDS["modbus-tcp"], SystemClock()
    settings = {"kind": "modbus-tcp", "address": "127.0.0.1:1", "retry": "2s", "retry_max": "5s"}
    tag = Tag("a", 0, "a", address="40001", type="int16")
    source = kind.make("link", kind.model.model_validate(settings), [tag], clock, ("", 0, 0), Always())
    await source.poll(lambda r: None)
    assert 1.9e9 < source._next_attempt - clock.mono_ns() <= 2e9

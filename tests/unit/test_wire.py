"""Davy's own processes talk over Unix sockets."""

import asyncio
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from davy import wire
from davy.errors import BadRequest, NotAllowed, Unreachable


async def add(a: int, b: int) -> int:
    return a + b


async def refuse() -> None:
    raise NotAllowed("only an operator may do this")


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def test_calls_streams_and_named_errors_cross_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "run" / "core.sock"
    server = await wire.serve(path, {"add": add, "refuse": refuse, "count": count})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with wire.Client(path) as client:
        assert await client.call("add", a=2, b=3) == 5
        assert [n async for n in client.stream("count", to=400)] == list(range(400))
        with pytest.raises(NotAllowed, match="only an operator"):
            await client.call("refuse")
        with pytest.raises(BadRequest, match="expected one of add, refuse, count, got 'subtract'"):
            await client.call("subtract")
    server.close()


async def test_a_vanished_peer_is_unreachable_and_the_next_call_connects_again(tmp_path: Path) -> None:
    path = tmp_path / "core.sock"
    async with wire.Client(path) as client:
        with pytest.raises(Unreachable):
            await client.call("add", a=1, b=1)
        server = await wire.serve(path, {"add": add})
        assert await client.call("add", a=1, b=1) == 2
        server.close()


async def test_garbage_ends_the_connection_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "core.sock"
    server = await wire.serve(path, {"add": add})
    for garbage in (b"\xff\xff\xff\xff", b"\0\0\0\x02\xff\xff", b"\0\0\0\x01\x05"):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(garbage)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
    async with wire.Client(path) as client:
        assert await client.call("add", a=1, b=1) == 2
    server.close()


async def test_a_thread_may_ask_with_the_blocking_client(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    server = await wire.serve(path, {"add": add})
    answers: list[int] = []

    def ask() -> None:
        client = wire.BlockingClient(path)
        answers.extend(client.call("add", a=n, b=n) for n in range(3))
        client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert answers == [0, 2, 4]
    server.close()

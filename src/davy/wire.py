"""How Davy's own processes on one machine talk: length-prefixed CBOR over Unix sockets.

A socket is created 0600 and a peer of another user is turned away (SO_PEERCRED). One frame is a
uint32 big-endian length and one CBOR array: a request is [id, verb, arguments], an answer
[id, "ok", value], [id, "error", reason, message], or for a stream any number of [id, "item", value]
and then [id, "end"]. Requests on one connection run concurrently; answers come as they are ready.
"""

import asyncio
import itertools
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import cbor2

from davy.errors import BY_REASON, BadRequest, DavyError, Unreachable

MAX_FRAME = 64 << 20
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")

#: A verb's code: keyword arguments in, one value out, or an async iterator of values.
Handler = Callable[..., Awaitable[Any] | AsyncIterator[Any]]


def _frame(message: list[Any]) -> bytes:
    data = cbor2.dumps(message)
    return _LENGTH.pack(len(data)) + data


async def _read(reader: asyncio.StreamReader) -> list[Any]:
    (length,) = _LENGTH.unpack(await reader.readexactly(4))
    if length > MAX_FRAME:
        raise BadRequest(f"frame: expected at most {MAX_FRAME} bytes, got {length}")
    message = cbor2.loads(await reader.readexactly(length))
    if not isinstance(message, list) or len(message) < 2:
        raise BadRequest("frame: expected an array")
    return message


def _raise(reason: str, message: str) -> None:
    raise BY_REASON.get(reason, DavyError)(message)


async def _pong() -> None:
    """Every server answers `ping`, so a supervisor can tell it is alive."""


def _clear(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        path.unlink()


async def serve(path: Path, handlers: Mapping[str, Handler]) -> asyncio.Server:
    """Answer requests on the Unix socket `path` until the returned server is closed.

    A handler that raises DavyError answers with its reason; any other exception answers
    "davy" and is raised again into the connection's task.
    """
    _clear(path)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(peer)[1] not in (0, os.getuid()):
            writer.close()
            return
        lock = asyncio.Lock()

        async def send(message: list[Any]) -> None:
            async with lock:  # one frame at a time, and wait for a slow peer
                writer.write(_frame(message))
                await writer.drain()

        async def answer(number: int, verb: str, arguments: dict[str, Any]) -> None:
            try:
                handler = _pong if verb == "ping" else handlers.get(verb)
                if handler is None:
                    raise BadRequest(f"verb: expected one of {', '.join(handlers)}, got {verb!r}")
                result = handler(**arguments)
                if isinstance(result, AsyncIterator):
                    async for item in result:
                        await send([number, "item", item])
                    await send([number, "end"])
                else:
                    await send([number, "ok", await result])
            except DavyError as error:
                await send([number, "error", error.reason, str(error)])
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception as error:
                await send([number, "error", "davy", f"{verb}: {error!r}"])
                raise

        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                number, verb, *rest = await _read(reader)
                task = asyncio.create_task(answer(number, verb, rest[0] if rest else {}))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError, BadRequest, cbor2.CBORDecodeError):
            pass  # the peer left, or spoke nonsense: either way this connection is over
        except asyncio.CancelledError:
            pass  # we are closing; Python 3.11 would print a traceback for each connection that says so
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()

    before = os.umask(0o177)  # the socket must never exist with wider rights
    try:
        return await asyncio.start_unix_server(connection, str(path), limit=1 << 20)
    finally:
        os.umask(before)


class Client:
    """A connection to `serve`, for asyncio. Reconnects on the next call after a loss; safe to share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[list[Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        self._writer = self._pump = None

    async def _send(self, verb: str, arguments: dict[str, Any]) -> tuple[int, asyncio.Queue[list[Any]]]:
        async with self._connecting:
            if self._writer is None or self._writer.is_closing():
                try:
                    reader, self._writer = await asyncio.open_unix_connection(str(self.path), limit=1 << 20)
                except OSError as error:
                    raise Unreachable(f"socket {self.path.name}: {error.strerror or error}") from error
                self._pump = asyncio.create_task(self._receive(reader, self._writer))
        number = next(self._numbers)
        queue: asyncio.Queue[list[Any]] = asyncio.Queue(256)
        self._waiting[number] = queue
        try:
            self._writer.write(_frame([number, verb, arguments]))
            await self._writer.drain()
        except ConnectionError as error:
            self._waiting.pop(number, None)
            raise Unreachable(f"socket {self.path.name}: {error}") from error
        return number, queue

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                message = await _read(reader)
                queue = self._waiting.get(message[0])
                if queue is not None:
                    await queue.put(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            for number, queue in self._waiting.items():
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(
                    [number, "error", "unreachable", f"socket {self.path.name}: the other process went away"]
                )

    async def call(self, verb: str, /, **arguments: Any) -> Any:
        """Ask once, wait for the one answer. Raises the DavyError the peer named, or Unreachable (retry)."""
        number, queue = await self._send(verb, arguments)
        try:
            _, what, *rest = await queue.get()
        finally:
            self._waiting.pop(number, None)
        if what == "error":
            _raise(*rest)
        return rest[0]

    async def stream(self, verb: str, /, **arguments: Any) -> AsyncIterator[Any]:
        """Yield items until the peer ends the stream. Errors as `call`."""
        number, queue = await self._send(verb, arguments)
        try:
            while True:
                _, what, *rest = await queue.get()
                if what == "error":
                    _raise(*rest)
                if what == "end":
                    return
                yield rest[0]
        finally:
            self._waiting.pop(number, None)


class BlockingClient:
    """A connection to `serve` for code in a thread of its own; one call at a time, single answers only."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._numbers = itertools.count(1)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive(self, count: int) -> bytes:
        assert self._socket is not None
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionResetError("the other process went away")
            data += piece
        return bytes(data)

    def call(self, verb: str, /, **arguments: Any) -> Any:
        """As `Client.call`. After any error of the connection the next call opens a new one."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(self.timeout_s)
                self._socket.connect(str(self.path))
            self._socket.sendall(_frame([next(self._numbers), verb, arguments]))
            (length,) = _LENGTH.unpack(self._receive(4))
            _, what, *rest = cbor2.loads(self._receive(length))
        except OSError as error:
            self.close()
            raise Unreachable(f"socket {self.path.name}: {error}") from error
        if what == "error":
            _raise(*rest)
        return rest[0]

"""One Modbus TCP connection: pymodbus does the transport, this file keeps its peer honest.

Everything that arrives is judged by `codec.check_frames` before pymodbus parses it, and answers are
kept as bytes, so decoding is one vectorised step and a probe can show them.
"""

import logging
from dataclasses import dataclass

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from davy.clock import Clock
from davy.errors import CodecError, LinkDown, PeerFault, SourceError
from davy.source.modbus import codec

#: Two of the longest frames (260 bytes): a late answer and the awaited one may come as one piece.
_BUFFER = 520


class NoAnswer(SourceError, TimeoutError):
    """The peer took the request and said nothing before the deadline."""

    reason = "no_answer"
    retry = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The data bytes of one answer and when they arrived."""

    data: bytes
    now_us: int
    mono_ns: int


class _Raw(ModbusPDU):
    """A read response kept as bytes. pymodbus would unpack it into a list of int, 30 times slower."""

    data = b""

    def decode(self, data: bytes) -> None:
        self.data = data[1:]  # behind the byte count


_RESPONSES = [type(f"_Raw{function}", (_Raw,), {"function_code": function}) for function in (1, 2, 3, 4)]
_READS = {1: "read_coils", 2: "read_discrete_inputs", 3: "read_holding_registers", 4: "read_input_registers"}


class Client:
    """A connection that is opened anew after every loss. Requests go one at a time; one task owns it.

    `sent` and `received` are the last frames, for a person to look at.
    """

    def __init__(self, host: str, port: int, timeout_us: int, clock: Clock) -> None:
        self.host, self.port, self.clock = host, port, clock
        self.timeout_s = timeout_us / 1e6
        self.sent = self.received = b""
        self._client: AsyncModbusTcpClient | None = None
        self._function = self._transaction = 0  # of the request in flight; function 0: none
        self._now_us = self._mono_ns = 0
        # pymodbus logs every odd frame as an error; we say a loss once, in our own words.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.connected

    async def connect(self) -> None:
        """Open the connection within the deadline. Raises LinkDown."""
        self.close()
        client = AsyncModbusTcpClient(
            self.host,
            port=self.port,
            timeout=self.timeout_s,
            retries=0,
            reconnect_delay=0,  # reconnecting is the link's business
            trace_packet=self._packet,
            trace_connect=self._connection,
        )
        for response in _RESPONSES:
            client.register(response)
        client.set_max_no_responses(1 << 30)  # dropping the connection is the link's business too
        client.ctx.max_buffer_size = _BUFFER
        if not await client.connect():
            client.close()
            raise LinkDown(f"{self.host}:{self.port}: expected a connection within {self.timeout_s:g} s, got none")
        self._client = client

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def read(self, unit: int, function: int, start: int, count: int) -> Answer:
        """The data bytes of `count` items from `start`, counted from 0.

        Raises NoAnswer at the deadline, LinkDown when the connection is or gets lost, PeerFault with
        the exception code, CodecError when the peer broke the protocol (the connection is closed).
        """
        client = self._client
        if client is None or not client.connected:
            raise LinkDown(f"{self.host}:{self.port}: not connected")
        self._function, self._transaction, self.received = function, 0, b""
        try:
            response = await getattr(client, _READS[function])(start, count=count, device_id=unit)
        except (ModbusException, OSError) as error:
            if not client.connected:
                raise LinkDown(f"{self.host}:{self.port}: connection lost") from error
            raise NoAnswer(f"unit {unit}: expected an answer within {self.timeout_s:g} s, got none") from error
        finally:
            self._function = 0
        if response.isError():
            code = response.exception_code
            name = codec.EXCEPTION_NAMES.get(code, "unknown")
            raise PeerFault(f"unit {unit}, function {function}, item {start + 1}: exception {code} ({name})", code)
        return Answer(response.data, self._now_us, self._mono_ns)

    def _packet(self, sending: bool, data: bytes) -> bytes:
        """pymodbus shows every frame before it sends it, and all bytes it holds before it parses them."""
        if sending:
            self.sent, self._transaction = data, int.from_bytes(data[:2], "big")
            return data
        if not self._function:
            return b""  # nobody asked: a late answer, or noise; pymodbus drops it before the next request
        self._now_us, self._mono_ns = self.clock.now_us(), self.clock.mono_ns()
        self.received = data
        try:
            codec.check_frames(data, self._transaction, self._function)
        except CodecError as error:
            self._abort(error)
            return b""
        return data

    def _connection(self, up: bool) -> None:
        if not up:
            self._abort(LinkDown(f"{self.host}:{self.port}: connection lost"))

    def _abort(self, error: SourceError) -> None:
        """Let go of the connection, and tell the request in flight now rather than at its deadline."""
        client = self._client
        self.close()
        if client is not None and self._function and not client.ctx.response_future.done():
            client.ctx.response_future.set_exception(error)

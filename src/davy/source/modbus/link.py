"""One Modbus TCP link as a source: its units in sequence, its dead units skipped, its losses as rows."""

from collections.abc import Sequence
from random import Random

import numpy as np

from davy.clock import Clock
from davy.errors import CodecError, LinkDown, PeerFault, SourceError
from davy.reading import Readings, Status, Tag
from davy.source.modbus import codec
from davy.source.modbus.client import Answer, Client, NoAnswer
from davy.source.modbus.codec import Point, Request
from davy.source.modbus.config import ModbusTcp, split
from davy.source.presence import Presence
from davy.source.promise import Batch, Decoded, Diagnostics, Exchange, Grid, ProbeResult, Sink, indices

#: What a failure says about the tags that were asked for.
_STATUS = {
    LinkDown: Status.BadNotConnected,
    NoAnswer: Status.BadNoCommunication,
    CodecError: Status.BadCommunicationError,
}


def check(config: ModbusTcp, tag: Tag) -> list[tuple[str, str]]:
    """What is wrong with a tag's address and type: (column, message)."""
    out = []
    for column, parse, text in (("address", codec.parse_address, tag.address), ("type", codec.parse_type, tag.type)):
        try:
            parse(text)
        except ValueError as error:
            out.append((column, str(error)))
    if not out:
        try:
            codec.check(tag.address, tag.type, config.unit)
        except ValueError as error:
            out.append(("type", str(error)))
    return out


def _points(tags: Sequence[Tag], unit: int) -> list[Point]:
    return [
        Point(row, *codec.check(tag.address, tag.type, unit), tag.scale, tag.offset) for row, tag in enumerate(tags)
    ]


class Unit:
    """One device behind the link: its requests, and how it has behaved. Owned by the link's task."""

    def __init__(self, number: int, points: list[Point], config: ModbusTcp, presence: Presence) -> None:
        self.number = number
        self.presence = presence
        self.failures = 0  # polls in a row
        self.skip_until = 0  # mono ns
        self._merged = codec.merge(points, config.max_gap, config.max_registers)
        self.requests = list(self._merged)

    def renew(self) -> None:
        """Whoever is there now is not who was: nothing is known about it."""
        self.requests = list(self._merged)
        self.failures = self.skip_until = 0

    def divide(self, request: Request) -> None:
        """The device refused an address somewhere in `request`: ask for smaller pieces from now on."""
        if len(request.points) > 1:
            at = self.requests.index(request)
            self.requests[at : at + 1] = request.split()


class ModbusLink:
    """A Pull source (see promise.py) over one TCP connection.

    Each answer is handed on as it arrives; all rows of one unit and poll bear one server_time, that of
    its first answer. A unit that fails `skip_after` polls in a row is asked again only every `skip_for`,
    so it does not hold up its neighbours; its rows meanwhile are BadNoCommunication.
    """

    def __init__(
        self,
        name: str,
        config: ModbusTcp,
        tags: Sequence[Tag],
        clock: Clock,
        batch: tuple[str, int, int],
        random: Random | None = None,
    ) -> None:
        self.name, self.config, self.tags = name, config, tuple(tags)
        self.grid = Grid(config.poll, config.offset)
        self.diagnostics = Diagnostics()
        self._clock, self._batch = clock, Batch(*batch)
        self._random = random or Random(f"{batch[0]}/{name}")  # jitter differs from link to link
        self._index = indices(tags)
        self._client = Client(*split(config.address), config.timeout, clock)
        self._presence = Presence(source=name)
        self._attempts, self._next_attempt = 0, 0  # failed connects in a row; mono ns
        points = _points(tags, config.unit)
        self._units = [
            Unit(n, [p for p in points if p.address.unit == n], config, Presence(source=name, unit=n))
            for n in sorted({p.address.unit for p in points})
        ]

    # -- the promise

    async def poll(self, sink: Sink) -> None:
        """See Pull. Takes at most `timeout` for the connect and `timeout` for each failing unit."""
        if not await self._connected():
            self._deliver(sink, self.lost(Status.BadNotConnected))
            return
        outcomes: list[tuple[Unit, SourceError | None]] = []
        for unit in sorted(self._units, key=lambda u: u.failures):  # those who answer come first
            if unit.skip_until > self._clock.mono_ns():
                self._deliver(sink, self._bad(_rows(unit.requests), Status.BadNoCommunication))
            else:
                outcomes.append((unit, await self._poll_unit(unit, sink)))
        self._judge(outcomes)

    def lost(self, status: Status) -> Readings:
        return self._batch.bad(self._index, status, self._clock.now_us(), self._clock.mono_ns())

    async def close(self) -> None:
        self._client.close()

    async def probe(self) -> ProbeResult:
        client = Client(self._client.host, self._client.port, self.config.timeout, self._clock)
        exchanges = []
        try:
            await client.connect()
            for unit in self._units:
                for request in unit.requests:
                    exchanges.append(await self._exchange(client, request))
        except LinkDown as error:
            return ProbeResult(self.name, tuple(exchanges), str(error))
        finally:
            client.close()
        return ProbeResult(self.name, tuple(exchanges), next((e.error for e in exchanges if e.error), ""))

    # -- inside

    async def _connected(self) -> bool:
        if self._client.connected:
            return True
        if self._clock.mono_ns() < self._next_attempt:
            return False
        try:
            await self._client.connect()
        except LinkDown as error:
            self._down(error)
            return False
        for unit in self._units:
            unit.renew()
        return True

    async def _poll_unit(self, unit: Unit, sink: Sink) -> SourceError | None:
        """All requests of one unit; its failure, if it did not answer them."""
        stamp = 0
        for request in list(unit.requests):
            self.diagnostics.requests += 1
            try:
                answer = await self._ask(self._client, request)
                values = request.decode(answer.data)
            except PeerFault as fault:
                if fault.code in codec.GATEWAY:
                    return self._give_up(unit, request, fault, sink)
                if fault.code == codec.ILLEGAL_ADDRESS:
                    unit.divide(request)
                self._deliver(sink, self._bad(request.rows, _status(fault)))
            except SourceError as error:
                return self._give_up(unit, request, error, sink)
            else:
                stamp = stamp or answer.now_us
                self._deliver(sink, self._batch.readings(self._index[request.rows], values, stamp, answer.mono_ns))
        return None

    def _give_up(self, unit: Unit, request: Request, error: SourceError, sink: Sink) -> SourceError:
        """`request` and those after it get Bad rows at once: more deadlines would only delay the others."""
        rest = unit.requests[unit.requests.index(request) :]
        self._deliver(sink, self._bad(_rows(rest), _status(error)))
        return error

    def _judge(self, outcomes: list[tuple[Unit, SourceError | None]]) -> None:
        """What this poll says about each unit, and about the link."""
        several = len(self._units) > 1
        for unit, error in outcomes:
            unit.failures = unit.failures + 1 if error else 0
            if several and unit.failures >= self.config.skip_after:
                unit.skip_until = self._clock.mono_ns() + self.config.skip_for * 1000
        errors = [error for _, error in outcomes if error is not None]
        if len(errors) < len(outcomes):
            self._attempts = 0
            self._presence.back()
            for unit, error in outcomes if several else []:
                unit.presence.back() if error is None else unit.presence.lost(error.reason, error)
        elif any(isinstance(error, PeerFault) for error in errors):  # the gateway is there, nobody behind it
            self._absent(errors[0])
        elif errors:  # not one answered: a half-open connection looks like this
            self._down(errors[0])
        self.diagnostics.up, self.diagnostics.reason = self._presence.up, self._presence.reason
        self.diagnostics.units_down = {u.number: u.presence.reason for u in self._units if u.presence.up is False}

    def _absent(self, error: SourceError) -> None:
        self.diagnostics.losses += self._presence.lost(error.reason, error)
        self.diagnostics.up, self.diagnostics.reason = False, error.reason

    def _down(self, error: SourceError) -> None:
        """Let the connection go and come back later, each time after a longer pause, up to `retry_max`."""
        self._client.close()
        pause = min(self.config.retry_max, self.config.retry << min(self._attempts, 20))
        self._attempts += 1
        self._next_attempt = self._clock.mono_ns() + int(pause * 1000 * self._random.uniform(0.5, 1.0))
        self._absent(error)

    async def _ask(self, client: Client, request: Request) -> Answer:
        return await client.read(request.unit, request.area.function, request.start, request.count)

    async def _exchange(self, client: Client, request: Request) -> Exchange:
        meaning = (
            f"unit {request.unit}: {request.count} {request.area.name}s from {request.start + 1} "
            f"(function {request.area.function}, address {request.start} on the wire)"
        )
        try:
            answer = await self._ask(client, request)
            values = request.decode(answer.data)
        except LinkDown:
            raise
        except SourceError as error:
            return Exchange(client.sent, client.received, meaning, (), str(error))
        decoded = tuple(
            Decoded(tag.name, tag.address, f"{request.raw(p, answer.data).hex()} {tag.type}", float(v), Status.Good)
            for p, v in zip(request.points, values, strict=True)
            for tag in [self.tags[p.row]]
        )
        return Exchange(client.sent, client.received, meaning, decoded)

    def _bad(self, rows: np.ndarray[tuple[int], np.dtype[np.intp]], status: Status) -> Readings:
        return self._batch.bad(self._index[rows], status, self._clock.now_us(), self._clock.mono_ns())

    def _deliver(self, sink: Sink, readings: Readings) -> None:
        self.diagnostics.readings += len(readings)
        self.diagnostics.bad += int(readings.status.any()) and int(np.count_nonzero(readings.status))
        sink(readings)


def _rows(requests: Sequence[Request]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.concatenate([r.rows for r in requests])


def _status(error: SourceError) -> Status:
    if isinstance(error, PeerFault):
        return codec.STATUS_OF_EXCEPTION.get(error.code, Status.BadCommunicationError)
    return _STATUS.get(type(error), Status.BadCommunicationError)

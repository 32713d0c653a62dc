"""The intake process: edges deliver here over HTTPS, and get back what the mirror holds.

    POST /api/v1/enrol                 an invitation and public keys for a bearer token and ours
    GET  /api/v1/log/state             what is held of the caller's log
    POST /api/v1/log/resume            its newest checkpoint; says whether it still is the log we know
    POST /api/v1/log/entries           leaves and bodies in order (uplink/envelope.py)
    POST /api/v1/log/advance           transitions ahead of their turn
    PUT  /api/v1/log/keyring/<epoch>   wrapped keys

Answers to the log calls are `held` envelopes, 409 where nothing was looked at because the caller stands
elsewhere than we do; errors are RFC 9457 with our `reason`.
"""

import asyncio
import json
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from anyio import CapacityLimiter, to_thread
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from davy import process, wire
from davy.blackbox.held import Held
from davy.blackbox.mirror import MAX_KEYRING, Mirror
from davy.centre.config import Centre, load
from davy.centre.enrolment import Edges
from davy.clock import Clock
from davy.errors import BadRequest, Conflict, Corrupt, DavyError, Full, Inconsistent, Refused
from davy.uplink.envelope import MAX_ENVELOPE, MAX_NOTE, MEDIA_TYPE, Advance, Entries, encode_held

log_line = structlog.get_logger()

_MAX_ENROL = 4 << 10
#: How long a request's body may take to come, at least; the slowest link planned for has 32 kbit/s.
_BODY_DEADLINE_S = 30.0
_SLOWEST_BYTES_S = 4000
_THREADS = 64  # requests being verified or waiting for the group commit at once
_BACKLOG = 1024
_CLOSE_S = 2
_LOOK_NS = 500_000_000

#: Error class -> HTTP status; the first that fits.
STATUS: tuple[tuple[type[DavyError], int], ...] = (
    (BadRequest, 400),
    (Corrupt, 400),
    (Refused, 403),
    (Conflict, 422),
    (Inconsistent, 422),
    (Full, 507),
)


class TooLarge(BadRequest):
    """The body is larger than this call takes."""

    reason = "too_large"


class Intake:
    """The calls over one mirror."""

    def __init__(self, centre: Centre, mirror: Mirror, clock: Clock) -> None:
        self.mirror = mirror
        self.edges = Edges(centre, mirror, clock)
        recipient = centre.recipient().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._ours = {"vkey": centre.cosigner().vkey, "recipient": recipient.hex()}
        self._threads = CapacityLimiter(_THREADS)

    def app(self) -> Starlette:
        calls: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/api/v1/enrol", self._enrol),
            ("GET", "/api/v1/log/state", self._state),
            ("POST", "/api/v1/log/resume", self._resume),
            ("POST", "/api/v1/log/entries", self._entries),
            ("POST", "/api/v1/log/advance", self._advance),
            ("PUT", "/api/v1/log/keyring/{epoch:int}", self._put_keyring),
        ]
        routes = [Route(path, _answering(call), methods=[method]) for method, path, call in calls]
        return Starlette(routes=routes)

    async def _enrol(self, request: Request) -> Response:
        data = await _body(request, _MAX_ENROL)
        try:
            asked = json.loads(data)
            token, box = bytes.fromhex(asked["token"]), bytes.fromhex(asked["box"])
            origin, vkey = str(asked["origin"]), str(asked["vkey"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadRequest(f"enrol: expected token, origin, vkey and box: {error!r}") from error
        enrolled = await self._in_thread(self.edges.enrol, token, origin, vkey, box)
        log_line.info("edge_enrolled", origin=origin)
        return JSONResponse({"token": enrolled.token, **self._ours})

    async def _state(self, request: Request) -> Response:
        return _held(self.mirror.held(self._origin(request)))

    async def _resume(self, request: Request) -> Response:
        origin = self._origin(request)
        return _held(await self._in_thread(self.mirror.resume, origin, await _body(request, MAX_NOTE)))

    async def _entries(self, request: Request) -> Response:
        origin = self._origin(request)
        data = await _body(request, MAX_ENVELOPE)
        return _held(await self._in_thread(lambda: self.mirror.add(origin, *Entries.decode(data))))

    async def _advance(self, request: Request) -> Response:
        origin = self._origin(request)
        data = await _body(request, MAX_ENVELOPE)
        return _held(await self._in_thread(lambda: self.mirror.advance(origin, *Advance.decode(data))))

    async def _put_keyring(self, request: Request) -> Response:
        origin, epoch = self._origin(request), int(request.path_params["epoch"])
        data = await _body(request, MAX_KEYRING)
        return _held(await self._in_thread(self.mirror.put_keyring, origin, epoch, data))

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await to_thread.run_sync(work, *arguments, limiter=self._threads)

    def _origin(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refused("authorization: expected a bearer token")
        return self.edges.origin_of(token)

    # What other processes of the centre ask

    async def origins(self) -> dict[str, Any]:
        """Every enrolled origin: leaves held, largest checkpoint seen, newest epoch."""
        held = {origin: self.mirror.held(origin) for origin in self.mirror.origins()}
        return {origin: {"held": h.size, "seen": h.seen, "epoch": h.epoch} for origin, h in held.items()}


def _held(held: Held) -> Response:
    return Response(encode_held(held), 200 if held.taken else 409, media_type=MEDIA_TYPE)


def _answering(call: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """`call` with every error it promises turned into an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await call(request)
        except DavyError as error:
            status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
            if isinstance(error, TooLarge):
                status = 413
            if isinstance(error, (Conflict, Refused)):
                log_line.warning("delivery_refused", reason=error.reason, err=str(error))
            return _problem(error, status)

    return answer


def _problem(error: DavyError, status: int) -> Response:
    problem = {"type": "about:blank", "title": error.reason, "status": status, "reason": error.reason}
    problem["detail"] = str(error)
    if isinstance(error, Conflict):
        problem["proof"] = error.proof.decode()
    return JSONResponse(problem, status, media_type="application/problem+json")


async def _body(request: Request, limit: int) -> bytes:
    """The request's body, at most `limit` bytes, within its deadline. Raises TooLarge or BadRequest."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit:
        raise TooLarge(f"body: expected at most {limit} bytes, got {declared}")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_DEADLINE_S + limit / _SLOWEST_BYTES_S):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise TooLarge(f"body: expected at most {limit} bytes, got more")
    except (ClientDisconnect, TimeoutError) as error:
        raise BadRequest(f"body: it ended after {len(body)} bytes") from error
    return bytes(body)


def build(centre: Centre, clock: Clock) -> Intake:
    """The wiring: mirror opened and recovered, ready to answer. Close `mirror` at the end."""
    return Intake(centre, Mirror(centre.mirror, centre.cosigner(), clock), clock)


class _Server(uvicorn.Server):
    """Leaves signals to `process.main`."""

    capture_signals = nullcontext  # type: ignore[assignment]  # uvicorn types it as a method


def serve(app: Starlette, centre: Centre) -> tuple[uvicorn.Server, socket.socket]:
    """A TLS server for `app`, and the socket it is to be started with; the socket is bound already."""
    address = centre.config.intake
    config = uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        ssl_certfile=str(centre.certificate),
        ssl_keyfile=str(centre.tls_key),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_CLOSE_S,
    )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle off only where it is: 40 ms a request otherwise.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((address.host, address.port))
    bound.listen(_BACKLOG)
    return _Server(config), bound


async def run(folder: Path, clock: Clock) -> None:
    """Answer edges until cancelled.

    `run/intake.sock` answers `ping` and `origins`; `run/intake.json` names the port. Raises what stopped
    the mirror: the process must start again.
    """
    centre = load(folder)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each log held takes up to nine
    intake = build(centre, clock)
    server, bound = serve(intake.app(), centre)
    ours = await wire.serve(centre.run / "intake.sock", {"origins": intake.origins})
    port = bound.getsockname()[1]
    (centre.run / "intake.json").write_text(json.dumps({"port": port}))
    log_line.info("intake_ready", port=port, origins=len(intake.mirror.origins()))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not serving.done() and intake.mirror.failure is None:
            await clock.sleep_until(clock.mono_ns() + _LOOK_NS)
        if intake.mirror.failure is not None:
            raise intake.mirror.failure
    finally:
        server.should_exit = True
        await asyncio.wait([serving], timeout=2 * _CLOSE_S)
        ours.close()
        await asyncio.to_thread(intake.mirror.close)


if __name__ == "__main__":
    process.main("intake", run)

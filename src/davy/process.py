"""How Davy's processes start, are watched and stop.

A process is a module with `run(folder, clock)`; `main` gives it its log, signals and loop. A
supervisor starts the processes of one folder, starts again what dies or no longer answers, and
stops them with itself.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from davy.clock import Clock, SystemClock
from davy.errors import ConfigError, DavyError
from davy.wire import Client

log_line = structlog.get_logger()

#: Exit code for a configuration a person must mend; the supervisor does not try again.
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
_PR_SET_PDEATHSIG = 1
_PARENT = "DAVY_PARENT"  # the supervisor's process id, told to its children


def configure_log(room: str) -> None:
    """Structured lines on stderr: JSON, or readable ones on a terminal."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="ts"),
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(room=room)


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so no process is left behind."""
    with suppress(OSError, AttributeError):  # not Linux: the supervisor's own stop is all there is
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    started_by = os.environ.get(_PARENT)
    if started_by and os.getppid() != int(started_by):  # it died before we could ask
        os.kill(os.getpid(), signal.SIGTERM)


async def _until_told(work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def run_until_told(work: Awaitable[None]) -> None:
    """Run a coroutine in a fast loop until it ends, SIGTERM or SIGINT."""
    uvloop.run(_until_told(work))


def main(room: str, run: Callable[[Path, Clock], Awaitable[None]]) -> None:
    """Run `run(folder, clock)` for the folder in argv until SIGTERM or SIGINT."""
    configure_log(room)
    end_with_parent()
    os.umask(0o077)
    try:
        run_until_told(run(Path(sys.argv[1]), SystemClock()))
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CONFIG)


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the house. `module` is run as `python -m module folder`; `socket`, where it has one,
    is asked `ping`, and a child that does not answer for PINGS_MISSED in a row is killed and started again."""

    name: str
    module: str
    folder: Path
    socket: Path | None = None


PING_EVERY_S = 5.0
PING_DEADLINE_S = 5.0
PINGS_MISSED = 4
#: Before its first answer: a child that reads a long journal, or starts beside many others, takes its time.
PINGS_MISSED_AT_START = 24
BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
#: A child that lived this long has started well, so its next restart is quick again.
SETTLED_S = 30.0
STOP_S = 10.0


async def supervise(children: Sequence[Child], clock: Clock, logs: Path | None = None) -> None:
    """Keep `children` running until cancelled; then stop them all, the last one first.

    So whoever needs another's service names it after that one, and can still ask it while it ends. logs:
    folder for what each writes on stderr, by default our own stderr. Raises ConfigError when a child says
    its configuration is wrong (starting it again cannot help).
    """
    ended = [asyncio.Event() for _ in (*children, None)]
    ended[-1].set()
    try:
        async with asyncio.TaskGroup() as tasks:
            for at, child in enumerate(children):
                task = tasks.create_task(_keep(child, clock, logs, ended[at + 1]), name=child.name)
                task.add_done_callback(lambda _, own=ended[at]: own.set())  # type: ignore[misc]  # mypy and defaults
    except* ConfigError as errors:
        raise errors.exceptions[0] from None


async def _keep(child: Child, clock: Clock, logs: Path | None, after: asyncio.Event) -> None:
    """Start it, and again whenever it ends; when cancelled, stop it once `after` is set."""
    failures = 0
    while True:
        began = clock.mono_ns()
        process = await _start(child, logs)
        watch = asyncio.create_task(_watch(child, process, clock))
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await after.wait()
            await _stop(process)
            raise
        finally:
            watch.cancel()
        if code == EXIT_CONFIG:
            raise ConfigError([])
        failures = 0 if clock.mono_ns() - began > SETTLED_S * 1e9 else failures
        delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
        failures += 1
        log_line.warning("process_ended", process=child.name, code=code, restart_in_s=delay)
        await clock.sleep_until(clock.mono_ns() + int(delay * 1e9))


async def _start(child: Child, logs: Path | None) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", child.module, str(child.folder))
    environment = os.environ | {_PARENT: str(os.getpid())}
    if logs is None:
        return await asyncio.create_subprocess_exec(*command, env=environment)
    logs.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (once a start)
    with open(logs / f"{child.name}.log", "ab") as log:  # noqa: ASYNC230  (as above)
        return await asyncio.create_subprocess_exec(*command, stderr=log, env=environment)


async def _watch(child: Child, process: asyncio.subprocess.Process, clock: Clock) -> None:
    if child.socket is None:
        return
    missed, bearable = 0, PINGS_MISSED_AT_START
    async with Client(child.socket) as client:
        while True:
            await clock.sleep_until(clock.mono_ns() + int(PING_EVERY_S * 1e9))
            try:
                await asyncio.wait_for(client.call("ping"), PING_DEADLINE_S)
                missed, bearable = 0, PINGS_MISSED
            except (DavyError, TimeoutError):
                missed += 1
            if missed >= bearable:
                log_line.error("process_hangs", process=child.name)
                process.kill()
                return


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

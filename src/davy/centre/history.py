"""The history process of a centre: every mirrored log into Parquet, `query` and `subscribe` on `run/history.sock`.

It reads the mirror's folders from disk and opens bodies with the centre's own key.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NoReturn

import structlog

from davy import process, wire
from davy.blackbox.keyring import Keyring
from davy.blackbox.note import Verifier, cosignature_time, open_note, parse_note
from davy.blackbox.reader import LogReader
from davy.centre.config import Centre, load
from davy.centre.feed import Feed, Picture
from davy.clock import SECOND, Clock
from davy.errors import Corrupt, DavyError
from davy.record.history import ParquetHistory
from davy.record.keep import Keeper, spare_memory
from davy.record.project import Item, Projection
from davy.record.query import Connections
from davy.record.service import Queries

log_line = structlog.get_logger()

LOOK_NS = 500_000_000  # for new origins, and for checkpoints
THREADS = 4
KEEP_FREE = 500_000_000  # bytes


def origins(mirror: Path) -> Iterator[str]:
    """Those whose log has a checkpoint in the mirror's folder."""
    for path in sorted((mirror / "logs").glob("*/*/*/checkpoint")):
        yield "/".join(path.parent.parts[-3:])


def held(reader: LogReader, verifier: Verifier, now_us: int) -> dict[str, int]:
    """The state of a log for the feed: the newest size shown to us, the size we hold and cosigned, and when.

    exposure_us: age of the newest cosignature while something shown to us is not held; 0 while all is.
    """
    found = reader.checkpoint()
    if found is None:
        return {"size": 0, "time": 0, "held_size": 0, "held_time": 0, "exposure_us": 0}
    note, checkpoint = found
    time = cosignature_time(open_note(note, [verifier]).verified[0]) * SECOND
    size = checkpoint.size
    with suppress(FileNotFoundError):
        size = max(size, parse_note((reader.path / "seen").read_bytes()).checkpoint().size)
    exposure = max(0, now_us - time) if size > checkpoint.size else 0
    return {"size": size, "time": time, "held_size": checkpoint.size, "held_time": time, "exposure_us": exposure}


class Histories:
    """One Keeper and one picture an origin; origins that join are found within half a second.

    `stack` closes what was opened.
    """

    def __init__(self, centre: Centre, clock: Clock, stack: ExitStack) -> None:
        self._centre, self._clock, self._stack = centre, clock, stack
        self._threads = stack.enter_context(ThreadPoolExecutor(THREADS, thread_name_prefix="history"))
        self._recipient, self._verifier = centre.recipient(), centre.cosigner().verifier
        self._connections = stack.enter_context(closing(Connections(centre.data / "history")))
        self._readers: dict[str, LogReader] = {}
        self._refused: dict[str, str] = {}
        self.histories: dict[str, ParquetHistory] = {}
        self.feed = Feed(clock)
        self.queries = stack.enter_context(Queries(self.histories))

    async def watch(self) -> NoReturn:
        """Follow every origin of the mirror, those too that come later, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for origin in origins(self._centre.mirror):
                    if origin not in self.histories:
                        await self._begin(origin, tasks)
                for origin, reader in self._readers.items():
                    self._look(origin, reader)
                await self._clock.sleep_until(self._clock.mono_ns() + LOOK_NS)

    async def _begin(self, origin: str, tasks: asyncio.TaskGroup) -> None:
        try:
            keeper, picture = await asyncio.get_running_loop().run_in_executor(self._threads, self._open, origin)
        except (DavyError, OSError) as error:  # this origin waits; the others go on
            if self._refused.get(origin) != str(error):
                self._refused[origin] = str(error)
                log_line.error("history_not_opened", origin=origin, err=str(error))
            return
        self.histories[origin] = keeper.history
        self._readers[origin] = self._stack.enter_context(LogReader(self._centre.log(origin), origin))
        if picture is not None:
            self.feed.add(picture)
        self._look(origin, self._readers[origin])

        def tell(items: list[Item]) -> None:
            self.feed.take(origin, items)
            self._look(origin, self._readers[origin])

        tasks.create_task(keeper.follow(tell), name=f"follow {origin}")
        tasks.create_task(keeper.tidy(), name=f"tidy {origin}")

    def _open(self, origin: str) -> tuple[Keeper, Picture | None]:
        """No picture of a log whose events make no sense. Raises what ParquetHistory and Projection do."""
        folder = self._centre.log(origin)
        with ExitStack() as stack:
            log = stack.enter_context(LogReader(folder, origin))
            path = self._centre.data / "history" / origin
            history = stack.enter_context(ParquetHistory(path, connections=self._connections))
            keys = Keyring(folder / "keyring", origin, self._recipient)
            projection = Projection(log, keys.key, history, self._clock)
            events = [item.content for item in projection.resume()]
            self._stack.push(stack.pop_all())
        keeper, picture = Keeper(projection, self._threads, self._clock, KEEP_FREE), Picture(origin, history.latest)
        try:
            picture.learn(events)
        except Corrupt as error:
            log_line.error("origin_not_shown", origin=origin, err=str(error))
            return keeper, None
        return keeper, picture

    def _look(self, origin: str, reader: LogReader) -> None:
        """Tell what is held, if it changed."""
        try:
            self.feed.checkpoint(origin, held(reader, self._verifier, self._clock.now_us()))
        except DavyError as error:
            log_line.error("checkpoint_not_readable", origin=origin, reason=error.reason, err=str(error))


async def run(folder: Path, clock: Clock) -> None:
    """Follow the mirror and answer until cancelled."""
    spare_memory()
    with ExitStack() as stack:
        centre = load(folder)
        histories = Histories(centre, clock, stack)
        handlers = histories.queries.handlers() | {"subscribe": histories.feed.subscribe}
        server = await wire.serve(centre.run / "history.sock", handlers)
        try:
            await histories.watch()
        finally:
            server.close()


if __name__ == "__main__":
    process.main("history", run)

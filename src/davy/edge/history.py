"""The history process of a site: its log into Parquet, and answers to `query` on `run/history.sock`.

It reads leaves from disk and asks the signer for keys; it never talks to the core.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from davy import process, wire
from davy.blackbox.reader import LogReader
from davy.clock import Clock
from davy.edge.config import Site, load
from davy.record.history import ParquetHistory
from davy.record.keep import Keeper, spare_memory
from davy.record.project import Projection
from davy.record.service import Queries

MEGABYTE = 1_000_000


def build(site: Site, clock: Clock, stack: ExitStack) -> tuple[Keeper, Queries]:
    """The wiring: the log of `site`, keys from its signer, the history folder; `stack` closes what was opened.

    Raises Inconsistent if another process has the history open, or it is of another log or a longer one.
    """
    threads = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="history"))
    signer = stack.enter_context(closing(wire.BlockingClient(site.run / "signer.sock")))
    log = stack.enter_context(LogReader(site.log, site.origin))
    history = stack.enter_context(ParquetHistory(site.data / "history"))

    def key(key_id: int) -> bytes:
        return bytes(signer.call("key", key_id=key_id))

    keeper = Keeper(Projection(log, key, history, clock), threads, clock, site.config.keep_free * MEGABYTE)
    return keeper, stack.enter_context(Queries({site.origin: history}))


async def run(folder: Path, clock: Clock) -> None:
    """Follow the log and answer until cancelled."""
    spare_memory()
    with ExitStack() as stack:
        site = load(folder)
        keeper, queries = build(site, clock, stack)
        server = await wire.serve(site.run / "history.sock", queries.handlers())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keeper.follow(lambda items: None), name="follow")
                tasks.create_task(keeper.tidy(), name="tidy")
        finally:
            server.close()


if __name__ == "__main__":
    process.main("history", run)

"""The uplink process: this site's log toward its centre, once `davy edge enrol` has made them known."""

import asyncio
import json
import random
from contextlib import suppress
from pathlib import Path

import structlog

from davy import process
from davy.blackbox.reader import LogReader
from davy.clock import Clock
from davy.edge.config import Site, load
from davy.uplink.client import Uplink
from davy.uplink.enrol import CentreKeys
from davy.uplink.link import Link

log_line = structlog.get_logger()
_LOOK_S = 1.0


def build(site: Site, link: Link, clock: Clock) -> Uplink:
    """The wiring: the log and keyring of `site` toward the centre behind `link`."""
    reader = LogReader(site.log, site.origin)
    return Uplink(reader, link, site.data / "keyring", site.run, clock, random.Random())


async def run(folder: Path, clock: Clock) -> None:
    """Run until cancelled; begins again when the site is enrolled anew."""
    site = load(folder)
    path = site.secrets / "centre.json"
    site.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        while not path.exists():
            _tell(site.run, "not_enrolled")
            await _wait(clock)
        keys = CentreKeys.read(path)
        link = Link(keys)
        work = asyncio.create_task(build(site, link, clock).run())
        try:
            while CentreKeys.read(path) == keys and not work.done():
                await _wait(clock)
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            await link.close()


def _tell(run: Path, state: str) -> None:
    report = {"held_size": 0, "held_time": 0, "exposure_us": None, "state": state, "detail": ""}
    (run / "uplink.json").write_text(json.dumps(report))


async def _wait(clock: Clock) -> None:
    await clock.sleep_until(clock.mono_ns() + int(_LOOK_S * 1e9))


if __name__ == "__main__":
    process.main("uplink", run)

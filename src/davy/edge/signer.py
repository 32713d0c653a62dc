"""The signer process: keys stay here, the rest of the box asks over `run/signer.sock`."""

import asyncio
from pathlib import Path

import structlog

from davy import process, wire
from davy.blackbox import signer
from davy.blackbox.signer import Signer
from davy.clock import Clock
from davy.edge.config import Site, load
from davy.errors import ConfigError, Problem

log_line = structlog.get_logger()


def build(site: Site) -> Signer:
    """The signer of `site`; draws its keys the first time. Raises ConfigError where a log is without its key."""
    if not signer.exists(site.secrets):
        if (site.log / "checkpoint").exists() or any((site.data / "keyring").glob("*.cbor")):
            raise ConfigError([_problem(site, "there is a log, but not the key it was signed with")])
        signer.create(site.secrets, site.origin)
        log_line.info("log_identity_created", origin=site.origin)
    built = Signer(site.secrets, site.data / "keyring")
    if built.origin != site.origin:
        raise ConfigError([_problem(site, f"expected the key of {site.origin}, got that of {built.origin}")])
    return built


def _problem(site: Site, message: str) -> Problem:
    return Problem(str(site.secrets / signer.LOG_KEY), None, "", message)


async def run(folder: Path, clock: Clock) -> None:
    """Answer on `run/signer.sock` until cancelled."""
    site = load(folder)
    server = await wire.serve(site.run / "signer.sock", build(site).handlers())
    try:
        await asyncio.Event().wait()
    finally:
        server.close()


if __name__ == "__main__":
    process.main("signer", run)

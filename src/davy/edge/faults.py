"""What keeps a site from doing all it should: facts that become readings of Davy's own tags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from davy.errors import DavyError, Full

log_line = structlog.get_logger()


@dataclass(slots=True)
class Faults:
    """What keeps the record from being complete. Written by the recorder's thread, read by the event loop.

    failing: step ("open", "append", "checkpoint", "bundles") -> who refuses it, "disk" or "signer"; dropped:
    readings, in all.
    """

    failing: Mapping[str, str] = field(default_factory=dict)  # replaced, never changed: the other thread reads it
    dropped: int = 0

    @property
    def disk(self) -> bool:
        return "disk" in self.failing.values()

    @property
    def signer(self) -> bool:
        return "signer" in self.failing.values()

    def failed(self, step: str, error: Exception) -> None:
        """Remember that `step` failed; the first time in a row is written down."""
        is_disk = step == "open" or isinstance(error, Full) or not isinstance(error, DavyError)
        who = "disk" if is_disk else "signer"
        if self.failing.get(step) != who:
            log_line.error("record_failing", step=step, who=who, err=str(error))
            self.failing = {**self.failing, step: who}

    def went(self, step: str) -> None:
        """`step` succeeded."""
        if step in self.failing:
            log_line.info("record_going_on", step=step)
            self.failing = {name: who for name, who in self.failing.items() if name != step}


def unheld_us(uplink: Mapping[str, Any], began: int, now: int) -> int | None:
    """How long the oldest leaf has stood here only, from what `run/uplink.json` says; None where nobody holds us.

    began, now: us UTC when this core started, and now. An uplink that no longer reports lets the time run on.
    """
    if uplink.get("exposure_us") is None:
        return None
    silent = now - max(int(uplink.get("at", now)), began)
    return int(uplink["exposure_us"]) + max(0, silent)

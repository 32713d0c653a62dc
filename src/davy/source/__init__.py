"""Devices in, Readings out. One folder a protocol, one promise for all (promise.py), one loop (run.py).

Enters: a link's settings and its tags. Leaves: Readings with the device's values, scaled; a Bad row
for each tag that was due and could not be had; never an exception for what happens in the field.

    kind = KINDS[config.kind]
    source = kind.make(link, config, tags, clock, (origin, tags_version, boot_id))
    await kind.run(source, sink, clock)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from davy.reading import Tag
from davy.settings import Settings
from davy.source import modbus, replay
from davy.source.promise import Batch, Diagnostics, Probe, ProbeResult, Pull, Sink, Source, Subscribe
from davy.source.run import run


class Kind(NamedTuple):
    """How links of one kind are configured, judged and built.

    make(name, config, tags, clock, batch, random=None): batch is (origin, tags_version, boot_id).
    check(config, tag): what the adapter cannot make of a tag, as (column of the tag list, message).
    """

    model: type[Settings]
    make: Callable[..., Source]
    check: Callable[[Any, Tag], list[tuple[str, str]]]
    run: Callable[..., Any] = run


#: Every kind of link there is; `kind` in site.yaml is the key.
KINDS: dict[str, Kind] = {
    "modbus-tcp": Kind(modbus.ModbusTcp, modbus.ModbusLink, modbus.check),
    "replay": Kind(replay.Replay, replay.Player, replay.check),
}

__all__ = [
    "KINDS", "Batch", "Diagnostics", "Kind", "Probe", "ProbeResult", "Pull", "Sink", "Source", "Subscribe", "run",
]  # fmt: skip

"""A district in a minute: the tank farm, its front-end machine and a county centre, all on loopback.

Everything is the real thing: the farm answers Modbus in a process of its own, the site and the centre
run as `davy edge run` and `davy centre run` would, enrolled by an invitation. Only the plant is simulated.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from davy import process, wire
from davy.blackbox.note import Checkpoint, parse_note
from davy.centre import config as centre_config
from davy.centre import enrolment, office
from davy.clock import SECOND, SystemClock
from davy.edge import config as edge_config
from davy.edge import signer, site
from davy.errors import DavyError, Unreachable
from davy.fact import AlarmType
from davy.lab.incidents import SCRIPT, Incident
from davy.lab.modbus_server import ServerProcess
from davy.lab.tankfarm import site_files
from davy.reading.uid import uuid7
from davy.uplink.enrol import Invitation, join

#: The farm stays calm for so long, so whoever watches sees calm first.
CALM_S = 5.0
UP_WITHIN_S = 180.0
#: What the centre may lag behind at the end of a timed run before it counts as missing.
SETTLE_S = 60.0


@dataclass(slots=True)
class Seen:
    """What one end told about alarms and flags: (tag name, AlarmType) -> highest level; tag name -> flags."""

    levels: dict[tuple[str, int], int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def take(self, item: dict[str, Any]) -> None:
        """One item of a `subscribe` stream."""
        if item["what"] == "snapshot":
            self.names |= {t["index"]: t["name"] for t in item["tags"]}
            for view in item["alarms"]:
                self._alarm(view["alarm"], view["level"])
        elif item["what"] == "transition":
            self._alarm(item["alarm"], item["level"])
        if "flags" in item.get("latest", item):
            columns = item.get("latest", item)
            tags, flags = np.frombuffer(columns["tag"], "<u4"), np.frombuffer(columns["flags"], "<u4")
            for tag, flag in zip(tags.tolist(), flags.tolist(), strict=True):
                name = self.names.get(tag, "")
                self.flags[name] = self.flags.get(name, 0) | flag

    def _alarm(self, alarm: int, level: int) -> None:
        key = (self.names.get(alarm >> 3, ""), alarm & 7)
        self.levels[key] = max(level, self.levels.get(key, 0))

    def shows(self, incident: Incident) -> bool:
        """Whether every alarm and flag the incident must give has been seen."""
        return all(self.levels.get((e.tag, e.type), 0) >= e.level for e in incident.expects) and all(
            self.flags.get(tag, 0) & flag for tag, flag in incident.flags
        )


async def run(folder: Path, ports: int, seconds: float | None, headless: bool, summary: dict[str, Any]) -> None:
    """Bring the district up in `folder` and run it for `seconds`, or until cancelled; fills `summary`."""
    say: Callable[[str], None] = (lambda text: None) if headless else print
    clock = SystemClock()
    os.environ["DAVY_DEMO"] = "1"  # both consoles give a fresh one-time link at every start
    farm = ServerProcess("--farm", "--begin-after", str(CALM_S))
    try:
        say("  starting lab: tank farm (Modbus TCP)")
        centre = _centre(folder / "county", ports, clock)
        place = _site(folder / "harbour-chem", ports, farm.port, clock)
        async with _supervised(office.children(centre), folder / "county" / "logs"):
            if not (place.secrets / "centre.json").exists():
                await _until((centre.run / "intake.json").exists, "the centre's intake")
                await _enrol(place, centre, clock)
            async with _supervised(site.children(place), folder / "harbour-chem" / "logs"):
                await _watch(place, centre, seconds, say, summary)
    finally:
        farm.stop()


def _centre(folder: Path, ports: int, clock: SystemClock) -> centre_config.Centre:
    if not (folder / "centre.yaml").exists():
        centre_config.init(folder, "county", ["127.0.0.1"], ports + 43 if ports else _free_port(), clock)
        path = folder / "centre.yaml"
        text = path.read_text(encoding="utf-8").replace("port: 8100", f"port: {ports}")
        path.write_text(text + "title: {en: Binhai County, zh: 滨海县应急管理局}\n", encoding="utf-8")
    _forget(folder)
    return centre_config.load(folder)


def _site(folder: Path, ports: int, farm: int, clock: SystemClock) -> edge_config.Site:
    folder.mkdir(parents=True, exist_ok=True)
    county = centre_config.load(folder.parent / "county").config.url
    for name, text in site_files(farm, centre=county, console=ports + 1 if ports else 0).items():
        if name == "site.yaml" or not (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
    edge_config.write(folder, lambda: uuid7(clock.now_us(), os.urandom(10)))
    _forget(folder)
    return edge_config.load(folder)


def _forget(folder: Path) -> None:
    """What an earlier run said of itself, so that only this one's word counts."""
    for name in ("intake.json", "console.json", "first-admin-link"):
        (folder / "run" / name).unlink(missing_ok=True)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def _enrol(place: edge_config.Site, centre: centre_config.Centre, clock: SystemClock) -> None:
    """Join the centre before the first leaf, so it can open every body."""
    keys = signer.build(place)
    invitation = Invitation.parse(enrolment.invite(centre, clock, 600 * SECOND))
    (await join(invitation, place.origin, keys.vkey, keys.box, clock)).write(place.secrets / "centre.json")


@asynccontextmanager
async def _supervised(children: list[process.Child], logs: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(process.supervise(children, SystemClock(), logs))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(ready: Callable[[], bool], what: str) -> None:
    for _ in range(int(UP_WITHIN_S / 0.1)):
        if ready():
            return
        await asyncio.sleep(0.1)
    raise Unreachable(f"{what} did not come up within {UP_WITHIN_S:.0f} s; its log is in the demo folder")


async def _watch(
    place: edge_config.Site,
    centre: centre_config.Centre,
    seconds: float | None,
    say: Callable[[str], None],
    summary: dict[str, Any],
) -> None:
    at_edge, at_centre = Seen(), Seen()
    listening = [
        asyncio.create_task(_listen(place.run / "core.sock", at_edge)),
        asyncio.create_task(_listen(centre.run / "history.sock", at_centre)),
    ]
    try:
        await _until(lambda: bool(at_edge.names), "the site's core")
        for name, folder in (("county", centre.folder), ("harbour-chem", place.folder)):
            address = folder / "run" / "console.json"
            await _until(address.exists, f"the console of {name}")
            say(f"  {name:<14} {json.loads(address.read_text())['url']}")
            link = folder / "run" / "first-admin-link"
            if link.exists():
                say(f"  {'':<14} one-time sign-in: {link.read_text().strip()}")
        say("  Ctrl-C stops everything")
        if seconds is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(seconds)
        await _settled(place, centre, at_edge, at_centre, summary)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


async def _listen(socket: Path, seen: Seen) -> None:
    """Follow a feed for as long as there is one."""
    async with wire.Client(socket) as client:
        while True:
            try:
                async for item in client.stream("subscribe", what=["latest", "transition"]):
                    seen.take(item)
            except DavyError:
                await asyncio.sleep(0.2)


async def _settled(
    place: edge_config.Site, centre: centre_config.Centre, at_edge: Seen, at_centre: Seen, summary: dict[str, Any]
) -> None:
    """Wait until the centre has what the edge had at the end, then sum up."""
    async with wire.Client(place.run / "core.sock") as core:
        status = await core.call("status")
    size = int(status["checkpoint"]["size"])
    for _ in range(int(SETTLE_S / 0.1)):
        if _mirrored(centre, place.origin) >= size and all(at_centre.shows(i) for i in SCRIPT):
            break
        await asyncio.sleep(0.1)
    uplink = json.loads((place.run / "uplink.json").read_text())
    incidents = [
        {"name": i.name, "alarmed": at_edge.shows(i), "mirrored": at_centre.shows(i), "expects": _expects(i)}
        for i in SCRIPT
    ]
    p99 = uplink.get("exposure_p99_us")
    summary.update(
        readings_in=status["readings_in"],
        incidents_expected=len(incidents),
        incidents_alarmed=sum(bool(i["alarmed"]) for i in incidents),
        incidents_mirrored=sum(bool(i["mirrored"]) for i in incidents),
        incidents=incidents,
        leaves=size,
        leaves_mirrored=min(size, _mirrored(centre, place.origin)),
        exposure_p99_ms=None if p99 is None else p99 / 1000,
        dropped_readings=status["dropped_readings"],
    )
    summary["complete"] = summary["leaves_mirrored"] == size and all(i["alarmed"] and i["mirrored"] for i in incidents)


def _expects(incident: Incident) -> list[str]:
    return [f"{e.tag} {AlarmType(e.type).name} level {int(e.level)}" for e in incident.expects] + [
        f"{tag} flag {flag.name}" for tag, flag in incident.flags
    ]


def _mirrored(centre: centre_config.Centre, origin: str) -> int:
    """Leaves the centre's cosigned checkpoint of `origin` names."""
    try:
        note: Checkpoint = parse_note((centre.log(origin) / "checkpoint").read_bytes()).checkpoint()
    except FileNotFoundError:
        return 0
    return note.size

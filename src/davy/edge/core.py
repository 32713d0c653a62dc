"""The core process of a site: sources -> quality -> alarm -> output, and everything into the black box.

Act, log, tell, in that order: a transition goes to the outputs the moment it is decided, to the
recorder next, to the screens last. The core waits on no disk, no link and no other process.
"""

import asyncio
import gc
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from davy import process, wire
from davy.alarm import Alarms
from davy.blackbox.log import Log
from davy.clock import SECOND, Clock, SourceClock
from davy.edge.config import SYSTEM_TAGS, Site, load
from davy.edge.faults import unheld_us
from davy.edge.live import LATEST_EVERY_S, LiveFeed
from davy.edge.recorder import Recorder, SignerPort
from davy.edge.resume import Resumed, counts, resume
from davy.edge.room import Room
from davy.edge.verbs import act_of, may, readings_of
from davy.errors import DavyError, Unreachable
from davy.fact import Config, Kind, Note, Transition
from davy.quality import Judge
from davy.reading import Flag, Readings, Status, concat
from davy.source import KINDS

log_line = structlog.get_logger()

#: Readings wait this long for company before they are judged (river.md 1), or until there are enough.
TICK_S = 0.01
TICK_READINGS = 500
SWEEP_S = 0.1
EPOCH_NS = 3600 * 1_000_000_000
#: After a start there is nothing to code readings against; by then enough has been seen (ADR 0003).
LEARN_NS = 30 * 1_000_000_000
#: Sealed at once when so many wait, however short the time.
SEAL_READINGS = 20_000
#: Readings a replay may be ahead of the record.
REPLAY_AHEAD = 200_000
#: A transition that is not durable by then is a fault with a name (architecture.md 1).
LOG_DEADLINE_NS = 1_000_000_000
SEALED_DEADLINE_S = 5.0
#: The wall clock may step this far against the monotonic one before it is a fact of its own (contracts.md 12).
CLOCK_JUMP_US = SECOND
#: A leaf that the centre has not held for so long is a fault.
UNHELD_US = 60 * SECOND
_MB = 1_000_000

SIGNER_DEADLINE_S = 10.0
#: Flags that hold an alarm back: only a person's sealed act sets them, never a device (contracts.md 5).
_PERSONS = np.uint32(Flag.calibration | Flag.maintenance | Flag.bypass)

Output = Callable[[Sequence[Transition]], None]


class Core:
    """The river of one site, in one event loop; every method runs in that loop.

    `ingest` may be called at any rate with batches of any size; `step` judges what has arrived.
    """

    def __init__(
        self, site: Site, clock: Clock, pace: Clock, recorder: Recorder, alarms: Alarms, outputs: list[Output]
    ) -> None:
        self.site = site
        self.clock = clock  # what time it is on the site; source time in a replay
        self.pace = pace  # how often we seal and change keys, which is real time even then
        self.recorder = recorder
        self.judge = Judge(site.tags)
        self.alarms = alarms
        self.outputs = outputs
        self.live = LiveFeed(site.tags, self._snapshot)
        self.room = Room(site.data, site.config.keep_free * _MB, recorder, clock)
        self.readings_in = 0
        self.checkpoint: dict[str, Any] = {"size": 0, "time": 0, "held_size": 0, "held_time": 0, "exposure_us": None}
        self._inbox: list[Readings] = []
        self._waiting = 0
        self._scheduled = False
        self._unsealed: list[Readings] = []
        self._unsealed_count = 0
        self._seal_every_ns = int(site.config.seal_every) * 1000
        self._last_seal = pace.mono_ns()
        self._epoch_began = pace.mono_ns()
        self._learnt: int | None = None
        self._undurable: list[tuple[int, Any]] = []  # (monotonic ns handed over, future)
        self._faults = {tag.name: 0.0 for tag in SYSTEM_TAGS}
        self._began = pace.now_us()
        self._dropped_seen = 0
        self._wall_minus_mono = clock.now_us() - clock.mono_ns() // 1000

    # In

    def ingest(self, r: Readings) -> None:
        """Take a batch from a source; judged within TICK_S, at once when enough wait."""
        self._inbox.append(r)
        self._waiting += len(r)
        if self._waiting >= TICK_READINGS:
            self.step()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(TICK_S, self.step)

    async def has_room(self) -> None:
        """Return once the record has kept up: a replayed file waits, where a device would not."""
        while self.recorder.waiting_readings > REPLAY_AHEAD:
            await self.pace.sleep_until(self.pace.mono_ns() + int(TICK_S * 1e9))

    def step(self) -> None:
        """Judge, alarm and act on everything that waits."""
        self._scheduled = False
        if not self._inbox:
            return
        batch = concat(self._inbox)
        self._inbox, self._waiting = [], 0
        self.readings_in += len(batch)
        if (batch.flags & _PERSONS).any():
            batch = replace(batch, flags=batch.flags & ~_PERSONS)
        if isinstance(self.clock, SourceClock):
            self.clock.observe(int(batch.server_time.max()))
        self._judged(self.judge.judge(batch))

    def _judged(self, judged: Readings) -> None:
        now, mono = self.clock.now_us(), self.clock.mono_ns()
        self._act(self.alarms.judge(judged, now, mono))
        self.live.readings(judged)
        self._unsealed.append(judged)
        self._unsealed_count += len(judged)
        if self._unsealed_count >= SEAL_READINGS or self._seal_is_due():
            self.seal()

    def _act(self, transitions: list[Transition]) -> None:
        """Act, log, tell."""
        if not transitions:
            return
        for output in self.outputs:
            output(transitions)
        mono = self.pace.mono_ns()
        for t in transitions:
            self._undurable.append((mono, self.recorder.put_event(Kind.transition, t)))
        self.live.transitions(transitions)

    def _seal_is_due(self) -> bool:
        return self.pace.mono_ns() - self._last_seal >= self._seal_every_ns

    def seal(self) -> None:
        """Hand what was judged since the last time to the recorder."""
        self._last_seal = self.pace.mono_ns()
        if self._unsealed:
            batch = concat(self._unsealed)
            self._unsealed, self._unsealed_count = [], 0
            self.recorder.put_readings(batch)

    # By the clock

    def sweep(self) -> None:
        """What must happen without a reading: silence, delays, shelving, faults, epochs. Every SWEEP_S."""
        now, mono = self.clock.now_us(), self.clock.mono_ns()
        self.step()
        silent = self.judge.stale(now, mono)
        if len(silent):
            self._judged(silent)
        self._act(self.alarms.tick(now, mono))
        if self._seal_is_due():
            self.seal()
        self._watch_clock(now, mono)
        self._watch_faults(now, mono)
        if self.pace.mono_ns() - self._epoch_began >= EPOCH_NS:
            self.begin_epoch("hour")
        if self._learnt is not None and self.pace.mono_ns() >= self._learnt:
            self._learnt = None
            self.seal()
            self._put_tags()

    def begin_epoch(self, reason: str, lost: str = "") -> None:
        """New keys from here on; the leaf carries the whole alarm state. lost: why it is not what stood before."""
        self.seal()
        self._epoch_began = self.pace.mono_ns()
        self.recorder.put_epoch(self.alarms.snapshot(), reason)
        if lost:  # directly after it, so whoever folds the log knows why the two differ
            self.recorder.put_event(Kind.unverified_start, Note("unverified_start", {"why": lost}, self.clock.now_us()))
        self._put_tags()
        self._learnt = self._epoch_began + LEARN_NS if reason == "start" else None

    def record_centre(self, keys: dict[str, str] | None) -> None:
        """Whose keys this site trusts and wraps to, for whoever judges the log later (contracts.md 8)."""
        if keys:
            self.recorder.put_event(Kind.config, Config("centre", keys, self.clock.now_us()))

    def _put_tags(self) -> None:
        """The tag table, with the newest values as references for what is sealed after it."""
        value = self.live.latest.value
        self.recorder.put_tags(self.site.tags, value.copy() if np.isfinite(value).any() else None)

    def _watch_clock(self, now: int, mono: int) -> None:
        offset = now - mono // 1000
        jump, self._wall_minus_mono = offset - self._wall_minus_mono, offset
        if abs(jump) > CLOCK_JUMP_US:
            log_line.warning("clock_jumped", by_us=jump)
            self.recorder.put_event(Kind.clock, Note("jump", {"by_us": jump, "mono_ns": mono}, now))

    def _watch_faults(self, now: int, mono: int) -> None:
        """Davy's own faults become readings of its own tags, so the one alarm machine tells them."""
        self._undurable = [(at, f) for at, f in self._undurable if not f.done()]
        faults, real = self.recorder.faults, self.pace.mono_ns()
        # In a replay the leaves are as old as what is replayed, so how long they wait says nothing.
        unheld = unheld_us(self.checkpoint, self._began, now) if self.clock is self.pace else None
        found = {
            "DAVY.DISK": faults.disk,
            "DAVY.LOG": bool(self._undurable) and real - self._undurable[0][0] > LOG_DEADLINE_NS,
            "DAVY.SIGNER": faults.signer,
            "DAVY.HELD": unheld is not None and unheld > UNHELD_US,
            "DAVY.DROPS": faults.dropped > self._dropped_seen,
            "DAVY.ROOM": self.room.low,
        }
        self._dropped_seen = faults.dropped
        changed = {name: float(v) for name, v in found.items() if float(v) != self._faults[name]}
        if not changed:
            return
        self._faults.update(changed)
        by_name = self.site.tags.by_name
        self._judged(self._own({by_name[name].index: v for name, v in changed.items() if name in by_name}, now, mono))

    def _own(self, values: dict[int, float], now: int, mono: int) -> Readings:
        n = len(values)
        return Readings(
            tag=np.fromiter(values, np.uint32, n),
            value=np.fromiter(values.values(), np.float64, n),
            status=np.full(n, int(Status.Good), np.uint32),
            flags=np.zeros(n, np.uint32),
            source_time=np.full(n, now, np.int64),
            server_time=np.full(n, now, np.int64),
            origin=self.site.origin,
            tags_version=self.site.tags.version,
            mono_ns=mono,
            boot_id=self.recorder.boot,
        )

    def own_tags_are_well(self) -> None:
        """State every own fault tag once at the start, so none is silent."""
        now, mono = self.clock.now_us(), self.clock.mono_ns()
        by_name = self.site.tags.by_name
        self._judged(self._own({by_name[n].index: 0.0 for n in self._faults if n in by_name}, now, mono))

    # People

    async def act(
        self, actor: str, role: str, verb: int, alarm: int, version: int, reason: str = "", until: int = 0
    ) -> dict[str, Any]:
        """Carry out a person's act; answers with its leaf index once sealed.

        Raises NotAllowed, StaleVersion, UnknownTarget or BadRequest with nothing changed, and
        Unreachable when the act was carried out but is not durable yet (it will be, or it will not
        survive a restart; the alarm list tells).
        """
        now = self.clock.now_us()
        act = act_of(now, actor=actor, role=role, verb=verb, alarm=alarm, version=version, reason=reason, until=until)
        may(act, self.alarms.view(alarm).alarm_class)
        transitions = self.alarms.act(act, now, self.clock.mono_ns())
        index = self.recorder.put_event(Kind.act, act)
        self._act(transitions)
        try:
            return {"index": await asyncio.wait_for(asyncio.wrap_future(index), SEALED_DEADLINE_S)}
        except TimeoutError:
            raise Unreachable("the act is done here, but the black box has not sealed it within 5 s") from None

    # Out

    def _snapshot(self) -> dict[str, Any]:
        config = self.site.config
        return {
            "site": {
                "origin": self.site.origin,
                "name": dict(config.name),
                "position": list(config.position) if config.position else None,
                "tags_version": self.site.tags.version,
                "centre": config.centre.url if config.centre else None,
            },
            "tags": [t.plain() for t in self.site.tags.tags],
            "alarms": [view.plain() for view in self.alarms.standing()],
            "checkpoint": self.checkpoint,
        }

    def held(self, state: dict[str, Any]) -> None:
        """What the uplink says the centre holds."""
        self.checkpoint |= state
        self.live.checkpoint(self.checkpoint)

    def signed(self, size: int) -> None:
        self.checkpoint |= {"size": size, "time": self.clock.now_us()}
        self.live.checkpoint(self.checkpoint)

    def handlers(self) -> dict[str, wire.Handler]:
        """The verbs of run/core.sock."""

        async def readings(columns: Mapping[str, bytes]) -> int:
            batch = readings_of(
                columns,
                self.site.tags,
                self.clock.now_us(),
                origin=self.site.origin,
                tags_version=self.site.tags.version,
                mono_ns=self.clock.mono_ns(),
                boot_id=self.recorder.boot,
            )
            self.ingest(batch)
            return len(batch)

        async def status() -> dict[str, Any]:
            return {
                "origin": self.site.origin,
                "readings_in": self.readings_in,
                "leaves": self.recorder.log.size if self.recorder.log else 0,
                "backlog": self.recorder.backlog,
                "dropped_readings": self.recorder.faults.dropped,
                "dropped_items": self.live.dropped,
                "standing": len(self.alarms.standing()),
                "checkpoint": self.checkpoint,
                "boot": self.recorder.boot,
            }

        return {"act": self.act, "subscribe": self.live.subscribe, "readings": readings, "status": status}


class SocketSigner(SignerPort):
    """The signer process, asked from the recorder's thread."""

    def __init__(self, site: Site) -> None:
        self._client = wire.BlockingClient(site.run / "signer.sock")
        self._centre = site.secrets / "centre.json"

    def sign(self, origin: str, size: int, root: bytes) -> bytes:
        return bytes(self._client.call("sign", origin=origin, size=size, root=root))

    def epoch(self, number: int) -> tuple[dict[int, bytes], bytes]:
        centre = centre_keys(self._centre)
        recipients = [bytes.fromhex(centre["recipient"])] if centre else []
        answer = self._client.call("epoch", number=number, recipients=recipients)
        return dict(answer["keys"]), bytes(answer["wraps_hash"])

    def key(self, key_id: int) -> bytes:
        return bytes(self._client.call("key", key_id=key_id))

    def wait(self, clock: Clock, deadline_s: float) -> bool:
        """Whether the signer answers before the deadline."""
        until = clock.mono_ns() + int(deadline_s * 1e9)
        while clock.mono_ns() < until:
            with suppress(DavyError):
                self._client.call("ping")
                return True
            threading.Event().wait(0.05)
        return False


def centre_keys(path: Path) -> dict[str, str] | None:
    """What enrolment told of the centre and is no secret: url, vkey of its mirror, and the X25519 public key
    (hex) that sealed bodies are wrapped to; None where there is no centre."""
    try:
        told = json.loads(path.read_text())
        bytes.fromhex(told["recipient"])
        return {key: str(told[key]) for key in ("url", "vkey", "recipient")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:  # a damaged file must not stop a site
        log_line.error("centre_keys_unreadable", file=path.name, err=str(error))
        return None


def build(site: Site, clock: Clock, signer: SignerPort, outputs: list[Output], pace: Clock | None = None) -> Core:
    """The wiring of a core, ready to ingest: log opened and recovered, alarms resumed, epoch begun.

    clock: what time it is; pace: real time for sealing and epochs, by default the same. A log that
    cannot be opened (full disk, contradiction) stops nothing: alarms run, DAVY.DISK stands, and the
    recorder tries again (contracts.md 9).
    """
    pace = pace or clock

    def reopen() -> tuple[Log, tuple[int, int, int]]:
        log = Log.open(site.log, site.origin)
        return log, counts(log)

    log: Log | None = None
    try:
        log, _ = reopen()
        before = resume(log, site.tags, signer.key)
    except (OSError, DavyError) as error:
        if log is not None:
            log.close()
            log = None
        log_line.error("log_not_opened", err=str(error))
        before = Resumed(Alarms(site.tags), -1, 0, 0, f"log not opened: {error}")
    recorder = Recorder(
        log,
        signer,
        clock,
        pace,
        boot=before.boot + 1,
        epoch=before.epoch,
        tags_version=before.tags_version,
        reopen=reopen,
    )
    core = Core(site, clock, pace, recorder, before.alarms, outputs)
    now = clock.now_us()
    core.begin_epoch("start", f"alarm state not restored: {before.lost}" if before.lost else "")
    recorder.put_event(Kind.config, Config("site", json.loads(site.config.model_dump_json()), now))
    core.record_centre(centre_keys(site.secrets / "centre.json"))
    core.own_tags_are_well()
    return core


async def _repeat(every_s: float, clock: Clock, work: Callable[[], None]) -> None:
    due = clock.mono_ns()
    while True:
        due = max(due + int(every_s * 1e9), clock.mono_ns())
        await clock.sleep_until(due)
        work()


async def run(folder: Path, clock: Clock, outputs: list[Output] | None = None) -> None:
    """Run a site's core until cancelled."""
    outputs = [annunciate] if outputs is None else outputs
    site = load(folder)
    signer = SocketSigner(site)
    if not signer.wait(clock, SIGNER_DEADLINE_S):
        log_line.error("signer_does_not_answer")  # go on: alarms need no signature (contracts.md 9)
    core = build(site, SourceClock() if is_replay(site) else clock, signer, outputs, clock)
    loop = asyncio.get_running_loop()
    core.recorder.on_checkpoint = lambda size: loop.call_soon_threadsafe(core.signed, size)
    core.recorder.start()
    gc.collect()
    gc.freeze()  # configuration lives as long as we do: a full collection need not walk it (river.md 4)
    uplink_file = site.run / "uplink.json"

    def read_uplink() -> None:
        with suppress(OSError, ValueError, TypeError):
            core.held(json.loads(uplink_file.read_text()))

    known = centre_keys(site.secrets / "centre.json")

    def watch_centre() -> None:
        nonlocal known
        current = centre_keys(site.secrets / "centre.json")
        if current != known:
            known = current
            core.begin_epoch("recipients")
            core.record_centre(current)

    server = await wire.serve(site.run / "core.sock", core.handlers())
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, config in site.config.links.items():
                kind = KINDS[config.kind]
                tags = [t for t in site.tags.tags if t.link == name]
                source = kind.make(name, config, tags, core.clock, (site.origin, site.tags.version, core.recorder.boot))
                ready = core.has_room if config.kind == "replay" else None
                tasks.create_task(kind.run(source, core.ingest, core.clock, ready), name=f"source {name}")
            tasks.create_task(_repeat(SWEEP_S, clock, core.sweep), name="sweep")
            tasks.create_task(_repeat(LATEST_EVERY_S, clock, core.live.flush), name="latest")
            tasks.create_task(_repeat(1.0, clock, read_uplink), name="held")
            tasks.create_task(_repeat(1.0, clock, watch_centre), name="centre")
            tasks.create_task(core.room.watch(clock), name="room")
    finally:
        server.close()
        core.step()
        core.seal()
        core.recorder.stop()


def is_replay(site: Site) -> bool:
    """Whether every link replays files at their own time: then that time is the site's."""
    return bool(site.config.links) and all(
        link.kind == "replay" and link.stamp == "source" and link.speed == "fast" for link in site.config.links.values()
    )


def annunciate(transitions: Sequence[Transition]) -> None:
    """One line a transition on the process's log; sirens and relays join as further outputs."""
    for t in transitions:
        log_line.warning(
            "alarm_transition",
            alarm=t.alarm,
            tag=t.tag,
            cause=t.cause,
            state=t.state,
            reached=t.level,
            priority=t.priority,
        )


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)  # the recorder's Python must not hold up an alarm (river.md 4)
    process.main("core", run)

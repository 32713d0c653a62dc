"""A small site for tests: three instruments on a folder, its real signer, log and core, in this process."""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from davy.blackbox import signer as signers
from davy.blackbox.fsck import Report, check
from davy.blackbox.keyring import Keyring
from davy.blackbox.log import Log
from davy.blackbox.seal import open_chunk
from davy.blackbox.signer import Signer, read_box_key
from davy.cli.blackbox import Contents
from davy.clock import SECOND, SimulatedClock
from davy.edge.config import SYSTEM_TAGS, Site, SiteConfig
from davy.edge.core import Core, build
from davy.errors import DavyError
from davy.fact import Kind, Leaf, Tags, Transition, decode_leaf
from davy.fact.codec import decode_readings
from davy.fact.event import BODY, State
from davy.fact.memory import References
from davy.reading import Class, Hazard, Readings, Tag, TagTable
from davy.reading.readings import COLUMNS

NOW = 1_750_000_000 * SECOND
LEVEL, GAS, FLOW = 0, 1, 2
PERSON = "p:0190a000"

INSTRUMENTS = (
    Tag(uid="t:level", index=LEVEL, name="T101.LEVEL", link="plc", unit="%", hazard=Hazard.both, priority=2,
        range_low=0.0, range_high=100.0, low=15.0, high=85.0, high_high=90.0),
    Tag(uid="t:gas", index=GAS, name="AT-07.CH4", link="plc", unit="%LEL", hazard=Hazard.high, priority=1,
        alarm_class=Class.statutory, range_low=0.0, range_high=100.0, high=25.0, high_high=50.0,
        stale_after=3 * SECOND),
    Tag(uid="t:flow", index=FLOW, name="F1", link="plc", unit="m3/h"),
)  # fmt: skip


def table(instruments: Iterable[Tag] = INSTRUMENTS, version: int = 1) -> TagTable:
    tags = tuple(instruments)
    first = max(t.index for t in tags) + 1
    return TagTable(version, (*tags, *(replace(t, index=first + i) for i, t in enumerate(SYSTEM_TAGS))))


def site(folder: Path, tags: TagTable | None = None, **settings: Any) -> Site:
    """A site with its keys drawn, as `davy edge run` would have it; nothing is running."""
    config = SiteConfig.model_validate({"version": 1, "org": "zs", "site": "quay", "links": {}} | settings)
    made = Site(folder, config, tags or table())
    if not signers.exists(made.secrets):
        signers.create(made.secrets, made.origin)
    return made


class Here:
    """The signer, in this process. `away` makes it unreachable."""

    def __init__(self, place: Site) -> None:
        self.signer = Signer(place.secrets, place.data / "keyring")
        self.away: Exception | None = None
        self.signed: list[int] = []

    def _check(self) -> None:
        if self.away:
            raise self.away

    def sign(self, origin: str, size: int, root: bytes) -> bytes:
        self._check()
        self.signed.append(size)
        return self.signer.sign(origin, size, root)

    def epoch(self, number: int) -> tuple[dict[int, bytes], bytes]:
        self._check()
        return self.signer.epoch(number)

    def key(self, key_id: int) -> bytes:
        self._check()
        return self.signer.key(key_id)


def batch(
    values: dict[int, float], clock: Any, *, status: int = 0, flags: int = 0, place: Site | None = None
) -> Readings:
    """One reading of each tag, now."""
    n, now = len(values), clock.now_us()
    return Readings(
        tag=np.fromiter(values, np.uint32, n),
        value=np.fromiter(values.values(), np.float64, n),
        status=np.full(n, status, np.uint32),
        flags=np.full(n, flags, np.uint32),
        source_time=np.full(n, now, np.int64),
        server_time=np.full(n, now, np.int64),
        origin="zs/quay/bb1",
        tags_version=1,
        mono_ns=clock.mono_ns(),
        boot_id=1,
    )


def many(tag: int, values: Any, clock: Any) -> Readings:
    """Readings of one tag, all of them now."""
    n = len(values)
    columns = {c: np.repeat(getattr(batch({tag: 0.0}, clock), c), n) for c, _ in COLUMNS} | {"value": values}
    return Readings(**columns, origin="zs/quay/bb1", tags_version=1, mono_ns=clock.mono_ns(), boot_id=1)


@dataclass
class Entry:
    """A leaf of a log, opened: content is Readings, an event of `fact`, or None where no body could be read."""

    leaf: Leaf
    content: Any

    @property
    def kind(self) -> Kind:
        return self.leaf.kind


def _content(leaf: Leaf, chunk: bytes | None, key: bytes, origin: str, refs: dict[int, References]) -> Any:
    plain = open_chunk(leaf, chunk, key, origin)
    if leaf.kind == Kind.readings:
        return decode_readings(plain, refs[leaf.tags_version], tags_version=leaf.tags_version)
    return BODY[leaf.kind].decode(plain)


def entries(place: Site, log: Any = None, keys: Callable[[int], bytes] | None = None) -> list[Entry]:
    """Every leaf of a log, opened. log: of another holder of it; keys: theirs. The log must not be being written."""
    ring = Keyring(place.data / "keyring", place.origin, read_box_key(place.secrets))
    opened = Log.open(place.log, place.origin) if log is None else log
    refs: dict[int, References] = {0: References()}
    out = []
    for data in opened.leaves(0, opened.size):
        leaf = decode_leaf(data)
        content: Any = None
        with suppress(DavyError):
            content = _content(leaf, opened.body(leaf.seq, leaf), (keys or ring.key)(leaf.key_id), place.origin, refs)
        if isinstance(content, Tags):
            refs[content.version] = References(np.frombuffer(content.refs, "<f8") if content.refs else None)
        out.append(Entry(leaf, content))
    if log is None:
        opened.close()
    return out


def fsck(place: Site) -> Report:
    """The site's own log, judged as `davy fsck` does."""
    keys = Keyring(place.data / "keyring", place.origin, read_box_key(place.secrets))
    verifier = Signer(place.secrets, place.data / "keyring").vkey
    return check(place.log, verifier, Contents(place.origin, keys))


@dataclass
class Box:
    """One start of a site's core, its recorder's thread running; `stop` or `kill` it before the next."""

    site: Site
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(NOW, 1_000_000_000))
    outputs: list[Any] = field(default_factory=list)
    start: bool = True

    def __post_init__(self) -> None:
        self.signer = Here(self.site)
        self.told: list[Transition] = []
        self.core: Core = build(self.site, self.clock, self.signer, [self.told.extend, *self.outputs])
        if self.start:
            self.core.recorder.start()

    def reads(self, **values: float) -> None:
        """Readings now, judged at once: level, gas, flow."""
        numbers = {"level": LEVEL, "gas": GAS, "flow": FLOW}
        self.core.ingest(batch({numbers[name]: value for name, value in values.items()}, self.clock))
        self.core.step()

    def passes(self, us: int, step: int = SECOND // 10) -> None:
        """Time goes on, swept as in a running core."""
        for _ in range(math.ceil(us / step)):
            self.clock.advance(step)
            self.core.sweep()

    async def lives(self, us: int, step: int = SECOND // 10) -> None:
        """As `passes`, with a recorder that keeps up."""
        for _ in range(math.ceil(us / step)):
            self.passes(step, step)
            await self.until(lambda: not self.core.recorder.backlog, "the log")

    def ailing(self) -> set[str]:
        """Davy's own tags that are in alarm."""
        active = [v.tag for v in self.core.alarms.standing() if v.state & State.active]
        names = (self.site.tags[tag].name for tag in active)
        return {name for name in names if name.startswith("DAVY.")}

    async def act(self, verb: int, alarm: int, version: int | None = None, role: str = "operator", **more: Any) -> int:
        seen = self.core.alarms.view(alarm).version if version is None else version
        answer = await self.core.act(PERSON, role, verb, alarm, seen, **more)
        return int(answer["index"])

    async def until(self, true: Callable[[], object], what: str = "this") -> None:
        """Wait for the recorder's thread."""
        for _ in range(12_000):
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{what} did not come true within 2 min")

    async def durable(self) -> None:
        """Seal, and wait until all of it is in the log and signed."""
        recorder = self.core.recorder
        self.core.seal()
        await self.until(lambda: not recorder.backlog, "the log")
        self.clock.advance(SECOND)  # the pace of checkpoints
        await self.until(
            lambda: recorder.log.published and recorder.log.published.size == recorder.log.size, "a signature"
        )

    def stop(self) -> None:
        """As `davy edge run` does when it is told to go."""
        self.core.step()
        self.core.seal()
        self.core.recorder.stop()
        self.core.recorder.log.close()

    def kill(self) -> None:
        """What was acknowledged is on disk; no last seal, no last checkpoint."""
        recorder = self.core.recorder
        with recorder._condition:
            recorder._queue.clear()
            recorder._checkpoint_due = False
            recorder._stopping = True
            recorder._condition.notify()
        recorder._thread.join(10)
        recorder.log.close()

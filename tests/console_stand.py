"""A stand-in for the core, the history and the centre's feed, over the real sockets, for console tests.

Tank-farm tags with every quality and alarm state on show; `act` moves alarms by the real state table.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from davy import wire
from davy.alarm import state as states
from davy.alarm.fold import AlarmView, Fold
from davy.clock import SECOND, SystemClock
from davy.errors import StaleVersion, UnknownTarget, Unreachable
from davy.fact.event import AlarmType, Cause, State, Transition, Verb
from davy.reading import Class, Flag, Hazard, Status, Tag

CLOCK = SystemClock()
ORIGIN = "davy/harbour-chem/bb1"
NAME = {"en": "Harbour Chemicals", "zh": "海港化工"}


def _tag(
    index: int, name: str, en: str, zh: str, area: str, unit: str, least: float, most: float, /, **more: Any
) -> Tag:
    return Tag(
        uid=f"0190a000-0000-7000-8000-{index:012d}", index=index, name=name,
        label=MappingProxyType({"en": en, "zh": zh}), area=area, link="farm-plc", address=f"4!4{index:04d}",
        type="float32 CDAB", unit=unit, range_low=least, range_high=most, stale_after=10 * SECOND, **more,
    )  # fmt: skip


def tank(index: int, n: int) -> Tag:
    return _tag(index, f"T{n}.LEVEL", f"Tank {n} level", f"{n}罐液位", "Tank farm", "%", 0, 100, hazard=Hazard.both,
                low_low=10, low=15, high=85, high_high=90, deadband=1, priority=1, on_delay=5 * SECOND)  # fmt: skip


def gas(index: int, n: int, area: str) -> Tag:
    return _tag(index, f"AT-{n:02d}.CH4", f"Combustible gas {n}", f"可燃气{n}", area, "%LEL", 0, 100,
                hazard=Hazard.high, alarm_class=Class.statutory, high=25, high_high=50, priority=2,
                latch=True)  # fmt: skip


def tags() -> list[Tag]:
    out = [tank(i, 101 + i) for i in range(6)]
    out += [_tag(6 + i, f"T{101 + i}.TEMP", f"Tank {101 + i} temperature", f"{101 + i}罐温度", "Tank farm", "Cel",
                 -20, 80, hazard=Hazard.high, high=45, priority=3) for i in range(6)]  # fmt: skip
    out += [gas(12 + i, i + 1, "Tank farm") for i in range(4)] + [gas(16 + i, i + 7, "Pump room") for i in range(3)]
    out += [
        _tag(19, "PM-14.VIB", "Receipt pump vibration", "收料泵振动", "Pump room", "mm/s", 0, 20, high=7.1, priority=3),
        _tag(20, "FT-110", "Receipt flow, jetty line", "码头来料流量", "Jetty", "m3/h", 0, 600, high=400, priority=3),
        _tag(21, "PT-301", "Fire-water header pressure", "消防水总管压力", "Jetty", "MPa", 0, 1.6, hazard=Hazard.low,
             low=0.6, low_low=0.4, priority=2),
        Tag(uid="0190a000-0000-7000-8000-000000000022", index=22, name="ROV-103.OPEN", type="bool", area="Jetty",
            label=MappingProxyType({"en": "Inlet valve 103 open", "zh": "103进料阀开"}), link="farm-plc"),
    ]  # fmt: skip
    return out


class Stand:
    """One origin. `push_*` tell every subscriber; `slow` delays answers to `act`."""

    def __init__(self, folder: Path, origin: str = ORIGIN, name: dict[str, str] = NAME, calm: bool = False) -> None:
        self.origin, self.name, self.calm = origin, name, calm
        self.feed_path, self.history_path = folder / "core.sock", folder / "history.sock"
        self.tags = tags()
        self.fold = Fold()
        self.acts: list[dict[str, Any]] = []
        self.index = 48_201_337
        self.down = False
        self.slow = asyncio.Event()
        self.slow.set()
        self.began = CLOCK.now_us()
        self.moved: list[tuple[Transition, int]] = []
        self._subscribers: set[asyncio.Queue[dict[str, Any]]] = set()
        self._servers: list[asyncio.Server] = []
        self.values = np.array([62.4, 48.1, 91.3, 33.7, 71.9, 44.5, *[17.8, 17.6, 18.2, 17.9, 17.7, 17.5],
                                2.1, 27.0, 26.4, 0.4, 6.0, 3.2, 100.0, 7.4, 412.0, 0.92, 1.0])  # fmt: skip
        self.status = np.zeros(len(self.tags), np.uint32)
        self.flags = np.zeros(len(self.tags), np.uint32)
        self.lag = np.full(len(self.tags), SECOND // 2)
        if calm:
            self.values[[2, 13, 14, 18, 19, 20]] = [55.0, 1.0, 1.0, 2.0, 3.0, 310.0]
        else:
            self.status[5], self.flags[5], self.lag[5] = Status.UncertainLastUsableValue, Flag.stale, 252 * SECOND
            self.status[9] = Status.BadNotConnected
            self.status[10] = Status.UncertainSensorNotAccurate
            self.status[18], self.flags[18] = Status.BadSensorFailure, Flag.over_range
            self.flags[17] = Flag.calibration
            self._stand_alarms()

    def _stand_alarms(self) -> None:
        def at(s: int) -> int:
            return self.began - s * SECOND

        self.raise_alarm(2, AlarmType.high, 1, 85.0, at(2360))
        self.act_on(2 * 8, Cause.acknowledged, at(2300))
        self.raise_alarm(2, AlarmType.high, 2, 90.0, at(168), Cause.escalated)
        self.raise_alarm(13, AlarmType.high, 1, 25.0, at(31))
        self.raise_alarm(14, AlarmType.high, 1, 25.0, at(54))
        self.raise_alarm(18, AlarmType.bad, 1, math.nan, at(700))
        self.act_on(18 * 8 + 4, Cause.acknowledged, at(640))
        self.raise_alarm(16, AlarmType.high, 1, 25.0, at(1330))
        self.act_on(16 * 8, Cause.acknowledged, at(1300))
        self.act_on(16 * 8, Cause.returned, at(1200), latching=True)
        self.raise_alarm(19, AlarmType.high, 1, 7.1, at(525))
        self.act_on(19 * 8, Cause.acknowledged, at(500))
        self.raise_alarm(20, AlarmType.high, 1, 400.0, at(2467))
        self.act_on(20 * 8, Cause.acknowledged, at(2460))
        self.act_on(
            20 * 8,
            Cause.shelved,
            at(480),
            reason="Jetty asked for 420 until ship change",
            until=self.began + 1320 * SECOND,
        )
        self.raise_alarm(5, AlarmType.stale, 1, math.nan, at(250))
        self.act_on(5 * 8 + 3, Cause.acknowledged, at(200))
        self.raise_alarm(11, AlarmType.high, 1, 45.0, at(723))
        self.act_on(11 * 8, Cause.returned, at(600))

    # ---- alarms

    def raise_alarm(
        self, tag: int, kind: AlarmType, level: int, limit: float, time: int, cause: Cause = Cause.activated
    ) -> Transition:
        number = tag * 8 + kind
        before = self.fold.live.get(number)
        t = self.tags[tag]
        view = before or AlarmView(number, tag, list(Class).index(t.alarm_class), t.priority)
        priority = t.priority if kind != AlarmType.stale else 4
        return self._move(view, cause, states.after(view.state, cause), level, priority, limit, time)

    def act_on(
        self,
        number: int,
        cause: Cause,
        time: int,
        *,
        latching: bool = False,
        actor: str = "",
        reason: str = "",
        until: int = 0,
    ) -> Transition:
        view = self.fold.live[number]
        state = states.after(view.state, cause, latching)
        level = view.level if state & State.active else 0
        return self._move(view, cause, state, level, view.priority, view.limit, time, actor, reason, until)

    def _move(
        self, view: AlarmView, cause: Cause, state: int, level: int, priority: int, limit: float, time: int,
        actor: str = "", reason: str = "", until: int = 0,
    ) -> Transition:  # fmt: skip
        t = Transition(
            alarm=view.alarm, tag=view.tag, version=view.version + 1,
            activation=view.activation + (cause in (Cause.activated, Cause.escalated)), cause=cause,
            state_before=view.state, state=state, level_before=view.level, level=level, priority=priority,
            alarm_class=view.alarm_class, value=float(self.values[view.tag]), status=int(self.status[view.tag]),
            limit=limit, source_time=time, time=time, actor=actor, reason=reason, until=until,
        )  # fmt: skip
        self.fold.apply(t)
        self.index += 1
        self.moved.append((t, self.index))
        self.tell({"what": "transition", **asdict(t)})
        return t

    # ---- feed

    def columns(self, picked: list[int] | None = None) -> dict[str, bytes]:
        index = np.arange(len(self.tags)) if picked is None else np.array(picked)
        now = CLOCK.now_us()
        at = now - self.lag[index]
        return {
            "tag": index.astype("<u4").tobytes(),
            "value": self.values[index].astype("<f8").tobytes(),
            "status": self.status[index].astype("<u4").tobytes(),
            "flags": self.flags[index].astype("<u4").tobytes(),
            "source_time": at.astype("<i8").tobytes(),
            "server_time": at.astype("<i8").tobytes(),
        }

    def checkpoint(self, behind_s: float = 2.0) -> dict[str, Any]:
        now = CLOCK.now_us()
        return {
            "size": self.index, "time": now, "held_size": self.index - 3, "held_time": now - int(behind_s * SECOND),
            "exposure_us": int((behind_s + 1) * SECOND),
        }  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        return {
            "what": "snapshot",
            "origin": self.origin,
            "site": {"origin": self.origin, "name": self.name, "position": [121.84, 30.86], "tags_version": 1},
            "tags": [t.plain() for t in self.tags],
            "latest": self.columns(),
            "alarms": [v.plain() for v in self.fold.standing()],
            "checkpoint": self.checkpoint(),
        }

    def tell(self, item: dict[str, Any]) -> None:
        for queue in self._subscribers:
            queue.put_nowait({"origin": self.origin, **item})

    def push_latest(self, picked: list[int] | None = None) -> None:
        self.tell({"what": "latest", **self.columns(picked)})

    def push_checkpoint(self, behind_s: float = 2.0) -> None:
        self.tell({"what": "checkpoint", **self.checkpoint(behind_s)})

    async def subscribe(self, what: list[str]) -> AsyncIterator[dict[str, Any]]:
        if self.down:
            raise Unreachable("the core is down")
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._subscribers.add(queue)
        try:
            yield self.snapshot()
            while True:
                item = await queue.get()
                if self.down:
                    return
                yield item
        finally:
            self._subscribers.discard(queue)

    async def act(
        self, actor: str, role: str, verb: int, alarm: int, version: int, reason: str = "", until: int = 0
    ) -> dict[str, int]:
        self.acts.append({"actor": actor, "role": role, "verb": verb, "alarm": alarm, "reason": reason, "until": until})
        await self.slow.wait()
        if self.down:
            raise Unreachable("the core is down")
        view = self.fold.live.get(alarm)
        if view is None:
            raise UnknownTarget(f"alarm {alarm}: not known")
        if view.version != version:
            raise StaleVersion(f"alarm {alarm}: you saw version {version}, it is at {view.version}")
        causes = {
            Verb.acknowledge: Cause.acknowledged, Verb.timed_shelve: Cause.shelved, Verb.unshelve: Cause.unshelved,
            Verb.reset: Cause.reset,
        }  # fmt: skip
        if (cause := causes.get(Verb(verb))) is not None:
            self.act_on(alarm, cause, CLOCK.now_us(), actor=actor, reason=reason, until=until)
        return {"index": self.index}

    # ---- history

    async def query(self, kind: str, origin: str, tags: list[int], t0: int, t1: int, n: int) -> dict[str, Any]:
        if kind == "transitions":
            found = [(t, leaf) for t, leaf in self.moved if t0 <= t.time < t1 and t.tag in tags]
            out: dict[str, Any] = {}
            for name in asdict(Transition(*[0] * 16)):
                column = [getattr(t, name) for t, _ in found]
                dtype = "<f8" if name in ("value", "limit") else "u1" if name == "historical" else "<i8"
                out[name] = column if name in ("actor", "reason") else np.array(column, dtype).tobytes()
            return out | {"leaf": np.array([leaf for _, leaf in found], "<i8").tobytes()}
        return self._buckets(tags[0], t0, t1, n)

    def _buckets(self, index: int, t0: int, t1: int, n: int) -> dict[str, Any]:
        tag = self.tags[index]
        time = t0 + (np.arange(n) * (t1 - t0)) // n
        now = CLOCK.now_us()
        back = (now - time) / SECOND
        span = (tag.range_high or 1.0) - (tag.range_low or 0.0)
        value = self.values[index] - span * 0.25 * (1 - np.exp(-back / 1500)) + span * 0.006 * np.sin(back / 23)
        if tag.type == "bool":
            value = (back < 2000).astype(float)
        rng = np.random.default_rng(index)
        noise = span * 0.004 * rng.random(n)
        per = max(1, (t1 - t0) // n // SECOND)
        count = np.where((back > 1.0) & ~((back > 1500) & (back < 1650)), per, 0).astype("<u4")
        empty = count == 0
        good = np.where((back > 900) & (back < 1100), count // 2, count).astype("<u4")
        columns = {"min": value - noise, "avg": value, "max": value + noise}
        return {
            "tag": np.full(n, index, "<u4").tobytes(),
            "time": time.astype("<i8").tobytes(),
            "count": count.tobytes(),
            "good": good.tobytes(),
            "bad": np.zeros(n, "<u4").tobytes(),
            **{k: np.where(empty, np.nan, v).astype("<f8").tobytes() for k, v in columns.items()},
        }

    # ---- life

    async def open(self) -> None:
        handlers = {"subscribe": self.subscribe, "act": self.act}
        self._servers = [
            await wire.serve(self.feed_path, handlers),
            await wire.serve(self.history_path, {"query": self.query}),
        ]

    def fall(self) -> None:
        """Be gone, as a core that was killed: streams end, nothing answers."""
        self.down = True
        for queue in self._subscribers:
            queue.put_nowait({})

    def rise(self) -> None:
        self.down = False

    async def close(self) -> None:
        self.fall()
        for server in self._servers:
            server.close()

"""A small tank farm: four tanks, two pumps, gas detectors; seeded, stepped, with scripted incidents.

Unit 1 is the farm's controller, unit 2 the gas panel, unit 3 the pump house's remote I/O.
"""

import csv
import io
from collections.abc import Iterable

import numpy as np

from davy.lab.incidents import SCRIPT, Cause, Effect, Incident
from davy.lab.plant import Instrument
from davy.reading import Class, Hazard

_LOOP = "4-20mA"


def _tank(n: int, en: str, zh: str) -> tuple[Instrument, ...]:
    first = 40001 + 10 * (n - 101)
    return (
        Instrument(
            f"T{n}.LEVEL", f"{en} level", f"{zh}液位", "tank-farm", f"1!{first}", "float32 CDAB", "%", 0, 100,
            hazard=Hazard.both, priority=2, limits=(10, 15, 85, 92), deadband=1, on_delay="1s", off_delay="2s",
        ),
        Instrument(
            f"T{n}.TEMP", f"{en} temperature", f"{zh}温度", "tank-farm", f"1!{first + 2}", "float32 CDAB", "Cel", -40,
            120, hazard=Hazard.high, limits=(None, None, 45, 55), deadband=1, on_delay="2s", off_delay="2s",
            frozen_after="6s" if n == 102 else "60s",
        ),
        Instrument(
            f"T{n}.PRESS", f"{en} pressure", f"{zh}压力", "tank-farm", f"1!{first + 4}", "int16", "kPa", -5, 25,
            scale=0.01, hazard=Hazard.both, limits=(-2, -1, 15, 18), deadband=0.2, on_delay="1s", off_delay="1s",
        ),
    )  # fmt: skip


def _pump(n: int, en: str, zh: str) -> tuple[Instrument, ...]:
    i = n - 101
    return (
        Instrument(
            f"P{n}.FLOW", f"{en} flow", f"{zh}流量", "pump-house", f"3!{30001 + 2 * i}", "int32", "m3/h", 0, 200,
            scale=0.001, hazard=Hazard.low, limits=(20, 40, None, None), deadband=2, on_delay="1s", off_delay="1s",
        ),
        Instrument(f"P{n}.RUN", f"{en} runs", f"{zh}运行", "pump-house", f"3!{10001 + i}", "bool", "1"),
    )  # fmt: skip


def _gas(
    tag: str, en: str, zh: str, area: str, address: str, unit: str, high: float, h: float, hh: float
) -> Instrument:
    """A detector on a 4-20 mA loop, in microamperes. Limits: GB/T 50493-2019 5.5.2 (first, second)."""
    scale = high / 16_000
    return Instrument(
        tag, en, zh, area, address, "uint16", unit, 0, high, scale=scale, offset=-4_000 * scale, signal=_LOOP,
        hazard=Hazard.high, alarm_class=Class.statutory, priority=1, limits=(None, None, h, hh), deadband=high / 100,
        on_delay="0s", off_delay="0s", latch=True, stale_after="3s",
    )  # fmt: skip


INSTRUMENTS: tuple[Instrument, ...] = (
    *_tank(101, "Tank 101", "T101 储罐"),
    *_tank(102, "Tank 102", "T102 储罐"),
    *_tank(103, "Tank 103", "T103 储罐"),
    *_tank(104, "Tank 104", "T104 储罐"),
    *_pump(101, "Transfer pump 1", "1 号输送泵"),
    *_pump(102, "Transfer pump 2", "2 号输送泵"),
    _gas("AT-07.CH4", "Pump room gas", "泵房可燃气", "pump-room", "2!30001", "%LEL", 100, 25, 50),
    _gas("AT-08.CH4", "Pump room gas, door", "泵房门口可燃气", "pump-room", "2!30002", "%LEL", 100, 25, 50),
    _gas("AT-11.H2S", "Sump hydrogen sulfide", "污水池硫化氢", "sump", "2!30003", "mg/m3", 30, 10, 20),
    _gas("AT-12.NH3", "Loading arm ammonia", "装卸臂氨", "loading", "2!30004", "mg/m3", 90, 30, 60),
    _gas("AT-21.CH4", "Pump house gas", "泵棚可燃气", "pump-house", "3!30011", "%LEL", 100, 25, 50),
    Instrument(
        "MCP-1.FIRE", "Fire call point 1", "1 号手动火灾报警按钮", "tank-farm", "2!10001", "bool", "1",
        alarm_class=Class.statutory, priority=1, discrete=1, stale_after="3s",
    ),
)  # fmt: skip

#: tag -> (value it keeps to, how strongly it is drawn back a second, noise)
_CALM: dict[str, tuple[float, float, float]] = {
    **{f"T{n}.LEVEL": (value, 0.3, 0.01) for n, value in zip(range(101, 105), (70, 55, 62, 48), strict=True)},
    **{f"T{n}.TEMP": (value, 0.2, 0.02) for n, value in zip(range(101, 105), (21.5, 23, 22, 20.5), strict=True)},
    **{f"T{n}.PRESS": (value, 0.3, 0.05) for n, value in zip(range(101, 105), (2.5, 3, 2, 2.8), strict=True)},
    "P101.FLOW": (120, 1.0, 0.5),
    "P102.FLOW": (95, 1.0, 0.5),
    "P101.RUN": (1, 99, 0),
    "P102.RUN": (1, 99, 0),
    "AT-07.CH4": (1.5, 0.5, 0.05),
    "AT-08.CH4": (1.2, 0.5, 0.05),
    "AT-11.H2S": (0.4, 0.5, 0.02),
    "AT-12.NH3": (1.0, 0.5, 0.03),
    "AT-21.CH4": (1.1, 0.5, 0.05),
    "MCP-1.FIRE": (0, 99, 0),
}

#: What a loop's value becomes when no current flows: 0 mA, far below the NE 43 fault limit of 3.6 mA.
_NO_CURRENT_MA = 0.0


class TankFarm:
    """A Plant. `script` may be empty for a calm one; script time starts when `begin` is called."""

    def __init__(self, seed: int = 1, script: tuple[Incident, ...] = SCRIPT) -> None:
        self.instruments = INSTRUMENTS
        self.script = script
        self.time = 0.0  # s since begin; stands still before
        self._begun = False
        self._random = np.random.default_rng(seed)
        self._tags = tuple(_CALM)
        self._calm, self._pull, self._noise = np.array([_CALM[t] for t in self._tags]).T
        self._value = self._calm.copy()
        self._shown = dict(zip(self._tags, self._value.tolist(), strict=True))
        self._by_tag = {i.tag: i for i in INSTRUMENTS}

    def begin(self) -> None:
        self.time, self._begun = 0.0, True

    def step(self, dt: float) -> dict[str, float]:
        """See Plant. Values are what the instruments show, faults included."""
        self.time += dt if self._begun else 0.0
        causes = list(self.causes())
        target, most = self._calm.copy(), np.full(len(self._calm), np.inf)
        for cause in causes:
            if cause.effect is Effect.drive:
                at = self._tags.index(cause.tag)
                target[at], most[at] = cause.to, cause.rate * dt
        drawn = (target - self._value) * (1 - np.exp(-self._pull * dt))
        driven = np.clip(target - self._value, -most, most)
        self._value += np.where(np.isfinite(most), driven, drawn)
        noisy = self._value + self._noise * self._random.standard_normal(len(self._value))
        frozen = {c.tag for c in causes if c.effect is Effect.freeze}
        self._shown |= {t: v for t, v in zip(self._tags, noisy.tolist(), strict=True) if t not in frozen}
        return self._shown | {c.tag: self._dead_loop(c.tag) for c in causes if c.effect is Effect.unplug}

    def causes(self) -> Iterable[Cause]:
        """What is going on now."""
        return (c for i in self.script if self._begun and i.is_on(self.time) for c in i.causes)

    def silent_units(self) -> set[int]:
        return {c.unit for c in self.causes() if c.effect is Effect.silence}

    def _dead_loop(self, tag: str) -> float:
        instrument = self._by_tag[tag]
        low, high = instrument.low or 0.0, instrument.high or 0.0
        return low + (high - low) * (_NO_CURRENT_MA - 4) / 16


def _line(i: Instrument) -> dict[str, object]:
    """An instrument as a line of the tag list; None is an empty cell."""
    low_low, low, high, high_high = i.limits
    return {
        "uid": None, "tag": i.tag, "name_en": i.en, "name_zh": i.zh, "area": i.area, "link": "farm-plc",
        "address": i.address, "type": i.type, "scale": _unless(i.scale, 1), "offset": _unless(i.offset, 0),
        "unit": i.unit, "range_low": i.low, "range_high": i.high, "signal": i.signal, "hazard": i.hazard,
        "class": i.alarm_class, "priority": i.priority, "low_low": low_low, "low": low, "high": high,
        "high_high": high_high, "discrete": i.discrete, "deadband": _unless(i.deadband, 0), "on_delay": i.on_delay,
        "off_delay": i.off_delay, "latch": "yes" if i.latch else "no", "stale_after": i.stale_after,
        "frozen_after": i.frozen_after,
    }  # fmt: skip


def _unless(value: float, usual: float) -> float | None:
    return None if value == usual else value


def site_files(
    port: int, host: str = "127.0.0.1", site: str = "harbour-chem", centre: str = "", console: int = 8101
) -> dict[str, str]:
    """A site folder for the farm served at `host:port`: file name -> text. No `centre`: a site alone."""
    table = io.StringIO(newline="")
    lines = [_line(i) for i in INSTRUMENTS]
    writer = csv.DictWriter(table, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    settings = f"""\
version: 1
site: {site}
name: {{en: Harbour Chemicals, zh: 海港化工}}
position: [121.8412, 30.8625]          # WGS-84: longitude, latitude
links:
  farm-plc: {{kind: modbus-tcp, address: "{host}:{port}", unit: 1, poll: 500ms, timeout: 200ms, skip_for: 2s}}
console: {{port: {console}}}
"""
    if centre:
        settings += f"centre: {{url: {centre}}}\n"
    return {"site.yaml": settings, "tags.csv": table.getvalue()}

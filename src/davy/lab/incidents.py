"""Scripted incidents as data: what happens when, and which alarms must follow. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from davy.fact.event import AlarmType, Level
from davy.reading import Flag


class Effect(StrEnum):
    """How an incident shows: in the plant, in an instrument's loop, or on the bus."""

    drive = "drive"  # the measured quantity itself goes toward `to`, at `rate` a second
    unplug = "unplug"  # the loop carries no current
    freeze = "freeze"  # the instrument repeats its last value
    silence = "silence"  # a unit on the bus stops answering


@dataclass(frozen=True, slots=True)
class Cause:
    """What is done to one tag (or, for silence, to one unit)."""

    effect: Effect
    tag: str = ""
    to: float = 0.0
    rate: float = 0.0
    unit: int = 0


@dataclass(frozen=True, slots=True)
class Expect:
    """An alarm that must be raised: AlarmType and the highest Level it reaches."""

    tag: str
    type: AlarmType
    level: Level = Level.first


@dataclass(frozen=True, slots=True)
class Incident:
    """`start` and `duration` in seconds of the script. `flags`: quality flags that must be seen instead
    of, or beside, alarms: (tag, Flag)."""

    name: str
    en: str
    zh: str
    start: float
    duration: float
    causes: tuple[Cause, ...]
    expects: tuple[Expect, ...] = ()
    flags: tuple[tuple[str, Flag], ...] = ()

    def is_on(self, t: float) -> bool:
        return self.start <= t < self.start + self.duration


E, L, A = Effect, Level, AlarmType

#: A minute in the tank farm (tankfarm.py). Everything has been raised by 50 s.
SCRIPT: tuple[Incident, ...] = (
    Incident(
        "overfill", "Inlet valve of tank 101 stuck open", "T101 进料阀卡在全开", 5, 16,
        (Cause(E.drive, "T101.LEVEL", to=97, rate=2.5),),
        (Expect("T101.LEVEL", A.high, L.second),),
    ),
    Incident(
        "pump_trip", "Transfer pump 1 trips", "1 号输送泵跳停", 9, 12,
        (Cause(E.drive, "P101.FLOW", to=3, rate=40), Cause(E.drive, "P101.RUN", to=0, rate=99)),
        (Expect("P101.FLOW", A.low, L.second),),
    ),
    Incident(
        "leak", "Flange leaks in the pump room", "泵房法兰泄漏", 14, 14,
        (Cause(E.drive, "AT-07.CH4", to=62, rate=12), Cause(E.drive, "AT-08.CH4", to=33, rate=6)),
        (Expect("AT-07.CH4", A.high, L.second), Expect("AT-08.CH4", A.high)),
    ),
    Incident(
        "over_range", "H2S beyond the detector's range", "硫化氢超出探测器量程", 20, 12,
        (Cause(E.drive, "AT-11.H2S", to=34, rate=12),),
        (Expect("AT-11.H2S", A.high, L.second), Expect("AT-11.H2S", A.bad)),
        (("AT-11.H2S", Flag.over_range),),
    ),
    Incident(
        "unplugged", "Ammonia detector unplugged", "氨探测器被拔掉", 26, 10,
        (Cause(E.unplug, "AT-12.NH3"),),
        (Expect("AT-12.NH3", A.bad),),
    ),
    Incident(
        "frozen", "Thermometer of tank 102 stuck", "T102 温度计卡死", 28, 16,
        (Cause(E.freeze, "T102.TEMP"),),
        (),
        (("T102.TEMP", Flag.frozen),),
    ),
    Incident(
        "silent", "Pump house I/O falls silent", "泵房远程 I/O 失联", 36, 8,
        (Cause(E.silence, unit=3),),
        tuple(Expect(tag, A.bad) for tag in ("AT-21.CH4", "P101.FLOW", "P101.RUN", "P102.FLOW", "P102.RUN")),
    ),
    Incident(
        "call_point", "Fire call point broken", "手动火灾报警按钮按下", 42, 6,
        (Cause(E.drive, "MCP-1.FIRE", to=1, rate=99),),
        (Expect("MCP-1.FIRE", A.discrete),),
    ),
)  # fmt: skip

#: Seconds after which the script has told everything and the plant is calm again.
SCRIPT_LENGTH = 60.0

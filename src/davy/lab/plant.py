"""What a simulated plant is: a pure, seeded core that is stepped, and instruments that may lie.

A plant knows physics and nothing of protocols; it is served by a process of its own (modbus_server.py).
"""

from dataclasses import dataclass
from typing import Protocol

from davy.reading import Class, Hazard


@dataclass(frozen=True, slots=True)
class Instrument:
    """One point of a plant: what it measures, where it is served, when it alarms. A line of tags.csv.

    Raw registers hold (value - offset) / scale. A 4-20 mA loop is served in microamperes, so a cut
    wire and a saturated detector reach the gateway as what they are.
    """

    tag: str
    en: str
    zh: str
    area: str
    address: str
    type: str
    unit: str
    low: float | None = None
    high: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    signal: str = ""
    hazard: Hazard = Hazard.none
    alarm_class: Class = Class.process
    priority: int = 3
    limits: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)  # LL L H HH
    discrete: int | None = None
    deadband: float = 0.0
    on_delay: str = ""
    off_delay: str = ""
    latch: bool = False
    stale_after: str = "5s"
    frozen_after: str = ""


class Plant(Protocol):
    instruments: tuple[Instrument, ...]

    def step(self, dt: float) -> dict[str, float]:
        """`dt` seconds later: the value of every instrument by tag, in its unit. Same seed, same values."""
        ...

"""One tag and its alarms on a simulated clock, told as a timeline."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from davy.alarm import Alarms, AlarmView, number
from davy.clock import SECOND
from davy.fact import Act, AlarmType, Cause, State, Transition, Verb
from davy.reading import Flag, Readings, Status, Tag, TagTable

START = 1_700_000_000 * SECOND


def readings(
    tag: Sequence[int], value: Sequence[float], status: Any = 0, flags: Any = 0, time: Any = START
) -> Readings:
    """A batch; status, flags and time (us UTC, source and server) each one for all, or one a row."""
    n = len(tag)
    time = np.broadcast_to(np.asarray(time, np.int64), n).copy()
    return Readings(
        np.asarray(tag, np.uint32),
        np.asarray(value, np.float64),
        np.broadcast_to(np.asarray(status, np.uint32), n).copy(),
        np.broadcast_to(np.asarray(flags, np.uint32), n).copy(),
        time,
        time,
    )


class Site:
    """`at` counts seconds from START, on both clocks; `causes` collects what has happened."""

    def __init__(self, *tags: Tag) -> None:
        self.tags = TagTable(1, tags)
        self.alarms = Alarms(self.tags)
        self.now = 0.0
        self.log: list[Transition] = []

    @property
    def us(self) -> int:
        return START + round(self.now * SECOND)

    @property
    def mono(self) -> int:
        return 77_000_000_000 + round(self.now * 1e9)

    def _told(self, transitions: list[Transition]) -> list[str]:
        self.log += transitions
        return [Cause(t.cause).name for t in transitions]

    def reads(
        self, value: float, at: float | None = None, flags: int = 0, status: int = Status.Good, tag: int = 0
    ) -> list[str]:
        self.now = self.now if at is None else at
        return self._told(self.alarms.judge(readings([tag], [value], status, flags, self.us), self.us, self.mono))

    def past(self, value: float, at: float) -> list[str]:
        """A historical reading of second `at`; the clock stands still."""
        time = START + round(at * SECOND)
        return self._told(self.alarms.judge(readings([0], [value], 0, Flag.historical, time), self.us, self.mono))

    def tick(self, at: float) -> list[str]:
        self.now = at
        return self._told(self.alarms.tick(self.us, self.mono))

    def act(self, verb: Verb, kind: AlarmType = AlarmType.high, **changes: Any) -> list[str]:
        alarm = number(0, kind)
        fields = {
            "actor": "p:1", "role": "operator", "verb": verb, "alarm": alarm, "version": self.view(kind).version,
            "reason": "pump under repair", "until": 0, "time": self.us,
        } | changes  # fmt: skip
        return self._told(self.alarms.act(Act(**fields), self.us, self.mono))

    def view(self, kind: AlarmType = AlarmType.high, tag: int = 0) -> AlarmView:
        return self.alarms.view(number(tag, kind))

    def letter(self, kind: AlarmType = AlarmType.high) -> str:
        return self.view(kind).letter

    def has(self, bits: State, kind: AlarmType = AlarmType.high) -> bool:
        return self.view(kind).state & bits == bits

    def restart(self, seconds: float = 0.0) -> None:
        """Stop, stay off for `seconds`, and start from the snapshot."""
        self.alarms = Alarms.restore(self.tags, self.alarms.snapshot())
        self.now += seconds

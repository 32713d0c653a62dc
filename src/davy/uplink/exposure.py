"""How long a reading stands in one place only: from its server time until a cosignature covers it. Pure."""

from collections import deque

#: Sealed seconds the percentile looks back on: ten minutes of them.
_REMEMBERED = 600
_WAITING = 7200


class Exposure:
    """Fed with the end times of sealed leaves and with what the mirror holds."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int]] = deque()  # (leaf, its t1), not yet covered, oldest first
        self._recent: deque[int] = deque(maxlen=_REMEMBERED)

    def sealed(self, leaf: int, t1: int) -> None:
        """Leaf number `leaf` ends at `t1`, us UTC. In order of leaves."""
        self._waiting.append((leaf, t1))
        if len(self._waiting) > _WAITING:  # a long outage: every second one tells as much
            self._waiting = deque(list(self._waiting)[::2])

    def covered(self, size: int, now: int) -> None:
        """The mirror cosigned the first `size` leaves, and we learned so at `now`."""
        while self._waiting and self._waiting[0][0] < size:
            self._recent.append(max(0, now - self._waiting.popleft()[1]))

    def current(self, now: int) -> int:
        """us that the oldest uncovered leaf has waited, 0 if none does."""
        return max(0, now - self._waiting[0][1]) if self._waiting else 0

    def p99(self) -> int | None:
        """us within which 99 of 100 recent leaves were covered, None before the first."""
        if not self._recent:
            return None
        ordered = sorted(self._recent)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]

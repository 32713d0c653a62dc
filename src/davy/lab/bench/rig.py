"""What the benches share: a site on a throw-away folder, and readings for it that look like a plant's.

Nothing here is a stand-in: the core, the recorder, the log and the signer are those of `davy edge run`;
only the signer sits in this process, so that its work is counted too.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from davy.blackbox import signer
from davy.blackbox.signer import Signer
from davy.clock import SECOND
from davy.edge.config import SYSTEM_TAGS, Site, SiteConfig
from davy.reading import Readings, Tag, TagTable

MINUTE = 60 * SECOND
LOW, HIGH = 10.0, 90.0
#: Of a run of readings so many leave the limits and come back.
EXCURSIONS = 40


def tags(count: int) -> tuple[Tag, ...]:
    """`count` instruments with a range, two limits, and times after which they are stale and frozen."""
    return tuple(
        Tag(
            uid=f"bench:{i}", index=i, name=f"B{i:05}", link="plc", unit="%", range_low=0.0, range_high=100.0,
            low=LOW, high=HIGH, deadband=1.0, stale_after=30 * MINUTE, frozen_after=30 * MINUTE,
        )
        for i in range(count)
    )  # fmt: skip


@contextmanager
def site(count: int) -> Iterator[tuple[Site, Signer]]:
    """A site of `count` tags and its signer, in a folder that is gone afterwards."""
    own = tuple(replace(tag, index=count + i) for i, tag in enumerate(SYSTEM_TAGS))
    config = SiteConfig.model_validate({"version": 1, "site": "bench", "links": {}})
    with tempfile.TemporaryDirectory(prefix="davy-bench-") as name:
        built = Site(Path(name), config, TagTable(1, (*tags(count), *own)))
        signer.create(built.secrets, built.origin)
        yield built, Signer(built.secrets, built.data / "keyring")


@dataclass
class Walk:
    """A seeded random walk of `count` tags in steps of about 0.01, rounded to 0.01; goes on from call to call.

    now: us UTC of the next row. mono: ns, of all readings alike.
    """

    count: int
    now: int
    mono: int
    seed: int = 1

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._last = self._random.integers(3000, 7000, self.count)

    def values(self, rows: int) -> NDArray[np.float64]:
        """float64[rows, count], between the limits but for EXCURSIONS of them that last three rows."""
        steps = np.rint(self._random.standard_normal((rows, self.count)) * 1.2).astype(np.int64)
        walked = np.clip(self._last + np.cumsum(steps, axis=0), 1500, 8500)
        self._last = walked[-1]
        value = walked / 100
        for at, tag, side in zip(
            self._random.integers(0, max(1, rows - 3), EXCURSIONS).tolist(),
            self._random.integers(0, self.count, EXCURSIONS).tolist(),
            self._random.choice([LOW - 5, HIGH + 5], EXCURSIONS).tolist(),
            strict=True,
        ):
            value[at : at + 3, tag] = side
        return value

    def rows(self, rows: int, period: int = SECOND, cut: int = 0) -> list[Readings]:
        """`rows` readings of every tag, a batch each, or in batches of `cut` that share the period evenly."""
        cut = cut or self.count
        order = np.arange(self.count, dtype=np.uint32)
        parts = [order[start : start + cut] for start in range(0, self.count, cut)]
        out = []
        for row in self.values(rows):
            out += [
                self.batch(part, row[part], np.full(len(part), self.now + i * period // len(parts)))
                for i, part in enumerate(parts)
            ]
            self.now += period
        return out

    def one(self, batches: int, size: int, tag: int = 0, period: int = 1000) -> list[Readings]:
        """`batches` of `size` readings of one tag, `period` us apart, each batch arriving at once."""
        values = Walk(1, 0, 0, self.seed).values(batches * size).reshape(batches, size)
        out = []
        for row in values:
            times = self.now + period * np.arange(1, size + 1)
            self.now = int(times[-1])
            out.append(self.batch(np.full(size, tag, np.uint32), row, times, np.full(size, self.now)))
        return out

    def batch(
        self,
        tag: NDArray[np.uint32],
        value: NDArray[np.float64],
        source: NDArray[np.int64],
        server: NDArray[np.int64] | None = None,
    ) -> Readings:
        """A Good batch."""
        good = np.zeros(len(tag), np.uint32)
        server = source if server is None else server
        return Readings(tag, np.ascontiguousarray(value), good, good.copy(), source, server, "", 1, self.mono, 1)


def count_of(batches: Sequence[Readings]) -> int:
    return sum(len(b) for b in batches)

"""What leaves are coded against, and what an encoder remembers from one to the next. Pure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy.fact import mode as modes
from davy.fact.order import Layout

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MAX_TAGS: Final = 1 << 20  # nothing is remembered of tags beyond
_MAX_PATIENCE: Final = 64  # leaves
_MAX_STEPS: Final = 64  # in the last digit, looking for a number that tells its mode; one in eight n * 0.01 does


class References:
    """What a leaf's first samples are coded against. Build once a tag table; safe to share.

    values: float64, one a tag index (`Tags.refs`); an index beyond them, or not finite, has none.
    A reference tells two things: about where the tag stands, and, by its own decimals, in which mode.
    """

    def __init__(self, values: F64 | None = None) -> None:
        given = np.zeros(0) if values is None else np.asarray(values, np.float64)
        finite = np.isfinite(given)
        self.values: F64 = np.append(np.where(finite, given, 0.0), 0.0)  # the last stands for "none"
        self.modes: I64 = np.append(np.where(finite, _modes(self.values[:-1]), modes.RAW), modes.RAW)
        self.base: I64 = modes.nearest(self.values, self.modes)

    def slot(self, tag: I64) -> I64:
        """int64[K]: where each tag, ascending, stands in `values` and `modes`."""
        none = len(self.values) - 1
        return tag if len(tag) and int(tag[-1]) < none else np.minimum(tag, none)


def _modes(value: F64) -> I64:
    each = np.arange(len(value))
    return modes.choose(value, each, np.ones_like(each))


class ModeMemory:
    """The mode of each tag. It makes leaves smaller and encoding faster and is never needed to read them.

    Owned by one encoder; not to be shared between threads.
    """

    def __init__(self, refs: References) -> None:
        self._refs = refs
        self._leaf = 0
        self.as_told = True  # every mode is still the one its reference tells
        # One entry a tag; the last stands for every tag beyond, of which nothing is remembered.
        self._mode = refs.modes.copy()
        self._base = refs.base.copy()
        self._retry = np.zeros(len(self._mode), np.int64)  # the first leaf in which a tag is judged again
        self._patience = np.ones(len(self._mode), np.int64)

    def integers(self, value: F64, layout: Layout) -> tuple[I64, I64, I64, Bools]:
        """(mode, base: int64[K], n: int64[N], fits: bool[N]) of readings in order; learns from what does not fit.

        base: the tag's reference as a whole number, as `modes.nearest` has it.
        """
        self._leaf += 1
        slot = self._slot(layout.tag)
        mode, base = self._mode[slot], self._base[slot]
        n, fits = modes.to_integers(value, layout.spread(mode))
        if fits.all():
            return mode, base, n, fits
        wrong = np.logical_or.reduceat(~fits & np.isfinite(value), layout.first)
        due = wrong & (self._retry[slot] <= self._leaf)
        if due.any():
            rows = layout.spread(due)
            mode[due] = better = self._judge(value[rows], layout.count[due], mode[due])
            base[due] = modes.nearest(self._refs.values[self._refs.slot(layout.tag[due])], better)
            n[rows], fits[rows] = modes.to_integers(value[rows], np.repeat(better, layout.count[due]))
            self._learn(slot[due], better, base[due])
        return mode, base, n, fits

    def settle(self, last: F64) -> F64:
        """`last` moved in its last digit where it would not tell its tag's mode: 93.20 becomes 93.21."""
        finite = np.isfinite(last)
        mode = np.where(finite, self._mode[self._slot(np.arange(len(last)))] if len(last) else 0, modes.RAW)
        settled = np.where(finite, last, 0.0)
        n = modes.nearest(settled, mode)
        silent = np.arange(len(last))
        for step in range(_MAX_STEPS):
            silent = silent[_modes(settled[silent]) != mode[silent]]
            silent = silent[mode[silent] != modes.RAW]
            if not len(silent):
                break
            settled[silent] = modes.from_integers(n[silent] + step, mode[silent])
        return np.where(finite, settled, last)

    def _slot(self, tag: I64) -> I64:
        if int(tag[-1]) < len(self._mode) - 1:
            return tag
        kept = tag[: np.searchsorted(tag, _MAX_TAGS)]
        grow = int(kept[-1]) + 2 - len(self._mode) if len(kept) else 0
        if grow > 0:
            zeros = np.zeros(grow, np.int64)
            self._mode, self._base = np.append(self._mode, zeros), np.append(self._base, zeros)
            self._retry, self._patience = np.append(self._retry, zeros), np.append(self._patience, zeros + 1)
        return np.minimum(tag, len(self._mode) - 1)

    @staticmethod
    def _judge(value: F64, count: I64, old: I64) -> I64:
        first = np.cumsum(count) - count
        new = modes.choose(value, first, count)
        wider = modes.widen(old, new)
        _, fits_new = modes.to_integers(value, np.repeat(new, count))
        _, fits_wider = modes.to_integers(value, np.repeat(wider, count))
        return np.where(np.logical_and.reduceat(fits_wider >= fits_new, first), wider, new)

    def _learn(self, slot: I64, mode: I64, base: I64) -> None:
        # A tag that gains nothing from being judged (full mantissas, -0.0) is left alone ever longer.
        gained = self._mode[slot] != mode
        self.as_told &= not gained.any()
        self._patience[slot] = np.where(gained, 1, np.minimum(self._patience[slot] * 2, _MAX_PATIENCE))
        self._retry[slot] = self._leaf + self._patience[slot]
        self._mode[slot], self._base[slot] = mode, base
        self._mode[-1] = self._base[-1] = self._retry[-1] = 0
        self._patience[-1] = 1

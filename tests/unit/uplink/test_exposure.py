"""How long a reading stood in one place only."""

import pytest

from davy.clock import SECOND
from davy.uplink.exposure import Exposure


def test_a_leaf_is_exposed_until_a_cosignature_covers_it():
    exposure = Exposure()
    assert (exposure.current(99), exposure.p99()) == (0, None)
    exposure.sealed(0, 1 * SECOND)
    exposure.sealed(1, 2 * SECOND)
    assert exposure.current(4 * SECOND) == 3 * SECOND
    exposure.covered(1, 4 * SECOND)
    assert exposure.current(5 * SECOND) == 3 * SECOND
    exposure.covered(2, 5 * SECOND)
    assert exposure.current(6 * SECOND) == 0
    assert exposure.p99() == 3 * SECOND


@pytest.mark.feature("F38")
def test_the_percentile_is_over_recent_leaves():
    exposure = Exposure()
    for leaf in range(1000):
        exposure.sealed(leaf, leaf * SECOND)
        exposure.covered(leaf + 1, leaf * SECOND + (9 * SECOND if leaf < 500 or leaf == 990 else 100_000))
    assert exposure.p99() == 9 * SECOND  # 101 of the last 600
    for leaf in range(1000, 1700):
        exposure.sealed(leaf, leaf * SECOND)
        exposure.covered(leaf + 1, leaf * SECOND + 100_000)
    assert exposure.p99() == 100_000


def test_a_clock_set_back_gives_no_negative_exposure():
    exposure = Exposure()
    exposure.sealed(0, 10 * SECOND)
    assert exposure.current(9 * SECOND) == 0
    exposure.covered(1, 9 * SECOND)
    assert exposure.p99() == 0


def test_a_week_without_a_centre_takes_little_memory_and_keeps_the_oldest():
    exposure = Exposure()
    for leaf in range(100_000):
        exposure.sealed(leaf, leaf)
    assert exposure.current(100_000) == 100_000
    assert len(exposure._waiting) <= 7200

"""Benches run and say what they promise to say, at sizes that measure nothing."""

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from davy.lab.bench import BENCHES, Figure, latency, log, pipeline
from davy.lab.bench.latency import MEASURED, Told
from davy.lab.bench.rig import EXCURSIONS, HIGH, LOW, Walk


def told(figures: Mapping[str, Figure]) -> dict[str, str | None]:
    """Key -> goal, after a round through JSON that allows no NaN."""
    plain = json.loads(json.dumps({key: figure.plain() for key, figure in figures.items()}, allow_nan=False))
    for figure in plain.values():
        assert set(figure) == {"value", "unit", "goal", "meets", "against"}
        assert (figure["goal"] is None) == (figure["meets"] is None)
    return {key: figure["goal"] for key, figure in plain.items()}


def test_every_bench_has_its_module() -> None:
    assert list(BENCHES) == ["pipeline", "alarm-latency", "log", "modbus"]


def test_pipeline_tells_its_four_figures() -> None:
    assert told(pipeline.run(tags=60, rows=10, runs=1)) == {
        "readings_per_s_core": ">= 2e+06",
        "readings_per_s_core_50": ">= 400000",
        "one_tag_judge_ns": "<= 200",
        "one_tag_pipeline_ns": "<= 450",
    }


def test_log_without_real_data_says_so_and_leaves_the_bytes_out(tmp_path: Path) -> None:
    figures = log.run(tmp_path / "absent", runs=1, leaves=20, bodies=1)
    goals = told(figures)
    assert goals["leaves_per_s"] == ">= 30000"
    assert goals["readings_per_s"] == ">= 4e+06"
    assert {"raw_sha256_mb_s", "raw_sync_16k_ms", "raw_sync_1024k_ms"} < set(goals)
    assert not any(key.startswith("bytes_") for key in goals)
    assert "no real data at" in figures["datasets"].against


@pytest.mark.shared
def test_log_weighs_real_readings(shared: Path) -> None:
    goals = told(log.weigh(shared / "datasets"))
    assert goals["bytes_coal"] == "<= 0.4"
    assert goals["bytes_tep"] == "<= 1.7"
    assert goals["bytes_skab"] == "<= 2.1"
    assert goals["bytes_second_2000"] == "<= 2.2"
    assert goals["bytes_second_50"] is goals["bytes_second_200"] is None


def test_alarm_latency_finds_every_change_at_the_output_of_a_real_site() -> None:
    figures = latency.run(runs=1, changes=MEASURED, seconds=1.0)
    goals = told(figures)
    assert goals["socket_to_output_p99_ms"] == "<= 50"
    assert goals["judge_to_output_p99_ms"] == "<= 5"
    assert goals["socket_to_output_p99_ms_max"] is goals["judge_to_output_p99_ms_max"] is None
    assert figures["lost"].value == 0
    assert figures["flow"].value > 0


def test_a_change_whose_transition_never_came_is_lost_and_does_not_shift_the_others() -> None:
    ms = 1_000_000
    sent = {order: order * ms for order in (0, MEASURED, 2 * MEASURED, 3 * MEASURED)}
    seen = [(1, 5), (1, 2 * MEASURED + 7), (0, 3 * MEASURED + 9)]  # the return of the first never came
    by_tag = {0: deque(Told(0, level, (at - 1) * ms, at * ms) for level, at in seen)}
    of_socket, of_judge, lost = latency._matched(range(0, 4 * MEASURED, MEASURED), sent, by_tag)
    assert (of_socket, of_judge, lost) == ([5.0, 7.0, 9.0], [1.0, 1.0, 1.0], 1)


def test_a_walk_goes_on_between_its_limits_but_for_its_excursions() -> None:
    walk = Walk(50, now=0, mono=0)
    first, second = walk.rows(100), walk.rows(100, cut=20)
    assert (len(first), len(second)) == (100, 300)
    assert second[0].server_time[0] == first[-1].server_time[0] + 1_000_000
    value = np.concatenate([b.value for b in first])
    outside = np.count_nonzero((value < LOW) | (value > HIGH))
    assert EXCURSIONS <= outside <= 3 * EXCURSIONS
    assert np.array_equal(np.round(value, 2), value)

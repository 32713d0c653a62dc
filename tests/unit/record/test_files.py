"""Names of history files, and what may be hidden, picked, merged."""

import numpy as np

from davy.record.files import HOUR, File, hides, merged, parse, partition, pick, plan, visible
from histories import NOON, SECOND

DAY = 24 * HOUR


def minute(hour: int, first: int, size: int = 1000, level: str = "h") -> File:
    start = NOON + hour * HOUR + first * SECOND
    return File(level, start, start + 59 * SECOND, first, first + 1, size)


def test_a_name_says_cell_times_and_leaves_and_reads_back() -> None:
    file = File("h", -5, NOON, 7, 1234)
    assert file.name == f"h_-5_{NOON}_000000000007_000000001234.parquet"
    assert parse(file.name) == file


def test_foreign_names_are_none_of_ours() -> None:
    for name in ("", "h_1_2_3_4.parquet", "x_1_2_000000000003_000000000004.parquet", minute(0, 1).name + ".tmp"):
        assert parse(name) is None


def test_a_merged_file_hides_what_it_was_merged_from_and_nothing_else() -> None:
    parts = [minute(0, i) for i in range(3)]
    later, other_hour = minute(0, 3), minute(1, 1)
    long = merged(parts, "h")
    assert [hides(long, f) for f in (*parts, later, other_hour, long)] == [True, True, True, False, False, False]
    assert visible([*parts, later, other_hour, long]) == [long, other_hour, later]


def test_files_of_one_flush_in_different_hours_do_not_hide_each_other() -> None:
    one = File("h", NOON - 5, NOON - 1, 10, 20)
    two = File("h", NOON, NOON + 5, 10, 20)
    assert visible([one, two]) == [one, two]
    day = merged([one, two], "d")
    assert (day.first, day.end) == (10, 20)
    assert NOON % DAY  # noon is not midnight: both hours lie in one day
    assert visible([one, two, day]) == [day]


def test_files_are_picked_by_the_range_in_their_names() -> None:
    files = [minute(0, 0), minute(1, 1), minute(2, 2)]
    assert pick(files, files[1].t0, files[1].t0 + 1) == [files[1]]
    assert pick(files, files[0].t1, files[2].t0) == files[:2]
    assert pick(files, files[0].t1 + 1, files[1].t0) == []


def test_rows_are_parted_by_the_hour_unless_that_makes_many_small_files() -> None:
    assert partition(np.array([NOON, NOON + HOUR - 1])) == ("h", None)
    level, cells = partition(np.array([NOON - 1, NOON]))
    assert level == "h" and cells is not None and len(set(cells.tolist())) == 2
    level, cells = partition(NOON - np.arange(4000) * HOUR // 30)  # 133 hours
    assert level == "d" and cells is not None and len(np.unique(cells)) <= 7
    level, cells = partition(NOON - np.arange(4000) * HOUR)  # 166 days
    assert level == "m"
    assert partition(np.arange(100) * 100 * 365 * DAY) == ("a", None)


def test_full_hours_stay_hours_however_many_one_flush_spans() -> None:
    level, cells = partition(np.repeat(NOON + np.arange(20) * HOUR, 50_000))
    assert level == "h" and cells is not None


def test_minutes_are_merged_a_dozen_at_a_time_while_their_hour_is_written() -> None:
    files = [minute(0, i) for i in range(11)]
    assert plan(files, files[-1].end) is None
    files.append(minute(0, 11))
    run, out = plan(files, files[-1].end) or ([], None)
    assert run == files and out is not None and (out.first, out.end) == (0, 12)
    again = [File("h", out.t0, out.t1, 0, 12, 12_000), *(minute(0, i) for i in range(12, 23))]
    assert plan(again, again[-1].end) is None  # the dozen merged is not touched again


def test_an_hour_is_merged_whole_once_it_is_past() -> None:
    files = [minute(0, 0, 12_000), minute(0, 1, 9_000), minute(0, 2), minute(1, 3)]
    run, out = plan(files, 4) or ([], None)
    assert run == files[:3] and out is not None and out.level == "h"


def test_a_late_row_does_not_rewrite_a_big_file_but_many_are_merged_together() -> None:
    big = minute(0, 0, 1 << 30)
    late = [minute(0, i) for i in range(1, 15)]
    live = minute(30, 100)
    assert plan([big, *late[:2], live], 101) is None
    run, out = plan([big, *late, minute(0, 15), minute(0, 16), live], 101) or ([], None)
    assert big not in run and len(run) == 16 and out is not None and not hides(out, big)


def test_small_hours_become_a_day_but_not_the_day_being_written() -> None:
    hours = [minute(i - 12, i) for i in range(12)]  # midnight to noon
    assert plan(hours, 12) is None
    run, out = plan(hours, 13) or ([], None)
    assert run == hours and out is not None and out.level == "d"


def test_a_merge_never_hides_a_file_it_did_not_take_in() -> None:
    giant = File("h", NOON, NOON + 1, 90, 100, 1 << 24)
    same_flush = File("h", NOON + HOUR, NOON + HOUR + 1, 90, 100, 10)
    later = [File("h", NOON + HOUR, NOON + HOUR + 1, 100 + i, 101 + i, 10) for i in range(3)]
    shown = [giant, same_flush, *later]
    while planned := plan(shown, 10**6):
        run, out = planned
        assert all(f in run or not hides(out, f) for f in shown)
        shown = [f for f in shown if f not in run] + [File(out.level, out.t0, out.t1, out.first, out.end, 40)]
        assert visible(shown) == sorted(shown, key=lambda f: (f.first, f.end, f.t0))

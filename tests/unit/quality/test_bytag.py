"""Grouping a batch by tag gives what a loop over the tags would."""

import numpy as np
import pytest

from davy.quality.bytag import SORTS_AS_U16, ByTag

SHAPES = {
    "consecutive": [3, 4, 5],
    "rising": [1, 4, 5],
    "each once": [5, 1, 4],
    "one tag": [2, 2, 2, 2],
    "runs": [1, 1, 3, 3, 3, 4],
    "mixed": [3, 1, 3, 2, 1, 3],
    "a single row": [7],
}


@pytest.mark.parametrize("tags", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("size", [8, SORTS_AS_U16 + 8])
def test_every_shape_of_batch_is_grouped_as_a_loop_would(tags: list[int], size: int) -> None:
    by = ByTag.of(np.array(tags, np.uint32), size)
    column = np.arange(100, 100 + len(tags))
    state = np.arange(size) * 1000
    rows = sorted(range(len(tags)), key=lambda i: tags[i])
    ordered = [tags[i] for i in rows]
    distinct = sorted(set(tags)) if by.rows is not None or by.heads is not None else tags
    before = {t: 1000 * t for t in tags}
    previous = []
    for i in rows:
        previous.append(before[tags[i]])
        before[tags[i]] = 100 + i

    here = by.take(column)
    assert here.tolist() == [100 + i for i in rows]
    assert np.arange(size)[by.tag].tolist() == ordered
    assert np.arange(size)[by.tags].tolist() == distinct
    assert by.previous(state, here).tolist() == previous
    assert by.last(here).tolist() == by.highest(here).tolist() == [before[t] for t in distinct]
    assert by.rows_at(np.arange(len(tags))).tolist() == rows
    assert by.tag_at(np.arange(len(tags))).tolist() == ordered


@pytest.mark.parametrize("shape", ["one tag", "runs", "mixed", "each once"])
def test_kept_rows_are_grouped_like_a_batch_of_their_own(shape: str) -> None:
    tags = np.array(SHAPES[shape], np.uint32)
    by = ByTag.of(tags, 8)
    mask = np.arange(len(tags)) % 2 == 0
    kept, alone = by.keep(mask), ByTag.of(np.arange(8, dtype=np.uint32)[by.tag][mask], 8)
    column = np.arange(len(tags))
    assert kept.take(column).tolist() == by.take(column)[mask].tolist()
    assert np.arange(8)[kept.tags].tolist() == np.arange(8)[alone.tags].tolist()


def test_a_time_as_wrong_as_int64_allows_overflows_nothing() -> None:
    edge = np.iinfo(np.int64)
    by = ByTag.of(np.array([0, 0, 0, 1, 1, 1], np.uint32), 2)
    high = np.array([5, edge.max, 6, 9, edge.max - 1, 8])
    assert by.behind(high).tolist() == [False, False, True, False, False, True]
    low = np.array([edge.min + 1, edge.min, edge.min + 2, edge.min, edge.min, edge.min])
    assert by.behind(low).tolist() == [False, True, False, False, False, False]
    years = 365 * 86_400 * 1_000_000
    now = np.array([2026, 1970, 1971, 1, 2026, 1999]) * years
    assert by.behind(now).tolist() == [False, True, True, False, False, True]


def test_a_tag_is_never_behind_the_tag_before_it() -> None:
    by = ByTag.of(np.array([0, 0, 1, 1, 2], np.uint32), 3)
    assert not by.behind(np.array([900, 901, 5, 6, 1])).any()

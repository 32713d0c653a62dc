"""The columnar batch and its row."""

import numpy as np
import pytest

from davy.reading import ROW, Readings, concat


def sample(n: int = 4, **batch: int | str) -> Readings:
    rng = np.random.default_rng(n)
    words = [rng.integers(0, 2**32, n, dtype=np.uint32) for _ in range(3)]
    value = rng.normal(size=n)
    value[:2] = [np.nan, -0.0]
    times = [rng.integers(-(2**62), 2**62, n) for _ in range(2)]
    return Readings(words[0], value, words[1], words[2], *times, **batch)  # type: ignore[arg-type]


def test_a_row_is_36_packed_little_endian_bytes() -> None:
    assert ROW.itemsize == 36
    r = Readings(
        np.array([1], np.uint32),
        np.array([1.5]),
        np.array([0x80310000], np.uint32),
        np.array([2], np.uint32),
        np.array([3]),
        np.array([-1]),
    )
    assert r.rows().tobytes().hex() == (
        "01000000" "000000000000f83f" "00003180" "02000000" "0300000000000000" "ffffffffffffffff"
    )  # fmt: skip


def test_rows_come_back_bit_for_bit_with_the_batch_fields_given() -> None:
    r = sample(50, origin="o/s/b", tags_version=3, mono_ns=9, boot_id=2)
    back = Readings.from_rows(r.rows(), origin="o/s/b", tags_version=3, mono_ns=9, boot_id=2)
    assert back.rows().tobytes() == r.rows().tobytes()
    assert (back.origin, back.tags_version, back.mono_ns, back.boot_id) == ("o/s/b", 3, 9, 2)


@pytest.mark.parametrize("pick", [slice(1, 3), np.array([False, True, True, False]), np.array([1, 2])])
def test_take_picks_rows_and_keeps_the_batch_fields(pick: slice | np.ndarray) -> None:
    part = sample(4, origin="x", mono_ns=5).take(pick)
    assert len(part) == 2
    assert (part.origin, part.mono_ns) == ("x", 5)
    assert part.rows().tobytes() == sample(4).rows()[1:3].tobytes()


def test_concat_keeps_the_order_and_the_last_batch_fields() -> None:
    a, b = sample(3, mono_ns=1), sample(5, mono_ns=2)
    both = concat([a, b])
    assert both.rows().tobytes() == a.rows().tobytes() + b.rows().tobytes()
    assert both.mono_ns == 2
    assert concat([a]) is a
    assert len(concat([])) == len(Readings.empty()) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(2, np.int32), r"Readings.status: expected <u4\[2\], got int32\(2,\)"),
        (np.zeros(3, np.uint32), r"Readings.status: expected <u4\[2\], got uint32\(3,\)"),
        (np.zeros((2, 1), np.uint32), r"Readings.status: expected <u4\[2\], got uint32\(2, 1\)"),
    ],
)
def test_a_column_of_another_type_or_length_is_refused(wrong: np.ndarray, message: str) -> None:
    r = sample(2)
    with pytest.raises(TypeError, match=message):
        Readings(r.tag, r.value, wrong, r.flags, r.source_time, r.server_time)

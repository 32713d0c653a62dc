"""The asset tree."""

import pytest

from davy.reading.asset import Asset, Level


def tree() -> Asset:
    pump = Asset("u3", "P-07", Level.unit, position=(121.8412, 30.8625))
    farm = Asset("u2", "tank-farm", Level.area, children=(pump, Asset("u4", "T101", Level.unit)))
    return Asset("u1", "harbour", Level.site, children=(farm,))


@pytest.mark.feature("F11")
def test_a_site_is_walked_from_the_top_with_paths_of_names() -> None:
    assert [("/".join(path), a.uid) for path, a in tree().walk()] == [
        ("harbour", "u1"),
        ("harbour/tank-farm", "u2"),
        ("harbour/tank-farm/P-07", "u3"),
        ("harbour/tank-farm/T101", "u4"),
    ]


@pytest.mark.parametrize("inner", [Level.site, Level.area])
def test_nothing_stands_inside_its_own_kind_or_a_smaller_one(inner: Level) -> None:
    with pytest.raises(ValueError, match=f"asset 'out': a {inner} cannot stand inside a area"):
        Asset("u", "out", Level.area, children=(Asset("v", "in", inner),))


@pytest.mark.parametrize("position", [(30.0, 121.0), (181.0, 0.0), (float("nan"), 0.0)])
def test_a_position_is_longitude_before_latitude_in_degrees(position: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"asset 'p': expected \[longitude, latitude\] in degrees"):
        Asset("u", "p", Level.point, position=position)

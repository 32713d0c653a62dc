"""Units: names, and the conversions that are exact."""

import numpy as np
import pytest

from davy.reading import UNITS, GasBasis, Unit, convert
from davy.reading.unit import TABLE


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("kPa", "kPa"),
        ("%LEL", "%{LEL}"),
        ("%{LEL}", "%{LEL}"),
        ("℃", "Cel"),
        ("°C", "Cel"),
        ("ppm", "[ppm]"),
        ("mg/m³", "mg/m3"),
        (" m³/h ", "m3/h"),
        ("rpm", "/min"),
        ("r/min", "/min"),
        ("μg/m³", "ug/m3"),
        ("-", "1"),
        ("", "1"),
        ("g", "g"),
    ],
)
def test_what_people_write_becomes_one_ucum_code(text: str, code: str) -> None:
    assert Unit.of(text).code == code
    assert Unit.of(text) == Unit.of(code)


def test_per_cent_of_different_things_are_different_units() -> None:
    assert len({Unit.of(t) for t in ("%", "%LEL", "%vol", "%RH")}) == 4
    with pytest.raises(ValueError, match=r"cannot convert %\{LEL\} \(lower explosive limit\) to %\{vol\}"):
        convert(20.0, "%LEL", "%vol")


def test_an_unknown_unit_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ValueError, match="expected a UCUM code such as kPa, Cel, mg/m3 or"):
        Unit.of("furlong")


def test_every_kind_has_a_base_unit_and_every_unit_a_word_in_both_languages() -> None:
    for kind, rows in TABLE.items():
        assert UNITS[rows[0][0]].factor == 1, kind
    assert all((u.en and u.zh) or u.code == "1" for u in UNITS.values())


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.6, "MPa", "kPa", 1600.0),
        (0.3, "bar", "kPa", 30.0),
        (25.0, "Cel", "K", 298.15),
        (212.0, "[degF]", "Cel", 100.0),
        (-40.0, "Cel", "[degF]", -40.0),
        (1.0, "%vol", "ppm", 10_000.0),
        (90.0, "L/min", "m3/h", 5.4),
        (7.0, "mm/s", "m/s", 0.007),
        (1.0, "g/m3", "mg/L", 1.0),
        (3.3, "kPa", "kPa", 3.3),
    ],
)
def test_units_of_one_kind_convert(value: float, source: str, target: str, expected: float) -> None:
    assert convert(value, source, target) == pytest.approx(expected, rel=1e-15)


def test_an_array_converts_as_its_values_do() -> None:
    assert convert(np.array([1.0, 2.5]), "kPa", "Pa").tolist() == [1000.0, 2500.0]


@pytest.mark.parametrize(("celsius", "mg_m3"), [(0.0, 29.99), (20.0, 27.95)])
def test_ppm_to_mg_m3_stands_on_a_stated_basis(celsius: float, mg_m3: float) -> None:
    """CO, 24 ppm: the "30 mg/m3" of the coal and gas codes is at 0 Cel (domain.md 0.1, trap 5)."""
    carbon_monoxide = GasBasis(molar_mass=28.01, temperature=celsius)
    there = convert(24.0, "[ppm]", "mg/m3", carbon_monoxide)
    assert there == pytest.approx(mg_m3, abs=0.005)
    assert convert(there * 1000, "ug/m3", "[ppm]", carbon_monoxide) == pytest.approx(24.0)


def test_ppm_to_mg_m3_without_a_basis_is_refused() -> None:
    for source, target in (("[ppm]", "mg/m3"), ("mg/m3", "%vol")):
        with pytest.raises(ValueError, match="expected the gas and its reference state, got no basis"):
            convert(24.0, source, target)


def test_a_basis_does_not_join_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match="expected units of one kind"):
        convert(24.0, "kPa", "mg/m3", GasBasis(28.01, 20.0))

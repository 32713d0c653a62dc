"""Units: UCUM codes inside, what people write at the edges, and the conversions that are exact.

A value stays in the unit its rule is written in. Converting is for showing both, never silent,
and refused where it would need a number nobody stated: ppm to mg/m3 depends on the gas, its
temperature and its pressure (24 ppm CO is 30.0 mg/m3 at 0 Cel and 27.9 at 20 Cel).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])

#: J/(mol K), exact since the SI of 2019.
GAS_CONSTANT = 8.31446261815324
ZERO_CELSIUS = Fraction("273.15")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: `code` is UCUM, `en` and `zh` are for people.

    `factor` and `offset` lead to the base unit of `kind`: base = value * factor + offset.
    """

    code: str
    kind: str
    en: str
    zh: str
    factor: Fraction
    offset: Fraction = Fraction(0)

    @classmethod
    def of(cls, text: str) -> Self:
        """The unit a code, a display string or a common spelling names; ValueError if none does."""
        try:
            return NAMED[text.strip()]  # type: ignore[return-value]  # Unit has no subclasses
        except KeyError:
            raise ValueError(f"unit: expected a UCUM code such as kPa, Cel, mg/m3 or [ppm], got {text!r}") from None


@dataclass(frozen=True, slots=True)
class GasBasis:
    """What ppm <-> mg/m3 rests on: g/mol of the gas, Cel and kPa (absolute) of the reference state."""

    molar_mass: float
    temperature: float
    pressure: float = 101.325

    @property
    def molar_volume(self) -> float:
        """L/mol of an ideal gas: 22.41 at 0 Cel, 24.06 at 20 Cel and 101.325 kPa."""
        return GAS_CONSTANT * (self.temperature + float(ZERO_CELSIUS)) / self.pressure


#: kind -> (code, factor to the first of its kind, en, zh, other spellings). UCUM's {annotations} tell
#: apart what would otherwise be the same per cent; [ppm] is by volume, as gas detectors mean it.
TABLE: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "number": (("1", "1", "", "", "- none"),),
    "ratio": (("%", "1", "%", "%", ""),),
    "lower explosive limit": (("%{LEL}", "1", "%LEL", "%LEL", "%lel LEL%"),),
    "relative humidity": (("%{RH}", "1", "%RH", "%RH", "%rh"),),
    "volume fraction": (
        ("[ppm]", "1", "ppm", "ppm", "PPM umol/mol"),
        ("[ppb]", "1/1000", "ppb", "ppb", "PPB nmol/mol"),
        ("%{vol}", "10000", "%vol", "%vol", "%VOL vol%"),
    ),
    "mass concentration": (
        ("mg/m3", "1", "mg/m³", "mg/m³", ""),
        ("ug/m3", "1/1000", "µg/m³", "µg/m³", "μg/m³"),
        ("g/m3", "1000", "g/m³", "g/m³", ""),
        ("mg/L", "1000", "mg/L", "mg/L", "mg/l"),
        ("kg/m3", "1000000", "kg/m³", "kg/m³", ""),
    ),
    "pressure": (
        ("Pa", "1", "Pa", "Pa", ""),
        ("kPa", "1000", "kPa", "kPa", "KPa"),
        ("MPa", "1000000", "MPa", "MPa", "Mpa"),
        ("bar", "100000", "bar", "bar", ""),
        ("mbar", "100", "mbar", "mbar", ""),
    ),
    "length": (
        ("m", "1", "m", "m", "米"),
        ("cm", "1/100", "cm", "cm", "厘米"),
        ("mm", "1/1000", "mm", "mm", "毫米"),
        ("um", "1/1000000", "µm", "µm", "μm"),
    ),
    "speed": (("m/s", "1", "m/s", "m/s", ""), ("mm/s", "1/1000", "mm/s", "mm/s", "")),
    "acceleration": (("m/s2", "1", "m/s²", "m/s²", ""), ("[g]", "9.80665", "g", "g", "")),
    "volume": (("m3", "1", "m³", "m³", ""), ("L", "1/1000", "L", "L", "l 升")),
    "volume flow": (
        ("m3/h", "1", "m³/h", "m³/h", ""),
        ("m3/min", "60", "m³/min", "m³/min", ""),
        ("m3/s", "3600", "m³/s", "m³/s", ""),
        ("L/min", "6/100", "L/min", "L/min", "l/min"),
        ("L/s", "36/10", "L/s", "L/s", "l/s"),
    ),
    "mass": (("kg", "1", "kg", "kg", "千克"), ("g", "1/1000", "g", "克", ""), ("t", "1000", "t", "t", "吨")),
    "mass flow": (
        ("kg/h", "1", "kg/h", "kg/h", ""),
        ("t/h", "1000", "t/h", "t/h", ""),
        ("kg/s", "3600", "kg/s", "kg/s", ""),
    ),
    "current": (("A", "1", "A", "A", "安"), ("mA", "1/1000", "mA", "mA", "")),
    "voltage": (("V", "1", "V", "V", "伏"), ("mV", "1/1000", "mV", "mV", ""), ("kV", "1000", "kV", "kV", "")),
    "power": (("W", "1", "W", "W", ""), ("kW", "1000", "kW", "kW", ""), ("MW", "1000000", "MW", "MW", "")),
    "energy": (("kW.h", "1", "kWh", "kWh", "kW·h"),),
    "frequency": (("Hz", "1", "Hz", "Hz", "赫兹"),),
    "rotation": (("/min", "1", "rpm", "r/min", "1/min RPM 转/分"),),
    "time": (
        ("s", "1", "s", "秒", "sec"),
        ("ms", "1/1000", "ms", "毫秒", ""),
        ("min", "60", "min", "分", "分钟"),
        ("h", "3600", "h", "小时", "时"),
        ("d", "86400", "d", "天", "日"),
    ),
    "angle": (("deg", "1", "°", "°", ""),),
    "force": (("N", "1", "N", "N", ""), ("kN", "1000", "kN", "kN", "")),
    "sound pressure level": (("dB[SPL]", "1", "dB", "dB", "dB(A) dBA"),),
    "illuminance": (("lx", "1", "lx", "lx", "lux 勒克斯"),),
    "dose rate": (("uSv/h", "1", "µSv/h", "µSv/h", "μSv/h"),),
    "acidity": (("[pH]", "1", "pH", "pH", "PH"),),
    "conductivity": (("uS/cm", "1", "µS/cm", "µS/cm", "μS/cm"),),
}  # fmt: skip


def _temperatures() -> Iterable[tuple[Unit, str]]:
    """The one kind whose units differ in zero; base K."""
    yield Unit("K", "temperature", "K", "K", Fraction(1)), ""
    yield Unit("Cel", "temperature", "°C", "℃", Fraction(1), ZERO_CELSIUS), "degC 摄氏度"
    yield Unit("[degF]", "temperature", "°F", "℉", Fraction(5, 9), ZERO_CELSIUS - Fraction(160, 9)), "degF"


def _units() -> Iterable[tuple[Unit, str]]:
    for kind, rows in TABLE.items():
        for code, factor, en, zh, spellings in rows:
            yield Unit(code, kind, en, zh, Fraction(factor)), spellings
    yield from _temperatures()


#: UCUM code -> unit.
UNITS: dict[str, Unit] = {unit.code: unit for unit, _ in _units()}
#: Every accepted name -> unit; a code wins over another unit's display string.
NAMED: dict[str, Unit] = {
    name: unit for unit, spellings in _units() for name in (unit.en, unit.zh, *spellings.split())
} | UNITS


def convert(value: Number, source: str, target: str, basis: GasBasis | None = None) -> Number:
    """`value` (float or float64 array) in `target`; exact but for the last float rounding.

    Raises ValueError for units of different kinds, and for volume fraction <-> mass concentration
    without a `basis`.
    """
    a, b = Unit.of(source), Unit.of(target)
    if a == b:
        return value
    if a.kind == b.kind:
        return _scaled(value, a.factor / b.factor, (a.offset - b.offset) / b.factor)
    if {a.kind, b.kind} != {"volume fraction", "mass concentration"}:
        raise ValueError(f"cannot convert {a.code} ({a.kind}) to {b.code} ({b.kind}): expected units of one kind")
    if basis is None:
        raise ValueError(f"cannot convert {a.code} to {b.code}: expected the gas and its reference state, got no basis")
    mg_per_ppm = basis.molar_mass / basis.molar_volume
    ratio = mg_per_ppm if a.kind == "volume fraction" else 1 / mg_per_ppm
    return _scaled(value, a.factor / b.factor, Fraction(0)) * ratio


def _scaled(value: Number, factor: Fraction, offset: Fraction) -> Number:
    return value * factor.numerator / factor.denominator + float(offset)

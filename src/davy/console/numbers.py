"""Figures, ages and times as the console writes them. Pure.

Units of the texts: ages and spans from us; numbers with a true minus, thousands by comma, as many
decimals as the instrument resolves (design/console.md 7).
"""

import math
from datetime import UTC, datetime, tzinfo

from davy.clock import SECOND
from davy.reading import Tag

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
MOST_DECIMALS = 4


def decimals(tag: Tag) -> int | None:
    """Decimals worth showing: the fewer of the scale's (integers) and a thousandth of the range; None = 4 digits."""
    if tag.type.startswith("bool"):
        return 0
    steps = []
    if "int" in tag.type and tag.scale > 0:
        steps.append(-math.floor(math.log10(tag.scale) + 1e-9))
    if tag.range_low is not None and tag.range_high is not None and tag.range_high > tag.range_low:
        steps.append(3 - math.ceil(math.log10(tag.range_high - tag.range_low) - 1e-9))
    return min(MOST_DECIMALS, max(0, min(steps))) if steps else None


def number(value: float, places: int | None) -> str:
    """`value` as text; "—" for no number."""
    if not math.isfinite(value):
        return "—"
    if places is None:
        size = math.floor(math.log10(abs(value))) if value else 0
        if not -4 <= size <= 12:
            return f"{value:.3e}".replace("-", "−")
        places = min(MOST_DECIMALS, max(0, 3 - size))
        text = f"{value:,.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:,.{places}f}"
    return "0" if text in ("-0", "-0.0") and places == 0 else text.replace("-", "−")


def limit(value: float) -> str:
    """A limit as a person wrote it: no digits of its own are cut off, no zeros added."""
    if not math.isfinite(value):
        return "—"
    text = f"{value:,.{6}f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def span(us: int) -> str:
    """A length of time: `0:54`, `39:20`, `1:46:10`, then `45:19 h`, `6 d 7 h`."""
    s = max(0, us) // SECOND
    if s < HOUR:
        return f"{s // MINUTE}:{s % MINUTE:02d}"
    if s < DAY:
        return f"{s // HOUR}:{s % HOUR // MINUTE:02d}:{s % MINUTE:02d}"
    if s < 3 * DAY:
        return f"{s // HOUR}:{s % HOUR // MINUTE:02d} h"
    return f"{s // DAY} d {s % DAY // HOUR} h"


def age(us: int) -> str:
    """How old: `1 s` below a minute, then as `span`."""
    s = max(0, us) // SECOND
    return f"{s} s" if s < MINUTE else span(us)


def clock(us: int, zone: tzinfo | None) -> str:
    """`03:12:46` in `zone`."""
    return datetime.fromtimestamp(us / SECOND, UTC).astimezone(zone).strftime("%H:%M:%S")


def minute(us: int, zone: tzinfo | None) -> str:
    """`03:12` in `zone`."""
    return datetime.fromtimestamp(us / SECOND, UTC).astimezone(zone).strftime("%H:%M")


def day(us: int, zone: tzinfo | None) -> str:
    """`2026-11-22 03:12:46` in `zone`."""
    return datetime.fromtimestamp(us / SECOND, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def offset(us: int, zone: tzinfo | None) -> tuple[str, str, int]:
    """(name, `UTC+8`, minutes east) of `zone` at that time."""
    local = datetime.fromtimestamp(us / SECOND, UTC).astimezone(zone)
    minutes = int((local.utcoffset() or UTC.utcoffset(None)).total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "−" if minutes < 0 else "+"
    return local.tzname() or "", f"UTC{sign}{hours}" + (f":{rest:02d}" if rest else ""), minutes


#: UCUM codes as people write them; anything else is shown as it is.
UNITS = {
    "Cel": "°C", "m3/h": "m³/h", "mg/m3": "mg/m³", "m3": "m³", "1": "", "[ppm]": "ppm", "%{LEL}": "%LEL", "[pH]": "pH",
    "{LEL}%": "%LEL", "um": "µm", "m2": "m²", "m3/s": "m³/s", "m3/min": "m³/min", "%CH4": "%CH₄", "%[LEL]": "%LEL",
}  # fmt: skip


def unit(code: str) -> str:
    return UNITS.get(code, code)

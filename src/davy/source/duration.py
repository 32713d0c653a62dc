"""Durations as people write them: a number and a unit, `"250ms"`. Inside, always microseconds."""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

#: unit -> microseconds, longest first
UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
PATTERN = r"^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)\s*$"
_DURATION = re.compile(PATTERN, re.ASCII)
_LONGEST = 36_500 * UNITS["d"]  # a century: beyond it the text is a slip of the pen


def parse_duration(text: object) -> int:
    """`text` in microseconds. Raises ValueError saying what was found.

    >>> parse_duration("250ms"), parse_duration("1.5s"), parse_duration("2min")
    (250000, 1500000, 120000000)
    """
    found = _DURATION.match(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'expected a duration such as "250ms", got {text!r}')
    us = Fraction(found[1]) * UNITS[found[2]]
    if us.denominator != 1 or us > _LONGEST:
        raise ValueError(f"expected a duration of whole microseconds, at most a century, got {text!r}")
    return int(us)


def format_duration(us: int) -> str:
    """The shortest text `parse_duration` reads back as `us`.

    >>> format_duration(1500000), format_duration(120000000)
    ('1500ms', '2min')
    """
    if us == 0:
        return "0s"
    unit = next(unit for unit, size in UNITS.items() if us % size == 0)
    return f"{us // UNITS[unit]}{unit}"


#: A settings field that takes the text and holds microseconds. Give its default as text too:
#: `poll: Duration = Field("1s", validate_default=True)`.
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["250ms", "1s", "2min"]}),
]

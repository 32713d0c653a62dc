"""Settings of a replayed file, as they stand in site.yaml."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from davy.settings import Settings
from davy.source.duration import Duration

_ZONE = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)


def zone_us(text: str) -> int:
    """`+08:00` as microseconds ahead of UTC. Raises ValueError."""
    found = _ZONE.fullmatch(text)
    if found is None:
        raise ValueError(f'expected an offset from UTC such as "+08:00", got {text!r}')
    return (int(found[2]) * 60 + int(found[3])) * 60_000_000 * (-1 if found[1] == "-" else 1)


def instant_us(text: str) -> int:
    """An RFC 3339 instant as us UTC. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'expected an instant such as "2024-03-01T00:00:00Z", got {text!r}') from None
    if moment.tzinfo is None:
        raise ValueError(f'expected an instant with its zone, such as "2024-03-01T00:00:00Z", got {text!r}')
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Replay(Settings):
    """A file whose columns are tags: a tag's address is the name of its column."""

    kind: Literal["replay"]
    path: str = Field(description="The file; the suffix .csv, .arff or .parquet says what it is.")
    time: str = Field("", description="Column that holds each row's time. Without it, give start and step.")
    start: str = Field("", description="Time of the first row, RFC 3339.")
    step: Duration = Field("0s", validate_default=True, description="Time from row to row.")
    zone: str = Field("+00:00", description="Offset from UTC of times that name none.")
    speed: Literal["fast"] | float = Field("fast", description="fast, or a factor: 1 is real time.")
    stamp: Literal["source", "clock"] = Field(
        "source", description="Take server_time from the row, or from the clock when the row is handed on."
    )
    batch: int = Field(5000, ge=1, le=100_000, description="Readings handed on at once when fast.")
    retry: Duration = Field("1s", validate_default=True, description="Pause before an unreadable file is tried again.")

    @field_validator("path")
    @classmethod
    def _path(cls, text: str) -> str:
        if not text.lower().endswith((".csv", ".arff", ".parquet")):
            raise ValueError(f"expected a file ending in .csv, .arff or .parquet, got {text!r}")
        return text

    @field_validator("speed")
    @classmethod
    def _speed(cls, speed: str | float) -> str | float:
        if isinstance(speed, float) and not 0 < speed < 1e6:
            raise ValueError(f'expected "fast" or a factor above 0, got {speed!r}')
        return speed

    @model_validator(mode="after")
    def _times(self) -> "Replay":
        zone_us(self.zone)
        if bool(self.time) == bool(self.start):
            raise ValueError("expected either time (a column) or start and step")
        if self.start:
            instant_us(self.start)
            if self.step == 0:
                raise ValueError('step: expected the time from row to row, such as "30s"')
        return self

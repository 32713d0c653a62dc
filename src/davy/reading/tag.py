"""The tag table: what each number is, where it stands and when it is dangerous.

A tag's `uid` and `index` are forever (contracts.md 3): a rename keeps both, a change of unit,
range, source or basis is a new `revision`, and an index is never given to another tag.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from davy.errors import UnknownTarget


class Hazard(StrEnum):
    """The direction in which the value becomes dangerous."""

    high = "high"
    low = "low"
    both = "both"
    none = "none"


class Class(StrEnum):
    """What kind of alarms a tag gives; `statutory` may not be silenced by one person (contracts.md 7)."""

    statutory = "statutory"
    process = "process"
    info = "info"


@dataclass(frozen=True, slots=True)
class Tag:
    """One instrument point. Limits and range in `unit`; delays and ages in us; priority 1 (urgent) to 4.

    `type` is how the link decodes it (for Modbus "float32 CDAB"); `signal` is its electrical kind
    ("4-20mA" turns on the NE 43 bands). For a Boolean tag (`type` bool) `discrete` is the value
    that alarms (1.0 or 0.0), or None.
    """

    uid: str
    index: int
    name: str
    revision: int = 1
    label: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    area: str = ""
    link: str = ""
    address: str = ""
    type: str = "float64"
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "1"
    range_low: float | None = None
    range_high: float | None = None
    signal: str = ""
    hazard: Hazard = Hazard.none
    alarm_class: Class = Class.process
    priority: int = 3
    low_low: float | None = None
    low: float | None = None
    high: float | None = None
    high_high: float | None = None
    discrete: float | None = None
    deadband: float = 0.0
    on_delay: int = 0
    off_delay: int = 0
    latch: bool = False
    stale_after: int | None = None
    frozen_after: int | None = None
    position: tuple[float, float] | None = None

    def plain(self) -> dict[str, Any]:
        """As a dict of CBOR-able values, without what equals its default; for the `tags` leaf."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            default = {} if f.name == "label" else f.default
            if value != default or f.name in ("uid", "index", "name"):
                out[f.name] = dict(value) if isinstance(value, Mapping) else value
        return {k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, StrEnum) else v for k, v in out.items()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """Inverse of `plain`."""
        p = dict(plain)
        if "label" in p:
            p["label"] = MappingProxyType(p["label"])
        if p.get("position") is not None:
            p["position"] = tuple(p["position"])
        if "hazard" in p:
            p["hazard"] = Hazard(p["hazard"])
        if "alarm_class" in p:
            p["alarm_class"] = Class(p["alarm_class"])
        return cls(**p)


def _column(tags: tuple[Tag, ...], size: int, name: str, missing: float) -> NDArray[np.float64]:
    out = np.full(size, missing)
    for tag in tags:
        value = getattr(tag, name)
        if value is not None:
            out[tag.index] = value
    return out


@dataclass(frozen=True)
class TagTable:
    """All tags of one origin at one version; arrays are indexed by `Tag.index`.

    `size` is one past the highest index in use, so every array below has that length.
    """

    version: int
    tags: tuple[Tag, ...]

    def __post_init__(self) -> None:
        indices = [t.index for t in self.tags]
        names = [t.name for t in self.tags]
        if len(set(indices)) != len(indices) or len(set(names)) != len(names):
            raise ValueError("tag table: an index or a name occurs twice")

    @cached_property
    def size(self) -> int:
        return max((t.index for t in self.tags), default=-1) + 1

    @cached_property
    def by_index(self) -> dict[int, Tag]:
        return {t.index: t for t in self.tags}

    @cached_property
    def by_name(self) -> dict[str, Tag]:
        return {t.name: t for t in self.tags}

    def __getitem__(self, index: int) -> Tag:
        try:
            return self.by_index[index]
        except KeyError:
            raise UnknownTarget(f"tag index {index}: not in tag table version {self.version}") from None

    def __len__(self) -> int:
        return len(self.tags)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """bool[size]: which indices are in use."""
        out = np.zeros(self.size, np.bool_)
        out[[t.index for t in self.tags]] = True
        return out

    def column(self, name: str, missing: float = np.nan) -> NDArray[np.float64]:
        """float64[size]: field `name` of every tag, `missing` where it is None or the index is unused."""
        return _column(self.tags, self.size, name, missing)

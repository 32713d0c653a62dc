"""The asset tree: site > area > unit > point, with WGS-84 positions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    site = "site"
    area = "area"
    unit = "unit"
    point = "point"


ORDER = tuple(Level)


@dataclass(frozen=True, slots=True)
class Asset:
    """A node of the tree. `position` is (longitude, latitude) in degrees, WGS-84 (EPSG:4326)."""

    uid: str
    name: str
    level: Level
    label: dict[str, str] = field(default_factory=dict)
    position: tuple[float, float] | None = None
    children: tuple["Asset", ...] = ()

    def __post_init__(self) -> None:
        if self.position is not None:
            lon, lat = self.position
            if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                raise ValueError(f"asset {self.name!r}: expected [longitude, latitude] in degrees, got {self.position}")
        for child in self.children:
            if ORDER.index(child.level) <= ORDER.index(self.level):
                raise ValueError(f"asset {self.name!r}: a {child.level} cannot stand inside a {self.level}")

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], "Asset"]]:
        """Every node with its path of names, this one first, in order."""
        here = (*path, self.name)
        yield here, self
        for child in self.children:
            yield from child.walk(here)

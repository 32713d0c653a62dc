"""The words of the river: Tag, Readings, Status, Unit, asset tree. Everything else imports these; pure.

`translate` has other protocols' words for quality, `asset` the tree of sites; import them from there.
"""

from davy.reading.readings import ROW, Readings, concat
from davy.reading.status import Flag, Status
from davy.reading.tag import Class, Hazard, Tag, TagTable
from davy.reading.unit import UNITS, GasBasis, Unit, convert

__all__ = [
    "ROW",
    "UNITS",
    "Class",
    "Flag",
    "GasBasis",
    "Hazard",
    "Readings",
    "Status",
    "Tag",
    "TagTable",
    "Unit",
    "concat",
    "convert",
]

"""The words of the river: Tag, Readings, Status, Unit, asset tree. Everything else imports these; pure."""

from davy.reading.readings import ROW, Readings, concat
from davy.reading.status import Flag, Status
from davy.reading.tag import Class, Hazard, Tag, TagTable

__all__ = ["ROW", "Class", "Flag", "Hazard", "Readings", "Status", "Tag", "TagTable", "concat"]

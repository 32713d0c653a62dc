"""The processes of a centre."""

from davy.centre.config import Centre
from davy.process import Child

#: (name, module, socket it answers on), in the order they start.
PROCESSES: tuple[tuple[str, str, str | None], ...] = (
    ("intake", "davy.centre.intake", "intake.sock"),
    ("history", "davy.centre.history", "history.sock"),
    ("console", "davy.centre.console", None),
)


def children(centre: Centre) -> list[Child]:
    """What `davy centre run` supervises."""
    return [
        Child(name, module, centre.folder, centre.run / socket if socket else None)
        for name, module, socket in PROCESSES
    ]

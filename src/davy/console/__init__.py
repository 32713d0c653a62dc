"""The pages both ends share: what stands now, what stood, who may act, and how it all looks.

In: the live feed (`subscribe`), the history (`query`) and the core's `act`, over Unix sockets; people
through `people`. Out: HTML that reads without script, JSON under /api/v1, server-sent events.
Promises: no value without age and quality; an act is shown as done only once sealed; a centre can
change nothing at a site; live views may drop and say so, nothing else may.
`numbers words quality picture view trend chart` are pure; `feed history acts` talk to the other
processes; `app` wires them.
"""

from davy.console.app import build
from davy.console.config import ConsoleConfig
from davy.console.serve import announce, first_link, run, server

__all__ = ["ConsoleConfig", "announce", "build", "first_link", "run", "server"]

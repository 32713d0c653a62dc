"""What one console process needs to know; the two roots make it from their own settings."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from davy.clock import SECOND
from davy.people import Place


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """place: edge or centre; `name` by language. Sockets: `feed` answers subscribe and act, `history` query.

    people: the SQLite file of local users; run: folder for `first-admin-link` (0600). holder: who
    holds this log, as said in the black-box sentence. timezone: IANA name, "" for the machine's own; for
    display only, the river runs on UTC. tls: certificate and key files; `secure_cookies` says that a proxy in front
    speaks TLS, and is implied by `tls`. exposure_limit: us of unheld record after which the badge
    turns violet (design default 10 s).
    """

    place: Place
    feed: Path
    history: Path
    people: Path
    run: Path
    host: str = "127.0.0.1"
    port: int = 8101
    name: Mapping[str, str] = field(default_factory=dict)
    holder: Mapping[str, str] = field(default_factory=lambda: {"en": "the county", "zh": "县级平台"})
    timezone: str = ""
    tls: tuple[Path, Path] | None = None
    secure_cookies: bool = False
    exposure_limit: int = 10 * SECOND

    @property
    def secure(self) -> bool:
        return self.secure_cookies or self.tls is not None

    @property
    def first_link(self) -> Path:
        """Where the first admin's one-time address lies (0600) until it has been used."""
        return self.run / "first-admin-link"

    def address(self, port: int = 0) -> str:
        """Where a browser on this machine finds it; `port`: the one listened on, where `port` here is 0."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"{'https' if self.tls else 'http'}://{host}:{port or self.port}"

    @property
    def cookie(self) -> str:
        """Name of the session cookie: cookies know no ports, and several consoles may share one host."""
        own = hashlib.sha256(str(self.people.resolve()).encode()).hexdigest()[:8]
        return f"__Host-davy-{own}" if self.secure else f"davy-{own}"

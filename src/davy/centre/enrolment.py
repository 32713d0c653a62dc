"""Who may deliver here: one-time invitations, and the edges that came with one.

    data/invites/<SHA-256 of token>.json   {"expires": us}; removed when spent
    data/edges/<org>~<site>~<box>.json     {"token": SHA-256 of the bearer token, "vkey", "box", "enrolled": us}

Tokens are 256 random bits, so their plain hash keeps them as safe as a slow one would.
"""

import hashlib
import json
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from davy.blackbox.fs import REAL, full_is_named
from davy.blackbox.mirror import Mirror
from davy.centre.config import Centre
from davy.clock import Clock
from davy.errors import BadRequest, Refused
from davy.uplink.enrol import Invitation

TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new edge's bearer token; told once, only its hash is kept."""

    origin: str
    token: str


def invite(centre: Centre, clock: Clock, valid_us: int) -> str:
    """A new one-time invitation, good for `valid_us`. May be called while the intake runs."""
    token = secrets.token_bytes(TOKEN_BYTES)
    folder = centre.data / "invites"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{_digest(token)}.json"
    REAL.replace(path, json.dumps({"expires": clock.now_us() + valid_us}).encode())
    REAL.sync_dir(folder)
    return Invitation(centre.config.url, centre.fingerprint(), token).text()


class Edges:
    """The edges enrolled here. Safe to call from many threads."""

    def __init__(self, centre: Centre, mirror: Mirror, clock: Clock) -> None:
        self._folder = centre.data
        self._mirror = mirror
        self._clock = clock
        self._lock = threading.Lock()
        REAL.make_dir(self._folder / "edges")
        records = ((path, json.loads(path.read_text())) for path in (self._folder / "edges").glob("*.json"))
        self._by_token = {record["token"]: path.stem.replace("~", "/") for path, record in records}

    def origin_of(self, token: str) -> str:
        """Whose bearer token this is. Raises Refused."""
        try:
            return self._by_token[_digest(bytes.fromhex(token))]
        except (KeyError, ValueError):
            raise Refused("token: expected one that this centre gave out at enrolment") from None

    def enrol(self, token: bytes, origin: str, vkey: str, box: bytes) -> Enrolled:
        """Spend an invitation. Raises Refused (spent, expired, origin bound to another key), BadRequest, Corrupt, Full.

        An origin that enrols again with its own key gets a new token, and the old one ends.
        """
        if len(box) != 32:
            raise BadRequest(f"box: expected an X25519 public key of 32 bytes, got {len(box)}")
        with self._lock:
            invitation = self._folder / "invites" / f"{_digest(token)}.json"
            self._check(invitation)
            self._mirror.enrol(origin, vkey)
            with suppress(FileNotFoundError), full_is_named("enrolment"):
                os.unlink(invitation)
                REAL.sync_dir(invitation.parent)
            fresh = secrets.token_bytes(TOKEN_BYTES)
            record = {"token": _digest(fresh), "vkey": vkey, "box": box.hex(), "enrolled": self._clock.now_us()}
            self._keep(origin, record)
            self._by_token = {known: name for known, name in self._by_token.items() if name != origin}
            self._by_token[record["token"]] = origin
            return Enrolled(origin, fresh.hex())

    def _check(self, invitation: Path) -> None:
        try:
            expires = json.loads(invitation.read_text())["expires"]
        except FileNotFoundError:
            raise Refused("invitation: expected one that is not spent; ask for a new one") from None
        if expires < self._clock.now_us():
            raise Refused("invitation: it has expired; ask for a new one")

    def _keep(self, origin: str, record: dict[str, Any]) -> None:
        path = self._folder / "edges" / f"{origin.replace('/', '~')}.json"
        with full_is_named("enrolment"):
            REAL.replace(path, json.dumps(record).encode())
            REAL.sync_dir(path.parent)


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()

"""How an edge and a centre come to know each other: a one-time invitation, then keys both ways.

    invitation    davy1.<base64url of [url, SHA-256 of the centre's certificate, token]>
    secrets/centre.json on the edge: url, certificate (PEM), token, vkey, recipient, origin

The invitation carries the certificate's fingerprint, so nothing that answers in the centre's place is
believed, from the first byte on: the certificate, once fetched and compared, is the only one trusted.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import os
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import cbor2
import httpx

from davy.blackbox.note import Verifier
from davy.clock import Clock, rfc3339
from davy.errors import BadRequest, ConfigError, Corrupt, Problem, Refused, Unreachable
from davy.wire import Client

_PREFIX = "davy1."
DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Invitation:
    """url: https address of the intake; fingerprint: SHA-256 of its certificate (DER); token: 32 secret bytes."""

    url: str
    fingerprint: bytes
    token: bytes

    def text(self) -> str:
        return _PREFIX + _base64url(cbor2.dumps([self.url, self.fingerprint, self.token]))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadRequest."""
        try:
            if not text.startswith(_PREFIX):
                raise ValueError("no prefix")
            encoded = text.removeprefix(_PREFIX).strip()
            url, fingerprint, token = cbor2.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        except (ValueError, TypeError, binascii.Error, cbor2.CBORDecodeError) as error:
            raise BadRequest(f"invitation: expected what `davy centre invite` printed ({_PREFIX}...)") from error
        if type(url) is not str or not url.startswith("https://") or not (len(fingerprint) == len(token) == 32):
            raise BadRequest("invitation: expected an https address, a fingerprint and a token")
        return cls(url, fingerprint, token)


@dataclass(frozen=True, slots=True)
class CentreKeys:
    """What an edge keeps of its centre.

    certificate: PEM; token: bearer, secret; vkey: of the mirror's cosigner; recipient: X25519 public key
    (hex) that sealed bodies are wrapped to; enrolled: RFC 3339.
    """

    url: str
    certificate: str
    token: str
    vkey: str
    recipient: str
    origin: str
    enrolled: str = ""

    def verifier(self) -> Verifier:
        return Verifier.parse(self.vkey)

    def tls(self) -> ssl.SSLContext:
        """A context that trusts this one certificate, whatever name it carries."""
        return _trusting(self.certificate)

    def write(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises FileNotFoundError before enrolment, ConfigError for a file that is not ours."""
        try:
            keys = cls(**json.loads(path.read_text()))
            keys.verifier()
        except (ValueError, TypeError, Corrupt) as error:
            raise ConfigError(
                [Problem(path.name, None, "", f"expected what `davy edge enrol` wrote: {error}")]
            ) from error
        return keys


async def enrol(folder: Path, origin: str, invitation: str, clock: Clock) -> dict[str, Any]:
    """Join the centre that made `invitation` and write `secrets/centre.json` of the site in `folder`.

    Asks the running signer for the log's public keys. Raises BadRequest (no invitation), Unreachable (retry)
    or Refused (used or expired invitation, wrong certificate, origin bound to another key).
    """
    async with Client(folder / "run" / "signer.sock") as signer:
        public = await signer.call("vkey")
    keys = await join(Invitation.parse(invitation), origin, public["vkey"], bytes(public["box"]), clock)
    keys.write(folder / "secrets" / "centre.json")
    return {"origin": origin, "centre": keys.verifier().name, "url": keys.url}


async def join(invited: Invitation, origin: str, vkey: str, box: bytes, clock: Clock) -> CentreKeys:
    """Spend the invitation: vkey and box (X25519) go up, what we keep of the centre comes back. Raises as `enrol`."""
    certificate = await asyncio.to_thread(fetch_certificate, invited.url, invited.fingerprint)
    request = {"token": invited.token.hex(), "origin": origin, "vkey": vkey, "box": box.hex()}
    async with httpx.AsyncClient(verify=_trusting(certificate), timeout=DEADLINE_S, trust_env=False) as http:
        try:
            answer = await http.post(f"{invited.url}/api/v1/enrol", json=request)
        except httpx.HTTPError as error:
            raise Unreachable(f"centre {invited.url}: {error!r}") from error
    told = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    if answer.status_code != httpx.codes.OK:
        raise Refused(f"centre {invited.url}: {told.get('detail', answer.status_code)}")
    enrolled = rfc3339(clock.now_us())
    return CentreKeys(invited.url, certificate, told["token"], told["vkey"], told["recipient"], origin, enrolled)


def fetch_certificate(url: str, fingerprint: bytes) -> str:
    """The certificate (PEM) that `url` presents, if it is the one with that SHA-256. Raises Unreachable, Refused."""
    place = httpx.URL(url)
    try:
        pem = ssl.get_server_certificate((place.host, place.port or 443), timeout=DEADLINE_S)
    except OSError as error:
        raise Unreachable(f"centre {url}: {error}") from error
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    if found != fingerprint:
        raise Refused(f"centre {url}: expected a certificate with SHA-256 {fingerprint.hex()}, got {found.hex()}")
    return pem


def _trusting(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the pin says more: this key, not any certificate for that name
    context.load_verify_locations(cadata=certificate)
    return context


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

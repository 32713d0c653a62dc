"""What a centre is: the folder its people keep (centre.yaml, secrets) and the one Davy keeps (data).

centre.yaml   secrets/{tls.crt,tls.key,cosigner,recipient}   run/   data/{mirror,invites,edges,history}
"""

import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import AfterValidator, Field

from davy import settings
from davy.blackbox.note import Cosigner
from davy.clock import Clock
from davy.errors import ConfigError, Problem
from davy.settings import Settings

_VALID = timedelta(days=3650)  # pinned by its fingerprint, renewed by a new invitation
_BEFORE = timedelta(days=1)  # clocks of edges may be behind


def _key_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", name):
        raise ValueError(f'expected a name such as "county.example", got {name!r}')
    return name


class IntakeAddress(Settings):
    host: str = Field("0.0.0.0", description="address the intake listens on for edges")
    port: int = Field(8443, ge=0, le=65535, description="port the intake listens on; 0 picks a free one")


class ConsoleAddress(Settings):
    host: str = Field("127.0.0.1", description="address the console listens on")
    port: int = Field(8100, ge=0, le=65535, description="port the console listens on; 0 picks a free one")


class CentreConfig(Settings):
    """centre.yaml."""

    version: Literal[1] = Field(description="version of this file's format")
    name: Annotated[str, AfterValidator(_key_name)] = Field(description="name under which this centre cosigns")
    title: dict[Literal["en", "zh"], str] = Field(default={}, description="what people call the centre, by language")
    url: str = Field(description="https address by which edges reach the intake", pattern=r"^https://[^/\s]+$")
    intake: IntakeAddress = Field(IntakeAddress(), description="where edges deliver")
    console: ConsoleAddress = Field(ConsoleAddress(), description="the centre's own console")


@dataclass(frozen=True, slots=True)
class Centre:
    """A centre's settings and where its things lie."""

    folder: Path
    config: CentreConfig

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def mirror(self) -> Path:
        return self.data / "mirror"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def certificate(self) -> Path:
        return self.secrets / "tls.crt"

    @property
    def tls_key(self) -> Path:
        return self.secrets / "tls.key"

    def log(self, origin: str) -> Path:
        """Folder of a mirrored log, for a LogReader."""
        return self.mirror / "logs" / origin

    def cosigner(self) -> Cosigner:
        """Raises ConfigError before `init`."""
        return Cosigner.parse(_secret(self.secrets / "cosigner").decode().strip())

    def recipient(self) -> X25519PrivateKey:
        """What sealed bodies are wrapped to. Raises ConfigError before `init`."""
        return X25519PrivateKey.from_private_bytes(bytes.fromhex(_secret(self.secrets / "recipient").decode()))

    def fingerprint(self) -> bytes:
        """SHA-256 of the intake's certificate (DER). Raises ConfigError before `init`."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(_secret(self.certificate).decode())).digest()


def load(folder: Path) -> Centre:
    """A centre ready to run. Raises ConfigError with everything wrong in centre.yaml."""
    return Centre(folder, settings.load(folder / "centre.yaml", CentreConfig))


_CENTRE = """\
# What this centre is. Edges know it by the certificate and keys in secrets/: keep a copy of them safe.
version: 1
name: {name}
url: "{url}"
intake: {{host: 0.0.0.0, port: {port}}}
console: {{host: 127.0.0.1, port: 8100}}
"""


def init(folder: Path, name: str, host_names: list[str], port: int, clock: Clock) -> list[str]:
    """Make a centre's folder: settings, keys and a self-signed certificate. Touches nothing that exists (ConfigError).

    host_names: names or addresses by which edges reach the intake; the first makes the url.
    """
    path = folder / "centre.yaml"
    if path.exists() or (folder / "secrets").exists():
        raise ConfigError([Problem(str(path), None, "", "exists already: edit it, or name a new folder")])
    first = host_names[0] if host_names else "127.0.0.1"
    place = f"[{first}]" if ":" in first else first
    text = _CENTRE.format(name=name, url=f"https://{place}:{port}", port=port)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        load(folder)
    except ConfigError:
        path.unlink()
        raise
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    certificate, key = _self_signed(name, host_names, datetime.fromtimestamp(clock.now_us() / 1e6, UTC))
    made: dict[str, Callable[[], bytes]] = {
        "tls.crt": lambda: certificate,
        "tls.key": lambda: key,
        "cosigner": lambda: Cosigner.generate(name).skey.encode(),
        "recipient": lambda: X25519PrivateKey.generate().private_bytes_raw().hex().encode(),
    }
    for file, make in made.items():
        with open(os.open(secrets / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(make())
            out.flush()
            os.fsync(out.fileno())
    return ["centre.yaml", *(f"secrets/{file}" for file in made)]


def _secret(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = Problem(str(path), None, "", f"cannot be read ({error.strerror}): `davy centre init` makes it")
        raise ConfigError([problem]) from error


def _self_signed(name: str, host_names: list[str], now: datetime) -> tuple[bytes, bytes]:
    """Certificate and key (PEM) for loopback and `host_names`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternatives = list(dict.fromkeys(["localhost", "127.0.0.1", "::1", *host_names]))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in alternatives]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

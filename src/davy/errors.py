"""Every error Davy raises on purpose.

    DavyError
    |- ConfigError             file:line, key path, what was expected, what was found
    |- SourceError  LinkDown(retry) | PeerFault | CodecError
    |- LogError     Inconsistent(fatal) | Corrupt(fatal) | Full(retry) | KeyUnknown
    |- UplinkError  Unreachable(retry) | Refused(final) | Conflict(final)
    '- ActError     NotAllowed | StaleVersion | UnknownTarget | BadRequest

`reason` is a fixed slug: it labels metrics and is the `reason` of an RFC 9457 answer.
`retry` says whether the same call may succeed later without anything being changed.
Expected trouble in the field (a dead sensor, a silent device) is never raised: it is a
Reading with a Bad status.
"""

from dataclasses import dataclass
from typing import ClassVar


class DavyError(Exception):
    """Root of the tree; carries a message that says found versus expected."""

    reason: ClassVar[str] = "davy"
    retry: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file a person wrote."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place} {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(DavyError, ValueError):
    """Everything wrong with a configuration, found in one pass; nothing was changed."""

    reason = "config"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        super().__init__("\n".join([*map(str, problems), f"{count}; nothing was changed"]))


class SourceError(DavyError):
    """A device or its link misbehaved. Only raised inside a source, which turns it into Readings."""

    reason = "source"


class LinkDown(SourceError, ConnectionError):
    reason = "link_down"
    retry = True


class PeerFault(SourceError):
    """The device answered with a fault of its own (for Modbus: an exception code)."""

    reason = "peer_fault"

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class CodecError(SourceError, ValueError):
    """Bytes that do not follow the protocol."""

    reason = "codec"

    def __init__(self, message: str, data: bytes = b"", offset: int = 0) -> None:
        super().__init__(message)
        self.data = data
        self.offset = offset


class LogError(DavyError):
    reason = "log"


class Inconsistent(LogError):
    """A proof, a root or a checkpoint does not agree with what is held."""

    reason = "inconsistent"


class Corrupt(LogError):
    """Stored bytes are not what was written."""

    reason = "corrupt"


class Full(LogError, OSError):
    """The disk refused a write; nothing acknowledged is lost."""

    reason = "disk_full"
    retry = True


class KeyUnknown(LogError, KeyError):
    """The key of a body is not held here, or was destroyed on purpose (erasure)."""

    reason = "key_unknown"

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else ""


class UplinkError(DavyError):
    reason = "uplink"


class Unreachable(UplinkError, ConnectionError):
    reason = "unreachable"
    retry = True


class Refused(UplinkError):
    """The centre will not take it, and sending it again will not change that."""

    reason = "refused"


class Conflict(UplinkError):
    """The two ends disagree about the log: rollback or fork. Carries the proof."""

    reason = "conflict"

    def __init__(self, message: str, proof: bytes = b"") -> None:
        super().__init__(message)
        self.proof = proof


class ActError(DavyError):
    """A person's act was not carried out; nothing changed."""

    reason = "act"


class NotAllowed(ActError, PermissionError):
    reason = "not_allowed"


class StaleVersion(ActError):
    """The alarm changed since the person saw it."""

    reason = "stale_version"


class UnknownTarget(ActError, LookupError):
    reason = "unknown_target"


class BadRequest(ActError, ValueError):
    reason = "bad_request"


#: slug -> class, for answers that cross a socket.
BY_REASON: dict[str, type[DavyError]] = {
    cls.reason: cls
    for cls in (
        LinkDown, Inconsistent, Corrupt, Full, KeyUnknown, Unreachable, Refused, Conflict,
        NotAllowed, StaleVersion, UnknownTarget, BadRequest,
    )
}  # fmt: skip

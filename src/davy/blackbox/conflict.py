"""What is kept when a log contradicts itself: both signed checkpoints, so that anyone can judge (JSON)."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from davy.blackbox.fs import Fs
from davy.blackbox.note import Verifier, open_note, parse_note
from davy.clock import rfc3339
from davy.errors import Corrupt, Inconsistent

_MOST_FILES = 1000  # of one log; a quarrelsome box must not fill the disk


class Contradiction(StrEnum):
    """rollback: the log now says it is smaller than it was. fork: two roots for one size.
    unlinked: no valid consistency proof leads from one checkpoint to the other."""

    rollback = "rollback"
    fork = "fork"
    unlinked = "unlinked"


@dataclass(frozen=True, slots=True)
class ConflictProof:
    """held: the newest checkpoint we knew; offered: the one refused; root: what we compute for the offered
    size (hex), where we hold that much; time: RFC 3339, when it was offered."""

    kind: Contradiction
    origin: str
    time: str
    held: str
    offered: str
    root: str = ""

    def data(self) -> bytes:
        return json.dumps({"version": 1, **asdict(self)}, ensure_ascii=False, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a proof file. Raises Corrupt."""
        try:
            fields = json.loads(data)
            if fields.pop("version") != 1:
                raise Corrupt("conflict proof: expected version 1")
            return cls(**fields | {"kind": Contradiction(fields["kind"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Corrupt(f"conflict proof: {error!r}") from error

    def verify(self, log: Verifier) -> None:
        """Check that both checkpoints are `log`'s own and contradict each other as `kind` says.

        For `unlinked`, and for a fork of sizes that differ, that needs the leaves too: fsck of the copy
        gives `root`. Raises Corrupt or Inconsistent.
        """
        held, offered = (open_note(note.encode(), [log]).checkpoint() for note in (self.held, self.offered))
        shown = {
            Contradiction.rollback: offered.size < held.size,
            Contradiction.fork: offered.root != held.root and (offered.size == held.size or bool(self.root)),
            Contradiction.unlinked: offered.size != held.size,
        }
        if {held.origin, offered.origin} != {self.origin} or not shown[self.kind]:
            raise Inconsistent(f"conflict proof of {self.origin}: the checkpoints show no {self.kind}")


def keep(folder: Path, proof: ConflictProof, fs: Fs) -> None:
    """Store `proof` in `folder`, durably and once for the same two checkpoints."""
    texts = b"".join(parse_note(note.encode()).text for note in (proof.held, proof.offered))  # not who else signed
    digest = hashlib.sha256(texts).hexdigest()[:16]
    path = folder / f"{proof.kind}-{digest}.json"
    fs.make_dir(folder)
    if path.exists() or sum(1 for _ in folder.iterdir()) >= _MOST_FILES:
        return
    fs.replace(path, proof.data())
    fs.sync_dir(folder)


def contradiction(
    kind: Contradiction, origin: str, now_us: int, held: bytes, offered: bytes, root: bytes = b""
) -> ConflictProof:
    """A proof of `kind` from the two notes."""
    return ConflictProof(kind, origin, rfc3339(now_us), held.decode(), offered.decode(), root.hex())

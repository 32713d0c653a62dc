"""The .tlog-proof file: one leaf shown to lie in a log, checkable offline (c2sp.org/tlog-proof)."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from davy.blackbox.merkle import verify_inclusion
from davy.blackbox.note import Note, Verifier, open_note, parse_base64, parse_decimal, parse_hash
from davy.errors import Corrupt

_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """index: of the leaf; hashes: leaf's sibling first; checkpoint: the signed note, verbatim.

    extra is opaque and vouched for by nobody.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def text(self) -> bytes:
        """The file's bytes."""
        lines = [_HEADER]
        if self.extra:
            lines.append("extra " + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += (base64.b64encode(node).decode() for node in self.hashes)
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the file. Raises Corrupt."""
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            first, *lines = head.decode().split("\n")
        except UnicodeDecodeError as error:
            raise Corrupt(f"proof: not UTF-8 at byte {error.start}") from error
        if first != _HEADER or not blank:
            raise Corrupt(f"proof: expected {_HEADER!r}, lines, an empty line and a checkpoint")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = parse_base64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise Corrupt("proof: expected a line 'index N'")
        index = parse_decimal(lines.pop(0).removeprefix("index "))
        return cls(index, tuple(map(parse_hash, lines)), checkpoint, extra)

    def verify(self, leaf_hash: bytes, verifiers: Sequence[Verifier]) -> Note:
        """Check the checkpoint's signatures and the path; the note opened tells who signed and when.

        Raises Corrupt or Inconsistent.
        """
        note = open_note(self.checkpoint, verifiers)
        checkpoint = note.checkpoint()
        verify_inclusion(self.index, checkpoint.size, leaf_hash, self.hashes, checkpoint.root)
        return note

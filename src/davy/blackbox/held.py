"""The nouns of a mirror: what it holds, and what is brought to it. Pure."""

from collections.abc import Sequence
from typing import NamedTuple


class Held(NamedTuple):
    """The answer to everything: what we hold of a log.

    size: leaves; seen: size of the largest checkpoint shown to us; epoch: the newest keyring file held,
    -1 for none; checkpoint: the newest note whose every leaf we hold, with our cosignature, or b"";
    taken: False if the request began somewhere else than we are, so nothing of it was looked at.
    """

    size: int
    seen: int
    epoch: int
    checkpoint: bytes
    taken: bool = True


class Link(NamedTuple):
    """Consistency proof between the largest checkpoint shown before, of size `seen`, and the one beside it."""

    seen: int
    proof: Sequence[bytes]


class Claim(NamedTuple):
    """A leaf sent ahead: its body if any, and its inclusion proof."""

    leaf: bytes
    chunk: bytes | None
    proof: Sequence[bytes]

"""What is written down: one schema a leaf kind. Pure: bytes in, nouns out, and back."""

from davy.fact.event import (
    Act,
    AlarmType,
    Cause,
    Config,
    Epoch,
    Level,
    Note,
    State,
    Tags,
    Transition,
    Verb,
)
from davy.fact.leaf import ErasureClass, Kind, Leaf, decode_leaf, key_id

__all__ = [
    "Act", "AlarmType", "Cause", "Config", "Epoch", "ErasureClass", "Kind", "Leaf", "Level", "Note",
    "State", "Tags", "Transition", "Verb", "decode_leaf", "key_id",
]  # fmt: skip

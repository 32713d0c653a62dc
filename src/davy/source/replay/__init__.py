"""Recorded files back into the river: CSV, ARFF, Parquet, at any speed, each row at its own time.

Parquet is read by a process of its own (parquet.py), so the core never loads pyarrow.
"""

from davy.source.replay.config import Replay
from davy.source.replay.player import Player, check

__all__ = ["Player", "Replay", "check"]

"""Alarms (ISA-18.2, OPC UA Part 9): judged readings, time and acts of people in, transitions out.

Promised: every crossing of a limit is seen, in order, however often a tag occurs in a batch; no
transition is lost between what is returned and what the state says, because the state is their
fold. What an alarm does to the world is decided here and done elsewhere.
"""

from davy.alarm.engine import Alarms
from davy.alarm.fold import AlarmView, Fold
from davy.alarm.rule import Rule, number, rules_of
from davy.alarm.state import SILENCED, legal, letter

__all__ = ["SILENCED", "AlarmView", "Alarms", "Fold", "Rule", "legal", "letter", "number", "rules_of"]

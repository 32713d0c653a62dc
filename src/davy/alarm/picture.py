"""The picture of the alarm states, drawn from the tables that run them. Pure.

`python -m davy.alarm.picture > docs/alarm-states.md` writes it again.
"""

from davy.alarm.state import LATCHING, LETTERS, NORMAL, PROCESS, SILENCING, describe
from davy.alarm.table import BAD, TABLE
from davy.fact.event import State
from davy.reading import Flag

_HEAD = """# Alarm states

Drawn from `src/davy/alarm/state.py` and `table.py` by `davy.alarm.picture`; do not edit. Letters are those
of ISA-18.2. B and C of a *held* alarm (driven over range) cannot return before a person resets it.
"""


def page() -> str:
    """docs/alarm-states.md in full."""
    return "\n".join((_HEAD, "## Process states\n", diagram(), "", "## Silence, beside them\n", silences(), "",
                      "## Which reading moves which alarm\n", _TREATMENTS, readings(), ""))  # fmt: skip


def _name(state: State) -> str:
    held = state & State.active and state & State.latched
    return f"{LETTERS[state]}{'_held' if held else ''}"


def diagram() -> str:
    """A mermaid state diagram of PROCESS and LATCHING."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_name(NORMAL)}"]
    lines += [f"    {_name(state)}: {_name(state).replace('_', ' ')} ({describe(state)})" for state in LETTERS]
    arrows: dict[tuple[State, State], list[str]] = {}
    for suffix, table in (("", PROCESS), (" (latching)", LATCHING)):
        for (before, cause), after in table.items():
            arrows.setdefault((before, after), []).append(cause.name + suffix)
    lines += [f"    {_name(b)} --> {_name(a)}: {', '.join(causes)}" for (b, a), causes in arrows.items()]
    return "\n".join([*lines, "```"])


def _bits(state: State) -> str:
    return describe(state) if state else "-"


def silences() -> str:
    """A table of SILENCING, and what happens at its end."""
    rows = ["| cause | sets | clears | only if | only if not |", "|---|---|---|---|---|"]
    rows += [
        f"| {cause.name} | {_bits(s.sets)} | {_bits(s.clears)} | {_bits(s.needs)} | {_bits(s.forbids)} |"
        for cause, s in SILENCING.items()
    ]
    return "\n".join([*rows, "", "An alarm that is active when the last silence ends is unacknowledged again."])


_TREATMENTS = """The first row that fits decides. *evaluate*: compare the value. *raise_only*: compare, but a late value
returns nothing. *beyond*: beyond every limit at once, and held until reset. *hold*: nothing returns, a running
on-delay runs on. *inhibit*: nothing moves, delays stop. *raised*, *cleared*: the alarm's own condition is true, false.
Off scale counts only in the direction of the tag's hazard. Flags not named here change nothing.
"""


def readings() -> str:
    """TABLE of table.py, one line an alarm type."""
    rows = ["| alarm | rows |", "|---|---|"]
    for kind, tests in TABLE.items():
        words = ("any" if not bit else "Bad" if bit == BAD else Flag(bit).name for bit, _ in tests)
        rows.append(f"| {kind.name} | {'; '.join(f'{w}: {t.name}' for w, (_, t) in zip(words, tests, strict=True))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(page(), end="")

"""The alarm state machine, as data (ISA-18.2 state transition diagram; OPC UA Part 9, 5.8). Pure.

A state is bits of `State`. The lower three (active, acked, latched) are moved by the process and by
acknowledge and reset; shelved, suppressed and out_of_service stand beside them, so the process
state goes on underneath. What no table below names does not happen.
"""

from typing import NamedTuple

from davy.errors import BadRequest
from davy.fact.event import Cause, State

NORMAL = State.acked
UNACKED = State.active
ACKED = State.active | State.acked
RETURNED = State(0)
LATCHED = State.latched
LATCHED_ACKED = State.latched | State.acked
#: Driven over range: active whatever the value says next, until a person resets it (contracts.md 5).
HELD = State.active | State.latched
HELD_ACKED = State.active | State.acked | State.latched

#: (state of the process, cause) -> state.
PROCESS: dict[tuple[State, Cause], State] = {
    (NORMAL, Cause.activated): UNACKED,
    (RETURNED, Cause.activated): UNACKED,
    (LATCHED, Cause.activated): UNACKED,
    (LATCHED_ACKED, Cause.activated): UNACKED,
    (UNACKED, Cause.escalated): UNACKED,
    (ACKED, Cause.escalated): UNACKED,
    (HELD, Cause.escalated): HELD,
    (HELD_ACKED, Cause.escalated): HELD,
    (UNACKED, Cause.eased): UNACKED,
    (ACKED, Cause.eased): ACKED,
    (UNACKED, Cause.latched): HELD,
    (ACKED, Cause.latched): HELD_ACKED,
    (UNACKED, Cause.returned): RETURNED,
    (ACKED, Cause.returned): NORMAL,
    (HELD, Cause.returned): RETURNED,  # only where its rule was taken out of the configuration
    (HELD_ACKED, Cause.returned): NORMAL,
    (UNACKED, Cause.acknowledged): ACKED,
    (HELD, Cause.acknowledged): HELD_ACKED,
    (RETURNED, Cause.acknowledged): NORMAL,
    (LATCHED, Cause.acknowledged): LATCHED_ACKED,
    (LATCHED_ACKED, Cause.reset): NORMAL,
    (HELD_ACKED, Cause.reset): ACKED,
}

#: Where the rule latches, these instead.
LATCHING: dict[tuple[State, Cause], State] = {
    (UNACKED, Cause.returned): LATCHED,
    (ACKED, Cause.returned): LATCHED_ACKED,
}


class Silence(NamedTuple):
    """What a cause does to the bits beside: `needs` and `forbids` must, must not stand before."""

    sets: State
    clears: State
    needs: State = State(0)
    forbids: State = State(0)


_SHELF = State.shelved | State.one_shot
SILENCING: dict[Cause, Silence] = {
    Cause.shelved: Silence(State.shelved, State.one_shot),
    Cause.one_shot_shelved: Silence(_SHELF, State(0)),
    Cause.unshelved: Silence(State(0), _SHELF, needs=State.shelved),
    Cause.shelving_expired: Silence(State(0), _SHELF, needs=State.shelved),
    Cause.suppressed: Silence(State.suppressed, State(0), forbids=State.suppressed),
    Cause.unsuppressed: Silence(State(0), State.suppressed, needs=State.suppressed),
    Cause.removed_from_service: Silence(State.out_of_service, State(0), forbids=State.out_of_service),
    Cause.placed_in_service: Silence(State(0), State.out_of_service, needs=State.out_of_service),
}

PROCESS_BITS = State.active | State.acked | State.latched
SILENCED = State.shelved | State.suppressed | State.out_of_service
ALL_BITS = PROCESS_BITS | SILENCED | State.one_shot

#: The ISA-18.2 letter of each state of the process; held counts as active.
LETTERS: dict[State, str] = {
    NORMAL: "A", UNACKED: "B", ACKED: "C", RETURNED: "D", LATCHED: "E", LATCHED_ACKED: "F",
    HELD: "B", HELD_ACKED: "C",
}  # fmt: skip


def _step(state: State, cause: Cause, process: dict[tuple[State, Cause], State]) -> State | None:
    core, beside = state & PROCESS_BITS, state & ~PROCESS_BITS
    if (silence := SILENCING.get(cause)) is None:
        return process[core, cause] | beside if (core, cause) in process else None
    if state & silence.needs != silence.needs or state & silence.forbids:
        return None
    beside = beside & ~silence.clears | silence.sets
    # Out of silence while active: it calls for a person again, whoever had acknowledged it before.
    surfaces = state & SILENCED and not beside & SILENCED and core & State.active
    return (core & ~State.acked if surfaces else core) | beside


def _compile(process: dict[tuple[State, Cause], State]) -> dict[tuple[int, int], int]:
    states = [State(bits) for bits in range(int(ALL_BITS) + 1) if not bits & State.one_shot or bits & State.shelved]
    steps = ((s, c, _step(s, c, process)) for s in states for c in Cause)
    return {(int(s), int(c)): int(after) for s, c, after in steps if after is not None}


#: (state, cause) -> state over all bits, for rules that do not latch and those that do.
NEXT = (_compile(PROCESS), _compile(PROCESS | LATCHING))


def after(state: int, cause: int, latching: bool = False) -> int:
    """The state `cause` leads to from `state`. Raises BadRequest where it cannot happen."""
    try:
        return NEXT[latching][state, cause]
    except KeyError:
        raise BadRequest(f"alarm in state {describe(state)}: cannot be {Cause(cause).name}") from None


def legal(before: int, cause: int, state: int) -> bool:
    """Whether a transition that claims these states can have happened under some rule."""
    return any(table.get((before, cause)) == state for table in NEXT)


def letter(state: int) -> str:
    """The ISA-18.2 state letter: A to F of the process, or G shelved, H suppressed, I out of service."""
    for bit, name in ((State.out_of_service, "I"), (State.suppressed, "H"), (State.shelved, "G")):
        if state & bit:
            return name
    return LETTERS[State(state) & PROCESS_BITS]


def describe(state: int) -> str:
    """The bits in words, for messages."""
    return " ".join(bit.name or "" for bit in State if state & bit) or "returned unacknowledged"

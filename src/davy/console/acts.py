"""What people sent to the core, until it is sealed or refused.

No optimistic state (design/console.md 9): an act is "sent" until the core answers with its leaf.
The registry is memory of this console only, bounded, oldest forgotten first; the truth is the log.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import structlog

from davy.clock import Clock
from davy.errors import BadRequest, DavyError, NotAllowed, Unreachable
from davy.fact.event import Verb
from davy.people import Person, Place, allowed
from davy.reading import Class
from davy.wire import Client

#: The page waits this long for the seal before it says "sent, not yet sealed".
PATIENCE_S = 1.5
#: After this an act without an answer is a fault with a name.
DEADLINE_S = 6.0
REMEMBERED = 256
#: Whoever hides something, or says something, gives a reason; bringing an alarm back needs none.
HIDING = (Verb.timed_shelve, Verb.one_shot_shelve, Verb.suppress, Verb.remove_from_service, Verb.add_comment)

log = structlog.get_logger(room="console")


@dataclass(slots=True)
class Sent:
    """One act and what became of it: waiting (neither set), sealed in `leaf`, or `error`.

    version: the alarm's version the person saw; now_version: the one it had when the core refused.
    """

    alarm: int
    verb: Verb
    person: str
    version: int
    reason: str
    until: int
    time: int
    leaf: int | None = None
    error: DavyError | None = None
    now_version: int | None = None

    @property
    def is_waiting(self) -> bool:
        return self.leaf is None and self.error is None


class Acts:
    """Sends acts to the core of one edge; at a centre it refuses them all."""

    def __init__(self, client: Client, clock: Clock, place: Place) -> None:
        self._client = client
        self._clock = clock
        self._place = place
        self._last: OrderedDict[int, Sent] = OrderedDict()
        self._done: OrderedDict[tuple[str, str], Sent] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def last(self, alarm: int) -> Sent | None:
        """The newest act on `alarm` sent from here."""
        return self._last.get(alarm)

    async def send(
        self,
        person: Person,
        verb: Verb,
        alarm: int,
        alarm_class: Class,
        version: int,
        *,
        reason: str = "",
        until: int = 0,
        key: str = "",
    ) -> Sent:
        """Send one act; returns when sealed or refused, or still waiting after PATIENCE_S.

        `key` (an Idempotency-Key) makes a repeated call by the same person give the first one's Sent.
        Raises NotAllowed before anything is sent where the matrix says no, BadRequest without a reason
        where one must be given. The core judges all of it again.
        """
        if known := self._done.get((person.uid, key)) if key else None:
            return known
        if not allowed(verb, person.role, alarm_class, self._place):
            raise NotAllowed(f"{person.role} may not {verb.name} a {alarm_class} alarm at the {self._place}")
        if verb in HIDING and not reason.strip():
            raise BadRequest(f"{verb.name}: expected a reason, got none")
        sent = Sent(alarm, verb, person.pseudonym, version, reason.strip()[:500], until, self._clock.now_us())
        self._remember(self._last, alarm, sent)
        if key:
            self._remember(self._done, (person.uid, key), sent)
        task = asyncio.create_task(self._carry(person, sent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=PATIENCE_S)
        return sent

    @staticmethod
    def _remember(into: "OrderedDict[Any, Sent]", key: object, sent: Sent) -> None:
        into.pop(key, None)
        into[key] = sent
        while len(into) > REMEMBERED:
            into.popitem(last=False)

    async def _carry(self, person: Person, sent: Sent) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await self._client.call(
                    "act",
                    actor=sent.person,
                    role=str(person.role),
                    verb=int(sent.verb),
                    alarm=sent.alarm,
                    version=sent.version,
                    reason=sent.reason,
                    until=sent.until,
                )
            sent.leaf = int(answer["index"])
        except TimeoutError:
            sent.error = Unreachable(f"core: expected an answer within {DEADLINE_S:.0f} s, got none")
        except DavyError as error:
            sent.error = error
        log.info("act_sent", verb=sent.verb.name, alarm=sent.alarm, actor=sent.person, leaf=sent.leaf,
                 reason=sent.error.reason if sent.error else "")  # fmt: skip

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

"""Letting people in: passwords, one-time links, sessions, and keeping guessers out.

The clock and the source of randomness come in, so tests drive both. Hashing a password takes tens
of milliseconds of CPU: call `sign_in` and `enrol` from a thread, never from an event loop.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from davy.clock import SECOND, Clock
from davy.errors import BadRequest, NotAllowed
from davy.people.matrix import Role
from davy.people.store import Link, Person, Store
from davy.reading.uid import uuid7

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
FIRST_LINK_LIFE = 24 * HOUR
INVITE_LIFE = 72 * HOUR
SESSION_LIFE = 7 * 24 * HOUR
SESSION_IDLE = 12 * HOUR  # a shift; an open page keeps its session alive
TOUCH_EVERY = MINUTE
PASSWORD_LEAST = 10  # NIST SP 800-63B asks for 8 and no rules of composition
PASSWORD_MOST = 512
#: Failures in a row before sign-in waits, and the longest wait. It stays short on purpose: whoever
#: can reach the sign-in page could otherwise keep an operator out during an alarm.
FREE_FAILURES = {"login": 5, "from": 20}
FIRST_WAIT, LONGEST_WAIT = 15 * SECOND, 5 * MINUTE
FORGET_FAILURES = HOUR


class SignInFailed(NotAllowed):
    """Not let in. `wait_us` is how long sign-in stays closed for this login or address, or 0."""

    def __init__(self, message: str, wait_us: int = 0) -> None:
        super().__init__(message)
        self.wait_us = wait_us


@dataclass(frozen=True, slots=True)
class Session:
    """`token` goes into the cookie and nowhere else; `csrf` into every form."""

    token: str
    person: Person

    @property
    def csrf(self) -> str:
        return csrf_of(self.token)


def csrf_of(token: str) -> str:
    """The form token that belongs to a cookie; knowing it does not give the cookie."""
    return hmac.new(token.encode(), b"davy csrf", hashlib.sha256).hexdigest()


def csrf_matches(token: str, sent: str) -> bool:
    return hmac.compare_digest(csrf_of(token).encode(), sent.encode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Door:
    """Every decision about who is in. Safe from any thread. `entropy(n)` gives n random bytes."""

    def __init__(
        self, store: Store, clock: Clock, entropy: Callable[[int], bytes], hasher: PasswordHasher | None = None
    ) -> None:
        self.store = store
        self.clock = clock
        self._entropy = entropy
        self._hasher = hasher or PasswordHasher()
        # Checked when no such login exists, so that both answers take the same time.
        self._decoy = self._hasher.hash(entropy(16).hex())

    def _token(self) -> str:
        return self._entropy(32).hex()

    def _new_uid(self) -> str:
        return uuid7(self.clock.now_us(), self._entropy(10))

    # ---- one-time links

    def first_link(self) -> str | None:
        """A fresh link for the first admin, or None once somebody can manage people.

        Only the newest one works; it expires after a day.
        """
        if self.store.has_admin():
            self.store.drop_links("first")
            return None
        return self._link("first", "", Role.admin, FIRST_LINK_LIFE, replace=True)

    def enter_link(self, login: str, name: str, role: Role) -> str:
        """A fresh link that signs `login` in without a password, for `davy demo`; older ones stop working.

        The person is made when missing and has no password, so nothing but such a link opens their door.
        """
        person = self.store.person_by_login(login)
        if person is None:
            person = self.store.add_person(self._new_uid(), login, name, role, "", self.clock.now_us())
        if person.password:
            raise BadRequest(f"login {login!r} has a password: a demo link would go around it")
        return self._link("enter", person.uid, person.role, FIRST_LINK_LIFE, replace=True)

    def invite_link(self, role: Role) -> str:
        """A link whose bearer becomes a person of `role`; works once within three days."""
        return self._link("invite", "", role, INVITE_LIFE)

    def _link(self, purpose: str, uid: str, role: Role, life_us: int, *, replace: bool = False) -> str:
        token = self._token()
        link = Link(purpose, uid, role, self.clock.now_us() + life_us)
        self.store.add_link(_digest(token), link, replace=replace)
        return token

    def link(self, token: str) -> Link | None:
        """What a link would do, without using it up."""
        return self.store.link(_digest(token), self.clock.now_us())

    def enter(self, token: str) -> Session:
        """Use an `enter` link. Raises SignInFailed."""
        link = self.link(token)
        person = self.store.person(link.uid) if link and link.purpose == "enter" else None
        if person is None or not person.active or not self.store.use_link(_digest(token), self.clock.now_us()):
            raise SignInFailed("this link has been used, has expired or never was")
        return self._open(person)

    def enrol(self, token: str, login: str, name: str, password: str) -> Session:
        """Use a `first` or `invite` link: a new person with a password, signed in. Raises SignInFailed, BadRequest."""
        link = self.link(token)
        if link is None or link.purpose not in ("first", "invite"):
            raise SignInFailed("this link has been used, has expired or never was")
        login, name, password = _login(login), _name(name), _password(password)
        if self.store.person_by_login(login) is not None:
            raise BadRequest(f"login {login!r} is taken: choose another")
        hashed = self._hasher.hash(password)
        if not self.store.use_link(_digest(token), self.clock.now_us()):
            raise SignInFailed("this link has been used, has expired or never was")
        return self._open(self.store.add_person(self._new_uid(), login, name, link.role, hashed, self.clock.now_us()))

    # ---- passwords

    def sign_in(self, login: str, password: str, address: str = "") -> Session:
        """A new session. Raises SignInFailed, with the same words for a wrong login and a wrong password."""
        now = self.clock.now_us()
        keys = {"login": f"login:{login.strip().lower()[:80]}", "from": f"from:{address}"}
        wait = max(self.store.throttled_until(key) for key in keys.values()) - now
        if wait > 0:
            raise SignInFailed(f"too many failures: sign-in opens again in {-(-wait // SECOND)} s", wait)
        person = self.store.person_by_login(login.strip())
        usable = person is not None and person.active and person.password != ""
        if not self._verify(person.password if person and usable else self._decoy, password) or not usable:
            raise SignInFailed("login or password is wrong", self._count(keys, now))
        assert person is not None
        for key in keys.values():
            self.store.clear_failures(key)
        if self._hasher.check_needs_rehash(person.password):
            self.store.set_password(person.uid, self._hasher.hash(_normal(password)))
        return self._open(person)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, _normal(password[:PASSWORD_MOST]))
        except (VerificationError, InvalidHashError):
            return False

    def _count(self, keys: dict[str, str], now: int) -> int:
        longest = 0
        for kind, key in keys.items():
            over = self.store.count_failure(key, now, FORGET_FAILURES) - FREE_FAILURES[kind]
            if over >= 0:
                wait = min(FIRST_WAIT << min(over, 20), LONGEST_WAIT)
                self.store.throttle(key, now + wait)
                longest = max(longest, wait)
        return longest

    # ---- sessions

    def _open(self, person: Person) -> Session:
        token, now = self._token(), self.clock.now_us()
        self.store.add_session(_digest(token), person.uid, now, now + SESSION_LIFE)
        return Session(token, person)

    def session(self, token: str) -> Session | None:
        """The session of a cookie, while its person is active and it is neither idle nor too old."""
        held = self.store.session(_digest(token)) if token else None
        if held is None:
            return None
        uid, seen, expires = held
        now = self.clock.now_us()
        person = self.store.person(uid)
        if person is None or not person.active or now > expires or now - seen > SESSION_IDLE:
            self.store.end_session(_digest(token))
            return None
        if now - seen > TOUCH_EVERY:
            self.store.touch_session(_digest(token), now)
        return Session(token, person)

    def sign_out(self, token: str) -> None:
        self.store.end_session(_digest(token))

    def name_of(self, pseudonym: str) -> str | None:
        """The name behind `p:<uid>`, or None: another machine's person, or an erased one."""
        person = self.store.person(pseudonym.removeprefix("p:"))
        return person.name if person else None


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _login(text: str) -> str:
    login = _normal(text).strip()
    if not 2 <= len(login) <= 64 or any(c.isspace() or not c.isprintable() for c in login):
        raise BadRequest(f"login: expected 2 to 64 visible characters without spaces, got {login!r}")
    return login


def _name(text: str) -> str:
    name = " ".join(_normal(text).split())
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise BadRequest("name: expected 1 to 80 visible characters")
    return name


def _password(text: str) -> str:
    if not PASSWORD_LEAST <= len(text) <= PASSWORD_MOST:
        raise BadRequest(f"password: expected {PASSWORD_LEAST} to {PASSWORD_MOST} characters, got {len(text)}")
    return _normal(text)

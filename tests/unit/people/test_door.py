"""Signing in, one-time links, sessions and lock-out, on a clock the test drives."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from davy.clock import SECOND, SimulatedClock
from davy.errors import BadRequest
from davy.people import Door, Role, SignInFailed, Store
from davy.people.door import (
    FIRST_LINK_LIFE,
    FREE_FAILURES,
    LONGEST_WAIT,
    SESSION_IDLE,
    SESSION_LIFE,
    csrf_matches,
)  # fmt: skip

PASSWORD = "correct horse battery"
START = 1_780_000_000 * SECOND


class Setting:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = SimulatedClock(START)
        self.store = Store(path)
        counter = itertools.count(1)
        self.door = Door(
            self.store,
            self.clock,
            lambda n: hashlib.sha512(str(next(counter)).encode()).digest()[:n],
            PasswordHasher(time_cost=1, memory_cost=8, parallelism=1),
        )

    def admin(self) -> None:
        link = self.door.first_link()
        assert link is not None
        self.door.enrol(link, "wei.lan", "Wei Lan", PASSWORD)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Setting]:
    setting = Setting(tmp_path / "people.db")
    yield setting
    setting.store.close()


def test_the_first_admin_comes_in_by_a_link_and_only_once(here: Setting) -> None:
    link = here.door.first_link()
    assert link is not None
    session = here.door.enrol(link, "wei.lan", "Wei Lan", PASSWORD)
    assert session.person.role is Role.admin
    assert session.person.pseudonym == f"p:{session.person.uid}"
    assert here.door.first_link() is None
    with pytest.raises(SignInFailed, match="has been used"):
        here.door.enrol(link, "mallory", "Mallory", PASSWORD)


def test_only_the_newest_first_link_works_and_it_expires(here: Setting) -> None:
    old, new = here.door.first_link(), here.door.first_link()
    assert old is not None and new is not None and old != new
    assert here.door.link(old) is None
    here.clock.advance(FIRST_LINK_LIFE + 1)
    assert here.door.link(new) is None
    with pytest.raises(SignInFailed):
        here.door.enrol(new, "wei.lan", "Wei Lan", PASSWORD)


def test_looking_at_a_link_does_not_use_it_up(here: Setting) -> None:
    link = here.door.first_link()
    assert link is not None
    assert here.door.link(link) and here.door.link(link)
    here.door.enrol(link, "wei.lan", "Wei Lan", PASSWORD)


def test_a_bad_login_or_a_short_password_leaves_the_link_usable(here: Setting) -> None:
    link = here.door.first_link()
    assert link is not None
    with pytest.raises(BadRequest, match="expected 10 to"):
        here.door.enrol(link, "wei.lan", "Wei Lan", "short")
    with pytest.raises(BadRequest, match="login"):
        here.door.enrol(link, "w e", "Wei Lan", PASSWORD)
    here.door.enrol(link, "wei.lan", "Wei Lan", PASSWORD)


def test_no_token_and_no_password_lies_in_the_file(here: Setting) -> None:
    link = here.door.first_link()
    assert link is not None
    session = here.door.enrol(link, "wei.lan", "Wei Lan", PASSWORD)
    here.store.close()
    stored = b"".join(p.read_bytes() for p in here.path.parent.iterdir())
    for secret in (link, session.token, session.csrf, PASSWORD):
        assert secret.encode() not in stored and bytes.fromhex(link) not in stored
    assert b"$argon2id$" in stored
    assert here.path.stat().st_mode & 0o077 == 0


def test_a_wrong_login_and_a_wrong_password_read_the_same(here: Setting) -> None:
    here.admin()
    with pytest.raises(SignInFailed) as wrong_password:
        here.door.sign_in("wei.lan", "not this one")
    with pytest.raises(SignInFailed) as wrong_login:
        here.door.sign_in("nobody", PASSWORD)
    assert str(wrong_password.value) == str(wrong_login.value)
    assert here.door.sign_in("WEI.LAN", PASSWORD).person.login == "wei.lan"


def test_failures_in_a_row_close_sign_in_for_a_growing_but_short_time(here: Setting) -> None:
    here.admin()
    waits = []
    for _ in range(FREE_FAILURES["login"] + 8):
        with pytest.raises(SignInFailed) as failed:
            here.door.sign_in("wei.lan", "wrong", "10.0.0.1")
        waits.append(failed.value.wait_us)
        here.clock.advance(failed.value.wait_us)
    assert waits[: FREE_FAILURES["login"] - 1] == [0] * (FREE_FAILURES["login"] - 1)
    assert waits == sorted(waits) and max(waits) == LONGEST_WAIT
    with pytest.raises(SignInFailed):
        here.door.sign_in("wei.lan", "wrong", "10.0.0.1")
    with pytest.raises(SignInFailed, match="too many failures"):
        here.door.sign_in("wei.lan", PASSWORD, "10.0.0.1")
    here.clock.advance(LONGEST_WAIT + SECOND)
    assert here.door.sign_in("wei.lan", PASSWORD, "10.0.0.1")


def test_a_session_ends_when_idle_when_old_and_when_signed_out(here: Setting) -> None:
    here.admin()
    idle = here.door.sign_in("wei.lan", PASSWORD)
    here.clock.advance(SESSION_IDLE + SECOND)
    assert here.door.session(idle.token) is None

    old = here.door.sign_in("wei.lan", PASSWORD)
    for _ in range(SESSION_LIFE // (SESSION_IDLE // 2)):
        here.clock.advance(SESSION_IDLE // 2)
        here.door.session(old.token)
    here.clock.advance(SECOND)
    assert here.door.session(old.token) is None

    out = here.door.sign_in("wei.lan", PASSWORD)
    assert here.door.session(out.token) is not None
    here.door.sign_out(out.token)
    assert here.door.session(out.token) is None
    assert here.door.session("") is None


def test_a_person_kept_out_is_out_at_once(here: Setting) -> None:
    here.admin()
    session = here.door.sign_in("wei.lan", PASSWORD)
    here.store.set_active(session.person.uid, False)
    assert here.door.session(session.token) is None
    with pytest.raises(SignInFailed):
        here.door.sign_in("wei.lan", PASSWORD)


def test_a_form_token_fits_its_own_session_only(here: Setting) -> None:
    here.admin()
    one, other = here.door.sign_in("wei.lan", PASSWORD), here.door.sign_in("wei.lan", PASSWORD)
    assert csrf_matches(one.token, one.csrf)
    assert not csrf_matches(one.token, other.csrf)
    assert not csrf_matches(one.token, "")
    assert not csrf_matches(one.token, "ключ")


def test_a_demo_link_is_fresh_at_every_start_and_opens_no_password_door(here: Setting) -> None:
    old = here.door.enter_link("demo", "Demo operator", Role.operator)
    new = here.door.enter_link("demo", "Demo operator", Role.operator)
    with pytest.raises(SignInFailed):
        here.door.enter(old)
    session = here.door.enter(new)
    assert session.person.role is Role.operator
    with pytest.raises(SignInFailed):
        here.door.enter(new)
    with pytest.raises(SignInFailed):
        here.door.sign_in("demo", "")
    here.admin()
    with pytest.raises(BadRequest, match="has a password"):
        here.door.enter_link("wei.lan", "Wei Lan", Role.admin)


def test_an_erased_person_leaves_a_pseudonym_without_a_name(here: Setting) -> None:
    here.admin()
    session = here.door.sign_in("wei.lan", PASSWORD)
    assert here.door.name_of(session.person.pseudonym) == "Wei Lan"
    here.store.forget(session.person.uid)
    assert here.door.name_of(session.person.pseudonym) is None
    assert here.door.session(session.token) is None


def test_a_login_is_taken_once_whatever_its_case(here: Setting) -> None:
    here.admin()
    link = here.door.invite_link(Role.viewer)
    with pytest.raises(BadRequest, match="taken"):
        here.door.enrol(link, "Wei.Lan", "Another", PASSWORD)
    assert here.door.enrol(link, "liu.yang", "Liu Yang", PASSWORD).person.role is Role.viewer

"""The people of one machine in one SQLite file: every query, by name.

The file is 0600 in WAL mode; each call is one transaction, durable on return, safe from any thread
(one connection behind one lock). Tokens are stored as SHA-256, passwords as argon2 text. Times are
us UTC. Nothing here decides; `door` does.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from davy.errors import BadRequest, Corrupt
from davy.people.matrix import Role

SCHEMA = 1

_TABLES = """
CREATE TABLE person (
  uid TEXT PRIMARY KEY, login TEXT NOT NULL UNIQUE COLLATE NOCASE, name TEXT NOT NULL, role TEXT NOT NULL,
  password TEXT NOT NULL DEFAULT '', active INTEGER NOT NULL DEFAULT 1, created INTEGER NOT NULL);
CREATE TABLE session (
  token BLOB PRIMARY KEY, uid TEXT NOT NULL REFERENCES person (uid) ON DELETE CASCADE,
  created INTEGER NOT NULL, seen INTEGER NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE link (
  token BLOB PRIMARY KEY, purpose TEXT NOT NULL, uid TEXT NOT NULL, role TEXT NOT NULL,
  expires INTEGER NOT NULL, used INTEGER);
CREATE TABLE throttle (key TEXT PRIMARY KEY, failures INTEGER NOT NULL, until INTEGER NOT NULL, seen INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Person:
    """uid: UUIDv7, never reused; `pseudonym` is the only thing of a person that enters the black box."""

    uid: str
    login: str
    name: str
    role: Role
    password: str
    active: bool

    @property
    def pseudonym(self) -> str:
        return f"p:{self.uid}"


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link: `enrol` lets its bearer choose a login and password, `enter` signs `uid` in."""

    purpose: str
    uid: str
    role: Role
    expires: int


_PERSON = "SELECT uid, login, name, role, password, active FROM person"


def _person(row: tuple[str, str, str, str, str, int] | None) -> Person | None:
    return None if row is None else Person(row[0], row[1], row[2], Role(row[3]), row[4], bool(row[5]))


class Store:
    """Open with `Store(path)`, once a process; the lock owns the connection."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            self._db.close()
            raise Corrupt(f"{path.name}: expected people schema {SCHEMA}, found {version}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _one(self, query: str, *values: object) -> Any:
        """The first row as a tuple, or None. Any: SQLite's types are those of the tables above."""
        with self._lock:
            return self._db.execute(query, values).fetchone()

    # ---- people

    def add_person(self, uid: str, login: str, name: str, role: Role, password: str, now_us: int) -> Person:
        """A new person. Raises BadRequest when the login is taken."""
        try:
            with self._write() as db:
                db.execute(
                    "INSERT INTO person (uid, login, name, role, password, created) VALUES (?, ?, ?, ?, ?, ?)",
                    (uid, login, name, role, password, now_us),
                )
        except sqlite3.IntegrityError:
            raise BadRequest(f"login {login!r} is taken: choose another") from None
        return Person(uid, login, name, role, password, True)

    def person(self, uid: str) -> Person | None:
        return _person(self._one(f"{_PERSON} WHERE uid = ?", uid))

    def person_by_login(self, login: str) -> Person | None:
        return _person(self._one(f"{_PERSON} WHERE login = ?", login))

    def people(self) -> list[Person]:
        with self._lock:
            rows = self._db.execute(f"{_PERSON} ORDER BY login").fetchall()
        return [person for row in rows if (person := _person(row))]

    def has_admin(self) -> bool:
        """Whether anybody who can sign in by password may manage people."""
        query = "SELECT 1 FROM person WHERE role = 'admin' AND active = 1 AND password <> '' LIMIT 1"
        return self._one(query) is not None

    def set_password(self, uid: str, password: str) -> None:
        with self._write() as db:
            db.execute("UPDATE person SET password = ? WHERE uid = ?", (password, uid))

    def set_active(self, uid: str, active: bool) -> None:
        """Let a person in or keep them out; their sessions end at once when kept out."""
        with self._write() as db:
            db.execute("UPDATE person SET active = ? WHERE uid = ?", (active, uid))
            if not active:
                db.execute("DELETE FROM session WHERE uid = ?", (uid,))

    def forget(self, uid: str) -> None:
        """Erase the name behind a pseudonym; what the pseudonym did stays in the black box."""
        with self._write() as db:
            db.execute("DELETE FROM person WHERE uid = ?", (uid,))
            db.execute("DELETE FROM link WHERE uid = ?", (uid,))

    # ---- sessions

    def add_session(self, token: bytes, uid: str, now_us: int, expires: int) -> None:
        with self._write() as db:
            db.execute("DELETE FROM session WHERE expires < ?", (now_us,))
            db.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", (token, uid, now_us, now_us, expires))

    def session(self, token: bytes) -> tuple[str, int, int] | None:
        """(uid, last seen, expires)."""
        held: tuple[str, int, int] | None = self._one("SELECT uid, seen, expires FROM session WHERE token = ?", token)
        return held

    def touch_session(self, token: bytes, now_us: int) -> None:
        with self._write() as db:
            db.execute("UPDATE session SET seen = ? WHERE token = ?", (now_us, token))

    def end_session(self, token: bytes) -> None:
        with self._write() as db:
            db.execute("DELETE FROM session WHERE token = ?", (token,))

    # ---- one-time links

    def add_link(self, token: bytes, link: Link, *, replace: bool = False) -> None:
        """Keep a link; with `replace`, every other unused link of its purpose and role stops working."""
        with self._write() as db:
            if replace:
                db.execute("DELETE FROM link WHERE purpose = ? AND role = ?", (link.purpose, link.role))
            db.execute(
                "INSERT INTO link (token, purpose, uid, role, expires) VALUES (?, ?, ?, ?, ?)",
                (token, link.purpose, link.uid, link.role, link.expires),
            )

    def link(self, token: bytes, now_us: int) -> Link | None:
        """The link, if it is there, unused and in time. Does not use it up."""
        query = "SELECT purpose, uid, role, expires FROM link WHERE token = ? AND used IS NULL AND expires >= ?"
        row = self._one(query, token, now_us)
        return None if row is None else Link(row[0], row[1], Role(row[2]), row[3])

    def use_link(self, token: bytes, now_us: int) -> bool:
        """Use the link up; True for exactly one caller."""
        with self._write() as db:
            query = "UPDATE link SET used = ? WHERE token = ? AND used IS NULL AND expires >= ?"
            return db.execute(query, (now_us, token, now_us)).rowcount == 1

    def drop_links(self, purpose: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM link WHERE purpose = ?", (purpose,))

    # ---- failures

    def throttled_until(self, key: str) -> int:
        """us UTC before which sign-in by `key` is refused; 0 if free."""
        row = self._one("SELECT until FROM throttle WHERE key = ?", key)
        return 0 if row is None else int(row[0])

    def count_failure(self, key: str, now_us: int, forget_after_us: int) -> int:
        """Failures of `key` in a row, this one included; older than `forget_after_us` are forgotten."""
        with self._write() as db:
            db.execute("DELETE FROM throttle WHERE seen < ?", (now_us - forget_after_us,))
            db.execute(
                "INSERT INTO throttle VALUES (?, 1, 0, ?) "
                "ON CONFLICT (key) DO UPDATE SET failures = failures + 1, seen = excluded.seen",
                (key, now_us),
            )
            (count,) = db.execute("SELECT failures FROM throttle WHERE key = ?", (key,)).fetchone()
            return int(count)

    def throttle(self, key: str, until: int) -> None:
        with self._write() as db:
            db.execute("UPDATE throttle SET until = ? WHERE key = ?", (until, key))

    def clear_failures(self, key: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM throttle WHERE key = ?", (key,))

"""Who may do what, and how the machine knows it is them.

In: a login and a password, or a one-time link; a session cookie on every request after.
Out: a `Person` with one role, or a named refusal. Promises: passwords are kept as argon2id hashes,
sessions and links as SHA-256 of random tokens; a link works once and expires; no default password
exists; whatever leaves for the black box is the pseudonym `p:<uid>`, the names stay in this store
and can be erased. `matrix` is pure; `store` holds every query; `door` decides.
"""

from davy.people.door import Door, Session, SignInFailed
from davy.people.matrix import Place, Role, allowed
from davy.people.store import Person, Store

__all__ = ["Door", "Person", "Place", "Role", "Session", "SignInFailed", "Store", "allowed"]

"""The log against a plain list, through any groups, checkpoints and restarts."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from davy.blackbox.fs import Fs
from davy.blackbox.log import Log
from davy.blackbox.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from davy.blackbox.note import Checkpoint, Signer, sign_note
from davy.blackbox.reader import LogReader
from davy.fact import ErasureClass, Leaf, decode_leaf

ORIGIN = "org/site/box"
SIGNER = Signer.generate(ORIGIN)


class Unsynced(Fs):
    """No waiting for the disk: what a crash may do is tried in tests/chaos."""

    def sync(self, fd: int) -> None: ...

    def sync_dir(self, path: Path) -> None: ...


class LogIsAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="davy-log-"))
        self.model: list[tuple[bytes, bytes | None]] = []
        self.published = 0
        self.open()

    def teardown(self) -> None:
        self.reader.close()
        self.log.close()
        shutil.rmtree(self.path)

    def open(self) -> None:
        self.log = Log.open(self.path, ORIGIN, Unsynced(), segment_bytes=4000)
        self.reader = LogReader(self.path, ORIGIN)

    @rule(
        count=st.one_of(st.integers(0, 5), st.integers(0, 600)),
        erasure=st.sampled_from(ErasureClass),
        hour=st.integers(0, 3),
        body=st.one_of(st.none(), st.binary(max_size=40)),
    )
    def append(self, count: int, erasure: ErasureClass, hour: int, body: bytes | None) -> None:
        group = []
        for seq in range(len(self.model), len(self.model) + count):
            digest = b"" if body is None else hashlib.sha256(body).digest()
            leaf = Leaf(1, 2, seq, 1, 0, 0, 1, 0, 1, 1, digest, digest, len(body or b""), 16 + erasure)
            group.append((leaf.encode(), body, erasure))
        assert self.log.append(group, hour) == len(self.model) + count
        self.model += [(leaf, chunk) for leaf, chunk, _ in group]

    @rule(back=st.integers(0, 300))
    def publish(self, back: int) -> None:
        size = max(self.published, len(self.model) - back)
        text = Checkpoint(ORIGIN, size, self.root(size)).text()
        self.log.publish(sign_note(text, [SIGNER]), size)
        self.published = size

    @rule()
    def reopen_writer(self) -> None:
        self.log.close()
        self.log = Log.open(self.path, ORIGIN, Unsynced(), segment_bytes=4000)

    @rule()
    def reopen_reader(self) -> None:
        self.reader.close()
        self.reader = LogReader(self.path, ORIGIN)

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, self.published))
        end = data.draw(st.integers(start, self.published))
        leaves = self.reader.leaves(start, end)
        assert leaves == [leaf for leaf, _ in self.model[start:end]]
        for seq in range(start, end, 37):
            leaf = decode_leaf(self.model[seq][0])
            assert self.reader.body(seq, leaf) == self.model[seq][1]

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(1, self.published))
        index = data.draw(st.integers(0, size - 1))
        hashed = leaf_hash(self.model[index][0])
        verify_inclusion(index, size, hashed, self.reader.inclusion(index, size), self.root(size))
        proof = self.reader.consistency(size, self.published)
        verify_consistency(size, self.published, proof, self.root(size), self.root(self.published))
        assert self.reader.root(size) == self.root(size)

    @invariant()
    def is_the_list(self) -> None:
        assert self.log.size == len(self.model)
        assert self.log.root() == self.root(len(self.model))
        assert self.reader.size == self.published

    def root(self, size: int) -> bytes:
        return root_of(leaf_hash(leaf) for leaf, _ in self.model[:size])


TestLogIsAList = LogIsAList.TestCase
TestLogIsAList.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)

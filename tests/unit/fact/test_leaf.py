import cbor2
import pytest

from davy.errors import Corrupt
from davy.fact import Kind, Leaf, decode_leaf

LEAF = Leaf(1, Kind.transition, 7, 1, -5, -4, 1, 9, 1, 1, bytes(32), bytes(32), 99, 17)


def changed(**fields: object) -> bytes:
    return cbor2.dumps(list(LEAF._replace(**fields)))  # type: ignore[arg-type]


def test_a_leaf_comes_back_as_it_was() -> None:
    assert decode_leaf(LEAF.encode()) == LEAF
    bare = LEAF._replace(body_hash=b"", body_root=b"", body_size=0)
    assert decode_leaf(bare.encode()) == bare


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not CBOR"),
        (bytes(70_000), "at most 65535 bytes"),
        (cbor2.dumps(7), "an array of 14 fields"),
        (cbor2.dumps([1] * 13), "an array of 14 fields"),
        (changed(seq=-1), "field seq: expected int, got -1"),
        (changed(seq=1.0), "field seq: expected int, got 1.0"),
        (changed(n=True), "field n: expected int, got True"),
        (changed(body_hash="x" * 32), "field body_hash: expected bytes, got 'x"),
        (changed(v=2), "expected version 1, got 2"),
        (changed(body_root=b""), "body fields do not fit together"),
        (changed(body_size=1 << 23), "body fields do not fit together"),
        (LEAF.encode() + b"\0", "not in canonical form"),
        (LEAF.encode().replace(b"\x07", b"\x18\x07", 1), "not in canonical form"),
    ],
)
def test_anything_else_is_refused_and_says_why(data: bytes, said: str) -> None:
    with pytest.raises(Corrupt, match=said):
        decode_leaf(data)

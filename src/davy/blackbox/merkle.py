"""RFC 6962 Merkle trees: roots, inclusion and consistency proofs.

A node is named (level, index): level 0 is the leaf hashes, and the node covers the leaves
[index << level, (index + 1) << level). Only complete nodes have a name. Every hash is 32 bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from davy.errors import Inconsistent

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

#: Gives the hash of the complete node (level, index).
NodeReader = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: one hash for each set bit of `size`, largest subtree first."""

    __slots__ = ("_nodes", "size")

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._nodes = [_checked(node) for node in nodes]
        if len(self._nodes) != size.bit_count():
            raise Inconsistent(f"frontier of size {size}: expected {size.bit_count()} nodes, got {len(self._nodes)}")

    @property
    def nodes(self) -> tuple[bytes, ...]:
        return tuple(self._nodes)

    def append(self, leaf_hash: bytes) -> None:
        self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaf hashes in order; about 0.5 us each. Lengths are not checked: they come from `leaf_hash`."""
        sha256, nodes, size = hashlib.sha256, self._nodes, self.size
        for node in leaf_hashes:
            carry = size
            while carry & 1:
                node = sha256(b"\x01" + nodes.pop() + node).digest()
                carry >>= 1
            nodes.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        if not self._nodes:
            return EMPTY_ROOT
        *rest, root = self._nodes
        for node in reversed(rest):
            root = node_hash(node, root)
        return root

    def copy(self) -> Self:
        return type(self)(self.size, self._nodes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Root of the tree over `leaf_hashes`."""
    hashes = list(leaf_hashes)
    if len(hashes) == 1:
        return hashes[0]  # an event's body has one block
    frontier = Frontier()
    frontier.extend(hashes)
    return frontier.root()


def frontier_at(size: int, node: NodeReader) -> Frontier:
    """The frontier of the first `size` leaves, from the nodes of a tree at least as large."""
    nodes, begin = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            nodes.append(node(level, begin >> level))
            begin += 1 << level
    return Frontier(size, nodes)


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Hashes that prove leaf `index` of the first `size` leaves, leaf's sibling first (RFC 6962 2.1.1)."""
    if not 0 <= index < size:
        raise Inconsistent(f"inclusion proof: expected an index below size {size}, got {index}")
    begin, end, path = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(begin, middle, node))
            begin = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """Hashes that prove the first `old` leaves are a prefix of the first `new` (RFC 6962 2.1.2).

    Empty for old = 0 and for old = new.
    """
    if not 0 <= old <= new:
        raise Inconsistent(f"consistency proof: expected an old size up to {new}, got {old}")
    if old in (0, new):
        return []
    begin, end, path = 0, new, []
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(begin, middle, node))
            begin = middle
    if begin:
        path.append(_subtree(begin, end, node))
    return path[::-1]


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Return if `proof` shows `leaf_hash` at `index` under `root` (RFC 9162 2.1.3.2); raise Inconsistent if not."""
    if not 0 <= index < size:
        raise Inconsistent(f"inclusion proof: expected an index below size {size}, got {index}")
    node, position, last = _checked(leaf_hash), index, size - 1
    for sibling in map(_checked, proof):
        if not last:
            raise Inconsistent(f"inclusion proof of leaf {index} in {size}: {len(proof)} hashes are too many")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:  # levels at which this node has no sibling
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise Inconsistent(f"inclusion proof of leaf {index} in {size}: {len(proof)} hashes are too few")
    if node != _checked(root):
        raise Inconsistent(f"inclusion proof of leaf {index} in {size}: expected root {root.hex()}, got {node.hex()}")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Return if `proof` shows that the old tree is a prefix of the new (RFC 9162 2.1.4.2).

    Raises Inconsistent if not; also for old = 0 < new, where a proof shows nothing.
    """
    if not 0 <= old <= new:
        raise Inconsistent(f"consistency proof: expected an old size up to {new}, got {old}")
    for root in (old_root, new_root):
        _checked(root)
    if old == new:
        if proof or old_root != new_root:
            raise Inconsistent(f"two trees of size {new}: expected one root and an empty proof")
        return
    path = [_checked(node) for node in proof]
    if not old or not path:
        raise Inconsistent(f"consistency proof from {old} to {new}: expected an old size above 0 and hashes")
    if old & (old - 1) == 0:  # the old root is itself a node of the new tree, so the proof leaves it out
        path.insert(0, old_root)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if not last:
            raise Inconsistent(f"consistency proof from {old} to {new}: {len(proof)} hashes are too many")
        if position & 1 or position == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        position, last = position >> 1, last >> 1
    if last or old_node != old_root or new_node != new_root:
        raise Inconsistent(f"consistency proof from {old} to {new} does not lead to the two roots")


def _checked(node: bytes) -> bytes:
    if len(node) != HASH_SIZE:
        raise Inconsistent(f"hash: expected {HASH_SIZE} bytes, got {len(node)}")
    return node


def _split(count: int) -> int:
    """Largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(begin: int, end: int, node: NodeReader) -> bytes:
    """Root over leaves [begin, end), where `begin` is a multiple of the power of two at or above the length."""
    count = end - begin
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, begin >> level)
    middle = begin + _split(count)
    return node_hash(_subtree(begin, middle, node), _subtree(middle, end, node))

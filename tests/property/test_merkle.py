"""Every proof made is accepted; every proof touched is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davy.blackbox.merkle import (
    Frontier,
    consistency_proof,
    frontier_at,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from davy.errors import Inconsistent

HASHES = [leaf_hash(i.to_bytes(4, "big")) for i in range(600)]
ROOTS = [root_of(HASHES[:size]) for size in range(len(HASHES) + 1)]
sizes = st.integers(1, len(HASHES))


def node(level: int, index: int) -> bytes:
    assert (index + 1) << level <= len(HASHES), "only complete nodes may be asked for"
    return root_of(HASHES[index << level : (index + 1) << level])


def flip(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit % (len(data) * 8)).to_bytes(len(data), "big")


@given(sizes, st.data())
def test_an_inclusion_proof_is_accepted_for_its_leaf_only(size: int, data: st.DataObject):
    index, other = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    proof = inclusion_proof(index, size, node)
    verify_inclusion(index, size, HASHES[index], proof, ROOTS[size])
    if other != index:
        with pytest.raises(Inconsistent):
            verify_inclusion(other, size, HASHES[index], proof, ROOTS[size])


@given(sizes, sizes)
def test_a_consistency_proof_is_accepted_for_its_sizes(one: int, two: int):
    old, new = sorted((one, two))
    verify_consistency(old, new, consistency_proof(old, new, node), ROOTS[old], ROOTS[new])


@given(sizes, st.data(), st.integers(0, 255))
def test_a_proof_with_one_bit_or_one_hash_changed_is_refused(size: int, data: st.DataObject, bit: int):
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, node)
    bad = [[*proof, HASHES[0]], [HASHES[0], *proof], *(proof[:i] + proof[i + 1 :] for i in range(len(proof)))]
    bad += [[*proof[:i], flip(step, bit), *proof[i + 1 :]] for i, step in enumerate(proof)]
    for touched in bad:
        with pytest.raises(Inconsistent):
            verify_inclusion(index, size, HASHES[index], touched, ROOTS[size])


@given(sizes, sizes, st.integers(0, 255))
def test_a_touched_consistency_proof_is_refused(one: int, two: int, bit: int):
    old, new = sorted((one, two))
    proof = consistency_proof(old, new, node)
    bad = [[*proof, HASHES[0]]]
    bad += [[*proof[:i], flip(step, bit), *proof[i + 1 :]] for i, step in enumerate(proof)]
    for touched in bad:
        with pytest.raises(Inconsistent):
            verify_consistency(old, new, touched, ROOTS[old], ROOTS[new])
    for roots in ((flip(ROOTS[old], bit), ROOTS[new]), (ROOTS[old], flip(ROOTS[new], bit))):
        with pytest.raises(Inconsistent):
            verify_consistency(old, new, proof, *roots)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 80), max_size=8))
def test_a_frontier_grows_the_same_however_its_leaves_are_grouped(groups: list[int]):
    frontier, at = Frontier(), 0
    for count in groups:
        frontier.extend(HASHES[at : at + count])
        at = min(at + count, len(HASHES))
    assert frontier.size == at and frontier.root() == ROOTS[at]
    assert frontier_at(at, node).nodes == frontier.nodes

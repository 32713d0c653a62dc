"""RFC 6962 against the reference tree and transparency-dev's probes."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from davy.blackbox.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    frontier_at,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from davy.errors import Inconsistent

#: Probes that feed hashes which are not 32 bytes and call that valid; we refuse those lengths on purpose.
SHORT_HASHES = {"sizes-are-equal-one-and-proof-is-empty"}


def probes(shared: Path, kind: str) -> Iterator[tuple[str, dict]]:
    for path in sorted((shared / "vectors/transparency-dev-merkle/testdata" / kind).rglob("*.json")):
        probe = json.loads(path.read_text())
        for key in ("root", "root1", "root2", "leafHash"):
            if key in probe:
                probe[key] = base64.b64decode(probe[key])
        probe["proof"] = [base64.b64decode(node) for node in probe["proof"] or ()]
        yield path.stem, probe


def holds(verify, *arguments: object) -> bool:
    try:
        verify(*arguments)
    except Inconsistent:
        return False
    return True


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_inclusion_agrees_with_every_probe_of_transparency_dev(shared: Path):
    seen = 0
    for name, p in probes(shared, "inclusion"):
        got = holds(verify_inclusion, p["leafIdx"], p["treeSize"], p["leafHash"], p["proof"], p["root"])
        assert got is not p["wantErr"], f"{name}: {p['desc']}"
        seen += 1
    assert seen == 98


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_consistency_agrees_with_every_probe_of_transparency_dev(shared: Path):
    seen = 0
    for name, p in probes(shared, "consistency"):
        got = holds(verify_consistency, p["size1"], p["size2"], p["proof"], p["root1"], p["root2"])
        assert got is not (p["wantErr"] or name in SHORT_HASHES), f"{name}: {p['desc']}"
        seen += 1
    assert seen == 98


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_roots_are_those_of_the_reference_tree(shared: Path):
    tree = json.loads((shared / "vectors/transparency-dev-merkle/rfc6962_reference_tree.json").read_text())
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in tree["leaf_inputs_hex"]]
    for size, root in enumerate(tree["root_by_size_hex"]):
        assert root_of(hashes[:size]).hex() == root


def test_an_empty_tree_has_the_hash_of_nothing():
    assert Frontier().root() == EMPTY_ROOT == root_of([])


def test_a_frontier_is_rebuilt_from_its_nodes():
    hashes = [leaf_hash(bytes([i])) for i in range(23)]
    one = Frontier()
    one.extend(hashes[:13])
    other = Frontier(one.size, one.nodes)
    copy = one.copy()
    for frontier in (one, other):
        frontier.extend(hashes[13:])
    assert one.root() == other.root() == root_of(hashes)
    assert copy.size == 13 and copy.root() == root_of(hashes[:13])


@pytest.mark.parametrize("nodes", [(), (b"x" * 32,) * 2, (b"short",)])
def test_a_frontier_refuses_nodes_that_do_not_fit_its_size(nodes: tuple[bytes, ...]):
    with pytest.raises(Inconsistent):
        Frontier(4, nodes)


def test_a_proof_cannot_be_asked_beyond_the_tree():
    for ask in (lambda: inclusion_proof(3, 3, _none), lambda: consistency_proof(4, 3, _none)):
        with pytest.raises(Inconsistent, match="size"):
            ask()


def test_consistency_from_nothing_is_empty_and_shows_nothing():
    root = leaf_hash(b"a")
    assert consistency_proof(0, 1, _none) == []
    with pytest.raises(Inconsistent):
        verify_consistency(0, 1, [], EMPTY_ROOT, root)


def test_the_frontier_of_a_smaller_size_comes_from_the_nodes_of_a_larger_tree():
    hashes = [leaf_hash(bytes([i])) for i in range(8)]
    assert frontier_at(3, lambda level, i: root_of(hashes[i << level : (i + 1) << level])).nodes == (
        node_hash(hashes[0], hashes[1]),
        hashes[2],
    )


def _none(level: int, index: int) -> bytes:
    raise AssertionError(f"asked for node {level}/{index}")

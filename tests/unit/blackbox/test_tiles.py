"""Tiles: the C2SP layout, each file written once, and the right edge found again."""

import errno
import json
from pathlib import Path

import pytest

from davy.blackbox.fs import Fs
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
from davy.blackbox.tiles import Tiles, entries_path, pack_entries, tile_path, unpack_entries
from davy.errors import Corrupt, Full, Inconsistent

COUNT = 256 * 258 + 5  # one tile of level 1 and a bit
ENTRIES = [i.to_bytes(3, "big") for i in range(COUNT)]
HASHES = [leaf_hash(entry) for entry in ENTRIES]


class Quick(Fs):
    """Real files without waiting for the disk; remembers every file put in place."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self.full = False

    def sync(self, fd: int) -> None: ...

    def sync_dir(self, path: Path) -> None: ...

    def replace(self, path: Path, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.written.append(path)
        super().replace(path, data)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Tiles:
    tiles = Tiles(tmp_path_factory.mktemp("log"), Quick())
    tiles.extend(0, ENTRIES, HASHES)
    return tiles


@pytest.mark.parametrize(
    ("n", "width", "path"),
    [
        (0, 256, "tile/0/000"),
        (5, 7, "tile/0/005.p/7"),
        (1234067, 256, "tile/0/x001/x234/067"),
        (1234067, 12, "tile/0/x001/x234/067.p/12"),
        (1000, 256, "tile/0/x001/000"),
    ],
)
def test_paths_are_those_of_tlog_tiles(n: int, width: int, path: str):
    assert str(tile_path(0, n, width)) == path
    assert str(entries_path(n, width)) == path.replace("/0/", "/entries/", 1)


@pytest.mark.shared
@pytest.mark.feature("F31")
def test_partial_files_of_tessera_hold_the_bytes_we_would_write(shared: Path):
    log = shared / "vectors/tessera/testdata/log"
    entries = [e.encode() for e in json.loads((log / "../../KEYS_AND_ENTRIES.json").read_text())["entries"]]
    for width in range(1, len(entries) + 1):
        assert (log / entries_path(0, width)).read_bytes() == pack_entries(entries[:width])
        hashes = b"".join(leaf_hash(entry) for entry in entries[:width])
        assert (log / tile_path(0, 0, width)).read_bytes() == hashes


def test_every_file_is_written_once(tmp_path: Path):
    fs = Quick()
    tiles = Tiles(tmp_path, fs)
    for start in range(0, 600, 7):
        tiles.extend(start, ENTRIES[start : start + 7], HASHES[start : start + 7])
    names = [str(path.relative_to(tmp_path)) for path in fs.written]
    assert names == ["tile/entries/000", "tile/0/000", "tile/entries/001", "tile/0/001"]
    assert tiles.bundled == 512 and tiles.size == 602


def test_nodes_and_proofs_are_right_on_both_sides_of_the_edge(large: Tiles):
    roots = {size: root_of(HASHES[:size]) for size in (1, 255, 256, 257, 65536, 65537, 66000, COUNT)}
    for size, root in roots.items():
        assert frontier_at(size, large.node).root() == root
        for index in {0, size // 2, size - 1}:
            verify_inclusion(index, size, HASHES[index], inclusion_proof(index, size, large.node), root)
        for old in (s for s in roots if s <= size):
            verify_consistency(old, size, consistency_proof(old, size, large.node), roots[old], root)


def test_entries_are_read_across_bundles_and_memory(large: Tiles):
    for start, end in ((0, 0), (0, 1), (250, 260), (256, 512), (COUNT - 300, COUNT), (COUNT - 2, COUNT), (7, 7)):
        assert large.entries(start, end) == ENTRIES[start:end]
    with pytest.raises(Inconsistent, match="expected them within"):
        large.entries(0, COUNT + 1)


def test_opening_again_finds_the_edge_and_goes_on(large: Tiles):
    again = Tiles(large.root, Quick())
    assert again.bundled == again.size == large.bundled
    again.extend(again.size, ENTRIES[again.size :], HASHES[again.size :])
    frontier = Frontier()
    frontier.extend(HASHES)
    assert frontier_at(COUNT, again.node).nodes == frontier.nodes
    again.extend(COUNT, [b"x"] * 300, [leaf_hash(b"x")] * 300)
    assert frontier_at(again.size, again.node).root() == root_of(HASHES + [leaf_hash(b"x")] * 300)


def test_a_reader_follows_by_checkpoint_and_journal(large: Tiles):
    reader = Tiles(large.root)
    assert reader.size == 0
    for size in (3, 300, 512, 66000):
        reader.refresh(size)
        reader.extend(reader.size, ENTRIES[reader.size : size], HASHES[reader.size : size])
        assert frontier_at(size, reader.node).root() == root_of(HASHES[:size])
        assert reader.entries(max(0, size - 400), size) == ENTRIES[max(0, size - 400) : size]


def test_a_higher_tile_lost_in_a_crash_is_written_at_open(tmp_path: Path):
    fs = Quick()
    Tiles(tmp_path, fs).extend(0, ENTRIES[:65536], HASHES[:65536])
    path = tmp_path / tile_path(1, 0)
    content = path.read_bytes()
    path.unlink()
    tiles = Tiles(tmp_path, fs)
    assert path.read_bytes() == content
    assert tiles.node(16, 0) == root_of(HASHES[:65536])


def test_a_bundle_without_its_tile_is_not_yet_bundled(tmp_path: Path):
    fs = Quick()
    Tiles(tmp_path, fs).extend(0, ENTRIES[:512], HASHES[:512])
    (tmp_path / tile_path(0, 1)).unlink()
    tiles = Tiles(tmp_path, fs)
    assert tiles.bundled == 256
    tiles.extend(256, ENTRIES[256:512], HASHES[256:512])
    assert frontier_at(512, tiles.node).root() == root_of(HASHES[:512])


def test_a_full_disk_leaves_the_entries_in_memory_and_the_next_call_stores_them(tmp_path: Path):
    fs = Quick()
    tiles = Tiles(tmp_path, fs)
    fs.full = True
    with pytest.raises(Full):
        tiles.extend(0, ENTRIES[:700], HASHES[:700])
    assert tiles.size == 700 and tiles.bundled == 0
    assert frontier_at(700, tiles.node).root() == root_of(HASHES[:700])
    fs.full = False
    tiles.extend(700, [], [])
    assert tiles.bundled == 512
    assert frontier_at(700, tiles.node).root() == root_of(HASHES[:700])


def test_a_tile_that_disagrees_with_its_bundle_is_named(tmp_path: Path):
    Tiles(tmp_path, Quick()).extend(0, ENTRIES[:256], HASHES[:256])
    path = tmp_path / tile_path(0, 0)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    with pytest.raises(Corrupt, match="tile/0/000 does not hold"):
        Tiles(tmp_path, Quick())


def test_short_tiles_and_bundles_are_refused(tmp_path: Path):
    tiles = Tiles(tmp_path, Quick())
    tiles.extend(0, ENTRIES[:256], HASHES[:256])
    for path in (tile_path(0, 0), entries_path(0)):
        place = tmp_path / path
        place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="8192"):
        tiles.tile(0, 0)
    with pytest.raises(Corrupt):
        tiles.bundle(0)
    with pytest.raises(Corrupt, match="found none"):
        tiles.tile(0, 1)


def test_entries_have_a_length_of_two_bytes():
    assert unpack_entries(pack_entries([b"", b"a" * 65_535]), 2) == [b"", b"a" * 65_535]
    with pytest.raises(Corrupt, match="65535"):
        pack_entries([b"a" * 65_536])
    with pytest.raises(Corrupt):
        unpack_entries(pack_entries([b"a", b"b"]), 1)


def test_entries_must_follow_on(large: Tiles):
    with pytest.raises(Inconsistent, match="expected entries from"):
        large.extend(0, ENTRIES[:1], HASHES[:1])

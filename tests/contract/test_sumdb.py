"""Go's golang.org/x/mod/sumdb, written by others, agrees with what Davy signs, hashes and proves."""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from davy.blackbox.fs import Fs
from davy.blackbox.merkle import frontier_at, inclusion_proof, leaf_hash
from davy.blackbox.note import Checkpoint, Signer, sign_note
from davy.blackbox.tiles import Tiles
from davy.fact.leaf import Kind, Leaf

GOPATH = Path("/usr/share/gocode")  # where Debian's golang-*-dev packages lie
VERIFY = Path(__file__).parent / "sumdb" / "verify.go"
SIZE = 512  # both level-0 tiles full, so that Go can read every tile it asks for
INDEX = 300

pytestmark = pytest.mark.tool


@pytest.fixture(scope="session")
def verify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built."""
    if not shutil.which("go") or not (GOPATH / "src/golang.org/x/mod/sumdb").is_dir():
        pytest.skip("tool: Go with golang.org/x/mod (Debian: golang-go golang-golang-x-mod-dev) is not installed")
    folder = tmp_path_factory.mktemp("go")
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", folder / "verify", VERIFY], env=environment, check=True, timeout=110)
    return folder / "verify"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with tiles, a checkpoint and one inclusion proof, all made by Davy."""
    leaves = [
        Leaf(1, Kind.readings, seq, 0, seq, seq, 7, seq, 1, 1, b"\1" * 32, b"\2" * 32, 9, 0).encode()
        for seq in range(SIZE)
    ]
    tiles = Tiles(tmp_path, Fs())
    tiles.extend(0, leaves, list(map(leaf_hash, leaves)))
    log = Signer.generate("zs/kiln/box1")
    text = Checkpoint("zs/kiln/box1", SIZE, frontier_at(SIZE, tiles.node).root()).text()
    # Go wants every tile up to the root; the level-1 tile is partial (two hashes), which we keep in memory only.
    top = tmp_path / "tile/1/000.p"
    top.mkdir(parents=True)
    (top / str(SIZE // 256)).write_bytes(b"".join(tiles.node(8, n) for n in range(SIZE // 256)))
    proof = inclusion_proof(INDEX, SIZE, tiles.node)
    (tmp_path / "checkpoint").write_bytes(sign_note(text, [log]))
    (tmp_path / "vkey").write_text(log.vkey)
    (tmp_path / "record").write_bytes(leaves[INDEX])
    (tmp_path / "index").write_text(str(INDEX))
    (tmp_path / "proof").write_text("".join(base64.b64encode(node).decode() + "\n" for node in proof))
    return tmp_path


def run(verify: Path, folder: Path) -> str:
    return subprocess.run([verify, folder], capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.feature("F31", "F34")
def test_go_opens_the_checkpoint_and_accepts_the_proof_and_the_record_hash(verify: Path, made: Path):
    assert run(verify, made) == "ok"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("record", b"\1\1", b"\1\3"), ("checkpoint", b"512", b"511"), ("index", b"300", b"301")],
)
def test_go_refuses_what_was_touched(verify: Path, made: Path, name: str, old: bytes, new: bytes):
    data = (made / name).read_bytes()
    (made / name).write_bytes(data.replace(old, new, 1))
    assert run(verify, made) not in ("ok", "")

"""kill -9 of a process that writes a log, judged by what it had said before."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chaos.conftest import ORIGIN, make_group
from davy.blackbox.fsck import check
from davy.blackbox.log import Item, Log
from davy.blackbox.note import Signer
from davy.blackbox.reader import LogReader
from davy.fact import decode_leaf

KILLS = 10
WRITER = Path(__file__).with_name("writer.py")


def written(size: int) -> list[Item]:
    """What the writer writes, whoever kills it when: its groups depend on their first index only."""
    items: list[Item] = []
    while len(items) < size:
        items += make_group(len(items), 1 + len(items) % 97)
    return items


def run_and_kill(path: Path, skey: str, rng: random.Random) -> dict[str, int]:
    """The largest size of each kind that the writer said before it died."""
    said: dict[str, int] = {}
    command = [sys.executable, str(WRITER), str(path), skey]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            what, size = line.split() if line.endswith("\n") else ("", "0")
            said[what] = int(size)
            if what == "open":
                threading.Timer(rng.uniform(0.0, 0.25), process.kill).start()
    assert process.returncode == -9
    return said


def damage(path: Path, rng: random.Random) -> None:
    """Put behind the newest frame, and behind the newest bodies, what a torn write may leave."""
    junk = rng.choice((bytes(5000), rng.randbytes(700), b"DVJ1", b"DVJ1\0\0\1\0" + rng.randbytes(32)))
    newest = [max((path / "journal").iterdir()), max((path / "pack" / "event").glob("*.pack"))]
    for file in newest:
        with file.open("ab") as out:
            out.write(junk)


@pytest.mark.feature("F31")
def test_ten_kills_lose_and_alter_nothing_acknowledged(tmp_path: Path) -> None:
    signer, rng = Signer.generate(ORIGIN), random.Random(2)
    held = published = 0
    with LogReader(tmp_path, ORIGIN) as reader:  # the same reader through all of it
        for kill in range(KILLS):
            said = run_and_kill(tmp_path, signer.skey, rng)
            assert said["open"] >= held
            held = max(held, said.get("held", 0))
            published = max(published, said.get("published", 0))
            if kill % 2:
                damage(tmp_path, rng)
            size = reader.size
            assert size >= published
            assert reader.leaves(0, size) == [leaf for leaf, _, _ in written(size)[:size]]
    log = Log.open(tmp_path, ORIGIN)
    items = written(log.size)
    assert log.size == len(items) >= held > 300
    for seq, (leaf, chunk, _) in enumerate(items):
        assert log.leaves(seq, seq + 1) == [leaf]
        assert log.body(seq, decode_leaf(leaf)) == chunk
    log.close()
    report = check(tmp_path, signer.vkey)
    assert report.findings == []
    assert report.quarantined > 0

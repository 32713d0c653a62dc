"""A history process killed with SIGKILL at random moments, over one log: nothing missing, nothing twice."""

import random
import subprocess
import sys
from pathlib import Path

from davy.clock import SystemClock
from davy.record.files import HOUR
from davy.record.history import ParquetHistory
from davy.record.project import Projection
from histories import NOON, SECOND, Naive, Site, readings, same, transition

LEAVES = 2000

#: Projects a few leaves a flush, so that it is nearly always at one of the steps that matter.
CHILD = """
import sys
from pathlib import Path
from davy.blackbox.reader import LogReader
from davy.clock import SystemClock
from davy.record.history import ParquetHistory
from davy.record import project

project._PAGE = 7
log, folder, origin, keys = sys.argv[1:]
keys = {int(k): bytes.fromhex(v) for k, v in (pair.split("=") for pair in keys.split(","))}
history = ParquetHistory(Path(folder))
projection = project.Projection(LogReader(Path(log), origin), keys.__getitem__, history, SystemClock())
mono = 0
print("ready", flush=True)
while projection.step():
    projection.flush()
    history.tidy(mono := mono + 1_000_000_000)
"""


def test_a_history_killed_at_random_holds_every_leaf_once(tmp_path: Path) -> None:
    rng = random.Random(7)
    site = Site(tmp_path / "log")
    batches = [readings([1, 2], [k, -k], NOON + k * 20 * SECOND) for k in range(LEAVES)]
    site.put(*(item for k, batch in enumerate(batches) for item in (batch, transition(8, k + 1, NOON + k))))
    keys = ",".join(f"{k}={v.hex()}" for k, v in site.keys.items())
    command = [sys.executable, "-c", CHILD, str(site.folder), str(tmp_path / "history"), site.origin, keys]
    positions = [0]
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            try:
                child.wait(rng.uniform(0.05, 0.4))
            except subprocess.TimeoutExpired:
                child.kill()
        with ParquetHistory(tmp_path / "history") as history:
            positions.append(history.position)
    assert positions == sorted(positions) and 0 < positions[1] < site.log.size
    with ParquetHistory(tmp_path / "history") as history:
        projection = Projection(site.reader(), site.key, history, SystemClock())
        while projection.step():
            pass
        span = (NOON, NOON + LEAVES * 20 * SECOND + HOUR)
        same(history.range([1, 2], *span), Naive(batches).range([1, 2], *span))
        leaves = history.transitions(*span, 10**6)["leaf"].to_pylist()
        assert leaves == list(range(2, site.log.size, 2))
    site.log.close()

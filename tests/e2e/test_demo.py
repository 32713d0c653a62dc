"""What the README promises: `davy demo` shows every incident, at both ends, and leaves sound black boxes."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from district import environment


async def davy(*arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the `davy` command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from davy.cli import main; main()", *arguments,
        env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.feature("F01", "F15", "F30", "F31", "F39")
@pytest.mark.timeout(900)
async def test_a_minute_of_the_demo_alarms_and_mirrors_every_incident_and_both_copies_are_sound(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    code, out, err = await davy("demo", "--for", "60", "--headless", "--ports", "0", "--folder", str(folder))
    assert code == 0, _logs(folder) + out + err
    summary = json.loads(out)
    assert summary["complete"] is True
    assert summary["incidents_expected"] == summary["incidents_alarmed"] == summary["incidents_mirrored"] > 4
    assert (summary["leaves"], summary["dropped_readings"]) == (summary["leaves_mirrored"], 0)
    assert summary["readings_in"] > 1000 and summary["exposure_p99_ms"] > 0
    sizes = []
    for end in ("county", "harbour-chem"):
        code, out, err = await davy("fsck", str(folder / end), "--json")
        answer = json.loads(out)
        assert (code, answer["ok"], answer["findings"]) == (0, True, []), out + err
        assert answer["opened"] == answer["bodies"] == answer["size"]
        sizes.append(answer["size"])
    assert summary["leaves"] <= sizes[0] <= sizes[1], "the centre holds what the edge has written"
    code, out, err = await davy("rebuild", str(folder / "harbour-chem"), "--json")
    assert code == 0, err
    assert json.loads(out)["readings"] >= summary["readings_in"]


def _logs(folder: Path) -> str:
    """The end of what every process said, for who must find out why."""
    return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(folder.glob("*/logs/*.log")))

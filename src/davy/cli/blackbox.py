"""`davy fsck` and `davy rebuild`: judge a black box; make history again from it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from davy.alarm.fold import Fold
from davy.blackbox import fsck as judge
from davy.blackbox.keyring import Keyring
from davy.blackbox.note import Signer
from davy.blackbox.reader import LogReader
from davy.blackbox.seal import check_root, open_chunk
from davy.blackbox.signer import LOG_KEY, read_box_key
from davy.centre import config as centre_config
from davy.cli.show import Json, show
from davy.clock import SystemClock
from davy.edge import config as edge_config
from davy.errors import BadRequest, Corrupt, Inconsistent
from davy.fact import Epoch, Kind, Leaf, Tags, Transition
from davy.fact.codec import decode_readings
from davy.fact.memory import References
from davy.fact.order import blocks_of
from davy.record.project import rebuild as rebuild_history

Box = tuple[str, Path, str, Keyring | None]  # origin, log folder, vkey, keys
Place = Annotated[Path, typer.Argument(help="A site's folder, a centre's folder, or a log folder.")]


class Contents:
    """Opens every body of a log in order and holds its meaning against its leaf and the ones before.

    Called by fsck for each leaf with a body; raises Corrupt or Inconsistent where the blocks are not
    the committed ones, a transition cannot follow, or an epoch's snapshot is not the fold so far.
    """

    def __init__(self, origin: str, keys: Keyring) -> None:
        self.origin = origin
        self.keys = keys
        self._fold: Fold | None = None  # until the first epoch leaf was read
        self._odd: str = ""  # what is wrong with the epoch just read, unless the next leaf says the state was lost
        self._refs: dict[int, References] = {}

    def __call__(self, leaf: Leaf, chunk: bytes) -> bytes:
        odd, self._odd = self._odd, ""
        if odd and leaf.kind != Kind.unverified_start:
            raise Inconsistent(odd)
        key = self.keys.key(leaf.key_id)
        plain = open_chunk(leaf, chunk, key, self.origin)
        if leaf.kind == Kind.readings:
            refs = self._refs.get(leaf.tags_version, References())
            check_root(leaf, blocks_of(decode_readings(plain, refs)), key)
            return plain
        check_root(leaf, [plain], key)
        if leaf.kind == Kind.tags:
            table = Tags.decode(plain)
            self._refs[table.version] = References(np.frombuffer(table.refs, "<f8") if table.refs else None)
        elif leaf.kind == Kind.epoch:
            self._epoch(Epoch.decode(plain))
        elif leaf.kind == Kind.transition and self._fold is not None:
            self._transition(Transition.decode(plain))
        return plain

    def _epoch(self, epoch: Epoch) -> None:
        if self._fold is not None and not self._fold.agrees(epoch.snapshot):
            self._odd = f"epoch {epoch.number}: its alarm snapshot is not the fold of what stands before it"
        self._fold = Fold.of(epoch.snapshot["alarms"])
        if self.keys.hash(epoch.number) != epoch.wraps_hash:
            raise Corrupt(f"keyring of epoch {epoch.number}: not the file this leaf names")

    def _transition(self, transition: Transition) -> None:
        assert self._fold is not None
        problem = self._fold.problem(transition)
        self._fold.apply(transition)
        if problem:
            raise Inconsistent(problem)


def boxes(folder: Path, vkey: str = "") -> Iterator[Box]:
    """Every black box in `folder`: a site's own, all that a centre mirrors, or a bare log folder."""
    if (folder / "site.yaml").exists():
        site = edge_config.load(folder)
        verifier = Signer.parse((site.secrets / LOG_KEY).read_text().strip()).vkey
        keys = Keyring(site.data / "keyring", site.origin, read_box_key(site.secrets))
        yield site.origin, site.log, vkey or verifier, keys
    elif (folder / "centre.yaml").exists():
        centre = centre_config.load(folder)
        for held in sorted((centre.mirror / "logs").glob("*/*/*/vkey")):
            origin = "/".join(held.parent.parts[-3:])
            keys = Keyring(held.parent / "keyring", origin, centre.recipient())
            yield origin, held.parent, vkey or held.read_text().strip(), keys
    elif (folder / "checkpoint").exists():
        yield "", folder, vkey, None
    else:
        raise BadRequest(f"{folder}: expected a site's, a centre's or a log's folder")


def fsck(
    folder: Place = Path(),
    vkey: Annotated[str, typer.Option(help="The log's public key; by default the one kept beside it.")] = "",
    as_json: Json = False,
) -> None:
    """Judge every black box in a folder. Exit code 1 when anything is wrong. Example: davy fsck harbour-chem"""
    answers = [_judged(*box) for box in boxes(folder, vkey)]
    for answer in answers:
        findings = [str(f) for f in answer["findings"]]
        verdict = "nothing wrong" if answer["ok"] else f"{len(findings)} findings"
        counts = f"{answer['size']} leaves, {answer['bodies']} bodies, {answer['opened']} opened"
        text = f"{answer['origin']}: {counts}: {verdict}"
        show(answer | {"findings": findings}, as_json, "\n".join([text, *findings]))
    if not all(answer["ok"] for answer in answers):
        raise typer.Exit(1)


def _judged(origin: str, log: Path, vkey: str, keys: Keyring | None) -> dict[str, Any]:
    report = judge.check(log, vkey or None, Contents(origin, keys) if keys else None)
    return asdict(report) | {"ok": report.ok, "root": report.root.hex(), "findings": report.findings}


def rebuild(folder: Place = Path(), as_json: Json = False) -> None:
    """Make history again from the log; the processes that use it must be stopped. Example: davy rebuild harbour-chem"""
    for origin, log, _, keys in boxes(folder):
        if keys is None:
            raise BadRequest(f"{folder}: expected a site's or a centre's folder, which has the keys")
        history = (
            folder / "data" / "history" / origin if (folder / "centre.yaml").exists() else folder / "data" / "history"
        )
        made = rebuild_history(LogReader(log, origin), keys.key, history, SystemClock())
        show({"origin": origin, **asdict(made)}, as_json)

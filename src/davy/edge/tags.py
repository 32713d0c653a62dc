"""The tag list of a site: one instrument a line, in CSV or XLSX, and the lock beside it.

`tags.lock` binds each uid to its index for ever: an index is never used again, a rename keeps it,
and a change of unit, range, source or basis raises the revision (contracts.md 3).
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from davy.errors import ConfigError, Problem
from davy.reading import Class, Hazard, Tag, TagTable
from davy.source.duration import parse_duration

Parse = Callable[[str], Any]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {text!r}")
    return value


def _one_of(*words: str) -> Parse:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}, got {text!r}")
        return text

    return parse


def _yes(text: str) -> bool:
    return bool(_one_of("yes", "no")(text) == "yes")


def _priority(text: str) -> int:
    return int(_one_of("1", "2", "3", "4")(text))


def _discrete(text: str) -> float:
    return float(_one_of("1", "0")(text))


def _name(text: str) -> str:
    if any(c in text for c in "+#/ ") or not text.isprintable():
        raise ValueError(f"expected a tag name without spaces, +, # or /, got {text!r}")
    return text


@dataclass(frozen=True, slots=True)
class Column:
    field: str
    parse: Parse
    help: str


#: What a tag list may hold. Only `tag` and `link` must be there; an empty cell means the default.
COLUMNS: dict[str, Column] = {
    "uid": Column("uid", str, "identity for ever; filled by `davy edge check --write`"),
    "tag": Column("name", _name, "the instrument's tag, unique on the site"),
    "name_en": Column("label.en", str, "what it is, in English"),
    "name_zh": Column("label.zh", str, "what it is, in Chinese"),
    "area": Column("area", str, "where it stands"),
    "link": Column("link", str, "a key of `links` in site.yaml"),
    "address": Column("address", str, "where on the link; see the README of its protocol"),
    "type": Column("type", str, "how the link decodes it, such as float32 CDAB or bool"),
    "scale": Column("scale", _number, "value = raw * scale + offset"),
    "offset": Column("offset", _number, "value = raw * scale + offset"),
    "unit": Column("unit", str, "UCUM code, or %LEL"),
    "range_low": Column("range_low", _number, "value at the bottom of the instrument's range"),
    "range_high": Column("range_high", _number, "value at the top of the instrument's range"),
    "signal": Column("signal", _one_of("4-20mA", "digital", "pulse", "bus"), "4-20mA turns on the NE 43 bands"),
    "hazard": Column("hazard", lambda t: Hazard(_one_of(*Hazard)(t)), "direction in which it becomes dangerous"),
    "class": Column("alarm_class", lambda t: Class(_one_of(*Class)(t)), "statutory may not be silenced by one person"),
    "priority": Column("priority", _priority, "1 urgent to 4 low, of the first limit"),
    "low_low": Column("low_low", _number, "active at or below"),
    "low": Column("low", _number, "active at or below"),
    "high": Column("high", _number, "active at or above"),
    "high_high": Column("high_high", _number, "active at or above"),
    "discrete": Column("discrete", _discrete, "the Boolean value that alarms, 1 or 0"),
    "deadband": Column("deadband", _number, "in the unit: how far back before it returns to normal"),
    "on_delay": Column("on_delay", parse_duration, "beyond a limit for so long before the alarm"),
    "off_delay": Column("off_delay", parse_duration, "back for so long before it returns to normal"),
    "latch": Column("latch", _yes, "yes: stays until a person resets it"),
    "stale_after": Column("stale_after", parse_duration, "no reading for so long is an alarm"),
    "frozen_after": Column("frozen_after", parse_duration, "the same value for so long is flagged"),
}

REQUIRED = ("tag", "link")
#: A change here is a new revision (contracts.md 3).
BASIS = ("link", "address", "type", "scale", "offset", "unit", "range_low", "range_high", "signal")
LIMITS = ("low_low", "low", "high", "high_high")


@dataclass(frozen=True, slots=True)
class TagFile:
    """A tag list as it stands in its file: tags in file order with their lines; index -1 until locked."""

    name: str
    tags: tuple[Tag, ...]
    lines: tuple[int, ...]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line, cells) of every line that is not empty; the header first."""
    if path.suffix.lower() == ".xlsx":
        import openpyxl  # 22 MB that most sites, whose list is CSV, need not hold

        with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            cells = book.active.iter_rows(values_only=True) if book.active is not None else ()
            rows = [(i, ["" if c is None else _plain(c) for c in row]) for i, row in enumerate(cells, 1)]
    else:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    return [(line, [c.strip() for c in row]) for line, row in rows if any(c.strip() for c in row)]


def _plain(cell: Any) -> str:
    """A spreadsheet cell as a person would have typed it: 85.0 is 85."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def read_tags(path: Path, links: Sequence[str]) -> TagFile:
    """Every tag of a CSV or XLSX list, checked. Raises ConfigError with all problems and their lines."""
    try:
        rows = _rows(path)
    except OSError as error:
        raise ConfigError([Problem(path.name, None, "", f"cannot be read: {error.strerror}")]) from error
    except Exception as error:  # csv, zip and spreadsheet readers raise many kinds; all mean the same here
        raise ConfigError([Problem(path.name, None, "", f"cannot be read as a tag list: {error}")]) from error
    if not rows:
        raise ConfigError([Problem(path.name, 1, "", "expected a header line and tags, got nothing")])
    (head_line, header), *body = rows
    problems = [Problem(path.name, head_line, c, "unknown column") for c in header if c not in COLUMNS]
    problems += [Problem(path.name, head_line, c, "required column is missing") for c in REQUIRED if c not in header]
    problems += [
        Problem(path.name, head_line, c, "column stands here twice") for c in set(header) if header.count(c) > 1
    ]
    if problems:
        raise ConfigError(problems)
    tags: list[Tag] = []
    lines: list[int] = []
    for line, cells in body:
        tag, found = _tag(path.name, line, header, cells)
        problems += found
        if tag is not None:
            problems += [Problem(path.name, line, p, m) for p, m in _check(tag, links)]
            tags.append(tag)
            lines.append(line)
    problems += _twice(path.name, tags, lines)
    if problems:
        raise ConfigError(sorted(problems, key=lambda p: p.line or 0))
    return TagFile(path.name, tuple(tags), tuple(lines))


def _tag(file: str, line: int, header: list[str], cells: list[str]) -> tuple[Tag | None, list[Problem]]:
    if len(cells) > len(header):
        return None, [Problem(file, line, "", f"expected {len(header)} cells, got {len(cells)}")]
    problems: list[Problem] = []
    values: dict[str, Any] = {"uid": "", "index": -1, "name": ""}
    label: dict[str, str] = {}
    for name, cell in zip(header, cells, strict=False):
        column = COLUMNS[name]
        if cell == "":
            if name in REQUIRED:
                problems.append(Problem(file, line, name, "required, but empty"))
            continue
        try:
            value = column.parse(cell)
        except ValueError as error:
            problems.append(Problem(file, line, name, str(error)))
            continue
        if column.field.startswith("label."):
            label[column.field[6:]] = value
        else:
            values[column.field] = value
    return (None if problems else Tag(**values, label=MappingProxyType(label))), problems


def _check(tag: Tag, links: Sequence[str]) -> list[tuple[str, str]]:
    """What does not fit together within one tag: (column, message)."""
    out: list[tuple[str, str]] = []
    if tag.link not in links:
        out.append(("link", f"expected one of {', '.join(links) or 'the links of site.yaml'}, got {tag.link!r}"))
    if (tag.range_low is None) != (tag.range_high is None):
        out.append(("range_low", "give both ends of the range, or neither"))
    elif tag.range_low is not None and tag.range_high is not None and tag.range_low >= tag.range_high:
        out.append(("range_high", f"{tag.range_high:g} is not above range_low {tag.range_low:g}: give a higher value"))
    given = [(name, getattr(tag, name)) for name in LIMITS if getattr(tag, name) is not None]
    for (lower, a), (upper, b) in pairwise(given):
        if a >= b:
            out.append((upper, f"{b:g} is not above {lower} {a:g}: give a value above {a:g}"))
    if tag.signal == "4-20mA" and tag.range_low is None:
        out.append(("signal", "4-20mA needs range_low and range_high, or its fault bands cannot be told"))
    if tag.alarm_class is Class.statutory and tag.hazard is Hazard.none and tag.discrete is None:
        out.append(("hazard", "a statutory tag needs its dangerous direction: high, low or both"))
    if tag.alarm_class is Class.statutory and tag.stale_after is None:
        out.append(("stale_after", "a statutory tag needs a time after which silence is an alarm"))
    if tag.deadband < 0:
        out.append(("deadband", f"expected 0 or more, got {tag.deadband:g}"))
    return out


def _twice(file: str, tags: list[Tag], lines: list[int]) -> list[Problem]:
    seen: dict[tuple[str, str], int] = {}
    problems = []
    for tag, line in zip(tags, lines, strict=True):
        for column, value in (("tag", tag.name), ("uid", tag.uid)):
            if value and (column, value) in seen:
                problems.append(Problem(file, line, column, f"{value} stands on line {seen[column, value]} already"))
            seen.setdefault((column, value), line)
    return problems


def _basis(tag: Tag) -> str:
    return hashlib.sha256(repr([getattr(tag, name) for name in BASIS]).encode()).hexdigest()[:16]


def _digest(tags: Sequence[Tag]) -> str:
    plain = [replace(tag, index=0, revision=0).plain() for tag in sorted(tags, key=lambda t: t.uid)]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def lock(tags: Sequence[Tag], before: dict[str, Any] | None) -> dict[str, Any]:
    """The lock for `tags`, given the one before; unchanged tags give the very same lock. Every tag has a uid."""
    old: dict[str, Any] = before or {"version": 0, "next": 0, "digest": "", "tags": {}}
    if old["digest"] == _digest(tags):
        return old
    entries, following = dict(old["tags"]), int(old["next"])
    for tag in tags:
        entry = entries.get(tag.uid)
        if entry is None:
            entries[tag.uid] = {"index": following, "revision": 1, "basis": _basis(tag), "tag": tag.name}
            following += 1
        else:
            changed = entry["basis"] != _basis(tag)
            entries[tag.uid] = {
                "index": entry["index"],
                "revision": entry["revision"] + changed,
                "basis": _basis(tag),
                "tag": tag.name,
            }
    return {"version": old["version"] + 1, "next": following, "digest": _digest(tags), "tags": entries}


def table(file: TagFile, locked: dict[str, Any] | None) -> TagTable:
    """The tag table `locked` gives. Raises ConfigError when the list changed since it was locked."""
    hint = "run `davy edge check --write`"
    problems = [
        Problem(file.name, line, "uid", f"empty: {hint}")
        for tag, line in zip(file.tags, file.lines, strict=True)
        if not tag.uid
    ]
    if not problems and (locked is None or locked["digest"] != _digest(file.tags)):
        problems = [Problem(file.name, None, "", f"changed since tags.lock was written: {hint}")]
    if problems or locked is None:
        raise ConfigError(problems)
    entries = locked["tags"]
    tags = (replace(t, index=entries[t.uid]["index"], revision=entries[t.uid]["revision"]) for t in file.tags)
    return TagTable(locked["version"], tuple(tags))


def read_lock(path: Path) -> dict[str, Any] | None:
    """The lock beside a tag list, or None where there is none yet. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or set(found) != {"version", "next", "digest", "tags"}:
            raise ValueError("expected version, next, digest and tags")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(path.name, None, "", f"cannot be read: {error}")]) from error


def write_uids(path: Path, make: Callable[[], str]) -> int:
    """Fill the empty uid cells of a tag list in place, everything else kept; returns how many."""
    if path.suffix.lower() == ".xlsx":
        return _write_uids_xlsx(path, make)
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    header = [c.strip() for c in rows[0]]
    if "uid" not in header:
        rows = [[("uid" if i == 0 else ""), *row] if row else row for i, row in enumerate(rows)]
        header = ["uid", *header]
    at, count = header.index("uid"), 0
    for row in rows[1:]:
        if any(c.strip() for c in row) and not row[at].strip():
            row[at] = make()
            count += 1
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    _replace(path, out.getvalue().encode())
    return count


def _write_uids_xlsx(path: Path, make: Callable[[], str]) -> int:
    import openpyxl  # as in `_rows`

    book = openpyxl.load_workbook(path)
    sheet = book.active
    assert sheet is not None
    header = [str(c.value or "").strip() for c in sheet[1]]
    if "uid" not in header:
        sheet.insert_cols(1)
        sheet.cell(1, 1, "uid")
        header.insert(0, "uid")
    at, count = header.index("uid") + 1, 0
    for row in range(2, sheet.max_row + 1):
        filled = any(c.value not in (None, "") for c in sheet[row])
        if filled and not sheet.cell(row, at).value:
            sheet.cell(row, at, make())
            count += 1
    out = io.BytesIO()
    book.save(out)
    _replace(path, out.getvalue())
    return count


def write_lock(path: Path, locked: dict[str, Any]) -> None:
    _replace(path, (json.dumps(locked, indent=1, sort_keys=True) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)

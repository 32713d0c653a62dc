"""Files people write are judged whole: everything wrong at once, each with its line and a way out."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from davy import settings
from davy.errors import ConfigError
from davy.settings import Settings


class Modbus(Settings):
    kind: Literal["modbus"]
    port: int = Field(502, ge=1, le=65535)


class Replay(Settings):
    kind: Literal["replay"]
    path: str


class Box(Settings):
    version: Literal[1]
    name: str
    limits: list[float] = []
    links: dict[str, Annotated[Modbus | Replay, Field(discriminator="kind")]] = {}


def loaded(tmp_path: Path, text: str | bytes) -> Box:
    path = tmp_path / "box.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings.load(path, Box)


def problems(tmp_path: Path, text: str | bytes) -> list[tuple[int | None, str, str]]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert {p.file for p in caught.value.problems} == {"box.yaml"}
    return [(p.line, p.path, p.message) for p in caught.value.problems]


def test_what_is_right_is_read_and_frozen(tmp_path: Path) -> None:
    box = loaded(tmp_path, "version: 1\nname: 码头\nlimits: [1, 2.5]\nlinks:\n  a: {kind: replay, path: x.csv}\n")
    assert (box.name, box.limits, box.links["a"]) == ("码头", [1.0, 2.5], Replay(kind="replay", path="x.csv"))
    with pytest.raises(ValidationError):
        box.name = "other"  # type: ignore[misc]


def test_everything_wrong_is_told_at_once_with_its_line_and_place(tmp_path: Path) -> None:
    text = """\
version: 2
nam: quay
limits: [1, two, 3]
links:
  a: {kind: modbus, port: 70000}
  b: {kind: modbuss}
  c: {port: 1}
  d:
    kind: replay
    path: x.csv
    speed: 3
"""
    assert problems(tmp_path, text) == [
        (1, "version", "expected 1, got 2"),
        (1, "name", "required, but not given"),
        (3, "limits[1]", "expected a valid number, unable to parse string as a number, got 'two'"),
        (5, "links.a.port", "expected less than or equal to 65535, got 70000"),
        (6, "links.b.kind", "expected one of 'modbus', 'replay', got 'modbuss'"),
        (7, "links.c.kind", "required, but not given"),
        (11, "links.d.speed", "unknown key"),
        (2, "nam", "unknown key"),
    ]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "version: 1\nname: a\nname: b\n") == [(3, "name", "this key stands here twice")]


#: Ten lines that mean a billion values.
LAUGHS = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\nname: [a\n", 3),
        ("version: 1\n\tname: a\n", 2),
        ("- 1\n- 2\n", 1),
        ("just words", 1),
        (b"version: 1\nname: \xff\xfe\n", None),
        (b"\x00\x01\x02", None),
        ("name: &a [*a]\nversion: 1\n", None),
        ("limits: " + "[" * 5000, None),
        (LAUGHS, None),
    ],
)
def test_what_is_no_settings_file_is_said_in_one_line(tmp_path: Path, text: str | bytes, line: int | None) -> None:
    found = problems(tmp_path, text)
    assert len(found) == 1 and "\n" not in found[0][2]
    assert line is None or found[0][0] == line


def test_an_empty_file_lacks_everything(tmp_path: Path) -> None:
    assert [path for _, path, _ in problems(tmp_path, "")] == ["version", "name"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml.*cannot be read: No such file"):
        settings.load(tmp_path / "gone.yaml", Box)

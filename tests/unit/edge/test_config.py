# ruff: noqa: E501  (messages stand on one line, as they are printed)
"""A site folder is judged whole: every problem at once, each with its place and the way out."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import openpyxl
import pytest

from davy.edge import config
from davy.errors import ConfigError
from davy.reading.uid import uuid7

SITE = """\
version: 1
site: harbour-chem
links:
  plc: {kind: modbus-tcp, address: "127.0.0.1:502", poll: 1s}
"""
TAGS = """\
uid,tag,area,link,address,type,scale,unit,range_low,range_high,signal,hazard,class,priority,low,high,high_high,stale_after
,T101.LEVEL,farm,plc,1!40001,float32 CDAB,,%,0,100,,both,process,2,10,85,90,3s
,AT-07.CH4,pump,plc,1!40011,uint16,0.1,%LEL,0,100,4-20mA,high,statutory,1,,25,50,3s
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "tags.csv").write_text(TAGS)
    return tmp_path


def uids(first: int = 0) -> Callable[[], str]:
    numbers = count(first)
    return lambda: uuid7(1_700_000_000_000_000, next(numbers).to_bytes(10, "big"))


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.check(folder)
    return [str(p) for p in caught.value.problems]


def test_uids_are_made_once_and_an_index_is_never_used_again(folder: Path) -> None:
    made, table = config.write(folder, uids())
    assert made == 2
    assert [t.index for t in table.tags][:2] == [0, 1]
    kept = {t.name: (t.uid, t.index) for t in table.tags}

    lines = (folder / "tags.csv").read_text().splitlines()
    renamed = lines[2].replace("AT-07.CH4", "AT-08.CH4")
    (folder / "tags.csv").write_text(
        "\n".join([lines[0], renamed, lines[1].replace("T101", "T102").replace(kept["T101.LEVEL"][0], "")])
    )
    made, after = config.write(folder, uids(100))
    assert made == 1
    assert after.version == table.version + 1
    assert after.by_name["AT-08.CH4"].index == kept["AT-07.CH4"][1]
    assert after.by_name["T102.LEVEL"].index == len(table)


def test_a_change_of_range_is_a_new_revision_and_a_change_of_a_limit_is_not(folder: Path) -> None:
    config.write(folder, uids())
    text = (folder / "tags.csv").read_text()
    (folder / "tags.csv").write_text(text.replace(",%,0,100,", ",%,0,120,").replace(",25,50,", ",20,40,"))
    _, table = config.write(folder, uids())
    assert table.by_name["T101.LEVEL"].revision == 2
    assert table.by_name["AT-07.CH4"].revision == 1


def test_a_list_changed_behind_the_lock_does_not_run(folder: Path) -> None:
    with pytest.raises(ConfigError, match="davy edge check --write"):
        config.load(folder)
    config.write(folder, uids())
    assert config.load(folder).origin == "davy/harbour-chem/bb1"
    (folder / "tags.csv").write_text((folder / "tags.csv").read_text().replace(",85,", ",95,").replace(",90,", ",99,"))
    with pytest.raises(ConfigError, match=r"tags\.csv: changed since tags\.lock was written"):
        config.load(folder)


def test_all_errors_of_both_files_come_at_once_with_line_and_path(folder: Path) -> None:
    (folder / "site.yaml").write_text(SITE + "colour: red\nposition: [200, 10]\n")
    (folder / "tags.csv").write_text(TAGS.replace(",85,90,", ",92,90,").replace(",plc,1!40011", ",dcs,1!40011"))
    found = problems(folder)
    assert "site.yaml:5 colour: unknown key" in found
    assert "site.yaml:6 position: expected [longitude, latitude] in degrees (WGS-84), got [200.0, 10.0]" in found
    assert "tags.csv:2 high_high: 90 is not above high 92: give a value above 92" in found
    assert "tags.csv:3 link: expected one of plc, got 'dcs'" in found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("poll: 1s", "poll: 250", 'site.yaml:4 links.plc.poll: expected a duration such as "250ms", got 250'),
        ("kind: modbus-tcp", "kind: modbus", "site.yaml:4 links.plc.kind: expected one of"),
        ("version: 1", "version: 2", "site.yaml:1 version: expected 1, got 2"),
        ("site: harbour-chem", "site: Harbour", "site.yaml:2 site: expected small letters, digits and hyphens, got 'Harbour'"),
        ("version: 1\n", "", "site.yaml:1 version: required, but not given"),
        ("site: harbour-chem", "site: a\nsite: b", "site.yaml:3 site: this key stands here twice"),
        ("links:", "links: [", "site.yaml:"),
    ],
)  # fmt: skip
def test_a_bad_site_file_says_where_and_what(folder: Path, old: str, new: str, problem: str) -> None:
    (folder / "site.yaml").write_text(SITE.replace(old, new))
    assert any(p.startswith(problem) for p in problems(folder)), problems(folder)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("area,", "colour,", "tags.csv:1 colour: unknown column"),
        ("statutory", "lawful", "tags.csv:3 class: expected statutory, process or info, got 'lawful'"),
        (",0.1,", ",tenth,", "tags.csv:3 scale: expected a number, got 'tenth'"),
        (",0.1,", ",nan,", "tags.csv:3 scale: expected a finite number, got 'nan'"),
        ("AT-07.CH4", "T101.LEVEL", "tags.csv:3 tag: T101.LEVEL stands on line 2 already"),
        ("4-20mA,high,statutory", "4-20mA,none,statutory", "tags.csv:3 hazard: a statutory tag needs its dangerous direction"),
        ("25,50,3s", "25,50,", "tags.csv:3 stale_after: a statutory tag needs a time after which silence is an alarm"),
        ("25,50,3s", "25,50,3", "tags.csv:3 stale_after: expected a duration"),
        ("25,50,3s", "25,50,3s,x,y", "tags.csv:3: expected 18 cells, got 20"),
        ("0,100,4-20mA", ",,4-20mA", "tags.csv:3 signal: 4-20mA needs range_low and range_high"),
        ("1!40011", "1!99999", "tags.csv:3 address:"),
    ],
)  # fmt: skip
def test_a_bad_tag_list_says_where_and_what(folder: Path, old: str, new: str, problem: str) -> None:
    (folder / "tags.csv").write_text(TAGS.replace(old, new))
    assert any(p.startswith(problem) for p in problems(folder)), problems(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00garbage", b"", b"\x00" * 64, b'tag,link\n"open quote,plc\n'])
def test_garbage_is_refused_in_words(folder: Path, content: bytes) -> None:
    (folder / "tags.csv").write_bytes(content)
    assert problems(folder)[0].startswith("tags.csv")
    (folder / "site.yaml").write_bytes(content)
    assert any(p.startswith("site.yaml") for p in problems(folder))


def test_a_spreadsheet_is_as_good_as_a_csv(folder: Path) -> None:
    book = openpyxl.Workbook()
    for line in TAGS.splitlines():
        book.active.append([float(c) if c.replace(".", "").isdigit() else c or None for c in line.split(",")])
    book.save(folder / "tags.xlsx")
    (folder / "site.yaml").write_text(SITE + "tags: tags.xlsx\n")
    made, from_xlsx = config.write(folder, uids())
    assert made == 2
    (folder / "tags.lock").unlink()
    (folder / "site.yaml").write_text(SITE)
    _, from_csv = config.write(folder, uids())
    assert from_xlsx.tags == from_csv.tags


def test_the_published_schema_names_every_key() -> None:
    schema = config.json_schema()
    assert set(schema["properties"]) == set(config.SiteConfig.model_fields)
    assert schema["additionalProperties"] is False
    assert all("description" in p for p in schema["properties"].values())

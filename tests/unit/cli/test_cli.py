"""The command line does what the README says, in words and in JSON."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from davy.cli import app
from davy.errors import ConfigError
from davy.uplink.enrol import Invitation

ROOT = Path(__file__).resolve().parents[3]
run = CliRunner().invoke


def test_a_new_site_checks_out_once_its_uids_are_written(tmp_path: Path) -> None:
    folder = str(tmp_path / "harbour-chem")
    assert run(app, ["edge", "init", folder]).exit_code == 0
    told = json.loads(run(app, ["edge", "check", folder, "--write", "--json"]).output)
    assert told["uids_made"] == 2 and told["version"] == 1
    again = json.loads(run(app, ["edge", "check", folder, "--write", "--json"]).output)
    assert (again["uids_made"], again["version"]) == (0, 1)
    assert "no errors" in run(app, ["edge", "check", folder]).output


def test_nothing_that_exists_is_overwritten(tmp_path: Path) -> None:
    for made in (["edge", "init", str(tmp_path / "site")], ["centre", "init", str(tmp_path / "county")]):
        assert run(app, made).exit_code == 0
        assert isinstance(run(app, made).exception, ConfigError)


def test_an_invitation_carries_the_address_and_the_certificate_of_its_centre(tmp_path: Path) -> None:
    folder = str(tmp_path / "county")
    run(app, ["centre", "init", folder, "--host", "county.example"])
    told = json.loads(run(app, ["centre", "invite", folder, "--valid", "10min", "--json"]).output)
    invitation = Invitation.parse(told["invitation"])
    assert invitation.url == "https://county.example:8443"
    assert len(invitation.fingerprint) == 32


def test_fsck_of_what_is_no_black_box_says_so(tmp_path: Path) -> None:
    result = run(app, ["fsck", str(tmp_path)])
    assert result.exit_code != 0 and "expected a site's, a centre's or a log's folder" in str(result.exception)


@pytest.mark.parametrize("words", [["--help"], ["edge", "--help"], ["edge", "check", "--help"], ["bench", "--help"]])
def test_help_has_an_example_for_each_command(words: list[str]) -> None:
    result = run(app, words)
    assert result.exit_code == 0
    if len(words) == 3:
        assert "Example: davy" in result.output


def test_every_command_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {tuple(m.split()) for m in re.findall(r"davy ((?:edge|centre) [a-z]+|fsck|rebuild|bench|demo)", text)}
    assert len(named) >= 9
    for words in named:
        assert run(app, [*words, "--help"]).exit_code == 0, words

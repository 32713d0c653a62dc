"""What an invitation carries, and what is not one."""

from pathlib import Path

import pytest

from davy.blackbox.note import Cosigner
from davy.errors import BadRequest, ConfigError
from davy.uplink.enrol import CentreKeys, Invitation

INVITATION = Invitation("https://county.example:8443", b"f" * 32, b"t" * 32)


def test_an_invitation_is_read_back_also_with_a_newline_from_the_clipboard():
    assert INVITATION.text().startswith("davy1.")
    assert Invitation.parse(INVITATION.text() + "\n") == INVITATION


@pytest.mark.parametrize(
    "text",
    [
        "",
        "davy1.",
        "davy1.????",
        "davy2." + INVITATION.text()[6:],
        INVITATION.text()[:-9],
        Invitation("http://county.example", b"f" * 32, b"t" * 32).text(),
        Invitation("https://county.example", b"f" * 31, b"t" * 32).text(),
    ],
)
def test_what_is_no_invitation_is_told_so(text: str):
    with pytest.raises(BadRequest, match="invitation"):
        Invitation.parse(text)


def test_keys_of_a_centre_are_kept_secret_and_read_back(tmp_path: Path):
    keys = CentreKeys("https://c", "PEM", "00", Cosigner.generate("county.zs").vkey, "11", "a/b/c")
    path = tmp_path / "secrets" / "centre.json"
    keys.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert CentreKeys.read(path) == keys
    for text in ("{}", "[]", "nonsense", path.read_text().replace("county.zs+", "county.zs+0")):
        path.write_text(text)
        with pytest.raises(ConfigError):
            CentreKeys.read(path)

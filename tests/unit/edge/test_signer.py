"""A site's signer: its identity is made on the first start and never a second time."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from davy.edge.signer import build
from davy.errors import ConfigError


def site(folder: Path, origin: str = "acme/tank-farm/box-1") -> SimpleNamespace:
    return SimpleNamespace(secrets=folder / "secrets", data=folder / "data", log=folder / "data" / "log", origin=origin)


def test_the_first_start_makes_the_identity_and_the_next_finds_it(tmp_path: Path):
    assert build(site(tmp_path)).vkey == build(site(tmp_path)).vkey


@pytest.mark.parametrize("left", ["data/log/checkpoint", "data/keyring/00000001.cbor"])
def test_a_log_without_its_key_is_not_given_a_new_one(tmp_path: Path, left: str):
    (tmp_path / left).parent.mkdir(parents=True)
    (tmp_path / left).write_bytes(b"x")
    with pytest.raises(ConfigError, match="not the key it was signed with"):
        build(site(tmp_path))


def test_the_key_of_another_log_is_refused(tmp_path: Path):
    build(site(tmp_path))
    with pytest.raises(ConfigError, match="expected the key of acme/other/box-1"):
        build(site(tmp_path, "acme/other/box-1"))

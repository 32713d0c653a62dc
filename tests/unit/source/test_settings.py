"""Durations, link settings, the table of kinds, and the poll grid."""

from importlib import resources

import pytest
import yaml
from pydantic import ValidationError

from davy.reading import Tag
from davy.source import KINDS
from davy.source.duration import format_duration, parse_duration
from davy.source.modbus.config import ModbusTcp, split
from davy.source.promise import Grid
from davy.source.replay.config import Replay, instant_us, zone_us

MODBUS = {"kind": "modbus-tcp", "address": "10.0.0.5:502"}
REPLAY = {"kind": "replay", "path": "a.csv", "start": "2024-03-01T00:00:00Z", "step": "30s"}


@pytest.mark.parametrize(
    ("text", "us"), [("250ms", 250_000), ("1s", 1_000_000), (" 1.5 s ", 1_500_000), ("2min", 120_000_000), ("0s", 0)]
)
def test_a_duration_is_a_number_and_a_unit(text, us):
    assert parse_duration(text) == us
    assert parse_duration(format_duration(us)) == us


@pytest.mark.parametrize("text", [250, "250", "s", "-1s", "1 week", "0.1us", "nan s", "1e3s", None, "99999999d", "１s"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_modbus_defaults_are_those_of_the_sample():
    sample = yaml.safe_load((resources.files("davy.source.modbus") / "sample.yaml").read_text())["farm-plc"]
    assert set(sample) == set(ModbusTcp.model_fields)
    assert ModbusTcp.model_validate(sample) == ModbusTcp.model_validate(MODBUS | {"address": sample["address"]})
    assert ModbusTcp.model_validate(ModbusTcp.model_validate(sample).model_dump(mode="json")).poll == 1_000_000


def test_every_key_has_a_help_sentence():
    for kind in KINDS.values():
        missing = [n for n, f in kind.model.model_fields.items() if n != "kind" and not f.description]
        assert missing == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"poll": 250}, 'expected a duration such as "250ms"'),
        ({"poll": "1ms"}, "poll: expected at least 10ms"),
        ({"offset": "1s"}, "offset: expected less than poll"),
        ({"timeout": "0s"}, "timeout: expected more than 0"),
        ({"retry": "60s"}, "retry: expected more than 0 and at most retry_max"),
        ({"address": "10.0.0.5:"}, "expected host:port"),
        ({"address": "10.0.0.5:70000"}, "expected a port between 1 and 65535"),
        ({"address": "fe80::1"}, "expected host:port"),
        ({"unit": 256}, "less than or equal to 255"),
        ({"max_registers": 126}, "less than or equal to 125"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_wrong_modbus_setting_is_refused_with_its_reason(change, complaint):
    with pytest.raises(ValidationError) as refused:
        ModbusTcp.model_validate(MODBUS | change)
    assert complaint in str(refused.value)


def test_host_and_port_in_all_their_forms():
    assert split("plc") == ("plc", 502)
    assert split("plc:1502") == ("plc", 1502)
    assert split("[fe80::1]:1502") == ("fe80::1", 1502)
    assert split("[fe80::1]") == ("fe80::1", 502)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"path": "a.xml"}, "expected a file ending in"),
        ({"time": "t"}, "expected either time"),
        ({"start": ""}, "expected either time"),
        ({"step": "0s"}, "step: expected the time from row to row"),
        ({"start": "2024-03-01T00:00:00"}, "with its zone"),
        ({"start": "yesterday"}, "expected an instant"),
        ({"speed": 0}, "expected"),
        ({"speed": "slow"}, "fast"),
        ({"zone": "CET"}, "expected an offset from UTC"),
    ],
)
def test_a_wrong_replay_setting_is_refused_with_its_reason(change, complaint):
    with pytest.raises(ValidationError) as refused:
        Replay.model_validate(REPLAY | change)
    assert complaint in str(refused.value)


def test_zones_and_instants():
    assert zone_us("+08:00") == 8 * 3600 * 1_000_000
    assert zone_us("-00:30") == -1800 * 1_000_000
    assert instant_us("1970-01-01T08:00:01+08:00") == 1_000_000


def test_a_kind_judges_tags_by_column():
    kind = KINDS["modbus-tcp"]
    config = kind.model.model_validate(MODBUS)
    assert kind.check(config, Tag("u", 0, "T", address="40001", type="float32 CDAB")) == []
    both = kind.check(config, Tag("u", 0, "T", address="x", type="y"))
    assert [column for column, _ in both] == ["address", "type"]
    assert [c for c, _ in kind.check(config, Tag("u", 0, "T", address="10001", type="int16"))] == ["type"]


def test_the_grid_is_the_wall_clock_moved_by_its_offset():
    grid = Grid(1_000_000, 250_000)
    assert grid.after(0) == 250_000
    assert grid.after(250_000) == 1_250_000
    assert grid.between(250_000, 1_250_000) == 0
    assert grid.between(250_000, 4_250_000) == 3

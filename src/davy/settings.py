"""Files people write: YAML read with the line of every key, judged whole, answered once.

All that is wrong is reported together (ConfigError), each with file, line, path, what was expected
and what was found; nothing is applied unless everything is right.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from davy.errors import ConfigError, Problem

#: Values of one file, those that aliases repeat included.
MAX_VALUES = 100_000

Place = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of every settings model: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Reader:
    """Turns a YAML node tree into plain values, keeping the line of each place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self._values = 0

    def value(self, node: yaml.Node, place: Place = ()) -> Any:
        """Raises ConfigError where aliases make more of the file than anyone wrote."""
        self._values += 1
        line = node.start_mark.line + 1
        if self._values > MAX_VALUES:
            raise ConfigError([Problem(self.file, line, "", f"more than {MAX_VALUES} values: use fewer aliases")])
        self.lines.setdefault(place, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(
                Problem(self.file, node.start_mark.line + 1, dotted(place), str(error).splitlines()[0])
            )
            return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in out:
                self.problems.append(Problem(self.file, line, dotted((*place, key)), "this key stands here twice"))
            self.lines[(*place, key)] = line
            out[key] = self.value(value_node, (*place, key))
        return out


def dotted(place: Sequence[str | int]) -> str:
    """`links.dcs.mode`, `source[2].poll`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def message(error: dict[str, Any], model: type[BaseModel]) -> str:
    """One pydantic error in our words: expected, found."""
    kind, text, found = error["type"], str(error["msg"]), error["input"]
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "required, but not given"
    if kind == "union_tag_invalid":
        return f"expected one of {error['ctx']['expected_tags']}, got {error['ctx']['tag']!r}"
    if kind == "union_tag_not_found":
        return "required, but not given"
    if kind == "value_error":
        return text.removeprefix("Value error, ")
    text = text.removeprefix("Input should be ")
    return (
        f"expected {text}, got {found!r}"
        if isinstance(found, (str, int, float, bool, type(None)))
        else f"expected {text}"
    )


def _resolve(data: Any, location: Sequence[str | int]) -> Place:
    """The place in the file an error's location means; union tags and the like are not in the file."""
    here: Any = data
    place: list[str | int] = []
    for position, step in enumerate(location):
        inside = isinstance(here, dict) and step in here
        if inside or (isinstance(here, list) and isinstance(step, int)):
            here = here[step]
            place.append(step)
        elif position == len(location) - 1 and isinstance(here, dict):
            place.append(step)
    return tuple(place)


def judge(data: Any, model: type[Model], file: str, lines: dict[Place, int]) -> Model:
    """`data` as `model`, or ConfigError with every problem at its line."""
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        problems = []
        for error in invalid.errors(include_url=False):
            location = list(error["loc"])
            if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
                location.append(str(error.get("ctx", {}).get("discriminator", "kind")).strip("'"))
            place = _resolve(data, location)
            line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), None)
            problems.append(Problem(file, line, dotted(place), message(dict(error), model)))
        raise ConfigError(problems) from None


def read_yaml(path: Path) -> tuple[Any, dict[Place, int]]:
    """The plain values of one YAML file and the line of each place. Raises ConfigError."""
    reader = _Reader(path.name)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        data = reader.value(node) if node is not None else {}
    except RecursionError as error:
        raise ConfigError([Problem(path.name, None, "", "nested too deep, or within itself")]) from error
    except OSError as error:
        raise ConfigError([Problem(path.name, None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(path.name, None, "", f"expected UTF-8 text: {error.reason} at byte {error.start}")]
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([Problem(path.name, mark.line + 1 if mark else None, "", f"not YAML: {what}")]) from error
    if reader.problems:
        raise ConfigError(reader.problems)
    return data, reader.lines


def load(path: Path, model: type[Model]) -> Model:
    """The settings in the YAML file `path`. Raises ConfigError with everything that is wrong."""
    data, lines = read_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError([Problem(path.name, 1, "", f"expected keys and values, got {type(data).__name__}")])
    return judge(data, model, path.name, lines)

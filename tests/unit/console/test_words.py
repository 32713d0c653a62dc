"""The catalogue: both languages whole, the same gaps in both, and nothing a template asks for is missing."""

import re
import string
from pathlib import Path

import pytest

from davy.alarm import state as states
from davy.console import words
from davy.console.quality import _FLAGS, _STATUS
from davy.console.trend import RANGES
from davy.console.view import TABS
from davy.console.words import CATALOGUE, choose
from davy.fact.event import AlarmType, Verb
from davy.people import Role

CONSOLE = Path(words.__file__).parent
ASKED = re.compile(r"""\b(?:s\.t|t|words|here\.words)\(["']([a-z0-9_]+)["'][,)]""")


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.feature("F74")
@pytest.mark.parametrize("key", CATALOGUE)
def test_both_languages_say_it_and_with_the_same_gaps(key: str) -> None:
    english, chinese = CATALOGUE[key]
    assert english.strip() and chinese.strip()
    assert gaps(english) == gaps(chinese)


def test_every_word_the_pages_ask_for_is_there() -> None:
    asked: set[str] = set()
    for path in [*CONSOLE.glob("*.py"), *(CONSOLE / "templates").glob("*.html")]:
        asked |= set(
            re.findall(r"""\b(?:s\.t|t|words|here\.words)\(["']([a-z0-9_]+)["'][,)]""", path.read_text("utf-8"))
        )
    assert len(asked) > 100
    assert asked - CATALOGUE.keys() == set()


def test_every_word_made_from_a_name_is_there() -> None:
    made = {f"role_{r}" for r in Role} | {f"range_{s}" for s in RANGES} | {f"tab_{n}" for n in TABS}
    made |= {f"empty_{n}" for n in TABS} | {word for _, word in _FLAGS} | set(_STATUS.values())
    made |= {f"{kind}_{t.name}" for t in AlarmType for kind in ("type", "say")} | {f"class_{n}" for n in range(3)}
    made |= {f"{kind}_{t}_{t}" for t in ("high", "low") for kind in ("type", "say")}
    offered = {Verb.acknowledge, Verb.reset, Verb.timed_shelve, Verb.unshelve, Verb.unsuppress, Verb.place_in_service,
               Verb.add_comment}  # fmt: skip
    made |= {f"done_{v.name}" for v in offered} | {v.name for v in offered}
    assert made - CATALOGUE.keys() == set()
    assert states.PROCESS_BITS == 7


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [(None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"), (None, "fr,en;q=0.5,zh;q=0.7", "zh"), (None, "", "en"),
     ("en", "zh", "en"), ("klingon", "zh", "zh"), (None, "de;q=high,*;q=", "en")],
)  # fmt: skip
def test_the_language_is_the_chosen_one_else_the_browsers(cookie: str | None, header: str, language: str) -> None:
    assert choose(cookie, header).language == language

"""The made documents say what the code says."""

from pathlib import Path

import pytest

from davy.lab import papers
from davy.lab.features import CATALOGUE, CLAIMED

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", sorted(papers.pages(ROOT)))
def test_a_made_document_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == papers.pages(ROOT)[name], f"{name}: run `make docs`"


def test_every_claimed_feature_has_a_test_and_every_mark_a_claim() -> None:
    shown = papers.tested(ROOT / "tests")
    assert set(CLAIMED) <= set(CATALOGUE)
    assert sorted(set(CLAIMED) - set(shown)) == []
    assert sorted(set(shown) - set(CLAIMED)) == []

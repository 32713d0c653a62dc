"""A site of one tag."""

from collections.abc import Callable
from typing import Any

import pytest

from alarm_site import Site
from davy.reading import Tag


@pytest.fixture
def site() -> Callable[..., Site]:
    """Makes a site of one tag with index 0 from the fields given."""

    def make(**fields: Any) -> Site:
        return Site(Tag(**({"uid": "u0", "index": 0, "name": "T-1"} | fields)))

    return make

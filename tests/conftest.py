"""What every test may ask for."""

from pathlib import Path

import pytest
from hypothesis import settings

# A shared 2-core machine makes single examples slow by chance; the time limit a test keeps the whole honest.
settings.register_profile("davy", deadline=None)
settings.load_profile("davy")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of vectors and public data beside the project; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("shared: ../shared is not beside this checkout, so public data and vectors were not tried")
    return SHARED

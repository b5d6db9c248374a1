"""Features that read cells which were filled in after the instant are named; those that compare times with it are not."""

from __future__ import annotations

import pytest

from benchmarks.planner.planted_leaks import LEAKS, shop_plan, write_shop
from planner.prove.proof import prove

#: Leaks that need no subquery: a cell holds them. `make bench-leaks` plants all.
CELLS = {
    "is_returned_at_all": "spending",
    "broken": "spending",
    "look_up_of_today": "spending",
    "pages_loaded_later": "browsing",
    "open_by_the_last_update": "help",
    "is_closed_today": "account",
    "closed_for_the_price": "account",
}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the features that the proof of the shop names."""
    folder = tmp_path_factory.mktemp("shop") / "accepted"
    write_shop(folder)
    leaks = {view: {name: LEAKS[view][name] for name, own in CELLS.items() if own == view} for view in LEAKS}
    return {leak.feature for leak in prove(shop_plan(leaks), folder, instants=1).leaks}


@pytest.mark.parametrize(("feature", "view"), CELLS.items())
def test_a_planted_leak_is_named(named: set[str], feature: str, view: str) -> None:
    assert f"{view}.{feature}" in named


def test_no_sound_feature_is_named(named: set[str]) -> None:
    assert named <= {f"{view}.{name}" for name, view in CELLS.items()}

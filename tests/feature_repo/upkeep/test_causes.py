"""The one list of causes: which is named beside others, and which accuse the platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.upkeep.causes import Cause, cause_of
from feature_repo.upkeep.diff import CAUSES
from monitoring.parity import GROUP_OF


@pytest.mark.parametrize(
    ("signs", "cause"),
    [
        ((), Cause.VALUE),
        ((Cause.LOST,), Cause.LOST),
        ((Cause.LOST, Cause.LATE), Cause.LATE),
        ((Cause.LOST, Cause.LATE, Cause.AHEAD), Cause.AHEAD),
        ((Cause.LOST, Cause.ERASED), Cause.ERASED),
        ((Cause.ERASED, Cause.PUSHED), Cause.PUSHED),
        ((Cause.PUSHED, Cause.REPLAYED), Cause.REPLAYED),
        ((Cause.PUSHED, Cause.RESTATED), Cause.RESTATED),
        (tuple(Cause)[1:], Cause.FUTURE),
        (tuple(Cause), Cause.TYPE),
    ],
)
def test_of_several_signs_the_first_of_the_list_is_named(signs: tuple[Cause, ...], cause: Cause) -> None:
    assert cause_of(signs, equal=False) == cause


@pytest.mark.parametrize("cause", Cause)
def test_equal_values_have_a_cause_only_where_the_row_itself_is_wrong(cause: Cause) -> None:
    assert cause_of((cause,), equal=True) == (cause if cause in (Cause.TYPE, Cause.FUTURE) else None)


def test_every_cause_is_told_by_a_verb_and_a_defect_of_one_is_a_defect_of_the_other() -> None:
    assert {*CAUSES, *GROUP_OF} == set(Cause)
    assert {cause for cause, group in GROUP_OF.items() if group == "transformation"} == {
        cause for cause in GROUP_OF if cause.is_defect
    }


def test_the_guide_lists_the_causes_as_the_verbs_tell_them() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "watch.md").read_text()
    for cause in Cause:
        diff, parity = f" `{cause}`" if cause in CAUSES else "", f" `{GROUP_OF[cause]}`" if cause in GROUP_OF else ""
        assert f"| {cause} |{diff} |{parity} | {'yes' if cause.is_defect else 'no'} |" in guide

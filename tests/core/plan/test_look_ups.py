"""Look-ups in a plan: the columns that they bring, and what they cannot bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.errors import PlanError
from core.plan.text import parse_sections
from tests.feature_repo.sources.test_look_ups import PLAN

if TYPE_CHECKING:
    from core.plan.plan import Plan

THROUGH = "event_time: {through: races.day, key: race}"
#: By what it is: a text of the plan, what stands for it, and how the one line begins that this gives.
FAULTS = {
    "a time of no source": (
        "races.day",
        "race.day",
        "ingest.results.event_time.through: 'race' is not a declared source; ",
    ),
    "a time of no column": (
        "races.day",
        "races.dya",
        "ingest.results.event_time.through: 'dya' is not a declared column of 'races'; ",
    ),
    "a time by another key than the look-up": (
        "day, key: race",
        "day, key: driver",
        "ingest.results.event_time.key: join looks 'races' up by another key; ",
    ),
    "a time without a key": (
        "races.day, key: race}",
        "races.day}",
        "ingest.results.event_time: expected column, or through: source.column and key: ",
    ),
    "a look-up of no source": (
        "source: circuits, key",
        "source: circuit, key",
        "ingest.results.join.at: 'circuit' is not a declared ",
    ),
    "a look-up by no column": (
        "{races_circuit: circuit}",
        "{circuit: circuit}",
        "ingest.results.join.at.key: 'circuit' is not a declared column of this source; ",
    ),
    "a look-up of no key": (
        "{races_circuit: circuit}",
        "{races_circuit: name}",
        "ingest.results.join.at.key: 'name' is not a declared column of 'circuits'; ",
    ),
    "a look-up by a key of another dtype": (
        "{races_circuit: circuit}",
        "{race: circuit}",
        "ingest.results.join.at.key: 'race' is int64, the key of 'circuits' is string; ",
    ),
    "a look-up that brings what is there": (
        "points: {dtype: float64}",
        "points: {dtype: float64}, at_length: {dtype: float64}",
        "ingest.results.join.at: it brings 'at_length', which is another column; ",
    ),
    "a column by a dot": (
        "max(at_length)",
        "max(at.length)",
        "build_features.views.form.features.longest.sql: the column 'length' of 'at' is called at_length in the rows of ",
    ),
}


def plan(old: str = "", new: str = "") -> Plan:
    assert PLAN.count(old) == 1 or not old
    return parse_sections(PLAN.replace(old, new) if old else PLAN)


def test_a_look_up_brings_the_columns_of_the_other_source_under_its_own_name() -> None:
    results = plan().ingest["results"]
    assert list(results.columns) == ["driver", "race", "points", "races_day", "races_circuit", "at_length"]
    assert (results.columns["at_length"].dtype, results.columns["at_length"].unit) == ("float64", "km")


def test_a_time_that_stands_elsewhere_is_read_as_it_is_there_unless_stated_otherwise() -> None:
    time = plan().ingest["results"].event_time
    assert time is not None
    assert (time.column, time.format, time.at) == ("races_day", "%d.%m.%Y", "end_of_day")
    other = plan("races.day, key: race}", "races.day, key: race, at: start_of_day}").ingest["results"].event_time
    assert other is not None
    assert (other.format, other.at) == ("%d.%m.%Y", "start_of_day")


@pytest.mark.parametrize(("old", "new", "told"), FAULTS.values(), ids=FAULTS)
def test_what_a_look_up_cannot_bring_is_told_in_one_line(old: str, new: str, told: str) -> None:
    with pytest.raises(PlanError) as refused:
        plan(old, new)
    assert str(refused.value).removeprefix("params.yaml: ").startswith(told)
    assert "\n" not in str(refused.value)


def test_a_source_with_times_is_looked_up_only_by_rows_that_have_their_time_from_it() -> None:
    own = "event_time: {column: own}"
    text = PLAN.replace(THROUGH, own).replace(
        "points: {dtype: float64}", "points: {dtype: float64}, own: {dtype: date}"
    )
    with pytest.raises(
        PlanError, match=r"join\.races: 'races' has event_time, so its values may be later than the rows"
    ):
        parse_sections(text)


def test_the_plan_says_when_the_looked_up_rows_became_known() -> None:
    text = PLAN.replace(
        "circuit: {dtype: string}}\n  circuits", "circuit: {dtype: string}, told: {dtype: date}}\n  circuits"
    )
    text = text.replace("at: end_of_day}", "at: end_of_day}\n    created_time: {column: told}")
    with pytest.raises(
        PlanError, match=r"results\.created_time: 'races' has created_time, .* add \{through: races\.told"
    ):
        parse_sections(text)

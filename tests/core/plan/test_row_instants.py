"""Plans over instants of rows: a label in the row, what may read it, and cadences of hours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from core.errors import PlanError
from core.plan.file import parse_plan

if TYPE_CHECKING:
    from core.plan.plan import Plan

CARDS = (Path(__file__).parents[2] / "e2e" / "cards.yaml").read_text()
FEATURES = "build_features/views/payment/features"
#: By what it is: changes of the plan, and how the one line begins that they give.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "rows of no source": (
        {"training_set/as_of/each_row_of": "payment"},
        "training_set.as_of.each_row_of: 'payment' is not a declared source; ",
    ),
    "rows and a grid": (
        {"training_set/as_of/every": "1 day"},
        "training_set.as_of: expected either every (the distance between two instants) or each_row_of (a source)",
    ),
    "neither rows nor a grid": (
        {"training_set/as_of/each_row_of": ...},
        "training_set.as_of: expected either every (the distance between two instants) or each_row_of (a source)",
    ),
    "a label without a delay": (
        {"label/delay": ...},
        "label.delay: the label stands in the rows of 'payments', which are known before it; add the time ",
    ),
    "a label in the row with a window": (
        {"label/horizon": "1d"},
        "label.horizon: the label stands in a column of the row, so it has no window; ",
    ),
    "a label in the row with a lead": (
        {"label/lead": "1d", "training_set/split/gap": "3d", "ingest/payments/observed_until": "2024-02-03"},
        "label.lead: the label stands in the row, so there is no window that it begins; ",
    ),
    "a label of several rows": (
        {"label": {"source": "payments", "value": "bool_or(fraud)", "delay": "2d"}},
        "label.value: bool_or() looks at several rows, and the source has one for each key or instant; ",
    ),
    "a label in the row of a grid": (
        {"training_set/as_of": {"start": "2024-01-03", "end": "2024-01-28", "every": "1 day"}},
        "label.column: the source 'payments' has event_time, so an entity has many rows; write value, ",
    ),
    "a feature of a label that is not known": (
        {f"{FEATURES}/frauds_known/lag": "47h"},
        "build_features.views.payment.features.frauds_known.sql: the column 'fraud' holds the label, which is not known ",
    ),
    "a feature of the label": (
        {f"{FEATURES}/amount/sql": "max(amount) FILTER (WHERE NOT Fraud)"},
        "build_features.views.payment.features.amount.sql: the column 'fraud' holds the label, which is not known ",
    ),
    "a label known after the extract was cut": (
        {"label/delay": "3d", "training_set/split/gap": "3d"},
        "training_set.as_of.end: the label window of 2024-01-30 closes on 2024-02-02 with its delay, after ",
    ),
    "a gap shorter than the delay": (
        {"training_set/split/gap": "1d"},
        "training_set.split.gap: 1 day is shorter than the 2 days after which a label is known ",
    ),
}


def cards(changes: dict[str, Any] | None = None) -> Plan:
    raw = yaml.safe_load(CARDS)
    for path, value in (changes or {}).items():
        *way, last = path.split("/")
        section = raw
        for key in way:
            section = section[key]
        if value is ...:
            del section[last]
        else:
            section[last] = value
    return parse_plan(str(yaml.safe_dump(raw, sort_keys=False)))


@pytest.mark.parametrize(("changes", "told"), FAULTS.values(), ids=FAULTS)
def test_what_instants_of_rows_lack_is_told_in_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError) as refused:
        cards(changes)
    assert str(refused.value).removeprefix("params.yaml: ").startswith(told)
    assert "\n" not in str(refused.value)


def test_a_label_in_the_row_has_no_window_and_one_of_later_rows_has() -> None:
    assert cards().labels_rows
    later = {"source": "payments", "value": "coalesce(bool_or(fraud), false)", "horizon": "1d", "delay": "1d"}
    assert not cards({"label": later}).labels_rows
    assert cards({"label": {"source": "payments", "value": "fraud AND hour(paid) > 5", "delay": "2d"}}).labels_rows


def test_a_feature_that_does_not_leak_may_be_allowed_by_name() -> None:
    allowed = {"allow": {"payment.frauds_known": "frauds are known the same day"}}
    assert cards({f"{FEATURES}/frauds_known/lag": "1d", "training_set/leakage": allowed}).labels_rows


def test_a_cadence_is_a_number_with_a_unit_as_a_letter_or_a_word() -> None:
    views = {cadence: cards({"build_features/views/habit/every": cadence}).build_features.views["habit"].every
             for cadence in ("15m", "6h", "2 hours", "7d", "1w", "1 month", "row")}  # fmt: skip
    assert views == {
        "15m": "15 minute",
        "6h": "6 hour",
        "2 hours": "2 hours",
        "7d": "7 day",
        "1w": "1 week",
        "1 month": "1 month",
        "row": "row",
    }
    with pytest.raises(PlanError, match=r"build_features\.views\.habit\.every"):
        cards({"build_features/views/habit/every": "1s"})

"""Plans over tables without times: what their words stand for, and what such a plan cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from core.errors import PlanError
from core.plan.file import parse_plan
from core.plan.without_time import label_columns

if TYPE_CHECKING:
    from core.plan.plan import Plan

TELCO = """
project: {name: telco, problem: binary, statement: "Who leaves?"}
entities: {customer: {key: customer_id, dtype: string, source: customers}}
ingest:
  customers:
    reader: {kind: csv, path: customers.csv}
    entity: customer
    columns:
      customer_id: {dtype: string}
      tenure: {dtype: int32, unit: months}
      contract: {dtype: string, meaning: length of the contract}
      joined: {dtype: date}
      email: {dtype: string, pii: remove}
      churn: {dtype: string}
label: {column: churn, positive: "Yes"}
build_features:
  views:
    account:
      source: customers
      columns: all
      features: {years: {sql: tenure / 12, dtype: float64, unit: years}}
  services: {all: [account.*]}
training_set: {service: all, split: {kind: stratified}}
train: {seed: 1, candidates: {majority: {estimator: majority}, logistic: {estimator: logistic_regression}}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: majority}
register: {model: telco}
serve:
  {missing: refuse, stale: refuse, experiment: first, salt: pepper, arms: {champion: 1}, decisions: {above: a, below: b}}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
VIEW = "build_features/views/account"
YEARS = f"{VIEW}/features/years"


def plan_text(changes: dict[str, Any]) -> str:
    """Write TELCO with other values at paths; an Ellipsis takes the key away."""
    raw = yaml.safe_load(TELCO)
    for path, value in changes.items():
        *way, last = path.split("/")
        section = raw
        for key in way:
            section = section.setdefault(key, {})
        if value is ...:
            del section[last]
        else:
            section[last] = value
    return str(yaml.safe_dump(raw, sort_keys=False))


def telco(changes: dict[str, Any] | None = None) -> Plan:
    return parse_plan(plan_text(changes or {}))


def test_all_columns_are_features_but_the_key_the_label_and_what_is_removed() -> None:
    features = telco().build_features.views["account"].features
    assert {name: (feature.sql, feature.dtype, feature.over) for name, feature in features.items()} == {
        "tenure": ('"tenure"', "int32", "row"),
        "contract": ('"contract"', "string", "row"),
        "joined": ('"joined"', "timestamp", "row"),
        "years": ("tenure / 12", "float64", "row"),
    }
    assert (features["tenure"].unit, features["contract"].meaning) == ("months", "length of the contract")


def test_the_one_table_without_times_holds_the_label_and_has_one_row_for_each_key() -> None:
    plan = telco()
    assert (plan.label.source, plan.label.expression) == ("customers", "\"churn\" = 'Yes'")
    assert plan.validate_["customers"].unique == ("customer_id",)
    assert not plan.has_time


@pytest.mark.parametrize(
    ("label", "columns"),
    [
        ({"column": "churn", "positive": "Yes"}, {"churn"}),
        ({"value": "churn = 'contract' AND Tenure > 3"}, {"churn", "tenure"}),
    ],
)
def test_the_columns_that_the_label_is_made_of(label: dict[str, Any], columns: set[str]) -> None:
    changes = {"label": label, f"{VIEW}/columns": ["contract"], f"{YEARS}/sql": "length(contract)"}
    assert label_columns(telco(changes), "customers") == columns


def test_a_label_that_a_look_up_brings_is_no_feature_either() -> None:
    """The churn of a customer's friend is a label, and so is that of the customer in another table."""
    friend = {
        "ingest/customers/columns/friend": {"dtype": "string"},
        "ingest/customers/join": {"other": {"source": "customers", "key": {"friend": "customer_id"}}},
    }
    found = telco(friend)
    assert label_columns(found, "customers") == {"churn", "other_churn"}
    assert {"other_tenure", "other_churn"} & found.build_features.views["account"].features.keys() == {"other_tenure"}
    with pytest.raises(PlanError, match=r"years\.sql: the column 'other_churn' holds the label"):
        telco({**friend, f"{YEARS}/sql": "other_churn = 'Yes'"})


TIMED = {"column": "joined"}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "temporal split": (
        {
            "training_set/split": {
                "kind": "temporal",
                "validation_from": "2020-01-01",
                "test_from": "2021-01-01",
                "gap": "1d",
            }
        },
        "training_set.split: the label's source 'customers' has no event_time, so rows cannot be split by time; choose random,",
    ),
    "window": (
        {f"{YEARS}/window": "30d"},
        f"{YEARS}/window: the source 'customers' has no event_time, so there is no time",
    ),
    "lag": ({f"{YEARS}/lag": "30d"}, f"{YEARS}/lag: the source 'customers' has no event_time"),
    "aggregate": ({f"{YEARS}/sql": "sum(tenure)"}, f"{YEARS}/sql: sum() looks at several rows"),
    "window function": (
        {f"{YEARS}/sql": "rank() OVER (ORDER BY tenure)"},
        f"{YEARS}/sql: rank() looks at several rows",
    ),
    "subquery": (
        {f"{YEARS}/sql": "(SELECT 1 FROM rows_of_customers LIMIT 1)"},
        f"{YEARS}/sql: a subquery looks at several rows",
    ),
    "as_of": ({f"{YEARS}/sql": "date_diff('day', joined, as_of)"}, f"{YEARS}/sql: as_of is no column"),
    "whole row": ({f"{YEARS}/sql": "length(source::text)"}, f"{YEARS}/sql: source reads every column, the label too"),
    "label as feature": ({f"{YEARS}/sql": "length(Churn)"}, f"{YEARS}/sql: the column 'churn' holds the label"),
    "label as column": (
        {f"{VIEW}/columns": ["churn"]},
        f"{VIEW}/features/churn/sql: the column 'churn' holds the label",
    ),
    "unknown column": ({f"{VIEW}/columns": ["nothing"]}, f"{VIEW}/columns: 'nothing' is not a declared column"),
    "no positive": ({"label/positive": ...}, "label/positive: 'churn' is a string; say which value is class 1"),
    "positive of another type": ({"label/positive": 1}, "label/positive: found 1; 'churn' is a string"),
    "no label column": ({"label/column": "left"}, "label/column: 'left' is not a declared column of 'customers'"),
    "value and column": ({"label/value": "true"}, "label: a label needs either value (an SQL expression) or column"),
    "lead": ({"label/lead": "1d"}, "label/lead: the label's source 'customers' has no event_time"),
    "delay": ({"label/delay": "1d"}, "label/delay: the label's source 'customers' has no event_time"),
    "horizon": ({"label/horizon": "30d"}, "label/horizon: the label's source 'customers' has no event_time"),
    "as_of grid": (
        {"training_set/as_of": {"start": "2020-01-01", "end": "2020-01-01", "every": "1 day"}},
        "training_set/as_of: the label's source 'customers' has no event_time, so there are no instants",
    ),
    "materialize": ({"materialize/as_of": "2020-01-01"}, "materialize/as_of: the label's source"),
    "ttl": (
        {f"{VIEW}/ttl": "30d"},
        f"{VIEW}/ttl: the label's source 'customers' has no event_time, so values do not age",
    ),
    "observed_until alone": (
        {"ingest/customers/observed_until": "2020-01-01"},
        "ingest/customers: observed_until needs event_time",
    ),
    "event_time alone": (
        {"ingest/customers/event_time": TIMED},
        "ingest/customers: the key observed_until is missing; add it",
    ),
    "another key": (
        {"validate": {"customers": {"unique": ["tenure"]}}},
        "validate/customers/unique: the source has no event_time, so it has one row for each customer_id",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_plan_without_times_is_refused_where_it_speaks_of_time_or_looks_at_the_label(name: str) -> None:
    changes, told = FAULTS[name]
    path, _, words = told.partition(": ")
    with pytest.raises(PlanError) as fault:
        telco(changes)
    lines = str(fault.value).split("\n")
    assert any(line.startswith(f"params.yaml: {path.replace('/', '.')}: {words}") for line in lines), lines


def test_a_table_with_times_needs_the_words_of_time() -> None:
    timed = {"ingest/customers/event_time": TIMED, "ingest/customers/observed_until": "2020-01-01"}
    with pytest.raises(PlanError) as fault:
        telco({**timed, "label/source": "customers"})
    missing = [line.split(": ")[1] for line in str(fault.value).split("\n") if "this key is missing" in line]
    assert missing == [
        "build_features.snapshots",
        "training_set.as_of",
        "materialize.as_of",
        "build_features.views.account.ttl",
        "build_features.views.account.every",
    ]

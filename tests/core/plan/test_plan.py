"""The sections of the plan: what each accepts, and the line that each fault of its own gives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from pydantic import ValidationError

from core.plan.section import Section
from core.plan.train import Train
from tests.core.plan.shop_plan import FEATURES, LINKED, Change, Faults, faults, shop

if TYPE_CHECKING:
    from collections.abc import Iterator


FAULTS: Faults = {
    "an unknown key": (
        {"train/sed": 1},
        "train: unknown key 'sed'; allowed here: seed, candidates; did you mean 'seed'?",
    ),
    "an unknown section": ({"tarin": {}}, "top level: unknown key 'tarin'; allowed here: project, "),
    "a missing key": ({"train/seed": ...}, "train.seed: this key is missing; add it"),
    "a missing section": ({"register": ...}, "register: this key is missing; add it"),
    "a text for a number": ({"train/seed": "7"}, "train.seed: should be a valid integer, found str '7'"),
    "a number for a text": ({"serve/salt": 7}, "serve.salt: should be a valid string, found int 7"),
    "a list for a mapping": (
        {"ingest/orders/columns": []},
        "ingest.orders.columns: should be a valid dictionary, found list",
    ),
    "a word that is no choice": (
        {"evaluate/threshold/maximise": "f2"},
        "evaluate.threshold.maximise: should be 'f1', 'balanced_accuracy' or 'profit', found str 'f2'",
    ),
    "a share above one": (
        {"validate/orders/max_rejected": 1.5},
        "validate.orders.max_rejected: should be less than or equal to 1, found float 1.5",
    ),
    "a share that is not a number": (
        {"validate/orders/max_rejected": float("nan")},
        "validate.orders.max_rejected: should be a finite number, found float nan",
    ),
    "a name with a capital": (
        {"entities/Buyer": {"key": "k", "dtype": "int64", "source": "orders"}},
        "entities.Buyer: String should match pattern '^[a-z][a-z0-9_]*$', found str 'Buyer'",
    ),
    "a reader without a kind": (
        {"ingest/orders/reader": {"path": "x"}},
        "ingest.orders.reader: the key 'kind' is missing; add it",
    ),
    "a reader of no kind": (
        {"ingest/orders/reader": {"kind": "word"}},
        "ingest.orders.reader: 'kind' should be one of 'csv', 'jsonl', 'parquet', 'excel', 'sqlite', 'duckdb', 'sql', 'delta',",
    ),
    "a reader without a path": (
        {"ingest/orders/reader": {"kind": "csv"}},
        "ingest.orders.reader.path: this key is missing; add it",
    ),
    "an unknown key of a reader": (
        {"ingest/orders/reader/delimeter": ";"},
        "ingest.orders.reader: unknown key 'delimeter'; allowed here: missing, delimiter, ",
    ),
    "an encoding that nobody knows": (
        {"ingest/orders/reader/encoding": "latin-eins"},
        "ingest.orders.reader.encoding: 'latin-eins' is not an encoding that Python knows; utf-8, latin-1, cp1252",
    ),
    "an encoding that is none of text": (
        {"ingest/orders/reader/encoding": "base64"},
        "ingest.orders.reader.encoding: 'base64' is not an encoding",
    ),
    "one mark for two things in a number": (
        {"ingest/orders/reader/thousands": "."},
        "ingest.orders.reader: decimal and thousands are both '.'; name the two marks",
    ),
    "a name given to two columns of a file": (
        {"ingest/orders/reader/names": ["a", "b", "a"]},
        "ingest.orders.reader: names has 'a' twice",
    ),
    "a delimiter of several letters with comments": (
        {"ingest/orders/reader": {"kind": "csv", "path": "x", "delimiter": "::", "comment": "#"}},
        "ingest.orders.reader: comment, skip_lines and ragged: reject_row need a delimiter of one character, found '::'",
    ),
    "a database file of which nothing is read": (
        {"ingest/orders/reader": {"kind": "sqlite", "path": "x.db"}},
        "ingest.orders.reader: expected either table or query",
    ),
    "a password in an address": (
        {"ingest/orders/reader/path": "https://ada:secret@host/orders.csv"},
        "ingest.orders.reader: the address names a user or a password",
    ),
    "words for truth in a column of numbers": (
        {"ingest/orders/columns/price/true_values": ["Ja"]},
        "ingest.orders.columns.price: true_values and false_values are words for a bool; the column is declared as float64",
    ),
    "a format of a column of numbers": (
        {"ingest/orders/columns/price/format": "%d.%m.%Y"},
        "ingest.orders.columns.price: format is for a date or timestamp; the column is declared as float64",
    ),
    "an unknown key of a candidate": (
        {"train/candidates/trees/round": 5},
        "train.candidates.trees: unknown key 'round'; allowed here: estimator, ",
    ),
    "a day that is none": (
        {"materialize/as_of": "2023-11-31"},
        "materialize.as_of: '2023-11-31' is not a date like 1998-04-01 or a time like 1998-04-01T12:00:00Z",
    ),
    "a time without a zone": (
        {"materialize/as_of": "2023-11-30T12:00:00"},
        "materialize.as_of: 2023-11-30T12:00:00 has no time zone; write it with one, as in 1998-04-01T12:00:00Z",
    ),
    "a number for a time": ({"materialize/as_of": 2023}, "materialize.as_of: 2023 is not a date or a time"),
    "a time that no tool can hold": (
        {"ingest/orders/observed_until": "9999-12-31"},
        "ingest.orders.observed_until: 9999-12-31 is outside the years 1700 to 2199",
    ),
    "a number for a duration": (
        {"label/horizon": 30},
        "label.horizon: 30 is not a duration like 90d; the units are s, m, h, d and w",
    ),
    "a duration of nothing": ({"label/horizon": "0d"}, "label.horizon: '0d' is not a duration like 90d"),
    "a duration beyond all bounds": (
        {"label/horizon": "9" * 5000 + "d"},
        "label.horizon: '99999999999999999999' is longer than 36525 days",
    ),
    "a cadence in seconds": (
        {"training_set/as_of/every": "1 second"},
        "training_set.as_of.every: String should match",
    ),
    "a format that reads no year": (
        {"ingest/orders/event_time/format": "%d.%m. %H:%M"},
        "ingest.orders.event_time.format: '%d.%m. %H:%M' reads no year; write one, as in %Y-%m-%d %H:%M",
    ),
    "a format with an unknown directive": (
        {"ingest/orders/event_time/format": "%Y-%Q"},
        "ingest.orders.event_time.format: '%Y-%Q' has the unknown directive %Q; known are ",
    ),
    "a format with a zone in words before its end": (
        {"ingest/orders/event_time/format": "%Z %Y-%m-%d"},
        "ingest.orders.event_time.format: '%Z %Y-%m-%d' has %Z before its end; a zone in words stands last",
    ),
    "a time zone that is none": (
        {"ingest/orders/event_time/zone": "Europe/Atlantis"},
        "ingest.orders.event_time.zone: 'Europe/Atlantis' is not a time zone like Europe/Berlin",
    ),
    "a feature without a meaning": (
        {f"{FEATURES}/orders": {"sql": "count(*)", "dtype": "int64"}},
        "build_features.views.history.features.orders: a feature needs a unit or a meaning",
    ),
    "a window over features": (
        {f"{FEATURES}/half/window": "3d"},
        "build_features.views.history.features.half: source, window, lag and valid_until select rows, and a ",
    ),
    "a period that ends before it starts": (
        {"build_features/snapshots/end": "2022-01-01"},
        "build_features.snapshots: end 2022-01-01 is before start 2023-01-01",
    ),
    "a primary metric that is not measured": (
        {"evaluate/primary": "brier"},
        "evaluate: primary 'brier' is not among the metrics ['roc_auc']",
    ),
    "a threshold that says two things": (
        {"evaluate/threshold": {"maximise": "f1", "at": 0.5}},
        "evaluate.threshold: expected one of the keys maximise and at; write {maximise: f1} or {at: 0.5}",
    ),
    "profit without money": (
        {"evaluate/threshold": {"maximise": "profit"}},
        "evaluate: profit needs the key money, which says what a decision earns",
    ),
    "arms without a weight": ({"serve/arms": {"champion": 0}}, "serve: the weights of the arms sum to 0"),
    "a covariate that the model does not read": (
        {
            "monitor/decide": {"better": "lower"},
            "monitor/experiment": {"minimum_effect": 0.1, "covariate": "spending.nothing"},
        },
        "monitor.experiment.covariate: ",
    ),
    "an expected drift of no column": (
        {"monitor/expected_drift": {"spending.*": "the cohort ages"}},
        "monitor.expected_drift: ",
    ),
    "an arm of no such role": (
        {"serve/arms": {"winner": 1}},
        "serve.arms.winner: should be 'champion' or 'challenger', found str 'winner'",
    ),
    "a single candidate": (
        {"train/candidates": {"majority": {"estimator": "majority"}}},
        "train.candidates: Dictionary should have at least 2 items after validation, not 1",
    ),
    # From here on, what sections owe to each other.
    "an entity that nothing tells of": (
        {"entities/shop": {"key": "shop_name", "dtype": "string"}},
        "entities.shop: an entity needs source (whose rows show when it exists) or of (the feature with its key)",
    ),
    "an end without a beginning": (
        {"entities/shop": {**LINKED, "until": "orders"}},
        "entities.shop: until, the end of an entity, needs source, its beginning; add source",
    ),
    "a link that is no feature": (
        {"entities/shop": {**LINKED, "of": "history"}},
        "entities.shop.of: String should match pattern",
    ),
    "a step that there is not": (
        {"train/candidates/trees/numeric": ["standard_scael"]},
        "train.candidates.trees.numeric.0: 'step' should be one of 'leave_out', 'impute_mean', ",
    ),
    "a parameter of a step that there is not": (
        {"train/candidates/trees/numeric": [{"step": "winsorise", "low": 0.1}]},
        "train.candidates.trees.numeric.0: unknown key 'low'; allowed here: step, lower, upper; did you mean 'lower'?",
    ),
    "a winsorising upside down": (
        {"train/candidates/trees/numeric": [{"step": "winsorise", "lower": 0.9, "upper": 0.1}]},
        "train.candidates.trees.numeric.0: lower 0.9 is not below upper 0.1",
    ),
    "a grid over a range": (
        {"train/candidates/trees/tune": {"sampler": "grid", "search": {"rounds": {"low": 1, "high": 9}}}},
        "train.candidates.trees.tune: a grid needs the values of rounds one by one, as in {values: [1, 2]}",
    ),
    "a range of nothing to search": (
        {"train/candidates/trees/tune": {"search": {"rounds": {"low": 9, "high": 1}}}},
        "train.candidates.trees.tune.search.rounds: low 9 is not below high 1",
    ),
    "edges that do not ascend": (
        {"evaluate/groups": {"busy": {"feature": "history.orders", "edges": [2, 1]}}},
        "evaluate.groups.busy: the edges [2.0, 1.0] must ascend",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_gives_one_line_that_names_the_key_what_was_found_and_what_is_allowed(
    changes: Change, expected: str
) -> None:
    (line,) = faults(changes)
    assert line.startswith(expected)


def test_a_date_is_its_midnight_in_utc() -> None:
    assert shop().materialize.as_of == datetime(2023, 12, 1, tzinfo=UTC)
    assert shop({"materialize/as_of": "2023-12-01"}).materialize.as_of == datetime(2023, 12, 1, tzinfo=UTC)


def test_a_time_is_brought_to_utc() -> None:
    plan = shop({"materialize/as_of": "2023-11-30T01:30:00+02:00"})
    assert plan.materialize.as_of == datetime(2023, 11, 29, 23, 30, tzinfo=UTC)
    assert plan.materialize.as_of.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", timedelta(seconds=45)),
        ("90 m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert shop({"build_features/views/history/ttl": text}).build_features.views["history"].ttl == expected


def test_a_service_lists_its_features_in_order_and_once() -> None:
    plan = shop({"build_features/services/all_of_it": ["history.half", "history.*"]})
    assert plan.build_features.service_features("all_of_it") == (
        ("history", "half"),
        ("history", "orders"),
        ("history", "shop"),
    )


def test_a_range_may_be_open() -> None:
    assert shop({"validate/orders/range/price": [0, float("inf")]}).validate_["orders"].range["price"][1] == float(
        "inf"
    )


def test_a_steps_name_stands_for_the_step_with_its_defaults() -> None:
    short, long = (
        shop({"train/candidates/trees/numeric": [step]}).train.candidates["trees"]
        for step in ("impute_median", {"step": "impute_median", "indicator": False})
    )
    assert short == long


@pytest.mark.parametrize("kind", ["stratified", "grouped"])
def test_a_split_may_be_of_folds(kind: str) -> None:
    assert shop({"training_set/split": {"kind": kind, "folds": 4}}).training_set.split.kind == kind


def _sections(section: Section) -> Iterator[Section]:
    yield section
    for name in type(section).model_fields:
        value = getattr(section, name)
        for part in value.values() if isinstance(value, dict) else [value]:
            if isinstance(part, Section):
                yield from _sections(part)


def test_no_section_of_a_plan_can_bechanged() -> None:
    sections = list(_sections(shop()))
    assert len(sections) > 20
    for section in sections:
        for name in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, getattr(section, name))


def test_the_candidates_of_the_guide_are_read() -> None:
    guide = (Path(__file__).parents[3] / "docs/train.md").read_text()
    (block,) = re.findall(r"^```yaml\n(train:.*?)^```", guide, flags=re.MULTILINE | re.DOTALL)
    assert list(Train.model_validate(yaml.safe_load(block)["train"]).candidates) == [
        "majority",
        "logistic",
        "trees",
        "both",
    ]

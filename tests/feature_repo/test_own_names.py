"""No name of a plan can be one of ours: each word of our SQL is tried as a column, a feature and a key, through the stages."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import PlanError
from core.plan.checks import KEYS_TAKEN
from core.plan.training_set import AsOf
from feature_repo.files.datasets import raw_file
from feature_repo.ingest import ingest
from feature_repo.sources.known_rows import with_extract, write_known_rows
from feature_repo.sources.ledger import Ledger
from feature_repo.validate import validate
from feature_repo.views.linked_rows import linked_by
from feature_repo.views.look_ahead import look_ahead
from feature_repo.views.snapshots import build_views
from models.data.labels import labelled_entities, labelled_instants
from tests.core.plan.shop_plan import shop

ROOT = Path(__file__).parents[2]
#: Where a piece of SQL names a relation or a column.
_NAMED = re.compile(
    r"\b(?:AS|TABLE|VIEW|FROM|JOIN|INTO|USING|BY|WHERE|AND|OR|ON|SELECT|WHEN|THEN|DISTINCT) \(?([a-z]\w*)|\b([a-z]\w*)\."
)
_SQL = re.compile(r"\b(SELECT|FROM|JOIN|AS|WHERE|TABLE|VIEW|INSERT)\b")
OF_THE_PLAN = {"buyer_id", "day", "price", "shop", "orders", "half", "n"}


def words() -> list[str]:
    """List what every piece of SQL in the code names."""
    found = {"bucket", "duplicate", "faulty", "home", "mended", "position", "since", "until", "watermark"}
    for package in ("core", "feature_repo", "models", "monitoring", "serving"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.search(node.value):
                    found.update(word for pair in _NAMED.findall(node.value) for word in pair)
    return sorted(
        word
        for word in found - KEYS_TAKEN - OF_THE_PLAN
        if re.fullmatch("[a-z][a-z0-9_]{0,39}", word) and "__" not in word
    )


WORDS = words()


def run_stages(key: str, columns: list[str], features: list[str]) -> list[dict[str, Any]]:
    """Run the stages over four rows of two entities that say, in each of `columns`, its name; return the snapshots."""
    stated = {key: {"dtype": "int64"}, "day": {"dtype": "date"}, **{name: {"dtype": "string"} for name in columns}}
    of_columns = {name: {"sql": f'max("{name}")', "dtype": "string", "meaning": "its name"} for name in columns}
    of_rows = {name: {"sql": "count(*)", "dtype": "int64", "meaning": "rows"} for name in features}
    derived = {"n": {"sql": f'"{features[0]}" * 2', "over": "features", "dtype": "int64", "meaning": "twice"}}
    plan = shop(
        {
            "entities/buyer/key": key,
            "ingest/orders/columns": stated,
            "validate/orders": {"unique": [key, "day", *columns[::2]], "as_missing": columns[1::2]},
            "build_features/views/history/features": {**of_columns, **of_rows, **derived},
            "build_features/services": {"all_of_it": ["history.*"]},
            "build_features/views/history/every": "6 months",
            "train/candidates/rule/feature": "history.n",
        }
    )
    source, view = plan.ingest["orders"], plan.build_features.views["history"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = [[str(n % 2 + 1), f"2023-0{n + 1}-05", *columns] for n in range(4)]
        text = "\n".join(",".join(row) for row in [[key, "day", *columns], *rows]) + "\n"
        (folder / "orders.csv").write_text(text)
        reader = source.reader.model_copy(update={"path": str(folder / "orders.csv")})
        ingest("orders", source.model_copy(update={"reader": reader}), folder / "raw", folder)
        accepted, rejected = folder / "accepted", folder / "rejected.parquet"
        raw = raw_file(folder / "raw", "orders")
        rules = plan.validate_["orders"]
        result = validate(source, key, rules, raw, accepted / "orders", rejected)
        assert (result.accepted, result.rejected) == (4, 0)
        assert pq.read_schema(rejected).names[:2] == ["source_row", "reasons"]
        again = with_extract(Ledger(folder / "ledger"), "orders", source, key, rules, raw, folder / "entries.parquet")
        assert pq.read_metadata(write_known_rows(again, "orders", source, folder / "known")[1]).num_rows == 4
        (folder / "features").mkdir()
        assert dict(build_views(plan, accepted, folder / "features")) == {"history": 2}
        labelled = labelled_entities(accepted, plan.label, plan.unit, plan.build_features.snapshots, "6 months").rows
        assert labelled.column_names == [key, "as_of", "label"]
        own = plan.label.model_copy(update={"value": "", "column": columns[0], "horizon": timedelta()})
        at_rows = AsOf.model_validate({"start": "2023-01-01", "end": "2023-12-01", "each_row_of": "orders"})
        row_labels = labelled_instants(accepted, own, plan.unit, at_rows, "multiclass").rows
        assert row_labels.column("label").to_pylist() == [columns[0]] * 4
        asked = datetime(2023, 6, 1, tzinfo=UTC)
        assert list(look_ahead(accepted, view, plan.unit, linked_by(plan, view), asked)) == []
        found: list[dict[str, Any]] = pq.read_table(folder / "features" / "history").to_pylist()
        return found


def test_every_word_of_our_sql_can_be_a_column_and_its_feature() -> None:
    last = run_stages("buyer_id", WORDS, ["orders"])[-1]
    assert {word: last[word] for word in WORDS} == {word: word for word in WORDS}


def test_every_word_of_our_sql_can_be_a_feature() -> None:
    last = run_stages("buyer_id", ["shop"], WORDS)[-1]
    assert {last[word] for word in WORDS} == {2}


@given(st.sampled_from(WORDS))
@example("bucket")
@example("since")
@example("member")
@example("known")
@settings(max_examples=2, deadline=None)
def test_every_word_of_our_sql_can_be_a_key(word: str) -> None:
    assert {row[word] for row in run_stages(word, ["shop"], ["orders"])} == {1, 2}


@pytest.mark.parametrize("key", [*sorted(KEYS_TAKEN), "history__orders"])
def test_a_key_that_would_stand_beside_a_column_of_ours_is_refused(key: str) -> None:
    columns = {
        key: {"dtype": "int64"},
        "day": {"dtype": "date"},
        "price": {"dtype": "float64"},
        "shop": {"dtype": "string"},
    }
    with pytest.raises(PlanError, match=f"entities.buyer.key: '{key}' is a name of the platform's own"):
        shop({"entities/buyer/key": key, "ingest/orders/columns": columns})

"""`panthera score`: what it says of many entities is what the service answers for each of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from core.contracts import ContractFeature, ContractView, Link
from core.errors import PantheraError
from core.plan.file import read_plan
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import copy_rows, create
from models.bundles.bundle import write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.signing import read_signer
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.scoring.encoding import encode_table
from serving.batch import run
from serving.batch.outputs import to_file, to_table
from serving.batch.run import Asked, ScoreSummary, score_entities
from tests.models.candidates.candidate_kinds import KINDS, candidate
from tests.serving.conftest import AS_OF, MATERIALIZED, NOW, Client, World, contract_over, serve

if TYPE_CHECKING:
    from pathlib import Path

    from core.contracts import Contract
    from models.candidates.candidates import Fitted

_ACCOUNTS = 40
_STALE, _LATER = MATERIALIZED - timedelta(days=30), AS_OF + timedelta(hours=1)
_DTYPES = {
    "orders": "int64",
    "spend": "float64",
    "ratio": "float32",
    "member": "bool",
    "seen": "timestamp",
    "segment": "string",
    "note": "text",
}
_LEVELS = ("new", "regular")
_FEATURES = tuple(
    ContractFeature("history", name, dtype, _LEVELS if dtype == "string" else ()) for name, dtype in _DTYPES.items()
)


def _rows(count: int, *levels: str) -> pa.Table:
    """Rows with every kind of gap, and a segment of `levels`."""
    random = np.random.default_rng(7)

    def gaps(values: list[Any]) -> list[Any]:
        return [None if gap else value for value, gap in zip(values, random.random(count) < 0.1, strict=True)]

    columns = {
        "orders": gaps([2**53 + 1, *random.integers(0, 30, count - 1).tolist()]),
        "spend": gaps([math.nan, math.inf, *random.gamma(2, 9, count - 2).tolist()]),
        "ratio": pa.array(gaps(random.random(count).tolist()), pa.float32()),
        "member": gaps((random.random(count) < 0.5).tolist()),
        "seen": pa.array(
            gaps([MATERIALIZED - timedelta(hours=int(n)) for n in random.integers(1, 999, count)]),
            pa.timestamp("us", "UTC"),
        ),
        "segment": gaps([levels[int(n)] for n in random.integers(0, len(levels), count)]),
        "note": gaps([" ".join(random.choice(["late", "slow", 'g"ood\n'], 2)) for _ in range(count)]),
    }
    return pa.table({f"history__{name}": column for name, column in columns.items()})


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """Trees over all dtypes, whose label follows the orders, the segment and the note."""
    table = _rows(400, *_LEVELS)
    inputs = encode_table(table, _FEATURES)
    label = np.nan_to_num(inputs.matrix[:, 0]) + 10 * np.nan_to_num(inputs.matrix[:, 5]) + 9 * inputs.matrix[:, 1]
    rows = Rows(inputs, (np.nan_to_num(label, posinf=0) > 150).astype(np.int32))
    return fit(candidate(KINDS["lightgbm_with_text"]), _FEATURES, rows, rows, 1)


def _register(world: World, fitted: Fitted, features: tuple[ContractFeature, ...] = _FEATURES, **later: Any) -> None:
    contract: Contract = replace(
        contract_over([("history_1", feature.name, feature.dtype) for feature in features]),
        estimator=fitted.model_format,
        features=features,
        **later,
    )
    contents = bundle_contents(contract, fitted.content, _rows(50, *_LEVELS).slice(2))
    world.enter("real", "champion", write_bundle(world.settings.bundles, contents, read_signer(world.settings)))


def _bring_online(world: World, key: str = "int8") -> None:
    """Bring forty accounts online: of each five, one has an old row, and one a row after the request."""
    columns = "orders int8, spend float8, ratio float4, member bool, seen timestamptz, segment text, note text"
    world.execute(
        f"CREATE TABLE online.history_1 (account_id {key} PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
        f"created_timestamp timestamptz NOT NULL, {columns})"
    )
    times = [MATERIALIZED, _STALE, AS_OF, _LATER, MATERIALIZED]
    with psycopg.connect(world.url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO online.history_1 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (n, times[n % 5], MATERIALIZED, *row.values())
                for n, row in enumerate(_rows(_ACCOUNTS, *_LEVELS, "o'dd\\").to_pylist())
            ],
        )
    _materialized(world, "history_1")


def _materialized(world: World, table: str) -> None:
    world.execute(
        "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), %s, %s, %s, 1)",
        [table.rpartition("_")[0], table, MATERIALIZED],
    )


def _score(world: World, file: Path, **asked: Any) -> tuple[list[dict[str, Any]], ScoreSummary]:
    question = Asked(**{"release": "champion", "as_of": AS_OF, **asked})
    summary = score_entities(
        world.settings, read_plan(world.settings.plan), question, lambda: NOW, lambda _: to_file(file), str(file)
    )
    return pq.read_table(file).to_pylist(), summary


def _answered(world: World, *accounts: int | str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []

    async def use(client: Client) -> None:
        response = await client.predict(*accounts)  # type: ignore[arg-type]
        answers.extend(response.json()["predictions"])

    serve(world, use)
    return answers


def _as_answered(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of scores in the shape of an answer, without what only an answer has."""
    views = [name.removesuffix("__status") for name in row if name.endswith("__status")]
    features = {
        view: {"status": row[f"{view}__status"], "event_time": _instant(row[f"{view}__event_time"])} for view in views
    }
    if row["error"]:
        return {"account_id": row["account_id"], "error": row["error"], "features": features}
    return {
        **{name: row[name] for name in ("account_id", "release", "score", "decision")},
        **({"probabilities": probabilities} if (probabilities := _probabilities(row)) else {}),
        "features": features,
    }


def _probabilities(row: dict[str, Any]) -> dict[str, float]:
    return {name.removeprefix("probability_"): value for name, value in row.items() if name.startswith("probability_")}


def _instant(value: Any) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def _comparable(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in entry.items() if name not in {"prediction_id", "arm", "positive"}}
    return {**kept, "error": entry["error"]["code"]} if "error" in entry else kept


@pytest.mark.parametrize(
    ("missing", "stale", "unseen"),
    [
        ("answer_and_flag", "answer_and_flag", "as_missing"),
        ("answer_and_flag", "as_missing", "refuse"),
        ("refuse", "refuse", "as_missing"),
    ],
)
def test_scores_are_the_answers_of_the_service_to_the_bit(
    bare_world: World,
    fitted: Fitted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    stale: str,
    unseen: str,
) -> None:
    monkeypatch.setattr(run, "_PORTION", 7)
    _bring_online(bare_world)
    _register(bare_world, fitted, unseen_level=unseen, positive="gone", negative="kept")
    bare_world.write_plan(missing=missing, stale=stale, max_entities="99")
    (tmp_path / "accounts").write_text("\n".join(map(str, [*range(_ACCOUNTS), 99, -(2**63)])))
    rows, summary = _score(bare_world, tmp_path / "scores.parquet", entities=tmp_path / "accounts")
    assert [_as_answered(row) for row in rows] == [
        _comparable(entry) for entry in _answered(bare_world, *range(_ACCOUNTS), 99, -(2**63))
    ]
    assert summary.statuses == {"FRESH": 24, "STALE": 8, "MISSING": 10}
    assert (summary.entities, sum(summary.errors.values()) + summary.scored) == (42, 42)
    assert len({row["score"] for row in rows}) > 3
    assert bool(summary.errors) == ("refuse" in {missing, unseen})


def test_a_view_of_a_linked_entity_and_keys_of_text_are_read_as_in_a_request(
    bare_world: World, fitted: Fitted, tmp_path: Path
) -> None:
    _bring_online(bare_world, "text")
    plan = bare_world.settings.plan
    plan.write_text(
        plan.read_text()
        .replace("key: account_id, dtype: int64", "key: account_id, dtype: string")
        .replace("account_id: {dtype: int64}", "account_id: {dtype: string}")
    )
    bare_world.execute(
        "CREATE TABLE online.plans_1 (segment_name text PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
        "created_timestamp timestamptz NOT NULL, ratio float4)"
    )
    bare_world.execute("INSERT INTO online.plans_1 VALUES ('new', %s, %s, 0.1)", [MATERIALIZED, MATERIALIZED])
    _materialized(bare_world, "plans_1")
    features = tuple(replace(each, view="plans") if each.name == "ratio" else each for each in _FEATURES)
    link = Link("history", "segment", "account_id", "segment_name", "string")
    views = (
        ContractView("plans", "plans_1", timedelta(days=10), link=link),
        ContractView("history", "history_1", timedelta(days=10)),
    )
    contents = (
        _rows(50, *_LEVELS)
        .slice(2)
        .rename_columns(
            ["plans__ratio" if name == "history__ratio" else name for name in _rows(50, *_LEVELS).column_names]
        )
    )
    contract = replace(
        contract_over([]),
        estimator=fitted.model_format,
        features=features,
        views=views,
        entity_dtype="string",
    )
    bundle = bundle_contents(contract, fitted.content, contents)
    bare_world.enter(
        "real", "champion", write_bundle(bare_world.settings.bundles, bundle, read_signer(bare_world.settings))
    )
    rows, _ = _score(bare_world, tmp_path / "scores.parquet")
    accounts = sorted(map(str, range(_ACCOUNTS)))
    assert [row["account_id"] for row in rows] == accounts
    answered = [entry for begin in range(0, 40, 5) for entry in _answered(bare_world, *accounts[begin : begin + 5])]
    assert [_as_answered(row) for row in rows] == [_comparable(entry) for entry in answered]
    assert {row["plans__status"] for row in rows} == {"FRESH", "MISSING"}


@pytest.fixture
def small(bare_world: World) -> None:
    """Have real bundles in the world: the more orders, the lower the score."""
    contract = contract_over([("history_1", "orders", "int64")])
    table = pa.table({"history__orders": np.arange(40)})
    rows = Rows(encode_table(table, contract.features), (np.arange(40) < 10).astype(np.int32))
    spec = candidate({"estimator": "single_feature", "feature": "history.orders"})
    model = fit(spec, contract.features, rows, rows, 1)
    contents = bundle_contents(replace(contract, estimator=model.model_format), model.content, table)
    digest = write_bundle(bare_world.settings.bundles, contents, read_signer(bare_world.settings))
    bare_world.enter("small", "champion", digest)


@pytest.fixture
def accounts(bare_world: World, small: None) -> World:
    """Five accounts, of which account n has n orders and the fifth none that anybody counted."""
    bare_world.fill()
    return bare_world


def test_the_highest_scores_up_to_the_capacity_are_above_and_all_others_below(accounts: World, tmp_path: Path) -> None:
    rows, summary = _score(accounts, tmp_path / "scores.parquet", top=2)
    told = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert (told["decisions"], told["statuses"]) == ({"call": 2, "wait": 3}, {"FRESH": 5})
    assert [row["decision"] for row in told["head"]] == ["call", "call"]
    assert told["head"][0]["score"] >= told["head"][1]["score"]
    assert summary.table().row_count == 2
    assert "not in the prediction log" in str(summary.table().caption)
    assert [row["account_id"] for row in rows] == [1, 2, 3, 4, 5]
    assert sorted(rows, key=lambda row: -row["score"])[:2] == [row for row in rows if row["decision"] == "call"]
    assert summary.decisions == {"call": 2, "wait": 3}
    accounts.write_plan(missing="refuse")
    (tmp_path / "accounts.csv").write_text("account_id,name\n99,x\n3,y\n3,y\n")
    rows, summary = _score(accounts, tmp_path / "scores.parquet", top=5, entities=tmp_path / "accounts.csv")
    found = [(row["account_id"], row["decision"], row["error"], row["history__status"]) for row in rows]
    assert found == [(99, None, "features_missing", "MISSING"), (3, "call", None, "FRESH")]


def test_the_same_rows_are_written_to_each_output_and_none_to_the_log(accounts: World, tmp_path: Path) -> None:
    rows, _ = _score(accounts, tmp_path / "scores.parquet")
    plan, asked = read_plan(accounts.settings.plan), Asked("small", as_of=AS_OF)
    score_entities(accounts.settings, plan, asked, lambda: NOW, lambda _: to_file(tmp_path / "scores.csv"))
    written = pa_csv.read_csv(tmp_path / "scores.csv").to_pylist()
    assert [row["score"] for row in written] == [row["score"] for row in rows]
    for _ in range(2):
        score_entities(accounts.settings, plan, asked, lambda: NOW, lambda url: to_table(url, "scores"))
        stored = accounts.execute("SELECT account_id, score, decision, history__event_time FROM scores ORDER BY 1")
        assert stored == [
            tuple(row[name] for name in ("account_id", "score", "decision", "history__event_time")) for row in rows
        ]
    assert accounts.execute("SELECT count(*) FROM panthera.prediction") == [(0,)]


def test_a_table_that_no_run_wrote_is_not_replaced(accounts: World) -> None:
    accounts.execute("CREATE TABLE customers (name text)")
    plan = read_plan(accounts.settings.plan)
    for name, found in [("customers", "no run of scores wrote it"), ("online.x", "belong to"), ("a b", "expected")]:
        with pytest.raises(PantheraError, match=found):
            score_entities(accounts.settings, plan, Asked("small"), lambda: NOW, lambda url: to_table(url, name))  # noqa: B023
    assert accounts.execute("SELECT * FROM customers") == []
    assert accounts.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'fresh_%'") == [(0,)]


def test_a_run_that_fails_in_the_middle_leaves_the_previous_output(
    accounts: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_PORTION", 2)
    file = tmp_path / "scores.parquet"
    before = _score(accounts, file)[0]
    plan = read_plan(accounts.settings.plan)
    times = [AS_OF, AS_OF]  # the third read fails
    for output in (lambda _: to_file(file), lambda url: to_table(url, "scores")):
        with pytest.raises(IndexError):
            score_entities(accounts.settings, plan, Asked("small"), [*times].pop, output)
    assert pq.read_table(file).to_pylist() == before
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert accounts.execute("SELECT to_regclass('scores')") == [(None,)]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("keys", "1\n\n2\nx\n", "found 'x' as entity 3; expected an integer of 64 bits"),
        ("keys", "", "found no entity"),
        ("keys.csv", "customer\n1\n", "found the columns customer; expected account_id"),
        ("keys.csv", "account_id\n1\n9223372036854775808\n", "as entity 2; expected an integer"),
        ("keys.parquet", "no", "the keys cannot be read"),
        ("gone", None, "the keys cannot be read"),
    ],
)
def test_a_file_without_sound_keys_is_refused_by_its_name_and_value(
    accounts: World, tmp_path: Path, name: str, content: str | None, found: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(PantheraError, match=found):
        _score(accounts, tmp_path / "scores.parquet", entities=tmp_path / name)


def test_what_cannot_be_scored_is_said_before_anything_is_written(accounts: World, tmp_path: Path) -> None:
    with pytest.raises(PantheraError, match="found no release 'gone'"):
        _score(accounts, tmp_path / "scores.parquet", release="gone")
    accounts.execute("DELETE FROM online.history_1")
    with pytest.raises(PantheraError, match="no entity is online"):
        _score(accounts, tmp_path / "scores.parquet")
    assert [path.name for path in tmp_path.glob("*scores*")] == []


def test_a_view_of_so_many_features_that_its_table_is_packed_is_read_as_any_other(
    bare_world: World, fitted: Fitted, tmp_path: Path
) -> None:
    others = tuple((f"other{number}", "float64") for number in range(1600))
    table = OnlineTable("history_1", (("account_id", "int64"),), (*_DTYPES.items(), *others))
    assert table.is_packed
    rows = _rows(5, *_LEVELS).rename_columns([*_DTYPES])
    for name, _ in others:
        rows = rows.append_column(name, pa.nulls(5, pa.float64()))
    times = pa.array([MATERIALIZED] * 5, pa.timestamp("us", "UTC"))
    for name, column in [("account_id", pa.array(range(5))), ("event_timestamp", times), ("created_timestamp", times)]:
        rows = rows.append_column(name, column)
    with psycopg.connect(bare_world.url) as connection:
        create(connection, table)
        copy_rows(connection, table.identifier, table, rows)
    _materialized(bare_world, "history_1")
    view = ContractView("history", "history_1", timedelta(days=10), packed=table.packed_features)
    _register(bare_world, fitted, views=(view,))
    scored, _ = _score(bare_world, tmp_path / "scores.parquet")
    assert [_as_answered(row) for row in scored] == [_comparable(entry) for entry in _answered(bare_world, *range(5))]
    assert len({row["score"] for row in scored}) > 1

"""Every candidate kind, from its fitted bytes through its bundle to the answer over HTTP."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from core.contracts import ContractFeature
from core.prediction_interval import PredictionInterval
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.explained import explain_vector
from models.bundles.signing import read_signer
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.measures.calibration import fit_calibration
from models.scoring.encoding import encode_table, vectors_of
from models.scoring.model_file import load_model
from tests.models.candidates.candidate_kinds import KINDS, TASKS, candidate, kinds_of
from tests.serving.conftest import AS_OF, MATERIALIZED, Client, World, contract_over, serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.calibration import Kind
    from core.plan.plan import Problem
    from core.settings import Settings

_CASES: list[tuple[str, Problem]] = [
    *((kind, "binary") for kind in kinds_of("binary")),
    *((kind, "multiclass") for kind in ("l2", "lightgbm", "xgboost", "catboost")),
    *((kind, "regression") for kind in ("line_l2", "lightgbm_with_text", "xgboost", "catboost")),
]
_FEATURES = (
    ContractFeature("history", "orders", "int64"),
    ContractFeature("history", "spend", "float64"),
    ContractFeature("history", "segment", "string", ("new", "regular")),
    ContractFeature("history", "note", "text"),
)
_SERVED = 30
_THRESHOLD = 0.4


def _training_rows(problem: Problem) -> tuple[pa.Table, Rows]:
    """400 rows with every kind of gap, in which the label follows the numbers and the segment."""
    random = np.random.default_rng(5)
    orders = _with_gaps(random, [int(n) for n in random.integers(0, 30, 400)])
    spend = _with_gaps(random, [float(x) for x in random.gamma(2, 9, 400)])
    segment = [("new", "regular", None)[int(n)] for n in random.integers(0, 3, 400)]
    note = [" ".join(random.choice(["late", "slow", "good", "fast"], 2)) for _ in range(400)]
    columns = {"orders": orders, "spend": spend, "segment": segment, "note": note}
    table = pa.table({f"history__{name}": column for name, column in columns.items()})
    rows = zip(orders, spend, segment, strict=True)
    number = np.asarray([float((n or 0) + (x or 0) + 10 * (s == "new")) for n, x, s in rows])
    labels: dict[Problem, Any] = {
        "binary": (number > 35).astype(np.int32),
        "multiclass": np.digitize(number, [25, 40]).astype(np.int32),
        "regression": number,
    }
    return table, Rows(encode_table(table, _FEATURES), labels[problem])


def _with_gaps(random: np.random.Generator, values: list[float]) -> list[float | None]:
    return [None if gap else value for value, gap in zip(values, random.random(len(values)) < 0.1, strict=True)]


def _bring_online(world: World, table: pa.Table) -> None:
    world.execute(
        "CREATE TABLE online.history_1 (account_id int8 PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
        "created_timestamp timestamptz NOT NULL, orders int8, spend float8, segment text, note text)"
    )
    with psycopg.connect(world.url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO online.history_1 VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(at, MATERIALIZED, MATERIALIZED, *row) for at, row in enumerate(vectors_of(table, _FEATURES)[:_SERVED])],
        )
    world.execute(
        "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'history', 'history_1', %s, %s)",
        [MATERIALIZED, _SERVED],
    )


def _bundle(
    settings: Settings,
    kind: str,
    problem: Problem,
    table: pa.Table,
    rows: Rows,
    calibration: Kind = "none",
    **later: Any,
) -> tuple[str, NDArray[np.float64]]:
    """Write the bundle of a fitted candidate; return its digest, and what the model says of the served rows offline."""
    spec = {**KINDS[kind], **({"feature": "history.orders"} if kind == "single_feature" else {})}
    task = TASKS[problem]
    fitted = fit(candidate(spec), _FEATURES, rows, rows, 1, task)
    outputs = load_model(fitted.model_format, fitted.content).outputs(rows.inputs)
    curves = fit_calibration(calibration, rows.label, outputs) if calibration != "none" else None
    contract = replace(
        contract_over([("history_1", feature.name, feature.dtype) for feature in _FEATURES]),
        problem=problem,
        candidate=kind,
        estimator=fitted.model_format,
        features=_FEATURES,
        threshold=_THRESHOLD if problem == "binary" else math.nan,
        classes=task.classes,
        calibration=curves,
        **later,
    )
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, table), read_signer(settings))
    return digest, (curves.apply(outputs) if curves else outputs)[:_SERVED]


def _decisions(problem: Problem, outputs: NDArray[np.float64]) -> list[str | None]:
    if problem == "multiclass":
        return [TASKS[problem].classes[place] for place in outputs.argmax(axis=1)]
    return [("call" if score >= _THRESHOLD else "wait") if problem == "binary" else None for score in outputs[:, 0]]


@pytest.mark.parametrize(("kind", "problem"), _CASES)
def test_the_answer_over_http_is_the_offline_one_of_the_same_row(
    bare_world: World, kind: str, problem: Problem
) -> None:
    table, rows = _training_rows(problem)
    _bring_online(bare_world, table)
    digest, outputs = _bundle(bare_world.settings, kind, problem, table, rows)
    _serve_the_offline_answers(bare_world, digest, problem, outputs)
    assert np.ptp(outputs.max(axis=1)) > 0.1 or kind == "majority"


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
def test_a_curve_for_each_class_is_applied_to_what_is_served(bare_world: World, calibration: Kind) -> None:
    table, rows = _training_rows("multiclass")
    _bring_online(bare_world, table)
    digest, outputs = _bundle(bare_world.settings, "l2", "multiclass", table, rows, calibration)
    assert outputs.sum(axis=1) == pytest.approx(1)
    _serve_the_offline_answers(bare_world, digest, "multiclass", outputs)


def _serve_the_offline_answers(world: World, digest: str, problem: Problem, outputs: NDArray[np.float64]) -> None:
    """Serve a bundle, and compare each answer, asked for together and alone, with what its model says offline."""
    world.enter("real", "champion", digest)
    world.write_plan(max_entities=str(_SERVED))
    offline = outputs.max(axis=1)

    async def use(client: Client) -> None:
        together = await client.entries(*range(_SERVED))
        alone = [(await client.entries(account))[0] for account in range(_SERVED)]
        for entries in (together, alone):
            assert [entry["score"] for entry in entries] == pytest.approx(offline.tolist(), rel=0, abs=1e-9)
            assert [entry["decision"] for entry in entries] == _decisions(problem, outputs)
            if problem == "multiclass":
                shares = [dict(zip(TASKS[problem].classes, row, strict=True)) for row in outputs.tolist()]
                assert [entry["probabilities"] for entry in entries] == [pytest.approx(share) for share in shares]

    serve(world, use)


@pytest.mark.parametrize(("kind", "problem"), [("lightgbm", "binary"), ("lightgbm", "multiclass"), ("l2", "binary")])
def test_reasons_are_the_largest_contributions_to_the_raw_score(bare_world: World, kind: str, problem: Problem) -> None:
    table, rows = _training_rows(problem)
    _bring_online(bare_world, table)
    digest, _ = _bundle(bare_world.settings, kind, problem, table, rows)
    bare_world.enter("real", "champion", digest)
    bare_world.write_plan(max_entities="150")
    bundle = load_bundle(bare_world.settings.bundles / digest, read_signer(bare_world.settings).trusted)
    vector = vectors_of(table, _FEATURES)[3]

    async def use(client: Client) -> None:
        body = {"entity": {"account_id": 3}, "as_of": AS_OF.isoformat()}
        plain = (await client.http.post("/v1/predict", json=body)).json()["predictions"][0]
        response = await client.http.post("/v1/predict", json={**body, "explain": True})
        [entry] = response.json()["predictions"]
        assert (entry["score"], "reasons" in plain) == (plain["score"], False)
        if kind == "l2":
            assert entry["reasons"] is None
            return
        found = explain_vector(bundle, vector)
        expected = [
            {"feature": one.feature, "value": one.value, "contribution": pytest.approx(one.adds)}
            for one in found.contributions[:5]
        ]
        assert entry["reasons"] == expected
        if problem == "binary":
            assert found.raw_score == pytest.approx(math.log(entry["score"] / (1 - entry["score"])))
        many = {"entities": [{"account_id": 3}] * 101, "explain": True}
        assert "at most 100" in (await client.http.post("/v1/predict", json=many)).json()["detail"]
        arrow = {"accept": "application/vnd.apache.arrow.stream"}
        refused = await client.http.post("/v1/predict", json={**body, "explain": True}, headers=arrow)
        assert refused.status_code == 422
        assert (await client.http.post("/v1/predict", json={**body, "explain": 1})).status_code == 422

    serve(bare_world, use)


def test_a_regression_answers_with_the_interval_of_its_release_as_described(bare_world: World) -> None:
    table, rows = _training_rows("regression")
    _bring_online(bare_world, table)
    interval = PredictionInterval(0.8, -1.5, 2.0)
    digest, outputs = _bundle(bare_world.settings, "lightgbm", "regression", table, rows, interval=interval)
    bare_world.enter("real", "champion", digest)

    async def use(client: Client) -> None:
        [entry] = await client.entries(1)
        assert entry["interval"] == {"lower": entry["score"] - 1.5, "upper": entry["score"] + 2.0}
        assert entry["score"] == pytest.approx(float(outputs[1, 0]))
        described = (await client.http.get("/openapi.json")).json()["components"]["schemas"]["Predictions"]
        alternatives = described["properties"]["predictions"]["items"]["anyOf"]
        assert alternatives[0]["properties"]["interval"]["required"] == ["lower", "upper"]

    serve(bare_world, use)


def test_two_named_classes_are_answered_with_both_probabilities_and_known_in_outcomes(bare_world: World) -> None:
    table, rows = _training_rows("binary")
    _bring_online(bare_world, table)
    digest, _ = _bundle(bare_world.settings, "l2", "binary", table, rows, positive="churned", negative="stayed")
    bare_world.enter("real", "champion", digest)
    text = bare_world.settings.plan.read_text()
    label = next(line for line in text.splitlines() if line.startswith("label: "))
    bare_world.settings.plan.write_text(text.replace(label, label[:-1] + ", names: [stayed, churned]}"))
    outcome = {"outcome_id": "o1", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": "churned"}

    async def use(client: Client) -> None:
        [entry] = await client.entries(1)
        assert entry["probabilities"] == {"churned": entry["score"], "stayed": 1 - entry["score"]}
        assert (await client.http.post("/v1/outcomes", json={"outcomes": [outcome]})).status_code == 200
        assert bare_world.execute("SELECT value FROM panthera.outcome") == [(1.0,)]
        again = {**outcome, "outcome_id": "o2", "value": "gone"}
        refused = await client.http.post("/v1/outcomes", json={"outcomes": [again]})
        assert refused.status_code == 422
        assert "churned, stayed" in refused.json()["detail"]

    serve(bare_world, use)


def test_a_class_of_the_champion_is_known_by_its_number_in_outcomes(bare_world: World) -> None:
    table, rows = _training_rows("multiclass")
    _bring_online(bare_world, table)
    digest, _ = _bundle(bare_world.settings, "l2", "multiclass", table, rows)
    bare_world.enter("real", "champion", digest)
    classes = TASKS["multiclass"].classes
    outcomes = [
        {"outcome_id": name, "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": name} for name in classes
    ]

    async def use(client: Client) -> None:
        assert (await client.http.post("/v1/outcomes", json={"outcomes": outcomes})).status_code == 200
        stored = dict(bare_world.execute("SELECT outcome_id, value FROM panthera.outcome"))
        assert stored == {name: float(index) for index, name in enumerate(classes)}

    serve(bare_world, use)


def test_a_bundle_with_one_byte_changed_is_not_served(bare_world: World) -> None:
    table, rows = _training_rows("binary")
    _bring_online(bare_world, table)
    digest, _ = _bundle(bare_world.settings, "majority", "binary", table, rows)
    model = bare_world.settings.bundles / digest / "model"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    bare_world.enter("altered", "champion", digest)

    async def use(client: Client) -> None:
        response = await client.predict(1)
        assert response.status_code == 503
        assert "altered" in response.json()["error"]["message"]

    serve(bare_world, use)

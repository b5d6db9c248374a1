"""The verbs: on a real bundle, ledger and log, and on a database that has nothing to say yet."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg.types.json import Jsonb

from benchmarks.monitoring.parity import FEATURES, REQUEST, SPENDING
from core.calibration import sigmoid
from core.contracts import Contract, ContractView
from core.errors import PantheraError
from core.plan.file import read_plan
from core.plan.train import SingleFeatureCandidate
from core.postgres.database import connect
from core.prediction_interval import PredictionInterval
from feature_repo.views.definitions import declared_table
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.signing import read_signer, read_trusted
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.releases.ledger import Act, NewRelease, appoint, enter
from models.scoring.encoding import encode_table
from monitoring.parity import CauseGroup, logged_vector
from monitoring.verbs import Window, cohorts_verb, drift_verb, explain_verb, parity_verb
from tests.monitoring.log_rows import log_prediction
from tests.monitoring.spending_world import World, altered, first, second

if TYPE_CHECKING:
    from core.plan.plan import Plan
    from core.settings import Settings
    from monitoring.logged_predictions import LoggedPrediction

NOON = datetime(1998, 4, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(Path(__file__).parents[2] / "params.yaml")


def test_drift_without_a_release_says_how_to_get_one(settings: Settings, plan: Plan) -> None:
    with pytest.raises(PantheraError, match=f"no champion of '{plan.register_.model}' is registered; run `dvc repro`"):
        drift_verb(settings, plan)


def test_parity_of_an_empty_log_is_an_error_and_not_zero_mismatches(
    settings: Settings, plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(PantheraError, match=r"no prediction was served after .* up to 1998-04-01 12:00"):
        parity_verb(settings, plan, data=tmp_path, as_of=NOON, window=timedelta(days=7))


def test_cohorts_of_nobody_withhold_the_verdict(settings: Settings, plan: Plan) -> None:
    comparison = cohorts_verb(settings, plan, as_of=NOON)
    assert comparison.verdict == "withheld"
    assert comparison.arms.experiment == plan.serve.experiment


def test_a_window_ends_at_its_instant() -> None:
    assert Window.before(NOON, timedelta(days=1)) == Window(NOON - timedelta(days=1), NOON)
    assert Window.before(NOON, None) == Window(None, NOON)
    assert Window.before(None, None) == Window(None, None)


def test_a_window_without_an_instant_is_refused() -> None:
    with pytest.raises(PantheraError, match="add --as-of"):
        Window.before(None, timedelta(days=1))


FEATURES_WITH_LEVELS = tuple(
    replace(feature, levels=("shop", "web")) if feature.dtype == "string" else feature for feature in FEATURES
)


@pytest.fixture
def spending_plan(plan: Plan) -> Plan:
    """The plan of the small world, whose log is checked as a whole."""
    views = plan.build_features.model_copy(update={"views": {"spending": SPENDING}})
    monitor = plan.monitor.model_copy(update={"parity_sample": 1.0, "expected_drift": {}})
    return plan.model_copy(update={"build_features": views, "monitor": monitor})


def training_rows() -> pa.Table:
    random = np.random.default_rng(11)
    rows = 400
    values = {
        "orders": random.integers(1, 5, size=rows),
        "spend": random.uniform(1, 50, size=rows),
        "recent": pa.array(random.uniform(1, 50, size=rows), pa.float32(), mask=random.uniform(size=rows) < 0.5),
        "channel": random.choice(["shop", "web"], size=rows),
        "member": random.uniform(size=rows) < 0.5,
        "last": pa.array([REQUEST - timedelta(days=int(day)) for day in random.integers(1, 90, size=rows)]),
    }
    return pa.table({f"spending__{name}": column for name, column in values.items()})


def register(settings: Settings, model: str, horizon: timedelta, online: str) -> str:
    """Train a one-feature model, write its bundle, and make it champion as release r1; return the digest."""
    train = training_rows()
    inputs = encode_table(train, FEATURES_WITH_LEVELS)
    rows = Rows(inputs, (inputs.matrix[:, 0] > 2).astype(np.int32))
    candidate = SingleFeatureCandidate(estimator="single_feature", feature="spending.orders")
    fitted = fit(candidate, FEATURES_WITH_LEVELS, rows, rows, 7)
    contract = Contract(
        format_version=2,
        project="spending",
        problem="binary",
        candidate="orders",
        estimator=fitted.model_format,
        feature_service="all",
        entity_key="customer_id",
        entity_dtype="int64",
        views=(ContractView("spending", online, SPENDING.ttl),),
        features=FEATURES_WITH_LEVELS,
        threshold=0.5,
        horizon=horizon,
        data_revision="d",
        code_revision="c",
    )
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, train), read_signer(settings))
    with connect(settings.database_url or "") as connection:
        enter(connection, NewRelease("r1", model, "orders", digest, "all", "d", "c", "1", {}))
        appoint(connection, model, "champion", "r1", Act("register", "somebody", "the only one"))
    return digest


def serve(settings: Settings, digest: str, *predictions: LoggedPrediction) -> None:
    """Score predictions with the bundle, and log them."""
    bundle = load_bundle(settings.bundles / digest, read_trusted(settings))
    scores = bundle.score([logged_vector(logged, FEATURES_WITH_LEVELS) for logged in predictions])
    with connect(settings.database_url or "") as connection:
        for number, (logged, score) in enumerate(zip(predictions, scores, strict=True)):
            log_prediction(
                connection,
                number,
                logged.features,
                score=score,
                as_of=logged.as_of,
                event_times=logged.event_times,
                entity=logged.entity,
            )


@pytest.fixture
def digest(settings: Settings, spending_plan: Plan) -> str:
    online = declared_table(spending_plan, "spending").name
    return register(settings, spending_plan.register_.model, spending_plan.label.horizon, online)


def test_parity_of_what_a_real_release_served(
    settings: Settings, spending_plan: Plan, digest: str, tmp_path: Path
) -> None:
    World(tmp_path)
    serve(settings, digest, first(), second())
    result = parity_verb(settings, spending_plan, data=tmp_path)
    assert (result.predictions_checked, result.values_compared, result.defects) == (2, 12, 0)
    assert json.loads(json.dumps(result.to_dict()))["mismatches"]["transformation"] == 0


def test_parity_finds_an_altered_value_and_an_altered_score(
    settings: Settings, spending_plan: Plan, digest: str, tmp_path: Path
) -> None:
    World(tmp_path)
    serve(settings, digest, altered(first(), "channel", "web"), second())
    with psycopg.connect(settings.database_url or "") as connection:
        connection.execute("UPDATE panthera.prediction SET score = score + 1e-6 WHERE entity = '2'")
    result = parity_verb(settings, spending_plan, data=tmp_path)
    assert (result.mismatches[CauseGroup.TRANSFORMATION], result.score_mismatches, result.defects) == (1, 1, 2)


def test_parity_without_the_tables_says_which_stage_writes_them(
    settings: Settings, spending_plan: Plan, digest: str, tmp_path: Path
) -> None:
    serve(settings, digest, first())
    with pytest.raises(PantheraError, match=r"no table was found in .*purchases; run `dvc repro build_features`"):
        parity_verb(settings, spending_plan, data=tmp_path)


def test_parity_refuses_a_log_of_other_view_definitions(
    settings: Settings, spending_plan: Plan, tmp_path: Path
) -> None:
    model, horizon = spending_plan.register_.model, spending_plan.label.horizon
    digest = register(settings, model, horizon, "spending__of_long_ago")
    serve(settings, digest, first())
    with pytest.raises(PantheraError, match="was trained on other definitions of its views"):
        parity_verb(settings, spending_plan, data=tmp_path)


def test_drift_of_what_a_real_release_served(
    settings: Settings, spending_plan: Plan, digest: str, tmp_path: Path
) -> None:
    # As many rows as in training, all alike: every column that varied there has drifted.
    serve(settings, digest, *[first()] * 400)
    report = tmp_path / "reports" / "drift.html"
    result = drift_verb(settings, spending_plan, as_of=REQUEST, window=timedelta(days=1), report=report)
    assert [column.rows_current for column in result.columns] == [400] * 7
    assert set(result.alarms) == {*(feature.column for feature in FEATURES), "score"}
    assert result.report is not None
    assert result.report.path.stat().st_size > 100_000
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["columns"]["score"]["alarm"] is True
    assert result.table().row_count == 7


def test_drift_of_a_window_without_predictions_is_an_error(
    settings: Settings, spending_plan: Plan, digest: str
) -> None:
    serve(settings, digest, first())
    with pytest.raises(PantheraError, match=r"served no prediction after 1998-04-04 .* up to 1998-04-05"):
        drift_verb(settings, spending_plan, as_of=REQUEST + timedelta(days=1), window=timedelta(days=1))


def test_an_explanation_names_what_the_one_feature_of_the_model_added(settings: Settings, digest: str) -> None:
    """The others add nothing, and base and contributions give the score back: there is no calibration."""
    serve(settings, digest, first(), second())
    found = explain_verb(settings, UUID(int=1))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    strongest, *others = told["contributions"]
    assert told["release_id"] == "r1"
    assert (strongest["feature"], strongest["value"]) == ("spending.orders", second().features["spending__orders"])
    assert [one["adds"] for one in others] == [0.0] * (len(FEATURES) - 1)
    assert told["raw_score"] == pytest.approx(told["base"] + strongest["adds"])
    assert told["score"] == pytest.approx(sigmoid(np.array(told["raw_score"])))
    assert found.table().row_count == len(FEATURES) + 2
    assert "interval" not in told
    around = replace(found, interval=PredictionInterval(0.8, -1.0, 2.0))
    assert around.to_dict()["interval"] == {"lower": told["score"] - 1, "upper": told["score"] + 2}
    assert f"({told['score'] - 1:.4f} to {told['score'] + 2:.4f})" in str(around.table().title)


def test_without_an_id_the_last_prediction_is_explained(settings: Settings, digest: str) -> None:
    serve(settings, digest, first())
    serve_later = (
        "INSERT INTO panthera.prediction SELECT (jsonb_populate_record(logged, %s)).* FROM panthera.prediction logged"
    )
    later = {"prediction_id": str(UUID(int=9)), "logged_at": "2100-01-01T00:00:00Z"}
    with psycopg.connect(settings.database_url or "") as connection:
        connection.execute(serve_later, [Jsonb(later)])
    assert explain_verb(settings).logged.prediction_id == UUID(int=9)


def test_a_prediction_that_nobody_made_is_named(settings: Settings) -> None:
    with pytest.raises(PantheraError, match=f"the log holds no prediction {UUID(int=5)}"):
        explain_verb(settings, UUID(int=5))
    with pytest.raises(PantheraError, match="no prediction was served yet"):
        explain_verb(settings)

"""What was served of an entity's club, and of the link to it, is what is computed of both offline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from core.contracts import Contract, ContractFeature
from core.plan.train import SingleFeatureCandidate
from core.postgres.database import connect
from feature_repo.views.snapshots import build_views
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents, contract_views
from models.bundles.signing import read_signer, read_trusted
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.releases.ledger import NewRelease, enter
from models.scoring.encoding import encode_table
from monitoring.logged_predictions import LoggedPrediction
from monitoring.parity import CauseGroup, logged_vector
from monitoring.verbs import parity_verb
from tests.feature_repo.views.clubs import CLUBS, accept, clubs_plan, day
from tests.monitoring.log_rows import log_prediction

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings
    from models.bundles.bundle import Bundle
    from monitoring.parity import ParityResult

PLAN = clubs_plan()
NAMES = tuple(PLAN.build_features.views["club"].features)
FEATURES = (
    ContractFeature("membership", "moves", "int64"),
    *(
        ContractFeature("club", name, feature.dtype)
        for name, feature in PLAN.build_features.views["club"].features.items()
    ),
)


def served(member: int, club: str | None, moves: int, status: str = "FRESH") -> LoggedPrediction:
    """Write what the service logs as of the 13th, when all rows online are of the 12th."""
    found = CLUBS.get((12, club or "")) if status == "FRESH" else None
    times = {"membership": day(12).isoformat(), "club": day(12).isoformat() if found else None}
    values = dict(zip(NAMES, found or (None,) * len(NAMES), strict=True))
    return LoggedPrediction(
        prediction_id=UUID(int=member),
        entity=str(member),
        as_of=day(13),
        logged_at=day(13),
        score=0.5,
        features={
            "membership__moves": moves,
            "membership__club": club,
            **{f"club__{name}": value for name, value in values.items()},
        },
        event_times=times,
        statuses={"membership": status, "club": "FRESH" if found else "MISSING"},
    )


@pytest.fixture
def bundle(settings: Settings, tmp_path: Path) -> Bundle:
    """Build the snapshots of the world, and make a release that takes what is known of clubs, and not the link."""
    (tmp_path / "features").mkdir()
    assert dict(build_views(PLAN, accept(tmp_path), tmp_path / "features"))
    random = np.random.default_rng(5)
    train = pa.table({feature.column: random.integers(1, 50, size=100) for feature in FEATURES})
    train = train.cast(pa.schema([(f.column, pa.int64() if f.dtype == "int64" else pa.float64()) for f in FEATURES]))
    inputs = encode_table(train, FEATURES)
    rows = Rows(inputs, (inputs.matrix[:, 1] > 20).astype(np.int32))
    fitted = fit(SingleFeatureCandidate(estimator="single_feature", feature="club.minutes"), FEATURES, rows, rows, 7)
    contract = Contract(
        format_version=2,
        project="clubs",
        problem="binary",
        candidate="rule",
        estimator=fitted.model_format,
        feature_service="both",
        entity_key="member_id",
        entity_dtype="int64",
        views=tuple(contract_views(PLAN, FEATURES)),
        features=FEATURES,
        threshold=0.5,
        horizon=timedelta(days=2),
        data_revision="d",
        code_revision="c",
    )
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, train), read_signer(settings))
    with connect(settings.database_url or "") as connection:
        enter(connection, NewRelease("r1", "clubs", "rule", digest, "both", "d", "c", "1", {}))
    return load_bundle(settings.bundles / digest, read_trusted(settings))


def parity(settings: Settings, data: Path, bundle: Bundle, *logged: LoggedPrediction) -> ParityResult:
    scores = bundle.score([logged_vector(each, FEATURES) for each in logged])
    with connect(settings.database_url or "") as connection:
        for each, score in zip(logged, scores, strict=True):
            times: Any = each.event_times
            log_prediction(
                connection,
                each.prediction_id.int,
                each.features,
                score=score,
                as_of=each.as_of,
                event_times=times,
                entity=each.entity,
                statuses=each.statuses,
            )
    return parity_verb(settings, PLAN, data=data)


def test_the_contract_names_the_view_that_holds_the_link(bundle: Bundle) -> None:
    views = {view.name: view for view in bundle.contract.views}
    assert list(views) == ["membership", "club"]
    assert views["membership"].link is None
    assert views["club"].link == PLAN.link_of(PLAN.build_features.views["club"])


def test_a_contract_of_linked_features_alone_names_the_holder_too() -> None:
    assert [view.name for view in contract_views(PLAN, FEATURES[1:])] == ["club", "membership"]


def test_what_the_service_says_of_clubs_is_what_is_computed_offline(
    settings: Settings, tmp_path: Path, bundle: Bundle
) -> None:
    # Member 1 moved to blue; the club of member 4 is not known, so nothing is known of it.
    result = parity(settings, tmp_path, bundle, served(1, "blue", 2), served(2, "red", 1), served(4, None, 1))
    # Of each: the four facts about the club, the number of moves, and the link, which is no input of the model.
    assert (result.predictions_checked, result.values_compared) == (3, 3 * 6)
    assert (sum(result.mismatches.values()), result.score_mismatches) == (0, 0)


def test_another_clubs_facts_are_a_defect(settings: Settings, tmp_path: Path, bundle: Bundle) -> None:
    wrong = served(1, "red", 2)
    result = parity(settings, tmp_path, bundle, replace(wrong, features={**wrong.features, "membership__club": "blue"}))
    assert result.mismatches[CauseGroup.TRANSFORMATION] == 4
    assert {example.view for example in result.examples} == {"club"}


def test_a_link_to_the_wrong_club_is_a_defect(settings: Settings, tmp_path: Path, bundle: Bundle) -> None:
    result = parity(settings, tmp_path, bundle, served(1, "red", 2))
    assert result.mismatches[CauseGroup.TRANSFORMATION] == 1
    assert [(example.feature, example.recomputed) for example in result.examples] == [("club", "blue")]


def test_through_a_stale_link_nothing_is_expected(settings: Settings, tmp_path: Path, bundle: Bundle) -> None:
    result = parity(settings, tmp_path, bundle, served(1, "blue", 2, status="STALE"))
    assert (sum(result.mismatches.values()), result.stale_values) == (0, 2)

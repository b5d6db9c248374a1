"""A contract comes back as it was written; one of another format is read as that format, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.calibration import Calibration, Curve, ScoreReference
from core.contracts import Contract, ContractFeature, ContractView, Link
from core.errors import BundleError
from core.prediction_interval import PredictionInterval
from models.bundles.contract_format import FORMAT_VERSION, contract_from_json, contract_to_json

CONTRACT = Contract(
    format_version=FORMAT_VERSION,
    project="p",
    problem="binary",
    candidate="trees",
    estimator="lightgbm",
    feature_service="s",
    entity_key="who",
    entity_dtype="int64",
    views=(ContractView("v", "v__0123456789ab", timedelta(days=3), "0123456789ab" + "0" * 52),),
    features=(
        ContractFeature("v", "amount", "float64", nullable=False),
        ContractFeature("v", "kind", "string", ("a", "b")),
    ),
    threshold=0.25,
    horizon=timedelta(days=30),
    data_revision="md5:1",
    code_revision="git:1",
    model="churn",
    label="l" * 64,
    lock="sha256:1",
    unseen_level="refuse",
    calibration=Calibration("sigmoid", (Curve(slope=0.5),)),
    seen_until=datetime(2026, 1, 1, tzinfo=UTC),
    classes=("basic", "plus"),
    test_rows="t" * 64,
)
#: What format 1 said of the same contract, as it was written then.
OF_FORMAT_1 = {
    "candidate": "trees",
    "code_revision": "git:1",
    "data_revision": "md5:1",
    "entity_dtype": "int64",
    "entity_key": "who",
    "estimator": "lightgbm",
    "feature_service": "s",
    "features": [
        {"dtype": "float64", "levels": [], "name": "amount", "view": "v"},
        {"dtype": "string", "levels": ["a", "b"], "name": "kind", "view": "v"},
    ],
    "format_version": 1,
    "horizon": 2592000.0,
    "problem": "binary",
    "project": "p",
    "threshold": 0.25,
    "views": [{"name": "v", "online_table": "v__0123456789ab", "ttl": 259200.0}],
}


@pytest.mark.parametrize("calibration", [None, CONTRACT.calibration])
def test_a_contract_comes_back_as_it_was(calibration: Calibration | None) -> None:
    contract = replace(CONTRACT, calibration=calibration)
    assert contract_from_json(contract_to_json(contract).encode()) == contract


def test_a_link_comes_back_as_it_was_and_a_view_without_one_does_not_speak_of_it() -> None:
    linked = ContractView("w", "w__1", timedelta(days=3), "d", Link("v", "kind", "who", "kind_of_who", "string"))
    contract = replace(CONTRACT, views=(*CONTRACT.views, linked))
    text = contract_to_json(contract)
    assert contract_from_json(text.encode()) == contract
    assert ["link" in view for view in json.loads(text)["views"]] == [False, True]


def test_the_name_of_the_positive_class_comes_back_and_a_contract_without_one_has_no_such_key() -> None:
    named = replace(CONTRACT, positive="Ja")
    assert contract_from_json(contract_to_json(named).encode()) == named
    assert "positive" not in json.loads(contract_to_json(CONTRACT))


def test_names_weights_and_intervals_come_back_and_a_contract_without_them_has_no_such_keys() -> None:
    later = {
        "negative": "stays",
        "weight": "v.weight",
        "interval": PredictionInterval(0.8, -1.5, 2.0),
        "score_reference": ScoreReference((0.1, 0.6), (0.5, 0.9), (10.0, 5.0), (1.0, 4.0), 12),
    }
    contract = replace(CONTRACT, **later)  # type: ignore[arg-type]
    assert contract_from_json(contract_to_json(contract).encode()) == contract
    assert not later.keys() & json.loads(contract_to_json(CONTRACT)).keys()


def test_a_contract_of_format_1_says_nothing_of_what_came_later() -> None:
    view = ContractView("v", "v__0123456789ab", timedelta(days=3), definition="")
    assert contract_from_json(json.dumps(OF_FORMAT_1).encode()) == replace(
        CONTRACT,
        format_version=1,
        views=(view,),
        features=tuple(replace(feature, nullable=True) for feature in CONTRACT.features),
        model="",
        label="",
        lock="",
        unseen_level="as_missing",
        calibration=None,
        seen_until=None,
        classes=(),
        test_rows="",
    )


def test_a_contract_of_a_later_format_is_refused() -> None:
    text = contract_to_json(replace(CONTRACT, format_version=3)).encode()
    with pytest.raises(
        BundleError, match="format version 3, this software reads 1 and 2; update the software, or train again"
    ):
        contract_from_json(text)


@pytest.mark.parametrize("missing", ["features", "lock", "calibration"])
def test_a_contract_that_lacks_a_field_of_its_format_is_refused(missing: str) -> None:
    stored = json.loads(contract_to_json(CONTRACT))
    del stored[missing]
    with pytest.raises(BundleError, match=f"does not match format 2: '{missing}'"):
        contract_from_json(json.dumps(stored).encode())


def test_a_contract_with_a_field_that_its_format_lacks_is_refused() -> None:
    stored = {**json.loads(contract_to_json(CONTRACT)), "extra": 1}
    with pytest.raises(BundleError, match=r"does not match format 2.*extra"):
        contract_from_json(json.dumps(stored).encode())

"""Each error has one status, one code and its details, and they are written where the error is defined."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from core.errors import BundleError, DatabaseError, PantheraError, StaleStateError
from core.experiment.prediction_log import OutcomeConflictError
from feature_repo.online.push import PushConflictError
from serving.wire.problems import problem_of
from serving.wire.refusals import (
    Disconnected,
    InternalFault,
    NoPrediction,
    NotAvailable,
    Refusal,
    ReleaseFault,
    TimedOut,
    TooManyConnections,
    TooSlow,
    UnknownMethod,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refusal("found 1"), 422, "invalid"),
        (NoPrediction("found none", "features_missing"), 422, "features_missing"),
        (UnknownMethod("found PUT", "GET"), 405, "unknown_method"),
        (TooSlow("found nothing"), 408, "timeout"),
        (Disconnected("gone"), 400, "disconnected"),
        (OutcomeConflictError(["o1"]), 409, "conflict"),
        (PushConflictError(["e1"]), 409, "conflict"),
        (NotAvailable("busy"), 503, "unavailable"),
        (ReleaseFault("broken"), 503, "unavailable"),
        (TimedOut("busy"), 503, "timeout"),
        (TooManyConnections("full"), 503, "too_many_connections"),
        (InternalFault("unexpected"), 500, "internal"),
        (BundleError("/var/bundle is altered"), 500, "release_broken"),
        (DatabaseError("host 10.0.0.1 refused"), 503, "unavailable"),
        (StaleStateError("no champion"), 503, "unavailable"),
        (PantheraError("/var/x"), 503, "unavailable"),
    ],
)
def test_an_error_is_answered_by_its_status_and_code(error: PantheraError, status: int, code: str) -> None:
    response = problem_of(error)
    content = json.loads(bytes(response.body))
    assert (response.status_code, content["status"], content["error"]["code"]) == (status, status, code)
    assert content["type"].endswith(f":{code}")
    assert content["detail"] == content["error"]["message"]
    assert ("Retry-After" in response.headers) == (status in (429, 503))


def test_the_details_of_a_conflict_are_beside_its_code() -> None:
    error = json.loads(bytes(problem_of(OutcomeConflictError(["o1", "o2"])).body))["error"]
    assert (list(error), error["outcome_ids"]) == (["code", "message", "outcome_ids"], ["o1", "o2"])
    assert json.loads(bytes(problem_of(PushConflictError(["e1"])).body))["error"]["event_ids"] == ["e1"]


def test_the_list_of_an_answer_without_prediction_is_at_the_top() -> None:
    response = problem_of(NoPrediction("found none", "features_missing"), extensions={"predictions": [1]})
    assert json.loads(bytes(response.body))["predictions"] == [1]


def test_a_code_means_one_thing_for_each_status() -> None:
    stated = [(kind.status, kind.code) for kind in _kinds(PantheraError) if "code" in vars(kind)]
    assert len(stated) == len(set(stated))


def _kinds(kind: type[PantheraError]) -> Iterator[type[PantheraError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)

"""A feature from which a model cannot learn is remarked on, and any other is not."""

from __future__ import annotations

import pyarrow as pa

from core.contracts import ContractFeature
from core.plan.train import LogisticCandidate, MajorityCandidate
from models.data.remarks import remarks

_ROWS = 40
_TABLE = pa.table(
    {
        "v__nothing": pa.array([None] * _ROWS, pa.float64()),
        "v__same": [3] * _ROWS,
        "v__flag": [1, *[None] * (_ROWS - 1)],
        "v__id": [f"K{number}" for number in range(_ROWS)],
        "v__kind": ["a", "b"] * (_ROWS // 2),
        "v__number": list(range(_ROWS)),
        "v__note": [f"note {number}" for number in range(_ROWS)],
    }
)
_DTYPES = {"nothing": "float64", "same": "int64", "flag": "int64", "id": "string", "kind": "string", "number": "int64"}
_FEATURES = [ContractFeature("v", name, dtype) for name, dtype in {**_DTYPES, "note": "text"}.items()]


def test_constants_identifiers_and_unread_text_are_named() -> None:
    found = list(remarks(_TABLE, _FEATURES, {"majority": MajorityCandidate(estimator="majority")}))
    assert [text.partition(" ")[0] for text in found] == ["v.nothing", "v.same", "v.id", "v.note"]
    assert found[0].startswith("v.nothing is null in all 40 training rows; ")


def test_text_that_a_candidate_reads_is_not_remarked_on() -> None:
    reads = LogisticCandidate.model_validate({"estimator": "logistic_regression", "text": [{"step": "tfidf"}]})
    assert list(remarks(_TABLE.select(["v__note"]), _FEATURES[-1:], {"line": reads})) == []


def test_few_rows_do_not_show_an_identifier() -> None:
    assert list(remarks(_TABLE.slice(0, 10), [_FEATURES[3]], {})) == []

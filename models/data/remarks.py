"""Remarks about features from which a model cannot learn: constants, identifiers, and text that no candidate reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.plan.train import PreparedCandidate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from core.contracts import ContractFeature
    from core.plan.train import Candidate

#: Fewer rows than this do not show that a text differs in every row.
_FEWEST_ROWS = 30


def remarks(train: pa.Table, features: Sequence[ContractFeature], candidates: Mapping[str, Candidate]) -> Iterator[str]:
    """Yield a sentence for each feature of the training rows `train` that adds nothing to a model, or harms it."""
    read = any(isinstance(one, PreparedCandidate) and one.text for one in candidates.values())
    for feature in features:
        name, column = f"{feature.view}.{feature.name}", train.column(feature.column)
        distinct = len(column.drop_null().unique())
        if column.null_count == len(column):
            yield f"{name} is null in all {len(column):,} training rows; correct its SQL, or take it out of the service"
        elif distinct == 1 and not column.null_count:
            yield f"{name} has one value in all {len(column):,} training rows; take it out of the service"
        elif feature.dtype == "string" and distinct == len(column) >= _FEWEST_ROWS:
            yield (
                f"{name} differs in each of {len(column):,} training rows, as an identifier does; declare free text as "
                "dtype text, or take it out of the service"
            )
        elif feature.dtype == "text" and not read:
            yield f"{name} is text, which no candidate reads; add the step tfidf to a candidate's text, or take it out"

"""Explain a bundle's prediction for one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.evaluation.explanations import ORDERS, Explanation, background_rows, contributions, explanation
from models.scoring.columns import evenly_spaced
from models.scoring.encoding import Inputs, encode, encode_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import Value
    from models.bundles.bundle import Bundle


def explain_vector(bundle: Bundle, vector: Sequence[Value]) -> Explanation:
    """Return the explanation of a bundle's prediction for one vector in its contract's order.

    With several classes it explains the one with the largest raw score. The background is the bundle's sample of training
    rows.
    """
    features = bundle.contract.features
    found = contributions(
        bundle.model, bundle.contract.problem, encode([vector], features), background_of(bundle), orders=ORDERS
    )
    likeliest = int((found.base + found.values[0].sum(axis=0)).argmax())
    return explanation(found, 0, features, vector, likeliest)


def feature_weights(bundle: Bundle) -> dict[str, float]:
    """Return the share of each feature in the mean absolute contribution to the score, by column, over training rows.

    The rows are some of the bundle's sample. Without any contribution, all features have the same share.
    """
    features, rows = bundle.contract.features, background_of(bundle)
    found = contributions(bundle.model, bundle.contract.problem, rows, rows)
    sizes = np.abs(found.values).mean(axis=(0, 2))
    shares = sizes / sizes.sum() if sizes.sum() > 0 else np.full(len(features), 1 / len(features))
    return {feature.column: float(share) for feature, share in zip(features, shares, strict=True)}


def background_of(bundle: Bundle) -> Inputs:
    """Return some of the bundle's sample of training rows, encoded; free text is missing, because a bundle stores none."""
    sample = pq.read_table(pa.BufferReader(bundle.sample))
    background = sample.take(evenly_spaced(len(sample), background_rows(len(bundle.contract.features))))
    for feature in bundle.contract.features:
        if feature.column not in background.column_names:
            background = background.append_column(feature.column, pa.nulls(len(background), pa.string()))
    return encode_table(background, bundle.contract.features)

"""The stock way to serve a model: BentoML's `@bentoml.api`, Feast's client, and LightGBM's booster; nothing is logged.

`bentoml serve benchmarks.serving.stock_service:StockService`, with the variables `STOCK_REPOSITORY`, `STOCK_MODEL` and
`STOCK_LEVELS`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import bentoml
import feast
import lightgbm
import numpy as np

from benchmarks.feature_store.online import KEY, REFERENCES, VIEWS

_TEXT = "segment"


@bentoml.service(name="stock", workers=1, http={"host": "127.0.0.1"})
class StockService:
    """The service."""

    def __init__(self) -> None:
        self.store = feast.FeatureStore(repo_path=os.environ["STOCK_REPOSITORY"])
        self.booster = lightgbm.Booster(model_file=os.environ["STOCK_MODEL"])
        levels = json.loads(Path(os.environ["STOCK_LEVELS"]).read_text(encoding="utf-8"))
        self.codes = {level: float(code) for code, level in enumerate(levels)}

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, customer_ids: list[int]) -> list[float]:
        """Return the score of each customer."""
        rows = [{KEY: customer} for customer in customer_ids]
        values = self.store.get_online_features(features=REFERENCES, entity_rows=rows).to_dict()
        values[_TEXT] = [self.codes.get(value) for value in values[_TEXT]]
        names = [name for features in VIEWS.values() for name in features]
        matrix = np.array([values[name] for name in names], dtype=np.float64).T
        scores: list[float] = self.booster.predict(matrix).tolist()
        return scores

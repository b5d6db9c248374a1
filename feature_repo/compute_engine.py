"""The compute engine under the name that a `feature_store.yaml` of an earlier version gives."""

from feature_repo.stores.compute_engine import PantheraComputeEngine, PantheraComputeEngineConfig

__all__ = ["PantheraComputeEngine", "PantheraComputeEngineConfig"]

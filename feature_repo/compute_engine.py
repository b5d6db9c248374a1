"""The compute engine under its name in a `feature_store.yaml` of an earlier version."""

from feature_repo.stores.compute_engine import PantheraComputeEngine, PantheraComputeEngineConfig

__all__ = ["PantheraComputeEngine", "PantheraComputeEngineConfig"]

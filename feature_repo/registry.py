"""The stable import of `open_store`, Feast's feature store, for scripts and notebooks."""

from feature_repo.stores.registry import open_store

__all__ = ["open_store"]

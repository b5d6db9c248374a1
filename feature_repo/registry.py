"""Feast"s store for scripts and notebooks: `open_store`, under an address that stays."""

from feature_repo.stores.registry import open_store

__all__ = ["open_store"]

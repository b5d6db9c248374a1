"""The offline store under its name in a `feature_store.yaml` of an earlier version."""

from feature_repo.stores.offline_store import PantheraOfflineStore, PantheraOfflineStoreConfig

__all__ = ["PantheraOfflineStore", "PantheraOfflineStoreConfig"]

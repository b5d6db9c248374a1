"""The offline store under the name that a `feature_store.yaml` of an earlier version gives."""

from feature_repo.stores.offline_store import PantheraOfflineStore, PantheraOfflineStoreConfig

__all__ = ["PantheraOfflineStore", "PantheraOfflineStoreConfig"]

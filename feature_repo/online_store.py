"""The online store under the name that a `feature_store.yaml` of an earlier version gives."""

from feature_repo.stores.online_store import PantheraOnlineStore, PantheraOnlineStoreConfig

__all__ = ["PantheraOnlineStore", "PantheraOnlineStoreConfig"]

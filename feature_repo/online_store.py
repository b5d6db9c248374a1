"""The online store under its name in a `feature_store.yaml` of an earlier version."""

from feature_repo.stores.online_store import PantheraOnlineStore, PantheraOnlineStoreConfig

__all__ = ["PantheraOnlineStore", "PantheraOnlineStoreConfig"]

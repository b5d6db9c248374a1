"""The stores of this project for Feast's universal test suite, which imports this module by FULL_REPO_CONFIGS_MODULE.

The suite must be importable as `tests`, as in `benchmarks.feature_store.conformance`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import FileSource
from feast.data_format import ParquetFormat
from tests.universal.feature_repos.universal.data_sources.file import (
    FileDataSourceCreator,
)

from feature_repo.stores.offline_store import PantheraOfflineStoreConfig

if TYPE_CHECKING:
    import pandas as pd
    from feast.repo_config import FeastConfigBaseModel

#: The suite runs some scenarios only for stores of these names, which store rows by entity, as this one does.
STANDS_FOR = frozenset({"sqlite", "postgres", "redis"})


class PantheraSourceCreator(FileDataSourceCreator):  # type: ignore[misc]
    """The suite's parquet files, read by this project's offline store."""

    def create_offline_store_config(self) -> FeastConfigBaseModel:
        """Return the configuration of Feast's own stores: created times break ties only."""
        return PantheraOfflineStoreConfig()


class PantheraFolderSourceCreator(PantheraSourceCreator):
    """The same rows split into the files of a folder, as this project's stages write them."""

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
    ) -> FileSource:
        """Write every third row to one of three files, with the types of the whole table."""
        folder = mkdtemp(prefix=f"{self.project_name}_{destination_name}")
        self.dirs.append(folder)
        rows = pa.Table.from_pandas(df, preserve_index=False)
        for part in range(3):
            pq.write_table(
                rows.take(pa.array(range(part, len(rows), 3), pa.int64())), Path(folder) / f"part-{part}.parquet"
            )
        return FileSource(
            file_format=ParquetFormat(),
            path=folder,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping or {"ts_1": "ts"},
        )


class OneStore(dict[str, tuple[dict[str, Any], None]]):
    """The online store, found under each name in `STANDS_FOR`."""

    def __contains__(self, name: object) -> bool:
        return name in STANDS_FOR

    def get(self, name: str, default: Any = None) -> Any:
        """Return the store if `name` is in `STANDS_FOR`, else `default`."""
        return next(iter(self.values())) if name in self else default


AVAILABLE_OFFLINE_STORES = [("local", PantheraSourceCreator), ("local", PantheraFolderSourceCreator)]
AVAILABLE_ONLINE_STORES = OneStore(
    {"panthera": ({"type": "feature_repo.stores.online_store.PantheraOnlineStore"}, None)}
)

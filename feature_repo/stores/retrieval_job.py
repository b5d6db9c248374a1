"""The retrieval job that the offline store returns to Feast: a table that is computed on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from core.errors import SourceError
from feature_repo.files.feature_files import write_file, write_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from feast import OnDemandFeatureView
    from feast.saved_dataset import SavedDatasetStorage


class ArrowJob(RetrievalJob):  # type: ignore[misc]
    """A retrieval in Arrow; every request for its table computes it from the present files."""

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        *,
        metadata: RetrievalMetadata,
        folder: Path,
        full_feature_names: bool = False,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
    ) -> None:
        """Take the function that computes the table, and the folder against which `persist` resolves relative paths."""
        self._compute = compute
        self._metadata = metadata
        self._folder = folder
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = on_demand_feature_views or []

    @property
    def full_feature_names(self) -> bool:
        """Whether feature columns are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The views that Feast computes from the table."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata:
        """The features, keys and times of the retrieval."""
        return self._metadata

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:  # noqa: ARG002
        """Write the table to a parquet file, or to a folder if the path does not end with `.parquet`.

        Raises
        ------
        SavedDatasetLocationAlreadyExists
            If the path exists and `allow_overwrite` is False.
        SourceError
            If `storage` is not file storage.

        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise SourceError(
                f"cannot persist to a {type(storage).__name__}; this store writes a SavedDatasetFileStorage"
            )
        path = self._folder / storage.file_options.uri
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=storage.file_options.uri)
        write = write_file if path.suffix == ".parquet" else write_folder
        write(path, self.to_arrow())

    def to_sql(self) -> str:
        """Raise NotImplementedError: the join is no SQL query."""
        raise NotImplementedError(
            "this store joins sorted arrays and runs no SQL query; read the rows with `to_arrow` or `to_df`"
        )

    def to_remote_storage(self) -> list[str]:
        """Raise NotImplementedError: this store writes local files only."""
        raise NotImplementedError(
            "this store exports to no remote storage; write a local file with `persist` or FeatureStore.create_saved_dataset"
        )

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:  # noqa: ARG002
        frame: pd.DataFrame = self._compute().to_pandas()
        return frame

"""A resolved Feast source: its parquet files, and the names of its columns in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import FileSource

from core.errors import SourceError
from feature_repo.files.feature_files import FeatureFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feast.data_source import DataSource
    from feast.repo_config import RepoConfig


def located(config: RepoConfig, path: str) -> Path:
    """Return the local path of a path in Feast's registry, relative to the folder of feature_store.yaml.

    Raises
    ------
    SourceError
        If the path is not local.

    """
    if "://" in path and not path.startswith("file://"):
        raise SourceError(f"{path} is no local path; this store reads and writes local files")
    return Path(config.repo_path or ".") / path.removeprefix("file://")


@dataclass(frozen=True)
class FeastSource:
    """The files of a source.

    Attributes
    ----------
    renamed : the inverse of the source's field mapping: Feast's name to the existing column.

    """

    name: str
    files: FeatureFiles
    renamed: Mapping[str, str]

    @classmethod
    def open(cls, config: RepoConfig, source: DataSource | None) -> FeastSource:
        """Return `source` with its files.

        Raises
        ------
        SourceError
            If the source is not one of local parquet files, or if no file exists.

        """
        if not isinstance(source, FileSource):
            raise SourceError(
                f"the source {source and source.name!r} is a {type(source).__name__}; this store reads parquet, as a FileSource"
            )
        if not isinstance(source.file_format, ParquetFormat | None):
            raise SourceError(
                f"the source {source.name!r} has the format {source.file_format}; this store reads parquet: convert its files"
            )
        files = FeatureFiles.find(located(config, source.path), located(config, "."))
        mapping = source.field_mapping or {}
        return cls(source.name, files, {new: old for old, new in mapping.items() if old in files.schema.names})

    def column(self, name: str) -> str:
        """Return the column in the files for Feast's name `name`.

        Raises
        ------
        SourceError
            If the files have no such column.

        """
        column = self.renamed.get(name, name)
        if column not in self.files.schema.names:
            present = ", ".join(self.files.schema.names)
            raise SourceError(
                f"{self.files.pattern} has no column {column!r}, of the source {self.name!r}; it has {present}"
            )
        return column


def type_name(dtype: pa.DataType) -> str:
    """Return the name of an Arrow type as Feast's inference of features expects it."""
    if pa.types.is_dictionary(dtype):
        return type_name(dtype.value_type)
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return f"list<item: {type_name(dtype.value_type)}>"
    return str(dtype)

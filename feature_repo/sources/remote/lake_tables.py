"""Delta and Iceberg tables: copied completely, as of one version, with their own types."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import SourceError
from feature_repo.files.duck import files_literal
from feature_repo.sources.parts import Part, by_position, position
from feature_repo.sources.remote.objects import AWS_CHAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb

    from core.plan.rows.remote_readers import DeltaReader, IcebergReader

_LONGEST_REASON = 300


def delta_part(reader: DeltaReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> Part:
    """Copy a Delta table to `scratch`; return its rows as a part.

    Raises
    ------
    SourceError
        If the extra is not installed, there is no such table or version, or it cannot be read whole.

    """
    with _translated(f"the Delta table {reader.path}", "correct the reader's path or version"):
        rows = _delta_table(reader).to_pyarrow_dataset()
        return _copied(rows.schema, rows.to_batches(), reader.path, connection, scratch)


def delta_version(reader: DeltaReader) -> str:
    """Return the version and the id of the Delta table that `reader` reads, as text.

    Raises
    ------
    SourceError
        If the extra is not installed, or there is no such table or version.

    """
    with _translated(f"the Delta table {reader.path}", "correct the reader's path or version"):
        table = _delta_table(reader)
        return f"version {table.version()} of the table {table.metadata().id}"


def _delta_table(reader: DeltaReader) -> Any:
    try:
        import deltalake
    except ImportError:
        raise SourceError("a reader of Delta Lake needs the extra: pip install 'pantherapredict[delta]'") from None
    return deltalake.DeltaTable(reader.path, version=reader.version, storage_options=_delta_options())


def _delta_options() -> dict[str, str]:
    """Return the credentials and addresses of object stores in the environment that delta-rs does not read itself."""
    get = os.environ.get
    is_known = any(map(get, ("AWS_ACCESS_KEY_ID", *AWS_CHAIN)))
    options = {
        "aws_skip_signature": None if is_known else "true",
        "allow_http": "true" if get("AWS_ENDPOINT_URL", "").startswith("http://") else None,
        "azure_storage_account_name": get("AZURE_STORAGE_ACCOUNT"),
        "azure_storage_account_key": get("AZURE_STORAGE_KEY"),
    }
    return {name: value for name, value in options.items() if value}


def iceberg_part(reader: IcebergReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> Part:
    """Copy an Iceberg table to `scratch`; return its rows as a part.

    Raises
    ------
    SourceError
        If the extra is not installed, there is no such catalog, table or snapshot, or it cannot be read whole.

    """
    with _translated(_place(reader), _NEXT):
        table = _iceberg_table(reader)
        rows = table.scan(snapshot_id=_snapshot(reader, table)).to_arrow_batch_reader()
        return _copied(rows.schema, rows, f"{reader.table} in the catalog {reader.catalog}", connection, scratch)


def iceberg_version(reader: IcebergReader) -> str:
    """Return the snapshot and the id of the Iceberg table that `reader` reads, as text.

    Raises
    ------
    SourceError
        If the extra is not installed, or there is no such catalog, table or snapshot.

    """
    with _translated(_place(reader), _NEXT):
        table = _iceberg_table(reader)
        return f"snapshot {_snapshot(reader, table)} of the table {table.metadata.table_uuid}"


_NEXT = "correct the reader's table, catalog or snapshot, or the catalog in the environment"


def _place(reader: IcebergReader) -> str:
    return f"the Iceberg table {reader.table} in the catalog {reader.catalog!r}"


def _iceberg_table(reader: IcebergReader) -> Any:
    try:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config
    except ImportError:
        raise SourceError("a reader of Iceberg needs the extra: pip install 'pantherapredict[iceberg]'") from None
    properties = Config().get_catalog_config(reader.catalog)
    variable = f"PYICEBERG_CATALOG__{reader.catalog.upper()}__URI"
    if not properties:
        raise SourceError(f"the environment variable {variable} is not set; set it to the address of the catalog")
    file = Path(str(properties.get("uri", "")).removeprefix("sqlite:///"))
    if str(properties.get("uri", "")).startswith("sqlite:///") and not file.exists():
        raise SourceError(
            f"there is no catalog {file}, which {variable} names; correct the variable, or make the catalog"
        )
    return load_catalog(reader.catalog, **{**properties, "init_catalog_tables": "false"}).load_table(reader.table)


def _snapshot(reader: IcebergReader, table: Any) -> int | None:
    """Return the number of the snapshot to read; None for a table without snapshots."""
    current = table.current_snapshot()
    if reader.snapshot is None:
        return current.snapshot_id if current else None
    if table.snapshot_by_id(reader.snapshot) is None:
        known = ", ".join(str(each.snapshot_id) for each in table.snapshots()) or "none"
        raise SourceError(
            f"{_place(reader)} has no snapshot {reader.snapshot}; it has {known}: set snapshot to one of them"
        )
    return reader.snapshot


@contextmanager
def _translated(what: str, remedy: str) -> Iterator[None]:
    """Raise SourceError for any error in the block; the libraries have several families of exceptions."""
    try:
        yield
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - their families have no root in common
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise SourceError(f"{what} cannot be read ({reason}); {remedy}") from None


def _copied(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    what: str,
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Part:
    """Write batches of rows to a file in `scratch`, whose columns are named by their positions; return it as a part."""
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"lake-{len(list(scratch.glob('lake-*')))}.parquet"
    plain = pa.schema([(position(number), column.type) for number, column in enumerate(schema)])
    with pq.ParquetWriter(file, plain, compression="lz4") as writer:
        for batch in batches:
            writer.write_batch(pa.record_batch(batch.columns, schema=plain))
    relation = f"read_parquet({files_literal(file)})"
    found = [str(row[1]) for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()]
    names = by_position(schema.names)
    types = {name: found[int(sql.removeprefix("_"))] for name, sql in names.columns.items()}
    return Part(relation, names.columns, what, types, names.doubled)

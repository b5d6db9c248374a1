"""Write a whole world: one Parquet file for each chunk and table, and the truth."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.errors import PantheraError
from worlds.subscription.life import Life, MonthOfLife
from worlds.subscription.settings import SubscriptionSettings
from worlds.subscription.tables import HAZARD_SCHEMA, TABLES
from worlds.subscription.truth import TruthWriter

ROW_GROUP_ROWS = 500_000
#: Columns with few distinct values in a row group, which a dictionary encoding suits.
REPEATED = frozenset({"customer_id", "minutes", "logins", "features_used", "price", "amount", "birth_year", "priority"})


@dataclass(frozen=True)
class ChunkWritten:
    """The number of records of one chunk by table, and its true hazards."""

    records: Mapping[str, int]
    hazard: pa.Table


@dataclass(frozen=True)
class WorldWritten:
    """The folder of a written world, and its number of records by table."""

    folder: Path
    records: Mapping[str, int]

    @property
    def events(self) -> int:
        """Number of records of all tables but `customers`."""
        return sum(self.records.values()) - self.records["customers"]


def generate(settings: SubscriptionSettings, folder: Path, workers: int = 1, *, progress: bool = False) -> WorldWritten:
    """Write the world into a new `folder`, completely or not at all.

    Parameters
    ----------
    settings : the world. The bytes depend on the settings only, not on `workers`.
    folder : must not exist, or be empty.
    workers : the number of processes; 1 uses the current one.
    progress : whether to show a progress bar on standard error.

    Raises
    ------
    PantheraError
        If `folder` is not empty or cannot be written, or a worker dies.

    """
    if workers < 1:
        raise PantheraError(f"workers: must be at least 1, found {workers}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PantheraError(f"{folder} exists and is not an empty folder; remove it or choose another one")
    try:
        with _atomic_folder(folder) as partial_folder:
            counts = _write_all(settings, partial_folder, workers, progress=progress)
    except OSError as failure:
        raise PantheraError(f"the world cannot be written to {folder}: {failure}") from failure
    except BrokenProcessPool as failure:
        raise PantheraError("a worker process died, probably out of memory; use fewer workers") from failure
    return WorldWritten(folder, counts)


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` at the end, or deleted after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise


def _write_all(settings: SubscriptionSettings, folder: Path, workers: int, *, progress: bool) -> Mapping[str, int]:
    for table in TABLES:
        (folder / table).mkdir()
    counts: Counter[str] = Counter()
    truth = TruthWriter(folder / "truth", settings)
    with closing(truth), _bar(settings.chunks, shown=progress) as bar:
        for chunk in _chunks_written(settings, folder, workers):
            counts.update(chunk.records)
            truth.add(chunk.hazard)
            bar.advance(bar.task_ids[0])
        truth.finish()
    return counts


def _chunks_written(settings: SubscriptionSettings, folder: Path, workers: int) -> Iterator[ChunkWritten]:
    """Write the chunks, in this process or in worker processes, and yield the result of each in order."""
    write = partial(write_chunk, settings, folder)
    if workers == 1:
        yield from map(write, range(settings.chunks))
        return
    with ProcessPoolExecutor(min(workers, settings.chunks), get_context("spawn")) as pool:
        yield from pool.map(write, range(settings.chunks))


def _bar(chunks: int, *, shown: bool) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), disable=not shown)
    bar.add_task("chunks of customers", total=chunks)
    return bar


def write_chunk(settings: SubscriptionSettings, folder: Path, chunk: int) -> ChunkWritten:
    """Simulate all months of one chunk and write its part of every table."""
    life = Life(settings, chunk)
    customers = life.customers()
    months = [life.advance() for _ in range(len(life.grid.starts) - 1)]
    tables = {table: _whole(table, months) for table in TABLES if table != "customers"}
    tables["customers"] = customers
    for table, rows in tables.items():
        write_part(rows, folder / table / f"part-{chunk:05d}.parquet")
    return ChunkWritten(
        records={table: len(rows) for table, rows in tables.items()},
        hazard=pa.concat_tables([HAZARD_SCHEMA.empty_table(), *(month.hazard for month in months)]),
    )


def _whole(table: str, months: list[MonthOfLife]) -> pa.Table:
    """Return the months of one table as one; the lead-in has no cancellations."""
    return pa.concat_tables(
        [TABLES[table].schema.empty_table(), *(month.tables[table] for month in months if table in month.tables)]
    )


def write_part(rows: pa.Table, path: Path) -> None:
    """Write records as one Parquet file of their table."""
    repeated = [field.name for field in rows.schema if field.name in REPEATED or pa.types.is_string(field.type)]
    pq.write_table(
        rows, path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS, use_dictionary=repeated
    )

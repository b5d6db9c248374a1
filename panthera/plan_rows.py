"""The rows that verbs about a plan read before its stages have run: those of the stages, or made in a temporary folder."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core.dtypes import DTYPES
from core.errors import QualityError
from core.plan.ingest import QualityRules
from core.plan.section import column_of
from feature_repo.files.datasets import raw_file
from feature_repo.ingest import ingest_joined
from feature_repo.validate import validate
from models.data.labels import LABEL_DTYPES
from models.data.split import read_training_set
from planner.decide.accepted import has_accepted_rows
from planner.verbs import build_training_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Plan

#: Pseudonyms in a temporary folder need no secret: they are read by nothing else, and removed with it.
_KEY = b"of a temporary folder"
_TEXTS = (pa.string(), pa.large_string())


@contextmanager
def accepted_rows(plan: Plan, data: Path, downloads: Path) -> Iterator[Path]:
    """Yield the folder of the accepted rows: that of the stages in `data`, or a temporary one made from the sources.

    Rows of the stages that lack a column of the plan are of an earlier plan, and are made anew.

    Raises
    ------
    PantheraError
        If a source cannot be read, or too many of its rows break the rules.

    """
    accepted = data / "accepted"
    if has_accepted_rows(plan, accepted):
        yield accepted
        return
    with TemporaryDirectory(prefix="panthera-") as folder:
        yield _accepted_in(plan, Path(folder), downloads)


def _accepted_in(plan: Plan, folder: Path, downloads: Path) -> Path:
    """Write the accepted rows of all sources to a folder in `folder`; return it."""
    raw, accepted, rejected = (folder / name for name in ("raw", "accepted", "rejected"))
    for name, source in plan.ingest.items():
        ingest_joined(name, plan.ingest, raw, downloads, _KEY)
        rules, key = plan.validate_.get(name, QualityRules()), plan.entities[source.entity].key
        try:
            validate(source.ingested(), key, rules, raw_file(raw, name), accepted / name, raw_file(rejected, name))
        except QualityError:
            raise QualityError(
                f"validate.{name}: more rows break the rules than max_rejected ({rules.max_rejected:.2%}) allows; "
                "panthera plan check shows which columns, dvc repro validate writes the rows with their reasons"
            ) from None
    return accepted


def training_rows(plan: Plan, data: Path, downloads: Path) -> pa.Table:
    """Return the training set: that of the stage in `data` if it fits the plan, or made in a temporary folder.

    Raises
    ------
    PantheraError
        See `accepted_rows`; or if the rows cannot be labelled, joined or split.

    """
    written = data / "training_set.parquet"
    if written.exists() and _fits(plan, pq.read_schema(written)):
        return read_training_set(written)
    with accepted_rows(plan, data, downloads) as accepted, TemporaryDirectory(prefix="panthera-") as scratch:
        return build_training_rows(plan, accepted, Path(scratch))


def _fits(plan: Plan, schema: pa.Schema) -> bool:
    """Return whether a training set is one of the plan as it is now: its label, and each feature, as a text or a number."""
    section, views = plan.training_set, plan.build_features.views
    pairs = plan.build_features.service_features(section.service)
    texts = {
        column_of(f"{view}.{name}"): DTYPES[views[view].features[name].dtype].python is str for view, name in pairs
    }
    wanted = {plan.unit.key, "as_of", "label", "split", *texts, *map(column_of, section.read_besides)}
    return (
        wanted <= set(schema.names)
        and schema.field("label").type == pa.type_for_alias(LABEL_DTYPES[plan.project.problem])
        and all((schema.field(name).type in _TEXTS) == text for name, text in texts.items())
    )

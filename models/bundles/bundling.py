"""From a fitted candidate to the files of its bundle: the contract, golden rows, and what training looked like."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.contracts import Contract, ContractView
from core.reference import build_reference
from feature_repo.views.definitions import view_definition
from models.bundles.bundle import golden_rows
from models.bundles.contract_format import FORMAT_VERSION, contract_to_json
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, contract_features, part
from models.scoring.columns import spread
from models.scoring.encoding import encode_table, vectors_of
from models.scoring.model_file import calibrated, load_model, score_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from core.contracts import ContractFeature
    from core.plan.plan import Plan
    from core.plan.training_set import Label
    from models.evaluation.evaluation import CandidateResult

_GOLDEN_ROWS = 20
_REFERENCE_SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Revisions:
    """From which training set, commit and locked packages a release came."""

    data: str
    code: str
    lock: str


def contract_of(plan: Plan, result: CandidateResult, estimator: str, table: pa.Table, revisions: Revisions) -> Contract:
    """Write down what a candidate takes and says, and from what it came; `table` is its training set."""
    train = part(table, TRAIN)
    features = tuple(
        _with_nulls(feature, train)
        for feature in contract_features(plan.build_features, plan.training_set.service, train)
    )
    return Contract(
        format_version=FORMAT_VERSION,
        project=plan.project.name,
        problem=plan.project.problem,
        candidate=result.candidate,
        estimator=estimator,
        feature_service=plan.training_set.service,
        entity_key=plan.unit.key,
        entity_dtype=plan.unit.dtype,
        views=tuple(contract_views(plan, features)),
        features=features,
        threshold=result.threshold,
        horizon=plan.label.horizon,
        model=plan.register_.model,
        label=label_definition(plan.label),
        data_revision=revisions.data,
        code_revision=revisions.code,
        lock=revisions.lock,
        unseen_level=plan.register_.unseen_level,
        classes=task_of(plan.project.problem, train).classes,
        seen_until=seen_until(table, plan.label.horizon),
        test_rows=rows_digest(part(table, TEST), plan.unit.key),
        calibration=None if result.calibration.kind == "none" else result.calibration,
    )


def contract_view(plan: Plan, name: str) -> ContractView:
    """Name the view `name` as `plan` defines it."""
    view = plan.build_features.views[name]
    definition = view_definition(plan, name)
    table = definition.table
    return ContractView(name, table.name, view.ttl, definition.fingerprint, definition.link, table.packed_features)


def contract_views(plan: Plan, features: Iterable[ContractFeature]) -> Iterator[ContractView]:
    """Name the views that `features` are of, and those that hold a link to one of them."""
    views = [contract_view(plan, name) for name in dict.fromkeys(feature.view for feature in features)]
    yield from views
    named = {view.name for view in views}
    yield from (
        contract_view(plan, name)
        for name in dict.fromkeys(view.link.view for view in views if view.link)
        if name not in named
    )


def seen_until(table: pa.Table, horizon: timedelta) -> datetime:
    """Say when the last label window closed of the rows that candidates are fitted on, or chosen by."""
    seen = table.filter(pc.not_equal(table.column("split"), TEST))
    last: datetime = pc.max(seen.column("as_of")).as_py()
    return last + horizon


def rows_digest(rows: pa.Table, key: str) -> str:
    """Give the sha256 of which entities, as of when, stand in `rows`, in whatever order."""
    ordered = rows.select([key, "as_of"]).sort_by([(key, "ascending"), ("as_of", "ascending")])
    digest = hashlib.sha256()
    for column in ordered.columns:
        digest.update("\n".join(column.cast(pa.string()).to_pylist()).encode())
    return digest.hexdigest()


def label_definition(label: Label) -> str:
    """Give the sha256 of what is predicted."""
    return hashlib.sha256(label.model_dump_json().encode()).hexdigest()


def _with_nulls(feature: ContractFeature, train: pa.Table) -> ContractFeature:
    return replace(feature, nullable=train.column(feature.column).null_count > 0)


def bundle_contents(contract: Contract, model: bytes, train: pa.Table) -> dict[str, bytes]:
    """Compose the files of a bundle from a fitted model and the rows it was trained on."""
    model_outputs = load_model(contract.estimator, model).outputs(encode_table(train, contract.features))
    outputs = calibrated(model_outputs, contract.calibration)
    scores = score_of(outputs)
    # Free text has no bins to compare, and may say more about a person than a sample of rows should keep.
    binned = [feature.column for feature in contract.features if feature.dtype != "text"]
    columns = train.select(binned).append_column("score", pa.array(scores))
    sample = pa.BufferOutputStream()
    pq.write_table(columns.take(spread(len(columns), _REFERENCE_SAMPLE_ROWS)), sample, compression="zstd")
    golden = spread(train.num_rows, _GOLDEN_ROWS)
    golden_scores = (outputs if contract.classes else scores)[golden].tolist()
    return {
        "contract.json": contract_to_json(contract).encode(),
        "golden.json": golden_rows(vectors_of(train.take(golden), contract.features), golden_scores).encode(),
        "model": model,
        "reference.json": build_reference(columns).to_json().encode(),
        "reference.parquet": sample.getvalue().to_pybytes(),
    }

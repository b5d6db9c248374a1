"""Compose the files of a bundle from a fitted candidate: the contract, golden rows and reference distributions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.contracts import Contract, ContractView
from core.plan.section import column_of
from core.reference import build_reference
from feature_repo.views.definitions import view_definition
from models.bundles.bundle import golden_rows
from models.bundles.contract_format import FORMAT_VERSION, contract_to_json
from models.data.rows import BINARY, labels_of, task_of, weights_of
from models.data.split import TEST, TRAIN, contract_features, part
from models.measures.score_reference import fit_score_reference
from models.scoring.columns import evenly_spaced
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
    """The revisions of the training set, the code and the locked packages of a release."""

    data: str
    code: str
    lock: str


def contract_of(plan: Plan, result: CandidateResult, estimator: str, table: pa.Table, revisions: Revisions) -> Contract:
    """Return the contract of a candidate: its inputs, outputs and origin; `table` is its training set."""
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
        classes=task_of(plan.project.problem, train, plan.label.ordered).classes,
        positive=plan.label.positive_name,
        negative=plan.label.negative_name,
        interval=result.interval,
        weight=plan.training_set.weight or "",
        seen_until=seen_until(table, plan.label.known_after),
        test_rows=rows_digest(part(table, TEST), plan.unit.key),
        calibration=None if result.calibration.kind == "none" else result.calibration,
    )


def contract_view(plan: Plan, name: str) -> ContractView:
    """Return the contract's entry for the view `name` of `plan`."""
    view = plan.build_features.views[name]
    definition = view_definition(plan, name)
    table = definition.table
    return ContractView(name, table.name, view.ttl, definition.fingerprint, definition.link, table.packed_features)


def contract_views(plan: Plan, features: Iterable[ContractFeature]) -> Iterator[ContractView]:
    """Yield the entries of the views of `features`, then those of the views that their links read."""
    views = [contract_view(plan, name) for name in dict.fromkeys(feature.view for feature in features)]
    yield from views
    named = {view.name for view in views}
    yield from (
        contract_view(plan, name)
        for name in dict.fromkeys(view.link.view for view in views if view.link)
        if name not in named
    )


def seen_until(table: pa.Table, known_after: timedelta) -> datetime:
    """Return the time at which the last label outside the test split became known."""
    seen = table.filter(pc.not_equal(table.column("split"), TEST))
    last: datetime = pc.max(seen.column("as_of")).as_py()
    return last + known_after


def rows_digest(rows: pa.Table, key: str) -> str:
    """Return the sha256 of the (entity, as of) pairs of `rows`, independent of their order."""
    ordered = rows.select([key, "as_of"]).sort_by([(key, "ascending"), ("as_of", "ascending")])
    digest = hashlib.sha256()
    for column in ordered.columns:
        digest.update("\n".join(column.cast(pa.string()).to_pylist()).encode())
    return digest.hexdigest()


def label_definition(label: Label) -> str:
    """Return the sha256 of the label's definition."""
    return hashlib.sha256(
        label.model_dump_json(exclude={"unlabelled", "names"}, exclude_none=True).encode()
    ).hexdigest()


def _with_nulls(feature: ContractFeature, train: pa.Table) -> ContractFeature:
    return replace(feature, nullable=train.column(feature.column).null_count > 0)


def with_score_reference(contract: Contract, model: bytes, test: pa.Table) -> Contract:
    """Return the contract of a binary problem with the outcomes of its test rows by score; any other unchanged.

    Monitoring estimates metrics by it before outcomes are known: the model was neither fitted nor calibrated on these rows.
    """
    if contract.problem != "binary":
        return contract
    outputs = load_model(contract.estimator, model).outputs(encode_table(test, contract.features))
    reference = fit_score_reference(
        score_of(calibrated(outputs, contract.calibration)),
        labels_of(test.column("label"), BINARY),
        pc.count_distinct(test.column(contract.entity_key)).as_py(),
        weights_of(test, column_of(contract.weight) if contract.weight else None),
    )
    return replace(contract, score_reference=reference)


def bundle_contents(contract: Contract, model: bytes, train: pa.Table) -> dict[str, bytes]:
    """Return the files of a bundle by name, from a fitted model and its training rows."""
    model_outputs = load_model(contract.estimator, model).outputs(encode_table(train, contract.features))
    outputs = calibrated(model_outputs, contract.calibration)
    scores = score_of(outputs)
    # Free text has no bins, and may contain personal data that a sample of rows should not store.
    binned = [feature.column for feature in contract.features if feature.dtype != "text"]
    columns = train.select(binned).append_column("score", pa.array(scores))
    sample = pa.BufferOutputStream()
    pq.write_table(columns.take(evenly_spaced(len(columns), _REFERENCE_SAMPLE_ROWS)), sample, compression="zstd")
    golden = evenly_spaced(train.num_rows, _GOLDEN_ROWS)
    golden_scores = (outputs if contract.classes else scores)[golden].tolist()
    return {
        "contract.json": contract_to_json(contract).encode(),
        "golden.json": golden_rows(vectors_of(train.take(golden), contract.features), golden_scores).encode(),
        "model": model,
        "reference.json": build_reference(columns).to_json().encode(),
        "reference.parquet": sample.getvalue().to_pybytes(),
    }

"""Stage `leakage`: fail the run if a feature leaks the label.

Four checks of a feature: its values come from rows that were unknown at the as-of instant; it counts days of the label's
window; it is a time after the as-of instant; or it alone predicts the label implausibly well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from core.entry import run
from core.errors import PlanError
from core.files import require, write_whole
from core.json_text import plain
from core.plan.file import read_plan
from core.settings import read_settings
from feature_repo.views.linked_rows import linked_by
from feature_repo.views.look_ahead import look_ahead
from models.data.rows import entity_codes, task_of
from models.data.split import TRAIN, contract_features, part, read_training_set, rows_of
from models.evaluation.leak_scores import leak_scores, suspicion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from core.contracts import ContractFeature
    from core.plan.ingest import Source
    from core.plan.leakage import Leakage
    from core.plan.plan import Plan, View
    from models.evaluation.leak_scores import LeakScore

#: What its functions import and later stages too, so that they find it imported (see core.launch).
LIBRARIES = ("pandas", "sklearn.metrics", "sklearn.tree")
FORMAT_VERSION = 1

Suspicion = tuple[str, str]


def begun_windows(pairs: Sequence[tuple[str, str]], plan: Plan) -> Iterator[Suspicion]:
    """Yield the features that count the current day of the label's source, in which the label's window has begun."""
    for view, name in pairs:
        source = _source_of(plan.build_features.views[view], name)
        if source == plan.label.source and _begins_the_day(plan.ingest[source]):
            reason = (
                f"a row of {source!r} covers a day but is dated at its start, so the feature counts a day in which the "
                f"label's window has begun; set ingest.{source}.event_time.at to end_of_day"
            )
            yield f"{view}.{name}", reason


def _source_of(view: View, name: str) -> str | None:
    feature = view.features[name]
    return (feature.source or view.source) if feature.over == "rows" else None


def _begins_the_day(source: Source) -> bool:
    time = source.event_time
    return (
        time is not None
        and source.columns[time.column].dtype == "date"
        and time.at == "start_of_day"
        and source.created_time is None
    )


def times_to_come(table: pa.Table, features: Sequence[ContractFeature]) -> Iterator[Suspicion]:
    """Yield the features that are times later than the as-of instant of their row."""
    for feature in features:
        if feature.dtype == "timestamp":
            later = pc.sum(pc.greater(table.column(feature.column), table.column("as_of"))).as_py() or 0
            if later:
                yield f"{feature.view}.{feature.name}", f"it is a time after as of in {later:,} of {len(table):,} rows"


def look_aheads(pairs: Sequence[tuple[str, str]], plan: Plan, accepted: Path, table: pa.Table) -> Iterator[Suspicion]:
    """Yield the features whose values at the last training instant come from rows that were unknown at that instant."""
    as_of = pc.max(table.column("as_of")).as_py()
    for name in dict.fromkeys(view for view, _ in pairs):
        view = plan.build_features.views[name]
        for feature, reason in look_ahead(accepted, view, plan.entity_of(view), linked_by(plan, view), as_of):
            if (name, feature) in pairs:
                yield f"{name}.{feature}", reason


def refuse_leaks(found: Sequence[Suspicion], section: Leakage) -> None:
    """Refuse features that seem to leak the label, unless the plan allows them.

    Raises
    ------
    PlanError
        If there are any; with their names.

    """
    refused: dict[str, list[str]] = {}
    for feature, reason in found:
        if feature not in section.allow:
            refused.setdefault(feature, []).append(reason)
    if refused:
        listed = "; ".join(f"{feature}: {', and '.join(reasons)}" for feature, reasons in refused.items())
        raise PlanError(
            f"training_set.leakage: {len(refused)} feature{'s seem' if len(refused) > 1 else ' seems'} to leak the label: "
            f"{listed}. Correct the source of its rows, or remove the feature from the service; if it does not leak, allow it "
            f"by name: training_set.leakage.allow: {{{next(iter(refused))}: why it does not leak}}"
        )


def to_json(scores: Sequence[LeakScore], found: Sequence[Suspicion], section: Leakage) -> str:
    """Compose the JSON of leak scores and suspicions, the highest score first; undefined numbers are null."""
    alone = [plain(one) for one in sorted(scores, key=lambda one: -one.reached)]
    content = {"format_version": FORMAT_VERSION, "alone": alone, "found": found, "allowed": section.allow}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder of the accepted rows")
    parser.add_argument("--training-set", type=Path, required=True, help="parquet file of `training_set`")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    section, service = plan.training_set.leakage, plan.training_set.service
    table = part(read_training_set(arguments.training_set), TRAIN)
    pairs = plan.build_features.service_features(service)
    features = contract_features(plan.build_features, service, table)
    task = task_of(plan.project.problem, table, plan.label.ordered)
    rows, entity = rows_of(table, features, task), entity_codes(table.column(plan.cluster_column))
    scores = leak_scores(features, rows, entity, task, section.surely)
    accepted = require(arguments.accepted, "validate")
    found = [
        *look_aheads(pairs, plan, accepted, table),
        *(() if plan.labels_rows else begun_windows(pairs, plan)),
        *(times_to_come(table, features) if plan.has_time else ()),
        *((one.feature, reason) for one in scores if (reason := suspicion(one, section, task))),
    ]
    refuse_leaks(found, section)
    write_whole(arguments.out, to_json(scores, found, section))
    strongest = max(scores, key=lambda one: one.reached, default=None)
    words = f"; the strongest alone is {strongest.feature} ({strongest.reached:.3f})" if strongest else ""
    print(f"leakage: {len(features)} features, none leaks the label{words}")
    for feature, reason in found:
        print(f"leakage: {feature}: {reason}; allowed: {section.allow[feature]}")


if __name__ == "__main__":
    run(main)

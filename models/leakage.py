"""Stage `leakage`: fail the run where a feature knows what it is to predict.

A feature is looked at in four ways: whether its values come from rows that nobody could know as of then, whether it counts
days in which the label's window has begun, whether it is a time that was still to come, and whether it tells the label by
itself better than an honest feature can be expected to.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from core.entry import run
from core.errors import PlanError
from core.files import require, write_whole
from core.plan.file import read_plan
from core.settings import read_settings
from feature_repo.views.linked_rows import linked_by
from feature_repo.views.look_ahead import look_ahead
from models.data.rows import entity_codes, task_of
from models.data.split import TRAIN, contract_features, part, read_training_set, rows_of
from models.evaluation.leak_scores import suspicion, tell_alone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from core.contracts import ContractFeature
    from core.plan.ingest import Source
    from core.plan.leakage import Leakage
    from core.plan.plan import Plan, View
    from models.evaluation.leak_scores import Alone

FORMAT_VERSION = 1

Suspicion = tuple[str, str]


def begun_windows(pairs: Sequence[tuple[str, str]], plan: Plan) -> Iterator[Suspicion]:
    """Find the features that count days of the label's source as if they were over when they begin."""
    for view, name in pairs:
        source = _source_of(plan.build_features.views[view], name)
        if source == plan.label.source and _begins_the_day(plan.ingest[source]):
            reason = (
                f"a row of {source!r} stands for a day and is dated at its start, so that a day in which the label's window "
                f"has begun is counted; set ingest.{source}.event_time.at to end_of_day"
            )
            yield f"{view}.{name}", reason


def _source_of(view: View, name: str) -> str | None:
    feature = view.features[name]
    return (feature.source or view.source) if feature.over == "rows" else None


def _begins_the_day(source: Source) -> bool:
    time = source.event_time
    return source.columns[time.column].dtype == "date" and time.at == "start_of_day" and source.created_time is None


def times_to_come(table: pa.Table, features: Sequence[ContractFeature]) -> Iterator[Suspicion]:
    """Find the features that are times after the as-of instant of their row."""
    for feature in features:
        if feature.dtype == "timestamp":
            ahead = pc.sum(pc.greater(table.column(feature.column), table.column("as_of"))).as_py() or 0
            if ahead:
                yield f"{feature.view}.{feature.name}", f"it is a time after as of in {ahead:,} of {len(table):,} rows"


def look_aheads(pairs: Sequence[tuple[str, str]], plan: Plan, accepted: Path, table: pa.Table) -> Iterator[Suspicion]:
    """Find the features whose values come from rows that were not known as of then, at the last of the training instants."""
    as_of = pc.max(table.column("as_of")).as_py()
    for name in dict.fromkeys(view for view, _ in pairs):
        view = plan.build_features.views[name]
        for feature, reason in look_ahead(accepted, view, plan.entity_of(view), linked_by(plan, view), as_of):
            if (name, feature) in pairs:
                yield f"{name}.{feature}", reason


def refuse(found: Sequence[Suspicion], section: Leakage) -> None:
    """Refuse features that are found to know the label and are not allowed to.

    Raises
    ------
    PlanError
        If there are any, with their names.

    """
    refused: dict[str, list[str]] = {}
    for feature, reason in found:
        if feature not in section.allow:
            refused.setdefault(feature, []).append(reason)
    if refused:
        said = "; ".join(f"{feature}: {', and '.join(reasons)}" for feature, reasons in refused.items())
        raise PlanError(
            f"training_set.leakage: {len(refused)} feature{'s seem' if len(refused) > 1 else ' seems'} to know the label: "
            f"{said}. Correct where the rows come from, or take the feature out of the service; if it is sound, allow it by "
            f"name: training_set.leakage.allow: {{{next(iter(refused))}: why it is sound}}"
        )


def to_json(told: Sequence[Alone], found: Sequence[Suspicion], section: Leakage) -> str:
    """Write what was found, the strongest feature first; what is undefined is null."""
    alone = [asdict(one) for one in sorted(told, key=lambda one: -one.reached)]
    for one in alone:
        one["surest"] = None if math.isnan(one["surest"]) else one["surest"]
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
    features, task = contract_features(plan.build_features, service, table), task_of(plan.project.problem, table)
    rows, entity = rows_of(table, features, task), entity_codes(table.column(plan.unit.key))
    told = tell_alone(features, rows, entity, task, section.surely)
    accepted = require(arguments.accepted, "validate")
    found = [
        *look_aheads(pairs, plan, accepted, table),
        *begun_windows(pairs, plan),
        *times_to_come(table, features),
        *((one.feature, reason) for one in told if (reason := suspicion(one, section, task))),
    ]
    refuse(found, section)
    write_whole(arguments.out, to_json(told, found, section))
    strongest = max(told, key=lambda one: one.reached, default=None)
    words = f"; the strongest alone is {strongest.feature} ({strongest.reached:.3f})" if strongest else ""
    print(f"leakage: {len(features)} features, none knows the label{words}")
    for feature, reason in found:
        print(f"leakage: {feature}: {reason}; allowed: {section.allow[feature]}")


if __name__ == "__main__":
    run(main)

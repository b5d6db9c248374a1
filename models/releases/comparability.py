"""Check whether a release can be measured on the test rows of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from core.plan.times import day_or_time
from feature_repo.views.definitions import earlier_definition, earlier_name, view_definition
from models.bundles.bundling import label_definition, rows_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from core.contracts import Contract, ContractView
    from core.plan.plan import Plan


def obstacle(
    contract: Contract, plan: Plan, classes: Sequence[str], test: pa.Table, recorded: Mapping[str, str]
) -> str | None:
    """Return why a release cannot be measured on the rows `test` of `plan`, or None if it can.

    The release must predict the same label for the same entity with the same `classes`. Its views must still be defined as
    in its training. It must not have been fitted on the rows: they are its own test rows, or begin after its last label.
    Fields that a contract of an old format lacks are not compared. `recorded` maps online tables to their fingerprints.
    """
    return next(_obstacles(contract, plan, classes, test, recorded), None)


def _obstacles(
    contract: Contract, plan: Plan, classes: Sequence[str], test: pa.Table, recorded: Mapping[str, str]
) -> Iterator[str]:
    if contract.problem != plan.project.problem:
        yield f"its problem is {contract.problem}, the plan's {plan.project.problem}"
    if (contract.entity_key, contract.entity_dtype) != (plan.unit.key, plan.unit.dtype):
        yield f"it predicts for {contract.entity_key}, the plan for {plan.unit.key}"
    if contract.classes != tuple(classes):
        yield f"its classes are {', '.join(contract.classes)}, the plan's {', '.join(classes)}"
    if contract.horizon != plan.label.horizon or contract.label not in {"", label_definition(plan.label)}:
        yield "it predicts another label than the plan"
    changed = [view.name for view in contract.views if not same_definition(view, plan, recorded)]
    if changed:
        yield f"the plan's definition of {', '.join(changed)} has changed since it was trained"
    begins: datetime = pc.min(test.column("as_of")).as_py()
    seen_until = contract.seen_until
    if seen_until is not None and seen_until > begins and contract.test_rows != rows_digest(test, plan.unit.key):
        yield (
            f"its labels reach until {day_or_time(seen_until)}, but the test rows are not its own and begin on "
            f"{day_or_time(begins)}"
            if plan.has_time
            else "the test rows are not its own, and it may have been trained on them"
        )


def same_definition(view: ContractView, plan: Plan, recorded: Mapping[str, str]) -> bool:
    """Return whether `view` is defined like the plan's view of the same name.

    `recorded` maps online tables to their fingerprints. It serves contracts of earlier versions. Without a recorded
    fingerprint, the definition of the contract or the name of its table decides.
    """
    if view.name not in plan.build_features.views:
        return False
    now = view_definition(plan, view.name)
    if now.fingerprint in {view.definition, recorded.get(view.online_table)}:
        return True
    if view.definition:
        return view.definition == earlier_definition(plan, view.name)
    return view.online_table in {now.table.name, earlier_name(plan, view.name)}

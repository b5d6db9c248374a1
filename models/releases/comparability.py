"""Whether two releases answer the same question, so that both can be measured on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

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
    """Say why a release cannot be measured on the rows `test` of `plan`, whose labels have these `classes`, or None.

    It must predict the same label for the same entity, read views that are defined as they were when it was trained, and
    have seen none of the rows: they are those that it was tested on, or begin after all that it has seen. What a contract
    of an old format does not say is not held against it. `recorded` are the fingerprints of online tables by their names.
    """
    return next(_obstacles(contract, plan, classes, test, recorded), None)


def _obstacles(
    contract: Contract, plan: Plan, classes: Sequence[str], test: pa.Table, recorded: Mapping[str, str]
) -> Iterator[str]:
    if contract.problem != plan.project.problem:
        yield f"it answers a {contract.problem} problem, the plan is of a {plan.project.problem} one"
    if (contract.entity_key, contract.entity_dtype) != (plan.unit.key, plan.unit.dtype):
        yield f"it predicts for {contract.entity_key}, the plan for {plan.unit.key}"
    if contract.classes != tuple(classes):
        yield f"it knows the classes {', '.join(contract.classes)}, the plan has {', '.join(classes)} now"
    if contract.horizon != plan.label.horizon or contract.label not in {"", label_definition(plan.label)}:
        yield "it predicts another label than the plan has now"
    changed = [view.name for view in contract.views if not same_definition(view, plan, recorded)]
    if changed:
        yield f"the plan defines {', '.join(changed)} otherwise than when it was trained"
    begins: datetime = pc.min(test.column("as_of")).as_py()
    later = contract.seen_until is None or contract.seen_until <= begins
    if not later and contract.test_rows != rows_digest(test, plan.unit.key):
        yield (
            f"it has seen labels until {contract.seen_until:%Y-%m-%d}, and the test rows are other ones than its own and "
            f"begin on {begins:%Y-%m-%d}"
        )


def same_definition(view: ContractView, plan: Plan, recorded: Mapping[str, str]) -> bool:
    """Say whether the values of `view` are those of the plan's view of that name.

    `recorded` are the fingerprints of online tables by their names: they stand for a contract that an earlier version wrote,
    whose own word for the definition, or the name of its table, is taken where nothing is recorded.
    """
    if view.name not in plan.build_features.views:
        return False
    now = view_definition(plan, view.name)
    if now.fingerprint in {view.definition, recorded.get(view.online_table)}:
        return True
    if view.definition:
        return view.definition == earlier_definition(plan, view.name)
    return view.online_table in {now.table.name, earlier_name(plan, view.name)}

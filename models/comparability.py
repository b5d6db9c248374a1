"""Whether two releases answer the same question, so that both can be measured on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from models.bundling import contract_view, label_definition, rows_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import pyarrow as pa

    from core.contracts import Contract, ContractView
    from core.plan import Plan


def obstacle(contract: Contract, plan: Plan, classes: Sequence[str], test: pa.Table) -> str | None:
    """Say why a release cannot be measured on the rows `test` of `plan`, whose labels have these `classes`, or None.

    It must predict the same label for the same entity, read views that are defined as they were when it was trained, and
    have seen none of the rows: they are those that it was tested on, or begin after all that it has seen. What a contract
    of an old format does not say is not held against it.
    """
    return next(_obstacles(contract, plan, classes, test), None)


def _obstacles(contract: Contract, plan: Plan, classes: Sequence[str], test: pa.Table) -> Iterator[str]:
    if contract.problem != plan.project.problem:
        yield f"it answers a {contract.problem} problem, the plan is of a {plan.project.problem} one"
    if (contract.entity_key, contract.entity_dtype) != (plan.unit.key, plan.unit.dtype):
        yield f"it predicts for {contract.entity_key}, the plan for {plan.unit.key}"
    if contract.classes != tuple(classes):
        yield f"it knows the classes {', '.join(contract.classes)}, the plan has {', '.join(classes)} now"
    if contract.horizon != plan.label.horizon or contract.label not in {"", label_definition(plan.label)}:
        yield "it predicts another label than the plan has now"
    changed = [view.name for view in contract.views if not _as_then(view, plan)]
    if changed:
        yield f"the plan defines {', '.join(changed)} otherwise than when it was trained"
    begins: datetime = pc.min(test.column("as_of")).as_py()
    later = contract.seen_until is None or contract.seen_until <= begins
    if not later and contract.test_rows != rows_digest(test, plan.unit.key):
        yield (
            f"it has seen labels until {contract.seen_until:%Y-%m-%d}, and the test rows are other ones than its own and "
            f"begin on {begins:%Y-%m-%d}"
        )


def _as_then(view: ContractView, plan: Plan) -> bool:
    if view.name not in plan.build_features.views:
        return False
    now = contract_view(plan, view.name)
    return now.definition == view.definition if view.definition else now.online_table == view.online_table

"""Which roles the releases of a training get: the gate compares the best of them with the champion, and the ledger keeps it.

The first training of a model gives both roles. From then on the best release takes the champion's place only if the gate
says that it won, and becomes the challenger if it neither won nor lost, or cannot be compared. One that lost gets no role.
What a person gave the challenger's role stays there. A release that was judged once is not judged again, so that running
the stage again never undoes what a person did since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import BundleError
from core.postgres.database import connect
from core.roles import CHALLENGER, CHAMPION
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, part
from models.evaluation.measure_candidates import observed, part_of, scores_of
from models.measures.groups import groupings
from models.measures.intervals import Resampling
from models.releases import ledger, promotion
from models.releases.comparability import obstacle
from models.releases.gate import Contender, Sides, judge, outcome_of, reason_of, row_microseconds
from models.releases.ledger import Act, Verdict
from models.scoring.columns import spread
from models.scoring.encoding import vectors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psycopg
    import pyarrow as pa

    from core.contracts import ContractFeature
    from core.plan.evaluate import Evaluate
    from core.plan.plan import Plan
    from models.bundles.bundle import Bundle
    from models.data.rows import Task
    from models.releases.ledger import LedgerRelease, NewRelease

#: Rows that are scored one by one to see how long one takes.
_TIMED_ROWS = 200


@dataclass(frozen=True)
class Settled:
    """What became of the best release of a training; `verdict` is None where nothing was judged."""

    verdict: Verdict | None
    words: str


def compare(
    plan: Plan,
    table: pa.Table,
    load: Callable[[str], Bundle],
    join: Callable[[pa.Table, Sequence[ContractFeature]], pa.Table],
    release: NewRelease,
    champion: LedgerRelease,
    recorded: Mapping[str, str],
) -> Verdict:
    """Compare `release` with `champion` on the test rows.

    Parameters
    ----------
    table : the training set of `release`.
    load : loads a bundle by its digest.
    join : adds to a table that has the key and `as_of` the features, point in time, that a champion of another feature
        service reads.

    Raises
    ------
    BundleError
        If the bundle of `release` cannot be loaded.

    """
    ids = release.release_id, champion.release_id
    challenger = load(release.bundle_digest)
    try:
        present = load(champion.bundle_digest)
    except BundleError as error:
        return Verdict(*ids, "not_comparable", f"the champion's bundle cannot be loaded: {error}", ())
    task = task_of(plan.project.problem, part(table, TRAIN))
    test = part(table, TEST)
    reason = obstacle(present.contract, plan, task.classes, test, recorded)
    if reason:
        return Verdict(*ids, "not_comparable", f"the champion cannot be measured on these rows: {reason}", ())
    intervals = plan.evaluate.intervals
    resampling = Resampling(intervals.repeats, intervals.confidence, plan.train.seed)
    one, other = (contender(plan, test, task, join, bundle) for bundle in (challenger, present))
    checks = judge(plan.register_, plan.evaluate.primary, one, other, resampling, sides_of(plan.evaluate, test))
    return Verdict(*ids, outcome_of(checks), reason_of(checks), tuple(check.to_dict() for check in checks))


def sides_of(section: Evaluate, test: pa.Table) -> Sides:
    """Part the rows `test` by the groups of the plan."""
    fair = section.fairness
    return Sides(
        groupings(section, test), frozenset(fair.groups if fair else ()), fair.acceptable_gap if fair else None
    )


def contender(
    plan: Plan,
    test: pa.Table,
    task: Task,
    join: Callable[[pa.Table, Sequence[ContractFeature]], pa.Table],
    bundle: Bundle,
) -> Contender:
    """Have a bundle score the rows `test`, and see how long it takes for one."""
    features = bundle.contract.features
    missing = [feature for feature in features if feature.column not in test.column_names]
    full = join(test, missing) if missing else test
    encoded = part_of(full, TEST, features, task, plan.unit.key)
    scores = scores_of(bundle.outputs_of(encoded.rows.inputs))
    rows = observed(plan.evaluate, plan.project.problem, encoded, scores, bundle.contract.threshold)
    timed = vectors_of(full.take(spread(len(full), _TIMED_ROWS)), features)
    return Contender(rows, row_microseconds(bundle, timed), bundle.size)


def settle(
    url: str, ranked: Sequence[NewRelease], judge: Callable[[NewRelease, LedgerRelease], Verdict], actor: str
) -> Settled:
    """Have the best of `ranked`, which stand in the ledger, judged, and give roles by what is said of it.

    Judging takes a while, during which nobody is kept from changing roles: if somebody did, it is judged again.
    """
    best = ranked[0]
    while True:
        with connect(url) as connection:
            champion = ledger.current(connection, best.model, CHAMPION)
            judged = ledger.verdicts(connection, [best.release_id])
        if champion and champion.release_id == best.release_id:
            return Settled(None, f"{best.release_id} is the champion already")
        if champion and judged:
            last = f"{judged[-1].outcome}, on {judged[-1].decided_at:%Y-%m-%d}"
            return Settled(None, f"{best.release_id} was judged before ({last}); roles stay as they are")
        verdict = judge(best, champion) if champion else _first(ranked)
        with connect(url) as connection:
            ledger.lock_roles(connection, best.model)
            if ledger.roles(connection, best.model)[CHAMPION] == verdict.against:
                ledger.enter_verdict(connection, best.model, verdict, actor)
                _give_roles(connection, ranked, verdict, Act("register", actor, f"{verdict.outcome}: {verdict.reason}"))
                return Settled(verdict, f"{best.release_id}: {verdict.outcome}: {verdict.reason}")


def _first(ranked: Sequence[NewRelease]) -> Verdict:
    best = ranked[0]
    return Verdict(best.release_id, None, "first", f"{best.model!r} had no champion", ())


def _give_roles(connection: psycopg.Connection, ranked: Sequence[NewRelease], verdict: Verdict, act: Act) -> None:
    model, best = ranked[0].model, ranked[0].release_id
    challenger: str | None = best
    if verdict.outcome in {"first", "won"}:
        promotion.give(connection, model, CHAMPION, best, act)
        challenger = ranked[1].release_id if verdict.against is None and len(ranked) > 1 else verdict.against
    if verdict.outcome != "lost" and challenger and not _chosen_by_a_person(connection, model):
        promotion.give(connection, model, CHALLENGER, challenger, act)


def _chosen_by_a_person(connection: psycopg.Connection, model: str) -> bool:
    """Whether the challenger is one that somebody promoted by hand."""
    changes = [change for change in ledger.history(connection, model) if change.role == CHALLENGER]
    return bool(changes) and changes[-1].release_id is not None and changes[-1].cause != "register"

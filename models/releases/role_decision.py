"""Decide the roles of new releases: the gate compares the best one with the champion, and the ledger stores the verdict.

The first run of training assigns both roles. Later the best release becomes the champion if its outcome is `won`, and the
challenger if it is `undecided` or `not_comparable`; with `lost` it gets no role. A challenger that a person promoted stays.
During a retraining (`models.releases.retrainings`) a release that won becomes challenger, and the champion stays.
A release is compared only once, so that running the stage again never undoes what a person changed since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import BundleError
from core.postgres.database import connect
from core.roles import CHALLENGER, CHAMPION
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, part
from models.evaluation.measure_candidates import observed, part_of_plan, scores_of
from models.measures.groups import groupings
from models.measures.intervals import Resampling
from models.releases import ledger, promotion
from models.releases.comparability import obstacle
from models.releases.gate import Contender, GroupRules, gate_checks, outcome_of, outcome_reason, row_microseconds
from models.releases.ledger import Act, Verdict
from models.releases.retrainings import end_if_open, open_retraining
from models.scoring.columns import evenly_spaced
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
    from models.releases.ledger import LedgerRelease, LedgerVerdict, NewRelease
    from models.releases.retrainings import Event

#: Rows that are scored one by one to measure the time of a row.
_TIMED_ROWS = 200


@dataclass(frozen=True)
class RoleDecision:
    """The decision about the best new release; `verdict` is None if the gate did not run."""

    verdict: Verdict | None
    words: str


def compare_with_champion(
    plan: Plan,
    table: pa.Table,
    load: Callable[[str], Bundle],
    join: Callable[[pa.Table, Sequence[ContractFeature]], pa.Table],
    release: NewRelease,
    champion: LedgerRelease,
    recorded: Mapping[str, str],
) -> Verdict:
    """Return the gate's verdict on `release` against `champion` on the test rows.

    Parameters
    ----------
    table : the training set of `release`.
    load : loads a bundle by its digest.
    join : joins features, point in time, to a table with the key and `as_of`; a champion may use another feature service.

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
    task = task_of(plan.project.problem, part(table, TRAIN), plan.label.ordered)
    test = part(table, TEST)
    reason = obstacle(present.contract, plan, task.classes, test, recorded)
    if reason:
        return Verdict(*ids, "not_comparable", f"the champion cannot be measured on these rows: {reason}", ())
    intervals = plan.evaluate.intervals
    resampling = Resampling(intervals.repeats, intervals.confidence, plan.train.seed)
    one, other = (contender(plan, test, task, join, bundle) for bundle in (challenger, present))
    rules = group_rules(plan.evaluate, test)
    checks = gate_checks(plan.register_, plan.evaluate.primary, one, other, resampling, rules)
    by = plan.training_set.split_by
    reason = outcome_reason(checks) + (f"; intervals resample the groups of {by}" if by else "")
    return Verdict(*ids, outcome_of(checks), reason, tuple(check.to_dict() for check in checks))


def group_rules(section: Evaluate, test: pa.Table) -> GroupRules:
    """Return the plan's groups of the rows `test`, and its rules of fairness."""
    fair = section.fairness
    return GroupRules(
        groupings(section, test), frozenset(fair.groups if fair else ()), fair.acceptable_gap if fair else None
    )


def contender(
    plan: Plan,
    test: pa.Table,
    task: Task,
    join: Callable[[pa.Table, Sequence[ContractFeature]], pa.Table],
    bundle: Bundle,
) -> Contender:
    """Return the bundle's scores of the rows `test`, its time per row and its size."""
    features = bundle.contract.features
    missing = [feature for feature in features if feature.column not in test.column_names]
    full = join(test, missing) if missing else test
    encoded = part_of_plan(plan, full, TEST, features, task)
    scores = scores_of(bundle.outputs_of(encoded.rows.inputs))
    contract = bundle.contract
    rows = observed(plan.evaluate, plan.project.problem, encoded, scores, contract.threshold, contract.interval)
    timed = vectors_of(full.take(evenly_spaced(len(full), _TIMED_ROWS)), features)
    return Contender(rows, row_microseconds(bundle, timed), bundle.size)


def decide_roles(
    url: str, ranked: Sequence[NewRelease], compare: Callable[[NewRelease, LedgerRelease], Verdict], actor: str
) -> RoleDecision:
    """Compare the best of `ranked` with the champion, and write the verdict and the new roles to the ledger.

    The comparison holds no lock. If another process changes the champion meanwhile, the comparison is repeated.
    """
    best = ranked[0]
    while True:
        with connect(url) as connection:
            champion = ledger.current(connection, best.model, CHAMPION)
            earlier = ledger.verdicts(connection, [best.release_id])
        known = _known(best, champion, earlier)
        if known:
            with connect(url) as connection:
                end_if_open(connection, best.model, "unchanged", best.release_id, known, actor)
            return RoleDecision(None, known)
        verdict = compare(best, champion) if champion else _first(ranked)
        with connect(url) as connection:
            ledger.lock_roles(connection, best.model)
            if ledger.roles(connection, best.model)[CHAMPION] == verdict.against:
                ledger.enter_verdict(connection, best.model, verdict, actor)
                _assign_roles(
                    connection, ranked, verdict, Act("register", actor, f"{verdict.outcome}: {verdict.reason}")
                )
                words = f"{best.release_id}: {verdict.outcome}: {verdict.reason}"
                end_if_open(connection, best.model, _end(connection, best), best.release_id, words, actor)
                return RoleDecision(verdict, words)


def _known(best: NewRelease, champion: LedgerRelease | None, earlier: Sequence[LedgerVerdict]) -> str | None:
    """Return why `best` is not compared again; None if it is to be compared."""
    if champion and champion.release_id == best.release_id:
        return f"{best.release_id} is the champion already"
    if champion and earlier:
        last = f"{earlier[-1].outcome}, on {earlier[-1].decided_at:%Y-%m-%d}"
        return f"{best.release_id} was compared before ({last}); the roles are unchanged"
    return None


def _end(connection: psycopg.Connection, best: NewRelease) -> Event:
    return "challenger" if ledger.roles(connection, best.model)[CHALLENGER] == best.release_id else "no_role"


def _first(ranked: Sequence[NewRelease]) -> Verdict:
    best = ranked[0]
    return Verdict(best.release_id, None, "first", f"{best.model!r} had no champion", ())


def _assign_roles(connection: psycopg.Connection, ranked: Sequence[NewRelease], verdict: Verdict, act: Act) -> None:
    model, best = ranked[0].model, ranked[0].release_id
    challenger: str | None = best
    becomes_champion = verdict.outcome == "first" or (
        verdict.outcome == "won" and open_retraining(connection, model) is None
    )
    if becomes_champion:
        promotion.assign_role(connection, model, CHAMPION, best, act)
        challenger = ranked[1].release_id if verdict.against is None and len(ranked) > 1 else verdict.against
    if verdict.outcome != "lost" and challenger and not _chosen_by_a_person(connection, model):
        promotion.assign_role(connection, model, CHALLENGER, challenger, act)


def _chosen_by_a_person(connection: psycopg.Connection, model: str) -> bool:
    """Return whether a person promoted the current challenger."""
    changes = [change for change in ledger.history(connection, model) if change.role == CHALLENGER]
    return bool(changes) and changes[-1].release_id is not None and changes[-1].cause != "register"

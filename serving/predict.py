"""Compute scores and decisions from the facts about entities, and compose their log rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from core.batching import in_turns
from core.contracts import Freshness
from core.experiment.prediction_log import Exposure, Prediction, is_replay, new_prediction_id
from serving.router import Experiment, Route, route

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from core.contracts import Contract, Key, Value, ViewRead
    from core.plan.plan import Serve
    from serving.active_releases import ActiveReleases
    from serving.features import EntityFacts, Facts
    from serving.scoring import Reason, Scored


_VALUES = attrgetter("values")


@dataclass(frozen=True)
class Policy:
    """The plan's policy for features that are not fresh, and the names of the decisions.

    Attributes
    ----------
    missing, stale : the rule for an entity with a view of that status; see the plan's section `serve`.
    above, below : the decisions of a binary problem, for a score at or above the threshold, and below it.

    """

    missing: str
    stale: str
    above: str
    below: str

    @classmethod
    def of(cls, serve: Serve) -> Policy:
        """Return the policy of the plan's section `serve`."""
        return cls(serve.missing, serve.stale, serve.decisions.above, serve.decisions.below)


class Answer(NamedTuple):
    """An entity's prediction, with the online rows of the views that its release reads.

    Attributes
    ----------
    probabilities : of the classes of a multiclass problem, and of a binary one if the plan names both.
    interval : bounds of the interval around a predicted number, if the release has one.
    positive : name of the class whose probability a binary score is, if the plan states it.
    reasons : the largest contributions of features if they were asked for; None if the model cannot state them.

    """

    key: Key
    prediction: Prediction
    exposure: Exposure | None
    views: Mapping[str, ViewRead]
    probabilities: Mapping[str, float] | None = None
    positive: str = ""
    interval: tuple[float, float] | None = None
    reasons: Sequence[Reason] | None = ()


class Refused(NamedTuple):
    """An entity without a prediction: refused by the plan's policy, or because its values do not fit the contract."""

    key: Key
    code: str
    message: str
    views: Mapping[str, ViewRead]


Entry: TypeAlias = "Answer | Refused"


class _Case(NamedTuple):
    """An entity of the request, with its route, its online rows, and the values of all tables."""

    position: int
    key: Key
    facts: EntityFacts
    route: Route
    views: Mapping[str, ViewRead]
    values: Sequence[Value]


async def predict(
    keys: Sequence[Key], facts: Facts, active: ActiveReleases, experiment: Experiment, policy: Policy
) -> list[Entry]:
    """Return an entry for each of `keys`, in their order, each scored by exactly one release.

    Raises
    ------
    BundleError
        If a model cannot score.

    """
    entries: dict[int, Entry] = {}
    to_score: dict[str, list[tuple[_Case, Sequence[Value]]]] = {}
    async for position, (key, entity) in in_turns(enumerate(zip(keys, facts.entities, strict=True))):
        chosen = route(str(key), entity, experiment, active)
        release = chosen.release
        views = {view: entity.reads[table] for view, table in release.tables.items()}
        refused = _refusal(key, views, policy)
        if refused:
            entries[position] = refused
            continue
        values = _values(entity.reads.values(), policy)
        vector = release.pick_inputs(values)
        fault = release.bundle.fault(vector)
        if fault:
            release.scorer.measure.fail()
            entries[position] = Refused(key, "features_unfit", fault, views)
        else:
            case = _Case(position, key, entity, chosen, views, values)
            to_score.setdefault(release.release_id, []).append((case, vector))
    for cases in to_score.values():
        scores = await cases[0][0].route.release.scorer.score([vector for _, vector in cases])
        async for (case, _), scored in in_turns(zip(cases, scores, strict=True)):
            entries[case.position] = _answer(case, scored, facts, policy)
    return [entries[position] for position in range(len(keys))]


async def explained(entries: Sequence[Entry], active: ActiveReleases) -> list[Entry]:
    """Return the entries with the reasons of their predictions, by the values that were scored."""
    found: dict[int, Sequence[Reason] | None] = {}
    for release in active.releases:
        columns = [feature.column for feature in release.bundle.contract.features]
        own = [
            (at, [entry.prediction.features[column] for column in columns])
            for at, entry in enumerate(entries)
            if isinstance(entry, Answer) and entry.prediction.release_id == release.release_id
        ]
        if own:
            reasons = await release.scorer.reasons([vector for _, vector in own])
            found.update(zip([at for at, _ in own], reasons, strict=True))
    return [
        entry._replace(reasons=found.get(at)) if isinstance(entry, Answer) else entry
        for at, entry in enumerate(entries)
    ]


def _refusal(key: Key, views: Mapping[str, ViewRead], policy: Policy) -> Refused | None:
    for status, rule in ((Freshness.MISSING, policy.missing), (Freshness.STALE, policy.stale)):
        if rule != "refuse":
            continue
        names = [view for view, read in views.items() if read.status is status]
        if names:
            message = (
                f"the features of {', '.join(names)} are {status} as of this request, "
                f"and the plan says serve.{status.lower()}: refuse"
            )
            return Refused(key, f"features_{status.lower()}", message, views)
    return None


def _values(reads: Iterable[ViewRead], policy: Policy) -> list[Value]:
    """Return the values of all tables one after the other; those of stale rows are missing if the policy says so."""
    if policy.stale == "as_missing":
        return [None if read.status is Freshness.STALE else value for read in reads for value in read.values]
    return [*chain.from_iterable(map(_VALUES, reads))]


def _decision(scored: Scored, contract: Contract, policy: Policy) -> str:
    if scored.chosen is not None:
        return scored.chosen
    if contract.problem == "regression":
        return ""
    return policy.above if scored.score >= contract.threshold else policy.below


def _answer(case: _Case, scored: Scored, facts: Facts, policy: Policy) -> Answer:
    entity, reads, chosen, release = str(case.key), case.facts.reads, case.route, case.route.release
    prediction_id, replay = new_prediction_id(), is_replay(facts.as_of, facts.read_at)
    prediction = Prediction(
        prediction_id=prediction_id,
        entity=entity,
        as_of=facts.as_of,
        release_id=release.release_id,
        experiment=chosen.experiment,
        arm=chosen.arm,
        score=scored.score,
        decision=_decision(scored, release.bundle.contract, policy),
        features=dict(zip(release.logged_columns, release.pick_logged(case.values), strict=True)),
        event_times={view: reads[table].event_time for view, table in release.logged_tables.items()},
        statuses={view: reads[table].status for view, table in release.logged_tables.items()},
        phase_id=chosen.phase_id,
        replay=replay,
    )
    exposure = None
    if chosen.bucket is not None and not replay:
        exposure = Exposure(
            chosen.experiment,
            entity,
            chosen.arm,
            chosen.bucket,
            release.release_id,
            prediction_id,
            facts.read_at,
            chosen.phase_id,
        )
    contract = release.bundle.contract
    interval = contract.interval.around(scored.score) if contract.interval else None
    probabilities = scored.probabilities or _of_two(contract, scored.score)
    return Answer(case.key, prediction, exposure, case.views, probabilities, contract.positive, interval)


def _of_two(contract: Contract, score: float) -> Mapping[str, float] | None:
    """Return the probabilities of the two classes of a binary problem whose names the contract has both."""
    return {contract.positive: score, contract.negative: 1 - score} if contract.negative else None

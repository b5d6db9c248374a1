"""The comparison of two arms, stratified by phase: the sample ratio test and the difference of means.

The challenger's share and the mix of units differ between phases, so pooled means could differ without any effect
(Simpson's paradox). Differences are therefore taken within phases and averaged.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.experiment.cohorts import Comparison, PhaseResult
from core.experiment.confidence_sequence import sequence_margin
from core.experiment.covariate import covariate_use, phase_means
from core.experiment.means import MINIMUM_UNITS, has_enough_units, mean_difference
from core.experiment.phases import ARMS, CONTROL, TREATMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from core.experiment.cohorts import ArmCounts, ExperimentArms, PhaseArms
    from core.experiment.covariate import CovariateUse
    from core.experiment.means import Pair
    from core.roles import Role

#: Units of two arms from which on the chi-square test is as good as the exact one.
_MOST_EXACT = 1_000
_EXPOSED, _JOINED = "exposed", "mature with an outcome"


@dataclass(frozen=True)
class _Effect:
    champion_rate: float
    challenger_rate: float
    difference: float
    ci_lower: float
    ci_upper: float
    p_value: float
    sequence_lower: float = math.nan
    sequence_upper: float = math.nan


def compare(
    arms: ExperimentArms,
    weights: Mapping[Role, int],
    confidence: float,
    sample_ratio_alarm: float,
    covariate: str | None = None,
) -> Comparison:
    """Return the comparison of the mean outcomes of the two arms over mature units.

    With d_k = mean(challenger) - mean(champion) in phase k and w_k the share of phase k in all compared units with an
    outcome, the difference is d = sum(w_k d_k), the mean effect on the compared units. The interval is
    d +- t(df) sqrt(sum(w_k^2 (s1k^2/n1k + s2k^2/n2k))), with the degrees of freedom of Welch and Satterthwaite over all these
    terms; for one phase it is Welch's interval, for 0/1 outcomes the Wald interval. Without a true difference it excludes 0
    in a share 1 - confidence of the experiments that are evaluated once; repeated looks exclude 0 more often. The
    confidence sequence around d holds at all looks together.

    A phase is compared if the same two releases answered in it as in the phase with the last exposure, and each arm has at
    least `MINIMUM_UNITS` mature units with an outcome. `PhaseResult.left_out` names why a phase is not compared.

    The sample ratio of each such phase is tested against its weights twice, on exposed units and on mature units with an
    outcome: exact binomial below 1,000 units, else chi-square. The overall p-value is the smallest times their number
    (Bonferroni). Below `sample_ratio_alarm` the arms are not comparable. Exposures from before phases were recorded are
    tested against `weights`, the plan's present ones; since the weights may have changed, a mismatch excludes these exposures.

    With a `covariate` that can be used the means are adjusted by it, see `core.experiment.covariate`.

    The verdict is withheld on a mismatch, if no phase can be compared, or if the outcomes have no variance within their arms.

    References
    ----------
    Welch, B. L. (1947). The generalization of "Student's" problem when several different population variances are
    involved. Biometrika, 34(1/2). Fabijan, A., et al. (2019). Diagnosing sample ratio mismatch in online controlled
    experiments. KDD. Miratrix, L., et al. (2013). Adjusting treatment effect estimates by post-stratification in randomized
    experiments. JRSS B, 75(2).

    """
    releases = _releases_compared(arms.phases)
    results = [_result(phase, weights, releases, sample_ratio_alarm) for phase in arms.phases]
    compared = [result.arms for result in results if result.left_out is None]
    use = covariate_use(covariate, compared, sample_ratio_alarm)
    effect = _adjusted_effect(compared, use, confidence) if compared else _undefined_effect(arms)
    mismatch = _mismatch(results, sample_ratio_alarm)
    withheld_because = mismatch or _no_result(arms, results, weights, effect)
    return Comparison(
        arms=arms,
        confidence=confidence,
        champion_rate=effect.champion_rate,
        challenger_rate=effect.challenger_rate,
        difference=effect.difference,
        ci_lower=effect.ci_lower,
        ci_upper=effect.ci_upper,
        p_value=effect.p_value,
        sequence_lower=effect.sequence_lower,
        sequence_upper=effect.sequence_upper,
        sample_ratio_p=_bonferroni([result.sample_ratio_p for result in results]),
        sample_ratio_p_joined=_bonferroni([result.sample_ratio_p_joined for result in results]),
        verdict="withheld" if withheld_because else _verdict(effect),
        withheld_because=withheld_because,
        phases=tuple(results),
        covariate=use,
        has_comparable_arms=mismatch is None,
    )


_NO_VARIANCE = "No outcome differs from another within its arm, so the difference has no interval."


def _releases_of(phase: PhaseArms) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the releases that answered in each arm; for an arm without exposures, the release in the phase's terms."""
    control = phase.champion_releases or ((phase.phase.champion,) if phase.phase else ())
    recorded = (phase.phase.challenger,) if phase.phase and phase.phase.challenger else ()
    return control, phase.challenger_releases or recorded


def _has_both_arms(phase: PhaseArms) -> bool:
    return phase.phase is None or all(phase.phase.weights.values())


def _releases_compared(phases: Sequence[PhaseArms]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the releases of the phase with the last exposure among those with two arms."""
    both = [phase for phase in phases if _has_both_arms(phase) and phase.last_exposed_at is not None]
    last = max(both, key=lambda phase: (phase.last_exposed_at, phase.phase is not None), default=None)
    return _releases_of(last) if last else ((), ())


def _result(
    phase: PhaseArms, present: Mapping[Role, int], releases: tuple[tuple[str, ...], tuple[str, ...]], alarm: float
) -> PhaseResult:
    weights = phase.phase.weights if phase.phase else present
    control, treatment = phase.champion, phase.challenger
    if not all(weights.get(arm, 0) for arm in ARMS):
        return PhaseResult(phase, weights, math.nan, math.nan, "one arm had no weight, or no release answered in it")
    if _releases_of(phase) != releases or max(map(len, releases)) > 1:
        return PhaseResult(phase, weights, math.nan, math.nan, "other releases answered than those that are compared")
    ratio = [weights[arm] for arm in ARMS]
    exposed = sample_ratio_p([control.exposed, treatment.exposed], ratio)
    joined = sample_ratio_p([control.with_outcome, treatment.with_outcome], ratio)
    if phase.phase is None and min(exposed, joined) < alarm:
        reason = "its units do not match the present weights, and its own were not recorded"
        return PhaseResult(phase, weights, math.nan, math.nan, reason)
    few = None if has_enough_units(phase.means) else "too few mature units with an outcome"
    return PhaseResult(phase, weights, exposed, joined, few)


def _adjusted_effect(phases: Sequence[PhaseArms], use: CovariateUse | None, confidence: float) -> _Effect:
    return _effect([phase_means(phase, adjusted=use is not None and use.is_used) for phase in phases], confidence)


def _effect(phases: Sequence[Pair], confidence: float) -> _Effect:
    from scipy.stats import t

    found = mean_difference(phases)
    rates, difference = (found.champion_rate, found.challenger_rate), found.difference
    if not found.variance > 0:
        return _Effect(*rates, difference, math.nan, math.nan, math.nan)
    error = math.sqrt(found.variance)
    margin = float(t.ppf((1 + confidence) / 2, found.df)) * error
    p_value = 2 * float(t.sf(abs(difference) / error, found.df))
    always = sequence_margin(error, found.units, confidence)
    bounds = (difference - margin, difference + margin)
    return _Effect(*rates, difference, *bounds, p_value, difference - always, difference + always)


def _undefined_effect(arms: ExperimentArms) -> _Effect:
    control, treatment = arms.champion.rate, arms.challenger.rate
    return _Effect(control, treatment, treatment - control, math.nan, math.nan, math.nan)


def sample_ratio_p(units: Sequence[int], weights: Sequence[int]) -> float:
    """Return the p-value of the units of arms against their weights; NaN without a unit.

    Two arms with fewer than 1,000 units together have the exact binomial test, others the chi-square test.

    >>> sample_ratio_p([10, 0], [1, 1]) == 2 / 2**10
    True
    """
    from scipy.stats import binomtest, chisquare

    total, all_weights = sum(units), sum(weights)
    if not total:
        return math.nan
    if len(units) == 2 and total < _MOST_EXACT:  # noqa: PLR2004 - a binomial test has two arms
        return float(binomtest(units[0], total, weights[0] / all_weights).pvalue)
    return float(chisquare(units, [total * weight / all_weights for weight in weights]).pvalue)


def _bonferroni(p_values: Iterable[float]) -> float:
    """Return the smallest p-value times their number, at most 1; NaN values are ignored, and NaN is returned for none."""
    tested = [p for p in p_values if not math.isnan(p)]
    return min(1.0, min(tested) * len(tested)) if tested else math.nan


def _mismatch(results: Sequence[PhaseResult], alarm: float) -> str | None:
    """Compose a sentence about the phase with the worst sample ratio mismatch; None without a mismatch."""
    for units, p_values in (
        (_EXPOSED, [result.sample_ratio_p for result in results]),
        (_JOINED, [result.sample_ratio_p_joined for result in results]),
    ):
        p = _bonferroni(p_values)
        if p < alarm:
            worst = min(zip(p_values, results, strict=True), key=lambda each: (math.isnan(each[0]), each[0]))[1]
            where = f" in {worst.arms.name}" if len(results) > 1 else ""
            return (
                f"The units {units}{where} do not match the weights {worst.weights[CONTROL]}:{worst.weights[TREATMENT]} "
                f"(p = {p:.2g}, below {alarm:g}), so the arms are not comparable; find out which units are lost."
            )
    return None


def _no_result(
    arms: ExperimentArms, results: Sequence[PhaseResult], present: Mapping[Role, int], effect: _Effect
) -> str | None:
    """Compose a sentence that explains why comparable arms have no verdict; None if they have one."""
    if all(result.left_out is not None for result in results):
        return _nothing_to_compare(arms, results, present)
    return _NO_VARIANCE if math.isnan(effect.p_value) else None


def _nothing_to_compare(arms: ExperimentArms, results: Sequence[PhaseResult], present: Mapping[Role, int]) -> str:
    """Compose a sentence that explains why no phase can be compared."""
    tested = [result for result in results if not math.isnan(result.sample_ratio_p)]
    if tested:
        fullest = max(tested, key=lambda result: min(_with_outcome(result.arms))).arms
        where = f" in {fullest.name}, the fullest one," if len(results) > 1 else ""
        return _too_few(fullest.champion, fullest.challenger, where)
    for arm in ARMS:
        if not present.get(arm, 0):
            return f"The arm {arm!r} has no weight, so there is nothing to compare; give it one under serve.arms."
    if not results:
        return _too_few(arms.champion, arms.challenger, "")
    ((reason, _),) = Counter(str(result.left_out) for result in results).most_common(1)
    return f"No phase of the experiment can be compared: {reason}; expose new units to both arms, or begin another experiment."


def _with_outcome(phase: PhaseArms) -> tuple[int, int]:
    return phase.champion.with_outcome, phase.challenger.with_outcome


def _too_few(control: ArmCounts, treatment: ArmCounts, where: str) -> str:
    counts = min(control, treatment, key=lambda each: each.with_outcome)
    return (
        f"The arm {counts.arm!r} has {counts.with_outcome} mature units with an outcome{where}, {MINIMUM_UNITS} are needed; "
        f"{counts.censored} are not mature yet and {counts.unmatched} have no outcome."
    )


def _verdict(effect: _Effect) -> str:
    if effect.ci_lower > 0:
        return "challenger higher"
    if effect.ci_upper < 0:
        return "challenger lower"
    return "no difference shown"

"""Check evaluations against worlds whose truth is known: the run fails with the first check that does not hold.

Run it as `make soak-models`; `--repeats` and `--customers` make it smaller. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.feature_store.held import holds
from benchmarks.models.coverage import coverage, threshold_coverage
from benchmarks.models.subscription_truth import disparities, known_rows, profit_threshold
from core.settings import silence_telemetry
from models.evaluation.measure_candidates import resampling_of
from panthera.project_folder import make_project
from worlds.subscription.changes import BackdatedTickets
from worlds.subscription.generate import generate
from worlds.subscription.settings import SubscriptionSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Problem

PLAN = Path(__file__).parents[2] / "worlds" / "subscription" / "plan.yaml"
PROBLEMS: tuple[Problem, ...] = ("regression", "multiclass", "binary")
#: The nominal coverage of intervals, and the allowed deviation of the measured coverage.
CONFIDENCE = 0.95
TOLERANCE = 0.02
#: The probability that a run fails a problem although every interval has the nominal coverage.
FALSE_ALARM = 0.05
#: The candidates of the plan to fit; the check needs few, since it is of the evaluation.
CANDIDATES = ("inactive_days", "logistic", "lightgbm")
LEAKY = "support.cancellation_90d"


def limits(repeats: int, measures: int) -> tuple[float, float]:
    """Return the least and the largest allowed share of `repeats` intervals of one measure that contain the truth.

    The limits are 95 % plus or minus two points, or wider for few studies. They are so wide that intervals of exactly 95 %
    leave them, for any of `measures`, in at most one run of twenty (Bonferroni). For example, 500 studies have a standard
    error of 0.97 points, so 33 measures are allowed 3.4 points. From about 2,000 studies on, the two points apply.
    """
    from scipy.stats import binom

    rare = FALSE_ALARM / (2 * measures)
    least, most = (float(binom.ppf(probability, repeats, CONFIDENCE)) / repeats for probability in (rare, 1 - rare))
    return min(least, CONFIDENCE - TOLERANCE), max(most, CONFIDENCE + TOLERANCE)


def check_coverage(repeats: int, entities: int, workers: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the coverage of intervals: for every metric, for differences, and for gaps between groups.

    The mean over the measures of a problem must be 95 % within two points; for a single measure see `limits`.
    """
    for problem in PROBLEMS:
        shares = coverage(problem, repeats, entities, workers=workers)
        mean = sum(shares.values()) / len(shares)
        holds(
            abs(mean - CONFIDENCE) <= TOLERANCE,
            f"intervals of a {problem} problem contain the truth in {mean:.1%} of studies",
        )
        least, most = limits(repeats, len(shares))
        outside = {name: share for name, share in shares.items() if not least <= share <= most}
        holds(
            not outside,
            f"intervals of a {problem} problem contain the truth in fewer than {least:.1%} or more than {most:.1%} of "
            f"{repeats} studies: {outside}",
        )
        yield f"intervals of {problem}", {"least": least, "most": most, "mean": mean, **shares}
    share = threshold_coverage(repeats, entities)
    # The coverage of the range of best thresholds is at least nominal.
    holds(
        share >= limits(repeats, 1)[0],
        f"the range of best thresholds contains the best one in {share:.1%} of {repeats} studies",
    )
    yield "range of best thresholds", {"profit": share}


def prepare(folder: Path, settings: SubscriptionSettings, workers: int) -> None:
    """Write a project to `folder` that runs the world's plan over a new world."""
    plan: dict[str, Any] = yaml.safe_load(PLAN.read_text())
    plan["train"]["candidates"] = {name: plan["train"]["candidates"][name] for name in CANDIDATES}
    plan_file = folder.with_suffix(".yaml")
    plan_file.write_text(yaml.safe_dump(plan, sort_keys=False))
    make_project(plan_file, folder)
    generate(settings, folder / "world", workers)


def repro(folder: Path, stage: str) -> subprocess.CompletedProcess[str]:
    """Run a project up to a stage, and stop its server; return the finished process."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", stage],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    subprocess.run([sys.executable, "-m", "panthera.cli", "down"], cwd=folder, capture_output=True, check=False)
    return done


def check_leak(folder: Path, customers: int, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Check that a run over backdated tickets fails, and that its message names the leaking feature."""
    changes = (BackdatedTickets(start_month=0),)
    prepare(folder, SubscriptionSettings(customers=customers, changes=changes), workers)
    done = repro(folder, "leakage")
    message = next((line for line in (done.stdout + done.stderr).splitlines() if "seem" in line), "")
    holds(done.returncode != 0, "a world with a leak was trained on")
    holds(LEAKY in message, f"the leak was not named: {(message or done.stdout + done.stderr)[-2000:]}")
    yield "the leak is caught", {"customers": customers, "said": message}


def check_evaluation(folder: Path, customers: int, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Check that the true disparity and the true best threshold of the world lie within their intervals."""
    settings = SubscriptionSettings(customers=customers)
    prepare(folder, settings, workers)
    done = repro(folder, "evaluate")
    holds(done.returncode == 0, (done.stdout + done.stderr)[-2000:])
    plan, validation, test = known_rows(folder, settings.protected.gender)
    measures = disparities(test, resampling_of(plan.evaluate, plan.train.seed))
    measures["profit-optimal threshold"] = profit_threshold(plan, validation, test)
    for name, measure in measures.items():
        values = {
            "found": measure.estimate.value,
            "lower": measure.estimate.lower,
            "upper": measure.estimate.upper,
            "truth": measure.truth,
        }
        holds(measure.held, f"the truth of {name} is outside its interval: {values}")
        yield name, {"customers": customers, "rows": len(test.hazard), **values}


def main() -> None:
    """Read the arguments, run the checks, and print their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500, help="simulated studies")
    parser.add_argument("--entities", type=int, default=400, help="entities of a study")
    parser.add_argument("--customers", type=int, default=100_000, help="customers of the subscription world")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", choices=["coverage", "world", "leak"], help="one part")
    arguments = parser.parse_args()
    silence_telemetry()
    held: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="panthera-soak-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # the server may run as another user
        parts = {
            "world": check_evaluation(folder / "honest", arguments.customers, arguments.workers),
            "leak": check_leak(folder / "leaky", arguments.customers, arguments.workers),
            "coverage": check_coverage(arguments.repeats, arguments.entities, arguments.workers),
        }
        for name, part in parts.items():
            if arguments.only in {None, name}:
                for what, values in part:
                    print(f"held: {what}: {json.dumps(values)}", flush=True)
                    held[what] = values
    print(json.dumps({"held": held}))


if __name__ == "__main__":
    main()

"""What an evaluation says, against worlds whose truth is known: the run fails with the first check that does not hold.

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

from benchmarks.coverage import coverage, threshold_coverage
from benchmarks.held import holds
from benchmarks.subscription_truth import disparities, known_rows, profit_threshold
from core.settings import silence_telemetry
from models.evaluation.measure_candidates import resampling_of
from panthera.project_folder import make_project
from worlds.subscription.changes import BackdatedTickets
from worlds.subscription.generate import generate
from worlds.subscription.settings import SubscriptionSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Problem

PLAN = Path(__file__).parent.parent / "worlds" / "subscription" / "plan.yaml"
PROBLEMS: tuple[Problem, ...] = ("regression", "multiclass", "binary")
#: What intervals promise, and by how much the share of those that hold the truth may miss it.
CONFIDENCE = 0.95
TOLERANCE = 0.02
#: The chance that a problem whose every interval holds the truth in 95 % of studies fails a run by bad luck.
BAD_LUCK = 0.05
#: Candidates of the plan that are tried: what is looked at is the evaluation, not how many it compares.
CANDIDATES = ("inactive_days", "logistic", "lightgbm")
LEAKY = "support.cancellation_90d"


def limits(repeats: int, measures: int) -> tuple[float, float]:
    """Give the least and the largest share of `repeats` intervals of one measure that may hold the truth.

    That is 95 % within two points. So few studies that intervals of exactly 95 % leave that more often, in any of `measures`,
    than in one run of twenty (Bonferroni), are judged by what those would show: 500 studies have a standard error of
    0.97 points, and 33 measures are let off with 3.4 points; from about 2,000 studies on the two points are all there is.
    """
    from scipy.stats import binom

    rare = BAD_LUCK / (2 * measures)
    least, most = (float(binom.ppf(chance, repeats, CONFIDENCE)) / repeats for chance in (rare, 1 - rare))
    return min(least, CONFIDENCE - TOLERANCE), max(most, CONFIDENCE + TOLERANCE)


def check_coverage(repeats: int, entities: int, workers: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Count how often intervals hold the truth, for every metric, for differences, and for gaps between groups.

    On average over the measures of a problem that is 95 % within two points; for every single measure see `limits`.
    """
    for problem in PROBLEMS:
        found = coverage(problem, repeats, entities, workers=workers)
        mean = sum(found.values()) / len(found)
        holds(
            abs(mean - CONFIDENCE) <= TOLERANCE,
            f"intervals of a {problem} problem hold the truth in {mean:.1%} of studies",
        )
        least, most = limits(repeats, len(found))
        off = {name: share for name, share in found.items() if not least <= share <= most}
        holds(
            not off,
            f"intervals of a {problem} problem hold the truth in fewer than {least:.1%} or more than {most:.1%} of "
            f"{repeats} studies: {off}",
        )
        yield f"intervals of {problem}", {"least": least, "most": most, "mean": mean, **found}
    share = threshold_coverage(repeats, entities)
    # The range promises to hold the best threshold at least as often.
    holds(
        share >= limits(repeats, 1)[0],
        f"the range of best thresholds holds the best one in {share:.1%} of {repeats} studies",
    )
    yield "range of best thresholds", {"profit": share}


def prepare(folder: Path, settings: SubscriptionSettings, workers: int) -> None:
    """Make `folder` a project that runs the world's plan over a new world."""
    plan: dict[str, Any] = yaml.safe_load(PLAN.read_text())
    plan["train"]["candidates"] = {name: plan["train"]["candidates"][name] for name in CANDIDATES}
    written = folder.with_suffix(".yaml")
    written.write_text(yaml.safe_dump(plan, sort_keys=False))
    make_project(written, folder)
    generate(settings, folder / "world", workers)


def repro(folder: Path, stage: str) -> subprocess.CompletedProcess[str]:
    """Run a project up to a stage, and stop its server."""
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
    """See that the run fails where tickets are dated back, by the name of the feature that reads them."""
    changes = (BackdatedTickets(start_month=0),)
    prepare(folder, SubscriptionSettings(customers=customers, changes=changes), workers)
    done = repro(folder, "leakage")
    said = next((line for line in (done.stdout + done.stderr).splitlines() if "seem" in line), "")
    holds(done.returncode != 0, "a world with a leak was trained on")
    holds(LEAKY in said, f"the leak was not named: {(said or done.stdout + done.stderr)[-2000:]}")
    yield "the leak is caught", {"customers": customers, "said": said}


def check_evaluation(folder: Path, customers: int, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """See that the disparity and the best threshold of the world lie within their intervals."""
    settings = SubscriptionSettings(customers=customers)
    prepare(folder, settings, workers)
    done = repro(folder, "evaluate")
    holds(done.returncode == 0, (done.stdout + done.stderr)[-2000:])
    plan, validation, test = known_rows(folder, settings.protected.gender)
    found = disparities(test, resampling_of(plan.evaluate, plan.train.seed))
    found["profit-optimal threshold"] = profit_threshold(plan, validation, test)
    for name, one in found.items():
        told = {
            "found": one.estimate.value,
            "lower": one.estimate.lower,
            "upper": one.estimate.upper,
            "truth": one.truth,
        }
        holds(one.held, f"the truth of {name} is outside its interval: {told}")
        yield name, {"customers": customers, "rows": len(test.hazard), **told}


def main() -> None:
    """Run the checks."""
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
        folder.chmod(0o755)  # the server may run as a user of its own
        parts = {
            "world": check_evaluation(folder / "honest", arguments.customers, arguments.workers),
            "leak": check_leak(folder / "leaky", arguments.customers, arguments.workers),
            "coverage": check_coverage(arguments.repeats, arguments.entities, arguments.workers),
        }
        for name, part in parts.items():
            if arguments.only in {None, name}:
                for what, found in part:
                    print(f"held: {what}: {json.dumps(found)}", flush=True)
                    held[what] = found
    print(json.dumps({"held": held}))


if __name__ == "__main__":
    main()

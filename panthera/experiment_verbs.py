"""`panthera experiment ...`: plan, start, ramp, stop, show and watch experiments that run in the service."""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from core.experiment.assignment import BUCKETS
from core.json_text import plain
from core.settings import read_settings
from panthera.verb import (
    EXIT_FINDING,
    add_data,
    add_group,
    add_json,
    add_verb,
    count,
    duration,
    plain_text,
    read_current_plan,
    show,
)

if TYPE_CHECKING:
    from core.experiment.running.terms import RunningTerms, Target
    from core.plan.plan import Plan
    from models.releases.experiments import ExperimentReport, NamedArm
    from panthera.verb import Add

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LARGEST_STEP = 5_000
_SECONDS_BETWEEN_LOOKS = 1.0


def plan_verb(arguments: argparse.Namespace) -> int:
    """Plan an experiment: its arms, layer, holdout, target and limits; show how long it takes to find an effect."""
    from models.releases.experiments import plan_experiment

    plan, terms = read_current_plan(), _terms(arguments)
    report = plan_experiment(read_settings(), plan, arguments.name, arguments.arm, terms, arguments.why)
    length = None if terms.canary else _length(plan, arguments, report.state.terms)
    if arguments.json:
        print(json.dumps({**report.to_dict(), "length": length}, indent=2))
        return 0
    show(report, report.table, as_json=False)
    if length:
        print(_length_line(length))
    return 0


def _terms(arguments: argparse.Namespace) -> RunningTerms:
    from core.experiment.running.terms import Canary, Limits, RunningTerms

    canary = Canary(arguments.canary, arguments.hold.total_seconds()) if arguments.canary else None
    shift = arguments.max_shift if arguments.max_shift is not None else 0.25 if canary else None
    return RunningTerms(
        arms=(),
        salt=f"{arguments.name}:1",
        layer=arguments.layer,
        layer_to=arguments.layer_share,
        holdout=arguments.holdout,
        target=arguments.target,
        limits=Limits(arguments.max_failed / BUCKETS, arguments.max_slowdown, shift),
        canary=canary,
    )


def _length(plan: Plan, arguments: argparse.Namespace, terms: RunningTerms) -> dict[str, object]:
    """Return the length of the experiment by `planner.decide`, for the units of its part of the layer."""
    from core.errors import PantheraError
    from panthera.plan_rows import accepted_rows
    from planner.decide.decision import decide
    from planner.decide.length import experiment_length

    try:
        with accepted_rows(plan, arguments.data, read_settings().state / "downloads") as accepted:
            decision = decide(plan, accepted, arguments.traffic, arguments.effect, alternatives=False)
    except PantheraError as error:
        return {"why_not": str(error)}
    if decision.planned is None:
        return {"why_not": decision.why_not}
    rate, weights = decision.planned.rate, [weight for _, weight in terms.weights]
    share = (terms.layer_to - terms.layer_from) / BUCKETS * (1 - terms.holdout / BUCKETS)
    arrivals = replace(
        decision.arrivals,
        waiting=int(decision.arrivals.waiting * share),
        daily=None if decision.arrivals.daily is None else decision.arrivals.daily * share,
    )
    length = experiment_length(
        rate.base_rate, decision.effect, min(weights) / sum(weights), arrivals, rate.known_after, decision.errors
    )
    return {"base_rate": rate.base_rate, **plain(length)}


def _length_line(length: dict[str, object]) -> str:
    if "why_not" in length:
        return f"length: unknown, {length['why_not']}"
    days = f"{length['days']:.0f} days" if length["days"] is not None else "an unknown time (see --traffic)"
    return (
        f"length: {days} to find a relative fall of {length['effect']:.0%} from {length['base_rate']:.2%}, with "
        f"{length['units_per_arm']:,} units in the smallest arm"
    )


def start(arguments: argparse.Namespace) -> int:
    """Start a planned experiment; a canary begins with its first step."""
    from models.releases.experiments import start as run

    return _shown(
        arguments, run(read_settings(), read_current_plan(), arguments.name, arguments.coverage, arguments.why)
    )


def ramp(arguments: argparse.Namespace) -> int:
    """Raise the coverage of a running experiment, which moves nobody between arms; with --arm, begin a new phase."""
    from models.releases.experiments import ramp as run

    settings, plan = read_settings(), read_current_plan()
    return _shown(
        arguments, run(settings, plan, arguments.name, arguments.coverage, arguments.arm or (), arguments.why)
    )


def stop(arguments: argparse.Namespace) -> int:
    """Stop an experiment for good; its exposures stay."""
    from models.releases.experiments import stop as run

    return _shown(arguments, run(read_settings(), read_current_plan(), arguments.name, arguments.why))


def show_verb(arguments: argparse.Namespace) -> int:
    """Show an experiment with its changes and exposures, or list all."""
    from models.releases.experiments import show as run

    result = run(read_settings(), read_current_plan(), arguments.name)
    show(result, result.table, as_json=arguments.json)
    return 0


def watch(arguments: argparse.Namespace) -> int:
    """Carry out a canary's steps until its release is promoted; exit with 3 if it was rolled back or stopped."""
    from models.releases.canary import advance

    settings, plan, last = read_settings(), read_current_plan(), ""
    while True:
        step = advance(settings, plan, arguments.name)
        if step.result != last or step.result != "wait":
            print(json.dumps(step.to_dict()) if arguments.json else step, flush=True)
        last = step.result
        if arguments.once or step.result not in {"wait", "step"}:
            return EXIT_FINDING if step.result in {"rollback", "stopped"} else 0
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _shown(arguments: argparse.Namespace, report: ExperimentReport) -> int:
    show(report, report.table, as_json=arguments.json)
    return 0


def name(text: str) -> str:
    """Return an argument that is the name of an experiment, an arm or a layer; raise ArgumentTypeError otherwise."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!a} is no name; expected 1 to 63 letters, digits, dots, hyphens and underscores, a letter or digit first"
        )
    return text


def percent(text: str) -> int:
    """Return an argument in percent as parts of 10,000; raise ArgumentTypeError unless it is one of 0.01 to 100."""
    try:
        parts = float(text) * 100
    except ValueError:
        parts = math.nan
    if not (1 <= parts <= BUCKETS and abs(parts - round(parts)) < 1e-6):  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text!a} is not a percentage from 0.01 to 100 in steps of 0.01")
    return round(parts)


def steps(text: str) -> tuple[int, ...]:
    """Return an argument that is a rising list of percentages up to 50; raise ArgumentTypeError otherwise."""
    found = tuple(percent(part) for part in text.split(","))
    if list(found) != sorted({*found}) or found[-1] > _LARGEST_STEP:
        raise argparse.ArgumentTypeError(
            f"{text!a} are no steps; expected rising percentages up to 50, such as 1,10,50"
        )
    return found


def arm(text: str) -> NamedArm:
    """Return an argument NAME=RELEASE or NAME=RELEASE:WEIGHT; raise ArgumentTypeError otherwise."""
    from models.releases.experiments import NamedArm

    label, equals, rest = text.partition("=")
    release, _, weight = plain_text(rest).partition(":")
    if not (equals and release):
        raise argparse.ArgumentTypeError(f"{text!a} is no arm; expected NAME=RELEASE or NAME=RELEASE:WEIGHT")
    return NamedArm(name(label), release, count(weight) if weight else 1)


def target(text: str) -> Target:
    """Return an argument such as `view__feature >= 3` or `attributes.country = DE`; raise ArgumentTypeError otherwise."""
    from core.experiment.running.terms import ATTRIBUTE, OPERATORS, Target

    found = re.fullmatch(
        rf"\s*((?:{re.escape(ATTRIBUTE)})?\w+)\s*({'|'.join(OPERATORS)})\s*(\S.*?)\s*", plain_text(text)
    )
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!a} is no target; expected view__feature or {ATTRIBUTE}NAME, one of {' '.join(OPERATORS)}, and a value"
        )
    feature, comparison, value = found.groups()
    return Target(feature, comparison, _value(value))


def _value(text: str) -> float | str | bool:
    if text in {"true", "false"}:
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def factor(text: str) -> float:
    """Return an argument that is a number above 0; raise ArgumentTypeError otherwise."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!a} is not a number above 0")
    return number


def add_experiment_verbs(add: Add) -> None:
    """Add the verbs about experiments that run in the service."""
    from datetime import timedelta

    from panthera.plan_verbs import relative_effect

    add_action = add_group(add, "experiment", "Plan, start, ramp, stop, show or watch an experiment in the service.")
    plan_parser, start_parser, ramp_parser, stop_parser, show_parser, watch_parser = (
        add_verb(add_action, "plan", plan_verb),
        add_verb(add_action, "start", start),
        add_verb(add_action, "ramp", ramp),
        add_verb(add_action, "stop", stop),
        add_verb(add_action, "show", show_verb),
        add_verb(add_action, "watch", watch),
    )
    for added in (plan_parser, start_parser, ramp_parser, stop_parser, watch_parser):
        added.add_argument("name", type=name, metavar="NAME", help="name of the experiment")
    show_parser.add_argument("name", type=name, nargs="?", metavar="NAME", help="name of an experiment; default: all")
    for added in (plan_parser, ramp_parser):
        added.add_argument(
            "--arm",
            type=arm,
            action="append",
            required=added is plan_parser,
            metavar="NAME=RELEASE[:WEIGHT]",
            help="an arm and its release, by id or role; the first one is the control",
        )
    for added in (start_parser, ramp_parser):
        added.add_argument("--coverage", type=percent, metavar="PERCENT", help="percentage of each arm's units")
    plan_parser.add_argument("--layer", type=name, default="default", help="experiments of one layer share no unit")
    plan_parser.add_argument(
        "--layer-share", type=percent, default=BUCKETS, metavar="PERCENT", help="part of the layer; default: 100"
    )
    plan_parser.add_argument(
        "--holdout", type=percent, default=0, metavar="PERCENT", help="part of the units in no experiment of the layer"
    )
    plan_parser.add_argument("--target", type=target, metavar="CONDITION", help="such as 'view__feature >= 3'")
    plan_parser.add_argument("--canary", type=steps, metavar="STEPS", help="percentages of the steps, such as 1,10,50")
    plan_parser.add_argument(
        "--hold", type=duration, default=timedelta(minutes=10), help="least time of a canary's step; default: 10m"
    )
    plan_parser.add_argument(
        "--max-failed", type=percent, default=100, metavar="PERCENT", help="accepted share of failures; default: 1"
    )
    plan_parser.add_argument(
        "--max-slowdown", type=factor, default=4.0, help="accepted factor of the model's duration; default: 4"
    )
    plan_parser.add_argument(
        "--max-shift", type=factor, help="accepted distance of the scores' distributions; default: 0.25 for a canary"
    )
    plan_parser.add_argument("--traffic", type=count, metavar="N", help="new units a day; default: measured")
    plan_parser.add_argument("--effect", type=relative_effect, help="relative fall to find; default: 0.1")
    add_data(plan_parser)
    watch_parser.add_argument("--once", action="store_true", help="look once")
    for added in (plan_parser, start_parser, ramp_parser, stop_parser):
        added.add_argument(
            "--why", type=plain_text, required=True, metavar="TEXT", help="the reason, which is recorded"
        )
    for added in (plan_parser, start_parser, ramp_parser, stop_parser, show_parser, watch_parser):
        add_json(added)

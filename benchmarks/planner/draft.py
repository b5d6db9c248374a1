"""Measure what a draft detects in tables that packages ship, and how well drafted plans predict beside plans by hand.

Run it as `make bench-draft`, or with `SETS="penguins art"` for some. What is detected (keys, times, links, kinds of column) is
compared with a truth by hand, `benchmarks/planner/draft_truth.yaml`, and each draft is checked with its data. The plans of
`benchmarks/planner/draft_tasks.yaml` are also run with `dvc repro` to a served prediction; see `benchmarks.planner.draft_runs`.
A set whose run fails is named with the reason, and the others go on.

Lines on standard error tell each set's result. The last line is a JSON object: precision and recall over all facts and of each,
the facts that differ, the findings for which a stage would refuse a plan, and the regrets, minutes and questions of the runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.planner.draft_runs import TASKS, run_draft
from core.errors import PantheraError
from core.plan.file import parse_plan
from planner.verbs import check_sources, draft_files, profile_files
from worlds.public.tables import r_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from planner.profile.profile import Profile

TRUTH = Path(__file__).with_name("draft_truth.yaml")
FACTS = ("keys", "times", "links", "kinds")


@dataclass
class Detected:
    """The facts of one data set: those that were found, and the true ones."""

    found: dict[str, set[str]] = field(default_factory=dict)
    true: dict[str, set[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def detected(truth: Mapping[str, Any], folder: Path) -> Detected:
    """Return the facts that the profile and the draft of a data set state, beside the truth."""
    files = [f"{name.replace('.', '_')}.csv" for name in truth["tables"]]
    for file, (name, package) in zip(files, truth["tables"].items(), strict=True):
        r_table(package, name).to_csv(folder / file, index=False)
    with chdir(folder):
        result = _profiled(profile_files(files, None), truth)
        result.true["keys"] = {truth["key"]}
        try:
            draft = draft_files(files, folder, predict=truth["predict"], key=None, time=None, answers={})
            plan = parse_plan(draft.text, "the draft")
            result.found["keys"] = {one["key"] for one in draft.sheet.plan["entities"].values()}
            checked = check_sources(plan)
            result.refused = [f"{one.path}: {one.found}" for one in checked.findings if one.level == "refuse"]
        except PantheraError as error:
            result.found["keys"], result.refused = set(), [str(error)]
    return result


def _profiled(profile: Profile, truth: Mapping[str, Any]) -> Detected:
    kinds, true = set(), set()
    for name, columns in truth["kinds"].items():
        for column, kind in columns.items():
            allowed = [kind] if isinstance(kind, str) else kind
            found = profile.table_named(name).column(column).kind
            kinds.add(f"{name}.{column} {found}")
            true.add(f"{name}.{column} {found if found in allowed else allowed[0]}")
    times = {f"{table.name}.{one.column}" for table in profile.tables for one in table.times}
    links = {f"{one.table}.{one.column} > {one.to_table}.{one.to_column}" for one in profile.links}
    return Detected(
        {"kinds": kinds, "times": times, "links": links},
        {"kinds": true, "times": set(truth.get("times", ())), "links": set(truth.get("links", ()))},
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 3) if whole else 1.0


def _counts(results: Iterable[Detected], fact: str) -> tuple[int, int, int]:
    """Return how many facts are found and true, found, and true."""
    pairs = [(one.found[fact], one.true[fact]) for one in results]
    return (
        sum(len(found & true) for found, true in pairs),
        sum(len(found) for found, _ in pairs),
        sum(len(true) for _, true in pairs),
    )


def summary(results: Mapping[str, Detected]) -> dict[str, Any]:
    """Return precision and recall of each fact over all data sets, and what differs."""
    counts = {fact: _counts(results.values(), fact) for fact in FACTS}
    right, found, true = (sum(count[place] for count in counts.values()) for place in range(3))
    shown: dict[str, Any] = {"sets": len(results), "precision": _share(right, found), "recall": _share(right, true)}
    for fact, (hits, of_found, of_true) in counts.items():
        shown |= {f"{fact}_precision": _share(hits, of_found), f"{fact}_recall": _share(hits, of_true)}
    shown["differ"] = {
        name: sorted(text for fact in FACTS for text in one.found[fact] ^ one.true[fact])
        for name, one in results.items()
        if any(one.found[fact] != one.true[fact] for fact in FACTS)
    }
    return {**shown, "refused": {name: one.refused for name, one in results.items() if one.refused}}


def summary_of_runs(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the regrets, minutes and questions of the runs, and the sets that failed."""
    done = {name: one for name, one in results.items() if "failed" not in one}
    if not done:
        return {"runs": 0, "failed": sorted(results)}
    return {
        "runs": len(done),
        "failed": sorted(results.keys() - done.keys()),
        "regret_median": median(one["regret"] for one in done.values()),
        "regret_worst": max(one["regret"] for one in done.values()),
        "minutes_median": median(one["minutes"] for one in done.values()),
        "questions_median": median(one["questions"] for one in done.values()),
    }


def _run(name: str, task: Mapping[str, Any], folder: Path, *, in_process: bool) -> dict[str, Any]:
    try:
        return run_draft(name, task, folder, in_process=in_process)
    except (PantheraError, CalledProcessError, SystemExit) as error:
        return {"failed": str(error)}


def main() -> None:
    """Print the measures of the named data sets, or of all."""
    truths, tasks = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (TRUTH, TASKS))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join([*truths, *tasks])}")
    parser.add_argument("--out", type=Path, help="folder to keep the projects in, in place of a temporary one")
    parser.add_argument("--in-process", action="store_true", help="run the stages in this process, without DVC")
    arguments = parser.parse_args()
    chosen = arguments.sets or [*truths, *tasks]
    results: dict[str, Detected] = {}
    for name in (one for one in chosen if one in truths):
        with TemporaryDirectory(prefix="panthera-draft-") as folder:
            results[name] = detected(truths[name], Path(folder))
    runs: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory(prefix="panthera-draft-") as folder:
        for name in (one for one in chosen if one in tasks):
            project = (arguments.out or Path(folder)).absolute() / name
            runs[name] = _run(name, tasks[name], project, in_process=arguments.in_process)
            print(f"{name}: {json.dumps(runs[name])}", file=sys.stderr, flush=True)
    detection = summary(results) if results else {}
    print(json.dumps({**detection, **(summary_of_runs(runs) if runs else {})}))


if __name__ == "__main__":
    main()

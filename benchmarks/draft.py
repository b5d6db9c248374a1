"""Measure what a draft detects in tables that packages ship: keys, times, links and kinds of column, against a hand-made truth.

Run it as `make bench-draft`, or with `SETS="penguins pima"` for some. The truth is `benchmarks/draft_truth.yaml`. Each draft
is checked with its data too. The last line is a JSON object: precision and recall of each fact, the facts that differ, and the
findings for which a stage would refuse a drafted plan.
"""

from __future__ import annotations

import argparse
import json
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from core.errors import PantheraError
from core.plan.file import parse_plan
from planner.verbs import check_sources, draft_files, profile_files
from worlds.public.tables import r_table

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def summary(results: Mapping[str, Detected]) -> dict[str, Any]:
    """Return precision and recall of each fact over all data sets, and what differs."""
    shown: dict[str, Any] = {"sets": len(results)}
    for fact in FACTS:
        right = sum(len(one.found[fact] & one.true[fact]) for one in results.values())
        shown[f"{fact}_precision"] = _share(right, sum(len(one.found[fact]) for one in results.values()))
        shown[f"{fact}_recall"] = _share(right, sum(len(one.true[fact]) for one in results.values()))
    shown["differ"] = {
        name: sorted(text for fact in FACTS for text in one.found[fact] ^ one.true[fact])
        for name, one in results.items()
        if any(one.found[fact] != one.true[fact] for fact in FACTS)
    }
    return {**shown, "refused": {name: one.refused for name, one in results.items() if one.refused}}


def main() -> None:
    """Print the measures of the named data sets, or of all."""
    truths = yaml.safe_load(TRUTH.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(truths)}")
    results: dict[str, Detected] = {}
    for name in parser.parse_args().sets or truths:
        with TemporaryDirectory(prefix="panthera-draft-") as folder:
            results[name] = detected(truths[name], Path(folder))
    print(json.dumps(summary(results)))


if __name__ == "__main__":
    main()

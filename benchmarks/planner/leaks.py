"""Prove that no feature looks ahead: of planted leaks each must be named, and of clean plans no feature.

Run it as `make bench-leaks`. The last line is a JSON object: the planted leaks with those that were missed, features that were
named without being a leak, and for each clean plan the number of values that were compared and of features that were named.
Clean plans are those of `worlds/public` with times; `PLANS="weather visits"` names some, `PLANS=none` none.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.planner.planted_leaks import LEAKS, leak_names, shop_plan, write_shop
from benchmarks.public import entered, run
from benchmarks.stages import run_stages
from core.plan.file import read_plan
from planner.prove.proof import prove
from worlds.public.__main__ import PLANS


def planted(folder: Path) -> dict[str, object]:
    """Return how many of the planted leaks a proof names, and what else it names."""
    write_shop(folder / "accepted")
    named = {leak.feature for leak in prove(shop_plan(LEAKS), folder / "accepted").leaks}
    leaks = leak_names()
    return {
        "planted": len(leaks),
        "missed": sorted(set(leaks) - named),
        "false_alarms": sorted(named - set(leaks)),
    }


def clean(name: str, folder: Path) -> dict[str, object] | None:
    """Return what a proof compares and names in a plan of `worlds/public`; None if the plan has no times."""
    project = folder / name
    if not read_plan(PLANS[name]).has_time:
        return None
    run("panthera", "project", str(PLANS[name].resolve()), str(project))
    import_module(f"worlds.public.{name}").write(project)
    with entered(project):
        plan = read_plan(Path("params.yaml"))
        run_stages("validate")
        proof = prove(plan, Path("data", "accepted"))
    return {
        "values": sum(instant.values_compared for instant in proof.instants),
        "rows_changed": sum(instant.rows_changed for instant in proof.instants),
        "named": sorted({leak.feature for leak in proof.leaks}),
    }


def main() -> None:
    """Print the results as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plans", nargs="*", default=list(PLANS))
    plans = [name for name in parser.parse_args().plans if name != "none"]
    with TemporaryDirectory(prefix="panthera-") as folder:
        results = planted(Path(folder))
        print(results, file=sys.stderr)
        found = {name: clean(name, Path(folder).resolve()) for name in plans}
    print(json.dumps({**results, "clean": {name: result for name, result in found.items() if result}}))


if __name__ == "__main__":
    main()

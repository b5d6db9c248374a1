"""Compare the stages that `panthera plan diff` predicts with those that `dvc repro` runs, over random edits of a small plan.

Run it as `make bench-diff`, or with `EDITS=10` for fewer edits. Each edit changes the plan of the edit before. The last line is
a JSON object: the number of edits, those with other stages than predicted, and the stages in which they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.repro import PROGRAMS, plan, write_data
from planner.diff.difference import difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.diff.difference import Difference

_RAN = re.compile(r"^Running stage '(\w+)'", re.MULTILINE)
Plan = dict[str, Any]


def _features(content: Plan) -> dict[str, Any]:
    return dict(content["build_features"]["views"]["profile"]["features"])


def _drop_feature(content: Plan, rng: random.Random) -> None:
    features = _features(content)
    features.pop(rng.choice([name for name in features if name.startswith("n_")]))
    content["build_features"]["views"]["profile"]["features"] = features


def _double_feature(content: Plan, rng: random.Random) -> None:
    name = rng.choice(list(_features(content)))
    made = {**_features(content)[name], "meaning": f"another {rng.randrange(10**6)}"}
    content["build_features"]["views"]["profile"]["features"][f"more_{rng.randrange(10**6)}"] = made


def _describe_feature(content: Plan, rng: random.Random) -> None:
    name = rng.choice(list(_features(content)))
    content["build_features"]["views"]["profile"]["features"][name]["meaning"] = f"meaning {rng.randrange(10**6)}"


def _window(content: Plan, rng: random.Random) -> None:
    content["build_features"]["views"]["profile"]["ttl"] = f"{rng.randint(100, 900)}d"


def _service(content: Plan, rng: random.Random) -> None:
    content["build_features"]["services"][f"some_{rng.randrange(10**6)}"] = ["profile.contract"]


def _horizon(content: Plan, rng: random.Random) -> None:
    content["label"]["horizon"] = f"{rng.randint(26, 40)}d"


def _rounds(content: Plan, rng: random.Random) -> None:
    content["train"]["candidates"]["trees"]["rounds"] = rng.randint(20, 120)


def _candidate(content: Plan, rng: random.Random) -> None:
    content["train"]["candidates"][f"trees_{rng.randrange(10**6)}"] = {"estimator": "lightgbm", "rounds": 20}


def _metrics(content: Plan, rng: random.Random) -> None:
    content["evaluate"]["metrics"] = ["log_loss", *rng.sample(["roc_auc", "pr_auc", "brier", "f1", "ece"], 2)]


def _threshold(content: Plan, rng: random.Random) -> None:
    content["evaluate"]["threshold"] = {"at": round(rng.uniform(0.2, 0.8), 4)}


def _gate(content: Plan, rng: random.Random) -> None:
    content["register"]["win"] = rng.choice(["log_loss", "roc_auc"])


def _rules(content: Plan, rng: random.Random) -> None:
    content["validate"] = {"exits": {"not_null": ["customer_id"], "max_rejected": round(rng.uniform(0, 0.5), 4)}}


def _range(content: Plan, rng: random.Random) -> None:
    rule = {"range": {"n_1": [-9, round(rng.uniform(1, 9), 3)]}, "max_rejected": 0.9}
    content["validate"] = {**content.get("validate", {}), "customers": rule}


def _instant(content: Plan, rng: random.Random) -> None:
    content["materialize"]["as_of"] = f"2021-01-{rng.randint(2, 28):02d}"


def _serve(content: Plan, rng: random.Random) -> None:
    content["serve"]["salt"] = f"salt {rng.randrange(10**6)}"


def _monitor(content: Plan, rng: random.Random) -> None:
    content["monitor"]["psi_alarm"] = round(rng.uniform(0.05, 0.5), 4)


def _statement(content: Plan, rng: random.Random) -> None:
    content["project"]["statement"] = f"Who will leave? ({rng.randrange(10**6)})"


def _column(content: Plan, rng: random.Random) -> None:
    content["ingest"]["exits"]["columns"]["reason"]["meaning"] = f"meaning {rng.randrange(10**6)}"


def _seed(content: Plan, rng: random.Random) -> None:
    content["train"]["seed"] = rng.randrange(10**6)


EDITS: tuple[Callable[[Plan, random.Random], None], ...] = (
    *(_drop_feature, _double_feature, _describe_feature, _window, _service, _horizon, _rounds, _candidate, _metrics),
    *(_threshold, _gate, _rules, _range, _instant, _serve, _monitor, _statement, _column, _seed),
)


def edited(text: str, rng: random.Random) -> str:
    """Return the text of a plan after a random edit."""
    content = yaml.safe_load(text)
    rng.choice(EDITS)(content, rng)
    return yaml.safe_dump(content, sort_keys=False)


def ran(project: Path) -> set[str]:
    """Run `dvc repro` and return the stages that it ran."""
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [PROGRAMS / "dvc", "repro"], cwd=project, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return set(_RAN.findall(done.stdout)) - {"source_versions"}


def wrong(found: Difference, stages: set[str]) -> list[str]:
    """Return the stages that ran without a prediction, or did not run in spite of one."""
    predicted = {run.name for run in found.stages if run.runs == "yes"}
    possible = {run.name for run in found.stages}
    return sorted((predicted - stages) | (stages - possible))


def main() -> None:
    """Edit, predict and run, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=100)
    edits, rng, differing, uncertain = parser.parse_args().edits, random.Random(5), {}, 0  # noqa: S311 - no secret
    with TemporaryDirectory() as folder:
        project, text = Path(folder) / "small", plan().replace("end: '2021-01-02'", "end: '2021-01-28'", 1)
        Path(folder, "plan.yaml").write_text(text)
        subprocess.run(
            [PROGRAMS / "panthera", "project", f"{folder}/plan.yaml", project], check=True, stdout=sys.stderr
        )
        write_data(project)
        try:
            ran(project)
            for number in range(edits):
                after = edited(text, rng)
                found = difference("before", text, after, "after", project, {})
                (project / "params.yaml").write_text(after)
                stages = ran(project)
                uncertain += any(run.runs != "yes" for run in found.stages)
                if missed := wrong(found, stages):
                    differing[number] = missed
                print(number, [change.path for change in found.keys], sorted(stages), missed, file=sys.stderr)
                text = after
        finally:
            subprocess.run([PROGRAMS / "panthera", "down"], cwd=project, check=False, stdout=sys.stderr)
    print(json.dumps({"edits": edits, "differing": differing, "with_uncertain_stages": uncertain}))


if __name__ == "__main__":
    main()

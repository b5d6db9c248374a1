"""Compare the stages that `panthera plan diff` predicts with those that `dvc repro` runs, over random edits of a small plan.

Run it as `make bench-diff`, or with `EDITS=10` for fewer edits. Each edit changes the plan of the edit before. A run that was
stopped goes on where it stopped if it has a `--folder`. The last line is a JSON object: the number of edits, those with other
stages than predicted, and the stages in which they differ.
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

PLAN_FILE, ROWS = "params.yaml", 1_000
_ENDED = "dvc repro ended with"
_REPEATED = f"""
import sys
from dvc.cli import main
for _ in sys.stdin:
    code = main(["repro"])
    print("{_ENDED}", code, flush=True)
    if code:
        sys.exit(code)
"""
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


class Dvc:
    """A process that runs `dvc repro` as often as it is asked to, so that the stages of all runs are forks of one server."""

    def __init__(self, project: Path) -> None:
        environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            ["dvc", "-c", _REPEATED],  # core.launch looks for this name
            executable=sys.executable,
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def repro(self) -> set[str]:
        """Run `dvc repro` and return the stages that it ran."""
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:
            raise TypeError("the process was started without pipes")
        print(file=requests, flush=True)
        lines: list[str] = []
        for line in answers:
            if line == f"{_ENDED} 0\n":
                return set(_RAN.findall("".join(lines))) - {"source_versions"}
            lines.append(line)
        raise SystemExit(f"dvc repro failed: {''.join(lines[-3:])}")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def wrong(found: Difference, stages: set[str]) -> list[str]:
    """Return the stages that ran without a prediction, or did not run in spite of one."""
    predicted = {run.name for run in found.stages if run.runs == "yes"}
    possible = {run.name for run in found.stages}
    return sorted((predicted - stages) | (stages - possible))


def make_project(folder: Path) -> Path:
    """Make a project of a small table in `folder`; return it, as it is if it is there."""
    project, started = folder / "small", folder / "plan.yaml"
    if project.exists():
        return project
    started.write_text(plan().replace("end: '2021-01-02'", "end: '2021-01-28'", 1))
    subprocess.run([PROGRAMS / "panthera", "project", started, project], check=True, stdout=sys.stderr)
    write_data(project, ROWS)
    (project / PLAN_FILE).unlink()
    (project / PLAN_FILE).write_text(started.read_text())
    return project


def compare(project: Path, dvc: Dvc, number: int) -> dict[str, Any]:
    """Edit the plan, predict and run; return the edited keys, the stages that ran, and those that differ."""
    before = (project / PLAN_FILE).read_text()
    after = edited(before, random.Random(number))  # noqa: S311 - no secret
    found = difference("before", before, after, "after", project, {})
    (project / PLAN_FILE).write_text(after)
    stages = dvc.repro()
    return {
        "number": number,
        "keys": [change.path for change in found.keys],
        "stages": sorted(stages),
        "uncertain": [run.name for run in found.stages if run.runs != "yes"],
        "wrong": wrong(found, stages),
    }


def main() -> None:
    """Edit, predict and run, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="keep the project and the results here, and go on from them")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        results, project = folder / "results.jsonl", make_project(folder)
        dvc = Dvc(project)
        try:
            dvc.repro()
            for number in range(len(_lines(results)), arguments.edits):
                line = json.dumps(compare(project, dvc, number))
                print(line, file=sys.stderr)
                with results.open("a") as file:
                    file.write(f"{line}\n")
        finally:
            dvc.close()
            subprocess.run([PROGRAMS / "panthera", "down"], cwd=project, check=False, stdout=sys.stderr)
        print(json.dumps(summary([json.loads(line) for line in _lines(results)])))


def _lines(results: Path) -> list[str]:
    return results.read_text().splitlines() if results.exists() else []


def summary(compared: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the number of edits, those with other stages than predicted, and those with uncertain predictions."""
    return {
        "edits": len(compared),
        "differing": {each["number"]: each["wrong"] for each in compared if each["wrong"]},
        "with_uncertain_stages": sum(bool(each["uncertain"]) for each in compared),
    }


if __name__ == "__main__":
    main()

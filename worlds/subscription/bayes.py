"""Compare the plan's models with the Bayes-optimal ranking: `python -m worlds.subscription.bayes PROJECT`.

A cancellation is drawn with the true hazard as its probability, so no model can rank customers better than the hazard. Its
ROC AUC on the test rows is the upper bound for models; 0.5 is the AUC without a model.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from core.errors import PantheraError
from core.files import require
from core.plan.file import read_plan
from models.candidates.candidates import read_candidate
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, contract_features, part, read_training_set, rows_of
from models.scoring.model_file import load_model


@dataclass(frozen=True)
class BayesComparison:
    """ROC AUCs on the same rows.

    Attributes
    ----------
    rows, test_rows : the numbers of compared rows and of test rows. Test rows without a true hazard are left out: their
        customers had cancelled, but the record became known too late.
    bayes : the AUC of the true hazard.
    candidates : the AUC of each candidate of the plan.

    """

    rows: int
    test_rows: int
    bayes: float
    candidates: dict[str, float]

    def share(self, candidate: str) -> float:
        """Return the position of `candidate` between 0.5 (0) and the Bayes-optimal AUC (1)."""
        return (self.candidates[candidate] - 0.5) / (self.bayes - 0.5)


def compare_with_bayes(project: Path) -> BayesComparison:
    """Return the AUCs of the plan's candidates and of the true hazard on the test rows of the folder `project`.

    Raises
    ------
    PantheraError
        If the plan was not run in the folder, or its world has no truth.

    """
    plan = read_plan(project / "params.yaml")
    table = read_training_set(project / "data" / "training_set.parquet")
    fitting, test = part(table, TRAIN), part(table, TEST)
    known = with_hazard(test, plan.unit.key, project / "world" / "truth" / "hazard.parquet")
    rows = rows_of(
        known,
        contract_features(plan.build_features, plan.training_set.service, fitting),
        task_of(plan.project.problem, fitting),
    )
    folder = require(project / "data" / "candidates", "train")
    models = {name: load_model(*read_candidate(folder / name)) for name in plan.train.candidates}
    return BayesComparison(
        rows=len(known),
        test_rows=len(test),
        bayes=float(roc_auc_score(rows.label, known.column("hazard").to_numpy())),
        candidates={
            name: float(roc_auc_score(rows.label, np.ravel(model.outputs(rows.inputs))))
            for name, model in models.items()
        },
    )


def with_hazard(rows: pa.Table, key: str, truth: Path) -> pa.Table:
    """Return the rows that have a true hazard of the month that starts at `as_of`, joined with it."""
    if not truth.exists():
        raise PantheraError(f"{truth} is missing; link or generate the world as the folder `world` of the project")
    hazard = pq.read_table(truth, columns=["customer_id", "month_start", "hazard"])
    return rows.join(hazard, [key, "as_of"], ["customer_id", "month_start"], join_type="inner")


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worlds.subscription.bayes", description=__doc__)
    parser.add_argument("project", type=Path, help="project folder in which the world's plan was run")
    parsed = parser.parse_args(arguments)
    try:
        found = compare_with_bayes(parsed.project)
    except PantheraError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    print(f"Bayes-optimal ROC AUC {found.bayes:.4f} on {found.rows:,} of {found.test_rows:,} test rows")
    for name, auc in sorted(found.candidates.items(), key=lambda item: -item[1]):
        print(f"{name}: ROC AUC {auc:.4f}, {found.share(name):.1%} of the way from 0.5")
    return 0


if __name__ == "__main__":
    sys.exit(main())

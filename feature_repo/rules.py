"""Stage `rules`: write the sections that a plan may leave out to files, so that DVC sees whether they changed.

DVC refuses to run a stage if the plan lacks the section that is its params. The section `validate` may be absent: then there
are no rules. So may `materialize`: then there are no instants. So this stage depends on the plan as a file, and the stages that
read these sections depend on the files written here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.files import write_whole
from core.plan.text import read_sections
from core.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.plan.ingest import QualityRules


def rules_json(rules: Mapping[str, QualityRules]) -> str:
    """Compose the rules of each source as JSON, with defaults filled in."""
    by_source = {name: each.model_dump(mode="json") for name, each in sorted(rules.items())}
    return json.dumps(by_source, indent=1) + "\n"


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write, of the section `validate`")
    parser.add_argument("--instant", type=Path, required=True, help="JSON file to write, of the section `materialize`")
    arguments = parser.parse_args()
    plan = read_sections(read_settings().plan)
    write_whole(arguments.out, rules_json(plan.validate_))
    write_whole(arguments.instant, plan.materialize.model_dump_json() + "\n")
    print(f"rules: of {len(plan.validate_)} sources")


if __name__ == "__main__":
    run(main)

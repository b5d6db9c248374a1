"""Stage `rules`: write the quality rules of the plan, for DVC to see whether they changed.

A section that a stage has as its params must stand in the plan, or DVC refuses to run the stage. The section `validate` may be
absent, which says that there are no rules; so this stage depends on the plan as a file, and `validate` on what is written here.
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
    """Compose the rules of each source as JSON; what the plan does not say is written as its default."""
    stated = {name: each.model_dump(mode="json") for name, each in sorted(rules.items())}
    return json.dumps(stated, indent=1) + "\n"


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    plan = read_sections(read_settings().plan)
    write_whole(arguments.out, rules_json(plan.validate_))
    print(f"rules: of {len(plan.validate_)} sources")


if __name__ == "__main__":
    run(main)

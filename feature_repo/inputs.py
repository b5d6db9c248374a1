"""Stage `inputs`: write, for each later stage, what it is made from: digests of its code, and its sections of the plan.

DVC follows no imports, and refuses a stage whose section the plan leaves out. A file for each stage holds both: it differs if
and only if a file of the stage's code or a value of one of its sections does. DVC then writes one dependency to `dvc.lock` in
place of a hundred, which it reads and writes in a tenth of the time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.entry import run
from core.files import write_whole
from core.pipeline.code import code_of
from core.pipeline.stages import module_of, read_declared, section_values, sections_of
from core.plan.text import read_sections
from core.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def stage_inputs(code: Mapping[str, str], sections: Mapping[str, Any]) -> str:
    """Compose what a stage is made from as JSON."""
    return json.dumps({"format_version": 1, "sections": sections, "code": code}, indent=1) + "\n"


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True, help="`dvc.yaml`, which names the stages")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the files to write, one for each later stage"
    )
    arguments = parser.parse_args()
    values = section_values(read_sections(read_settings().plan))
    stages = {arguments.out / f"{name}.json": declared for name, declared in read_declared(arguments.pipeline).items()}
    reading = {file: declared for file, declared in stages.items() if str(file) in declared["deps"]}
    for file, declared in reading.items():
        sections = {section: values[section] for section in sections_of(declared)}
        write_whole(file, stage_inputs(code_of(module_of(declared)), sections))
    print(f"inputs: of {len(reading)} stages")


if __name__ == "__main__":
    run(main)

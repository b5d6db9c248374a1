"""Write the files of a data set: `python -m worlds.public NAME FOLDER`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

PLANS = {plan.stem: plan for plan in sorted(Path(__file__).parent.glob("*.yaml"))}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(PLANS), help="the data set")
    parser.add_argument("folder", type=Path, help="where its files are written")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    import_module(f"worlds.public.{arguments.name}").write(arguments.folder)


if __name__ == "__main__":
    main()

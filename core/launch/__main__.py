"""Run a module as `python -m` does, in a fork of the server of this `dvc repro` if there may be one."""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    """Run the module that the first argument names, with the other arguments."""
    if len(sys.argv) == 1:
        sys.exit("error: no module is named; expected `python -m core.launch MODULE ARGUMENTS`")
    module = sys.argv.pop(1)
    if sys.platform == "linux":
        from core.launch.client import module_to_run

        module = module_to_run(module)
    sys.modules.pop(module, None)  # in a fork: imported by the server, and to be run as the main module
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

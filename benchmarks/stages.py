"""Run the stages of dvc.yaml in this process, without DVC, which starts a process for each: for tests and benchmarks."""

from __future__ import annotations

import gc
import sys
import warnings
from importlib import import_module
from pathlib import Path

import yaml


def run_stages(last: str | None = None) -> None:
    """Run the stages of the working folder's dvc.yaml in their order, as their command lines say, the `last` included."""
    arguments = sys.argv
    try:
        for name, stage in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].items():
            _, _, _, module, *rest = stage["cmd"].split()
            sys.argv = [module, *rest]
            import_module(module).main()
            if name == last:
                return
    finally:
        sys.argv = arguments
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # connections that end with the process of a stage

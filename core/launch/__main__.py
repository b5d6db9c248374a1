"""Run a module as `python -m` does, in a fork of the server of this `dvc repro` if there may be one."""

from __future__ import annotations

import atexit
import ctypes
import os
import runpy
import sys
import threading

#: What Python ends with if its standard streams cannot be written to.
_NOT_FLUSHED = 120


def main() -> None:
    """Run the module that the first argument names, with the other arguments."""
    if len(sys.argv) == 1:
        sys.exit("error: no module is named; expected `python -m core.launch MODULE ARGUMENTS`")
    module = sys.argv.pop(1)
    if sys.platform == "linux":
        from core.launch.client import module_to_run

        module = module_to_run(module)
    sys.modules.pop(module, None)  # in a fork: imported by the server, and to be run as the main module
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        _end(end.code)


def _end(code: int) -> None:
    """End the process as the interpreter does, but do not take its objects apart, which takes a second in a fork."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for the threads, as the interpreter does
    atexit._run_exitfuncs()  # noqa: SLF001
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = _NOT_FLUSHED
    ctypes.CDLL(None).fflush(None)
    os._exit(code)


if __name__ == "__main__":
    main()

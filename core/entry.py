"""How a stage ends as a program: quietly, or with one clear line and a non-zero exit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.settings import silence_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Run `main`; print an error that the user can act on without a traceback, and exit with 1."""
    silence_telemetry()
    try:
        main()
    except PantheraError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

"""How a program of ours ends: quietly, or with one clear line and a non-zero exit."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.settings import silence_telemetry
from core.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED = 1, 130, 141
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAKE_ROOM = "make room and run again, which begins the stage anew"
#: Errors of libraries that the machine causes; their modules are not imported for it.
_OF_THE_MACHINE = {"_duckdb.IOException", "_duckdb.OutOfMemoryException", "sqlalchemy.exc.DBAPIError", "psycopg.Error"}


def run(main: Callable[[], None]) -> None:
    """Run `main`, which is a stage, and exit as `exit_code` says."""
    sys.exit(exit_code(main))


def exit_code(work: Callable[[], int | None]) -> int:
    """Do `work` and return its exit code; an error that the user can act on is printed as one line, without a traceback."""
    silence_telemetry()
    try:
        code = work() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is left in the buffer must not fail at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        print(f"error: {harmless(line)}", file=sys.stderr)
        return EXIT_ERROR
    return code


def no_room(message: str) -> int | None:
    """Return the number of the error by which `message` says that no room is left to write, or None if it says another."""
    return next((number for number in _NO_ROOM if os.strerror(number) in message), None)


def _line(error: Exception) -> str | None:
    """Return the line that tells an error of ours or of the machine, and None for a fault of the code."""
    if isinstance(error, PantheraError):
        return str(error)
    if isinstance(error, OSError):
        return _of_file(error)
    if isinstance(error, MemoryError):
        return "the memory does not suffice; give this machine more of it, or make the data smaller"
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    return f"{_first_line(error)}; {_next(error)}" if kinds & _OF_THE_MACHINE else None


def _of_file(error: OSError) -> str:
    if error.filename is None:  # an error of a library, which tells where in its message
        return f"{_first_line(error)}; {_next(error)}"
    left = "no room is left to write: " if error.errno in _NO_ROOM else ""
    return f"{error.filename}: {left}{error.strerror}; {_next(error)}"


def _next(error: Exception) -> str:
    return "correct what it names and run again" if no_room(str(error)) is None else _MAKE_ROOM


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Exit codes and one-line error output of the stages and the command line."""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.files import write_whole
from core.settings import read_settings, silence_telemetry
from core.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.settings import Settings

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED = 1, 130, 141
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAKE_ROOM = "make room and run again, which begins the stage anew"
#: Library errors with a cause outside the code (disk, memory, server); by name, so that no library is imported for them.
_ENVIRONMENT_ERRORS = {
    "_duckdb.IOException",
    "_duckdb.OutOfMemoryException",
    "sqlalchemy.exc.DBAPIError",
    "psycopg.Error",
}


def run(main: Callable[[], None]) -> None:
    """Run `main` of a stage, write how long it took to the state folder, and exit the process with `exit_code(main)`."""
    begin = time.monotonic()

    def timed() -> None:
        main()
        module = sys.modules["__main__"].__spec__
        if module is not None:
            stage = module.name.rpartition(".")[2]
            write_whole(_seconds_folder(read_settings()) / stage, f"{time.monotonic() - begin:.3f}\n")

    sys.exit(exit_code(timed))


def read_seconds(settings: Settings) -> dict[str, float]:
    """Return how many seconds the last run of each stage took; stages that have not run here are absent."""
    return {file.name: float(file.read_text()) for file in _seconds_folder(settings).glob("[a-z_]*")}


def _seconds_folder(settings: Settings) -> Path:
    return settings.state / "stage-seconds"


def exit_code(work: Callable[[], int | None]) -> int:
    """Run `work` and return its exit code; print an error that the user can act on as one line, without a traceback."""
    silence_telemetry()
    try:
        code = work() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe. Redirect stdout, so that flushing the buffer at exit does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        line = _error_line(error)
        if line is None:
            raise
        print(f"error: {harmless(line)}", file=sys.stderr)
        return EXIT_ERROR
    return code


def no_room(message: str) -> int | None:
    """Return the errno of the disk-full error that `message` quotes, or None if it quotes none."""
    return next((number for number in _NO_ROOM if os.strerror(number) in message), None)


def _error_line(error: Exception) -> str | None:
    """Return the message for a PantheraError or an error of the environment; None for a bug, which keeps its traceback."""
    if isinstance(error, PantheraError):
        return str(error)
    if isinstance(error, OSError):
        return _os_error_line(error)
    if isinstance(error, MemoryError):
        return "the memory does not suffice; give this machine more of it, or make the data smaller"
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    return f"{_first_line(error)}; {_advice(error)}" if kinds & _ENVIRONMENT_ERRORS else None


def _os_error_line(error: OSError) -> str:
    if error.filename is None:  # raised by a library, whose message contains the path
        return f"{_first_line(error)}; {_advice(error)}"
    disk_full = "no room is left to write: " if error.errno in _NO_ROOM else ""
    return f"{error.filename}: {disk_full}{error.strerror}; {_advice(error)}"


def _advice(error: Exception) -> str:
    return "correct what it names and run again" if no_room(str(error)) is None else _MAKE_ROOM


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

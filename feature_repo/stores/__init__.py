"""Feast's stores over this project's files and tables; the only room that imports Feast.

Feast has typeguard write its classes anew, with a check of each argument's type; that takes two thirds of its import. Here
mypy and the plan check them, so Feast's classes stay as they are written.
"""

from typing import TypeVar

import typeguard

_Target = TypeVar("_Target")


def _as_written(target: _Target) -> _Target:
    return target


typeguard.typechecked = _as_written  # type: ignore[assignment]

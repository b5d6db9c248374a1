"""The Feast objects of the plan, for Feast's command line, created when they are accessed.

Feast imports every module of this folder that `.feastignore` does not name. It treats the objects in them as the complete
feature repository: `feast apply` deletes everything else from the registry.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHECKOUT = Path(__file__).resolve().parent.parent
#: The folder of the snapshots in `dvc.yaml`, relative to this folder.
_FEATURES = Path("../data/features")


@lru_cache(maxsize=1)
def _objects() -> Mapping[str, object]:
    from core.plan.file import read_plan
    from core.settings import read_settings
    from feature_repo.stores.definitions import define

    plan = read_plan(_CHECKOUT / read_settings().plan)
    return {f"object_{number}": each for number, each in enumerate(define(plan, _FEATURES).all())}


def __dir__() -> list[str]:
    """Return the names of the objects only."""
    return sorted(_objects())


def __getattr__(name: str) -> object:
    """Return one of the objects."""
    if name.startswith("object_") and name in _objects():
        return _objects()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What Feast's command line finds in this folder: the objects that the plan defines, made when they are looked for.

Feast imports every module here that `.feastignore` does not name, as a module of its own, and takes what stands in it for all
that there is: whatever else is in the registry, `feast apply` deletes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHECKOUT = Path(__file__).resolve().parent.parent
#: Where `dvc.yaml` has the snapshots, relative to this folder.
_FEATURES = Path("../data/features")


@lru_cache(maxsize=1)
def _objects() -> Mapping[str, object]:
    from core.plan.file import read_plan
    from core.settings import read_settings
    from feature_repo.stores.definitions import define

    plan = read_plan(_CHECKOUT / read_settings().plan)
    return {f"object_{place}": found for place, found in enumerate(define(plan, _FEATURES).all())}


def __dir__() -> list[str]:
    """List the objects alone."""
    return sorted(_objects())


def __getattr__(name: str) -> object:
    """Give one of the objects."""
    if name.startswith("object_") and name in _objects():
        return _objects()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

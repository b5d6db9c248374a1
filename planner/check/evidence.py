"""Read the evidence of a draft, the file beside the plan that `panthera draft` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError

if TYPE_CHECKING:
    from pathlib import Path

_NEXT = "name the data to draft a plan of: panthera draft DATA"


def read_evidence(file: Path, *needed: str) -> dict[str, Any]:
    """Read the evidence of a draft with the parts `needed`: its `keys`, the `request` and the `draft` that it was.

    Raises
    ------
    PantheraError
        If there is no evidence, or it is of a version without one of these parts.

    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PantheraError(f"there is no {file}, the evidence of a draft beside its plan; {_NEXT}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {*needed} <= found.keys():
        raise PantheraError(f"{file} does not state what was drafted; {_NEXT}")
    return found

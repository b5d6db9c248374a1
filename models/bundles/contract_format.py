"""How a contract is written, and how each format that was ever written is read."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.calibration import Calibration
from core.contracts import Contract, ContractFeature, ContractView, Link
from core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT_VERSION = 2


def contract_to_json(contract: Contract) -> str:
    """Write a contract; durations as seconds, instants as ISO 8601."""

    def plain(value: object) -> float | str:
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, datetime):
            return value.isoformat()
        raise TypeError(type(value).__name__)

    stored = asdict(contract)
    # Format 2 came before links and packed tables, and a view without them is written as it was then.
    stored["views"] = [
        {name: value for name, value in view.items() if name not in {"link", "packed"} or value}
        for view in stored["views"]
    ]
    return json.dumps(stored, indent=2, sort_keys=True, default=plain) + "\n"


def contract_from_json(text: bytes) -> Contract:
    """Read a contract of any format up to the present one.

    Raises
    ------
    BundleError
        If it is of a later format, or has other fields than its format.

    """
    stored: dict[str, Any] = json.loads(text)
    version = stored.get("format_version")
    if version not in _READERS:
        known = " and ".join(map(str, sorted(_READERS)))
        raise BundleError(
            f"the bundle has format version {version}, this software reads {known}; update it, or train again"
        )
    try:
        return _contract(_READERS[version](stored))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the bundle's contract has other fields than format {version}: {error}") from None


def _from_1(stored: dict[str, Any]) -> dict[str, Any]:
    """Add what format 1 did not say: that any feature may be missing, no name and no hash.

    The name of an online table ends with the first digits of its view's hash, but they are not the whole of it.
    """
    return {
        **stored,
        "features": [{**feature, "nullable": True} for feature in stored["features"]],
        "views": [{**view, "definition": ""} for view in stored["views"]],
        "model": "",
        "label": "",
        "lock": "",
        "unseen_level": "as_missing",
        "calibration": None,
        "seen_until": None,
        "classes": [],
        "test_rows": "",
    }


def _from_2(stored: dict[str, Any]) -> dict[str, Any]:
    return stored


#: How the fields of each format become those of the present one.
_READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, FORMAT_VERSION: _from_2}


def _contract(stored: dict[str, Any]) -> Contract:
    # A default is for those who make a contract, not for one that was written.
    lacking = [field.name for field in fields(Contract) if field.name not in stored]
    if lacking:
        raise KeyError(lacking[0])
    views = (
        ContractView(
            **{
                **view,
                "ttl": timedelta(seconds=view["ttl"]),
                "link": Link(**view["link"]) if "link" in view else None,
                "packed": tuple((name, dtype) for name, dtype in view.get("packed", ())),
            }
        )
        for view in stored["views"]
    )
    features = (ContractFeature(**{**feature, "levels": tuple(feature["levels"])}) for feature in stored["features"])
    calibration, seen_until = stored["calibration"], stored["seen_until"]
    return Contract(
        **{
            **stored,
            "calibration": None if calibration is None else Calibration.from_dict(calibration),
            "seen_until": None if seen_until is None else datetime.fromisoformat(seen_until),
            "classes": tuple(stored["classes"]),
            "views": tuple(views),
            "features": tuple(features),
            "horizon": timedelta(seconds=stored["horizon"]),
        }
    )

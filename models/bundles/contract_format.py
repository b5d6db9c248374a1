"""The JSON format of a contract; every earlier format version remains readable."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.calibration import Calibration, ScoreReference
from core.contracts import Contract, ContractFeature, ContractView, Link
from core.errors import BundleError
from core.prediction_interval import PredictionInterval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT_VERSION = 2
#: Fields that were added to format 2, with the value that they have in a contract without them.
_LATER: Mapping[str, Any] = {"positive": "", "negative": "", "interval": None, "weight": "", "score_reference": None}


def contract_to_json(contract: Contract) -> str:
    """Compose the JSON of a contract; durations are in seconds, instants in ISO 8601."""

    def plain(value: object) -> float | str:
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, datetime):
            return value.isoformat()
        raise TypeError(type(value).__name__)

    stored = asdict(contract)
    # Format 2 precedes these fields, links and packed tables; without them, their keys are not written.
    for name in _LATER:
        if not stored[name]:
            del stored[name]
    stored["views"] = [
        {name: value for name, value in view.items() if name not in {"link", "packed"} or value}
        for view in stored["views"]
    ]
    return json.dumps(stored, indent=2, sort_keys=True, default=plain) + "\n"


def contract_from_json(text: bytes) -> Contract:
    """Return the contract of a JSON text of any format version up to the current one.

    Raises
    ------
    BundleError
        If the format version is newer, or the fields are not those of the format.

    """
    stored: dict[str, Any] = json.loads(text)
    version = stored.get("format_version")
    if version not in _READERS:
        known = " and ".join(map(str, sorted(_READERS)))
        raise BundleError(
            f"the bundle has format version {version}, this software reads {known}; update the software, or train again"
        )
    try:
        return _contract(_READERS[version](stored))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the bundle's contract does not match format {version}: {error}; train again") from None


def _from_1(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a contract of format 1 with the fields that it lacks: any feature may be missing, names and hashes are empty.

    The name of an online table ends with a prefix of its view's hash, which is not enough to restore the hash.
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


#: Converts the fields of each format version to those of the current one.
_READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, FORMAT_VERSION: _from_2}


def _contract(stored: dict[str, Any]) -> Contract:
    # The defaults of `Contract` must not replace fields that a stored contract lacks.
    stored = {**_LATER, **stored}
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
            "interval": PredictionInterval(**stored["interval"]) if stored["interval"] else None,
            "score_reference": ScoreReference.from_dict(reference)
            if (reference := stored["score_reference"])
            else None,
            "views": tuple(views),
            "features": tuple(features),
            "horizon": timedelta(seconds=stored["horizon"]),
        }
    )

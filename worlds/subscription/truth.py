"""Write the truth: the hazards, their formula, and the effects of the offer, the protected group and the changes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from worlds.subscription.changes import AnyChange
from worlds.subscription.hazard import FORMULA
from worlds.subscription.months import MonthGrid, month_grid
from worlds.subscription.settings import Category, SubscriptionSettings
from worlds.subscription.tables import HAZARD_SCHEMA

#: Version of the layout of the files in `truth/`.
FORMAT = 1
SUMMED = ("customer_months", "hazard", "hazard_with_offer", "cancelled")


@dataclass
class HazardSums:
    """Sums of the hazard table over the chunks, so that the whole table need not be in memory."""

    _by_group: list[pa.Table] = field(default_factory=list)

    def add(self, hazard: pa.Table) -> None:
        """Add one chunk's rows, in the order of the chunks."""
        counted = hazard.append_column("customer_months", pa.array([1] * len(hazard), pa.int64()))
        self._by_group.append(_sum_by(counted, ["segment", "protected"]))

    def means(self, column: str) -> dict[Any, dict[str, float]]:
        """Return the means over customer months for each value of `segment` or `protected`."""
        if not self._by_group:
            return {}
        rows = _sum_by(pa.concat_tables(self._by_group), [column]).sort_by(column).to_pylist()
        return {row[column]: _means(row) for row in rows}


def _sum_by(table: pa.Table, keys: list[str]) -> pa.Table:
    """Return sums by `keys`; one thread adds in a fixed order, so that the last digit is reproducible."""
    sums = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in SUMMED])
    return sums.rename_columns({f"{name}_sum": name for name in SUMMED})


def _means(sums: Mapping[str, Any]) -> dict[str, float]:
    months = sums["customer_months"]
    return {
        "customer_months": months,
        "cancellations": int(sums["cancelled"]),
        "mean_hazard": sums["hazard"] / months,
        "mean_hazard_with_offer": sums["hazard_with_offer"] / months,
    }


class TruthWriter:
    """Writes the folder `truth`: the hazards chunk by chunk, the rest at the end."""

    def __init__(self, folder: Path, settings: SubscriptionSettings) -> None:
        folder.mkdir()
        self._folder = folder
        self._settings = settings
        self._sums = HazardSums()
        self._hazards = pq.ParquetWriter(folder / "hazard.parquet", HAZARD_SCHEMA, compression="zstd")

    def add(self, hazard: pa.Table) -> None:
        """Write one chunk's hazards, in the order of the chunks."""
        self._hazards.write_table(hazard)
        if len(hazard):
            self._sums.add(hazard)

    def close(self) -> None:
        """Close the file of the hazards."""
        self._hazards.close()

    def finish(self) -> None:
        """Close the file of the hazards and write all other files."""
        self.close()
        settings = self._settings
        self._write("settings", settings.model_dump(mode="json"))
        self._write("formula", formula_truth(settings))
        self._write("changes", changes_truth(settings))
        self._write("offer", offer_truth(settings, self._sums))
        self._write("disparity", disparity_truth(settings, self._sums))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **content}, indent=2)
        (self._folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def formula_truth(settings: SubscriptionSettings) -> dict[str, Any]:
    """Return the description of the hazard: the formula, the meanings of its terms and all coefficients."""
    described = type(settings.hazard).model_fields
    return {
        "formula": FORMULA,
        "intercept": settings.intercept,
        "terms": {
            name: {"coefficient": coefficient, "meaning": described[name].description}
            for name, coefficient in settings.hazard.model_dump().items()
        },
        "segment": _logits(settings.segments),
        "region": _logits(settings.regions),
        "acquisition_channel": _logits(settings.channels),
        "gender": _logits(settings.genders),
        "protected": settings.protected.model_dump(),
        "seasonality": settings.seasonality.model_dump(),
        "horizon_days": settings.horizon_days,
        "label": "cancelled within horizon_days after a month's first instant (UTC), of those who signed up before it "
        "and have not cancelled",
    }


def _logits(categories: tuple[Category, ...]) -> dict[str, float]:
    return {category.name: category.logit for category in categories}


def changes_truth(settings: SubscriptionSettings) -> dict[str, Any]:
    """Return the injected changes with their first instants, and the seasonality."""
    grid = month_grid(settings.start_date, settings.months)
    return {
        "changes": [_change_truth(change, grid) for change in settings.changes],
        "seasonality": settings.seasonality.model_dump(),
    }


def _change_truth(change: AnyChange, grid: MonthGrid) -> dict[str, Any]:
    return {
        **change.model_dump(mode="json"),
        "starts": _instant(grid, change.start_month),
        "ends": None if change.end_month is None else _instant(grid, change.end_month),
    }


def _instant(grid: MonthGrid, month: int) -> str:
    """Return a month's first instant in ISO 8601."""
    return f"{grid.month(month).begins.astype('datetime64[s]')}Z"


def offer_truth(settings: SubscriptionSettings, sums: HazardSums) -> dict[str, Any]:
    """Return the offer's effect on the logit, and its mean effect on the hazard over the customer months."""
    means = sums.means("segment")
    return {
        "effect": "added to the logit of the hazard of the month for which the offer is received; "
        "nobody in the history received it",
        "logit": dict(settings.offer.effects),
        "by_segment": {
            segment: {**mean, "mean_effect": mean["mean_hazard_with_offer"] - mean["mean_hazard"]}
            for segment, mean in means.items()
        },
    }


def disparity_truth(settings: SubscriptionSettings, sums: HazardSums) -> dict[str, Any]:
    """Return the protected group's effect on the logit, and the mean hazards inside and outside the group."""
    means = sums.means("protected")
    return {
        "attribute": "gender",
        "group": settings.protected.gender,
        "logit": settings.protected.logit,
        "inside": means.get(True),
        "outside": means.get(False),
    }

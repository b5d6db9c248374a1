"""Report section about explanations: feature importance, and contributions to some predictions."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from models.reports import html, svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.evaluation.explanations import Explanation

_STRONGEST = 15
_SHOWN = 6


@dataclass(frozen=True)
class Reasons:
    """Importance as (feature, mean absolute contribution) over `rows` rows, and (title, explanation) of some predictions."""

    importance: Sequence[tuple[str, float]]
    rows: int
    examples: Sequence[tuple[str, Explanation]]


def reasons_section(found: Reasons, problem: str) -> str:
    """Compose the section with the most important features and some explained predictions; empty without explanations."""
    if not found.importance:
        return ""
    scale = "predicted number" if problem == "regression" else "log-odds" if problem == "binary" else "log-probability"
    top = list(found.importance)[:_STRONGEST]
    picture = svg.bars([name for name, _ in top], [value for _, value in top], f"mean absolute contribution ({scale})")
    left = len(found.importance) - len(top)
    caption = f"Mean absolute SHAP value over {found.rows:,} test rows" + (
        f"; {left} less important features are not shown." if left else "."
    )
    examples = "".join(_example(title, one) for title, one in found.examples)
    return html.section(
        "Feature contributions",
        f"<p>The contribution of each feature to the raw score ({scale}, before calibration). The base and the contributions "
        "of a prediction sum to its raw score. They describe what the model uses, not the effect of changing a feature.</p>",
        html.figure(picture, caption),
        f'<div class="row">{examples}</div>',
    )


def _example(title: str, one: Explanation) -> str:
    shown = one.contributions[:_SHOWN]
    rest = sum(contribution.adds for contribution in one.contributions[_SHOWN:])
    widest = max((abs(contribution.adds) for contribution in shown), default=1.0) or 1.0
    rows = [
        [
            f"{escape(contribution.feature)}<small>{escape(html.feature_value(contribution.value))}</small>",
            html.signed(contribution.adds),
            html.bar(contribution.adds / widest),
        ]
        for contribution in shown
    ]
    rows += [
        ["all others", html.signed(rest), ""],
        ["base", html.signed(one.base), ""],
        ["<b>raw score</b>", f"<b>{html.signed(one.raw_score)}</b>", ""],
    ]
    return f"<div><h3>{escape(title)}</h3>{html.table(['feature', 'contribution', ''], rows)}</div>"

"""HTML building blocks of a report: numbers, tables, figures and sections, without external resources."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from models.measures.intervals import Estimate

_CSS = """
:root{color-scheme:light dark;--ink:#1f2933;--soft:#52606d;--faint:#9aa5b1;--line:#e4e7eb;--blue:#0b5cad;--orange:#d55e00;
--pale:#f5f8fb;--card:#fff;--page:#eef1f4;--mark:#eaf2fb}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#a5b1bd;--faint:#6b7885;--line:#313a44;--blue:#63a9f2;
--orange:#f08a3c;--pale:#1d252e;--card:#161c23;--page:#0d1116;--mark:#1b2c3f}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 20px 64px}
section,header{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:24px 28px;margin-bottom:20px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}
h2{font-size:19px;margin:0 0 10px}
h3{font-size:15px;margin:18px 0 6px}
p{margin:8px 0;max-width:76ch}
code{font-size:13.5px;overflow-wrap:anywhere}
a{color:var(--blue)}
.soft{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin-top:18px}
.card{background:var(--pale);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card b{display:block;font-size:24px;line-height:1.3}
.card span{color:var(--soft);font-size:13.5px}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:8px 24px}
figure{margin:10px 0;min-width:0}
figcaption{color:var(--soft);font-size:13.5px}
svg{max-width:100%;height:auto;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 9px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;white-space:nowrap;
background:var(--card)}
th:first-child,td:first-child{text-align:left;position:sticky;left:0}
td.words,th.words{text-align:left;white-space:normal;overflow-wrap:break-word;min-width:90px}
thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
tr.best td{background:var(--mark)}
small{color:var(--soft);display:block;font-size:12px}
.bar{display:inline-block;height:10px;border-radius:2px;vertical-align:middle}
@media(max-width:600px){main{padding:12px 8px 32px}section,header{padding:16px 14px}}
@media print{body{background:none}section,header{break-inside:avoid;border:0;padding:12px 0}}
"""


def page(title: str, sections: Sequence[str]) -> str:
    """Compose a whole HTML page."""
    body = "\n".join(filter(None, sections))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
        f'content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def number(value: float) -> str:
    """Compose a number with three or four significant digits; a dash for NaN and infinity."""
    if not math.isfinite(value):
        return "&ndash;"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.4f}"  # noqa: PLR2004


def signed(value: float) -> str:
    """Compose a number with its sign."""
    return ("+" if value > 0 else "&minus;" if value < 0 else "") + number(abs(value))


def between(lower: float, upper: float) -> str:
    """Compose an interval with three significant digits."""
    return f"{_short(lower)} to {_short(upper)}" if math.isfinite(lower) else "no interval"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


def share(value: float) -> str:
    """Compose a share as a percentage."""
    return f"{100 * value:.1f} %" if math.isfinite(value) else "&ndash;"


def estimate_cell(found: Estimate) -> str:
    """Compose a value with its interval below it."""
    return f"{number(found.value)}<small>{between(found.lower, found.upper)}</small>"


class Budget:
    """The bytes that the parts of a page may still use, and the number of parts that did not fit."""

    def __init__(self, most: int) -> None:
        self._left, self.left_out = most, 0

    def fits(self, part: str) -> bool:
        """Return whether a part still fits, and subtract its bytes; otherwise count it as left out."""
        size = len(part.encode())
        if size > self._left:
            self.left_out += 1
            return False
        self._left -= size
        return True


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    best: int | None = None,
    words: int = 1,
    label: str | None = None,
) -> str:
    """Compose a table of HTML cells; the first `words` columns are text, the row with the index `best` is marked.

    With a `label`, readers of a narrow page can scroll the table by keyboard, and it is announced by that name.
    """
    classes = ['class="words"' if index < words else "" for index in range(len(head))]
    top = "".join(f"<th {class_}>{name}</th>" for class_, name in zip(classes, head, strict=True))
    lines = [
        f'<tr class="{"best" if index == best else ""}">'
        + "".join(f"<td {class_}>{cell}</td>" for class_, cell in zip(classes, cells, strict=True))
        + "</tr>"
        for index, cells in enumerate(rows)
    ]
    region = f' tabindex="0" role="region" aria-label="{escape(label)}"' if label else ""
    return (
        f'<div class="scroll"{region}><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def figure(svg: str, caption: str) -> str:
    """Compose a figure with its caption."""
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def section(title: str, *content: str) -> str:
    """Compose a section with a heading."""
    return f"<section>\n<h2>{title}</h2>\n{''.join(content)}\n</section>"


def card(value: str, words: str) -> str:
    """Compose a card: one key number and its description."""
    return f'<div class="card"><b>{value}</b><span>{words}</span></div>'


def feature_value(value: object) -> str:
    """Compose a feature's value as text."""
    return "missing" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def bar(share: float) -> str:
    """Compose a small bar of the length |share|, in another colour below 0."""
    colour = "blue" if share > 0 else "orange"
    return f'<span class="bar" style="width:{60 * abs(share):.0f}px;background:var(--{colour})"></span>'

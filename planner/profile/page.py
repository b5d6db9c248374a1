"""The HTML page of a profile: one file without scripts or network access, of at most 300 kB for any number of columns."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from models.reports.html import Budget, card, page, section
from planner.profile.profile import column_notes, values_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table
    from planner.profile.times import Times

#: Bytes of all rows of the page's tables; the rest is style and headings.
_MOST_BYTES = 230_000
_WIDTH, _HEIGHT = 120, 26
_MOST_LINKS = 200
_LONGEST_NAME = 60


def profile_page(profile: Profile) -> str:
    """Compose the page of a profile."""
    budget = Budget(_MOST_BYTES)
    tables = [_table(profile, table, budget) for table in profile.tables]
    left_out = (
        f"<p>{budget.left_out:,} columns are left out here; <code>--json</code> has all.</p>" if budget.left_out else ""
    )
    head = f"<header><h1>Profile of the data</h1>{_cards(profile)}{left_out}</header>"
    return page("Profile of the data", [head, *tables, _links(profile)])


def _cards(profile: Profile) -> str:
    columns = sum(len(table.columns) for table in profile.tables)
    rows = sum(table.rows for table in profile.tables)
    found = [card(f"{len(profile.tables):,}", "tables"), card(f"{rows:,}", "rows"), card(f"{columns:,}", "columns")]
    return f'<div class="cards">{"".join(found)}</div>'


def _table(profile: Profile, table: Table, budget: Budget) -> str:
    is_target = profile.target is not None and profile.target.startswith(f"{table.name}.")
    strength = profile.associations or {} if is_target else {}
    rows = [row for column in table.columns if budget.fits(row := _row(table, column, strength.get(column.name)))]
    heads = "".join(f'<th class="words">{name}</th>' for name in ("column", "kind"))
    heads += "<th>missing</th><th>distinct</th>"
    heads += "".join(f'<th class="words">{name}</th>' for name in ("values", "picture", "notes"))
    times = "".join(_times(each) for each in table.times[:3])
    sampled = f"<p>Quantiles are of {table.sampled:,} rows at equal distances.</p>" if table.sampled else ""
    body = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    title = f"{escape(_cut(table.name))}: {table.rows:,} rows, {len(table.columns):,} columns"
    return section(title, sampled, times, body)


def _row(table: Table, column: Column, strength: float | None) -> str:
    notes = "; ".join(column_notes(column, is_key=column.name in table.keys[:1], strength=strength))
    missing = f"{column.nulls / column.rows:.1%}" if column.nulls else ""
    about = "" if column.is_exact else "&asymp; "
    words = (_cut(column.raw), column.kind)
    cells = "".join(f'<td class="words">{escape(word)}</td>' for word in words)
    cells += f"<td>{missing}</td><td>{about}{column.distinct:,}</td>"
    cells += f'<td class="words">{escape(values_text(column))}</td><td class="words">{picture(column)}</td>'
    return f'<tr>{cells}<td class="words">{escape(_cut(notes, 160))}</td></tr>'


def _cut(text: str, length: int = _LONGEST_NAME) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def picture(column: Column) -> str:
    """Compose the figure of a column: a box plot of a number, bars of the most frequent values of other kinds."""
    if column.is_numeric and len(column.quantiles) > 1 and column.quantiles[0] < column.quantiles[-1]:
        return _box(column.quantiles)
    counts = [count for _, count in column.top]
    is_shown = counts and not (column.personal and column.treatment != "keep")
    return _bars(counts, f"the {len(counts)} most frequent values") if is_shown else ""


def _box(quantiles: Sequence[float]) -> str:
    """Compose a box from the first to the third quartile, whiskers from 5 to 95 %, within the range from 1 to 99 %."""
    _, low, fifth, first, median, third, most, high, _ = quantiles
    span = (high - low) or 1.0
    left, begin, middle, end, right = (
        (each - low) / span * (_WIDTH - 4) + 2 for each in (fifth, first, median, third, most)
    )
    return _svg(
        f'<path d="M{left:.0f} 13H{right:.0f}" stroke="currentColor"/>'
        f'<rect x="{begin:.0f}" y="6" width="{max(end - begin, 1):.0f}" height="14" fill="var(--blue)"/>'
        f'<path d="M{middle:.0f} 4V22" stroke="var(--orange)" stroke-width="2"/>',
        "quartiles and median, lines from 5 to 95 %",
    )


def _bars(counts: Sequence[int], label: str) -> str:
    step, most = _WIDTH / len(counts), max(1, *counts)
    width = f"{max(step - 2, 1):.0f}"
    path = "".join(
        f"M{place * step + 1:.0f} {_HEIGHT}h{width}v-{count / most * (_HEIGHT - 2):.0f}h-{width}z"
        for place, count in enumerate(counts)
    )
    return _svg(f'<path d="{path}" fill="var(--blue)"/>', label)


def _svg(content: str, label: str) -> str:
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{content}</svg>'


def _times(times: Times) -> str:
    gap = f", at most {times.longest_gap_days:,} days apart" if times.longest_gap_days > 1 else ""
    words = (
        f"{escape(times.column)}: {times.first:%Y-%m-%d} to {times.last:%Y-%m-%d}, {times.days:,} days with rows{gap}"
    )
    return f"<figure>{_bars(times.counts, 'rows over time')}<figcaption>{words}</figcaption></figure>"


def _links(profile: Profile) -> str:
    if len(profile.tables) == 1:
        return ""
    lines: Iterable[str] = (
        f"<li><code>{escape(link.table)}.{escape(link.column)}</code> holds keys "
        f"<code>{escape(link.to_table)}.{escape(link.to_column)}</code>: {link.included:.1%} of its values, "
        f"{link.orphans:,} rows without one</li>"
        for link in profile.links[:_MOST_LINKS]
    )
    return section(
        "Links", f"<ul>{''.join(lines)}</ul>" if profile.links else "<p>No column holds keys of another table.</p>"
    )

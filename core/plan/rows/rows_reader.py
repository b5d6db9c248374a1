"""The keys of every reader of a source."""

from __future__ import annotations

from pydantic import Field

from core.plan.section import Section


class RowsReader(Section):
    """The keys of every reader."""

    missing: tuple[str, ...] = Field(default=(), strict=False)
    """Texts that mean a missing value, such as `["NA", "?", "-999"]`, in all columns without a list of their own."""

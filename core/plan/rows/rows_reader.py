"""What every reader of a source can state."""

from __future__ import annotations

from pydantic import Field

from core.plan.section import Section


class RowsReader(Section):
    """What every reader can state."""

    missing: tuple[str, ...] = Field(default=(), strict=False)
    """Texts that stand for no value, such as `["NA", "?", "-999"]`, in all columns without a list of their own."""

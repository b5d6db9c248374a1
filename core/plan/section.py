"""What every section of the plan is made of: the strict, frozen base, and the words for names and shares."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.suggestions import allowed_here

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the plan: frozen, and without any key that it does not declare."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        names = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [key for key in value if key not in names] if isinstance(value, dict) else []
        if unknown:
            faults = (f"unknown key {key!r}; {allowed_here(str(key), names)}" for key in unknown)
            raise ValueError(" | ".join(faults))
        return value

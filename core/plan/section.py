"""The base class of all sections of the plan, strict and frozen, and the types of names and shares."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.suggestions import allowed_here

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Reference = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
Share = Annotated[float, Field(ge=0, le=1)]


def column_of(reference: str) -> str:
    """Return the column of the training set that holds the values of a `view.feature`."""
    return reference.replace(".", "__")


class Section(BaseModel):
    """Base class of a section of the plan: frozen, strict, and without undeclared keys."""

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

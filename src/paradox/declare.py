"""What declarations are made of: the types of configured values, and sections of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
PlainName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Bases = list[str] | Literal["all"]
Dtype = Literal["float32", "bfloat16"]


class Section(BaseModel):
    """A part of the configuration; misspelt keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

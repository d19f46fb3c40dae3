"""What the sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text")
    return value


Text = Annotated[str, AfterValidator(_text)]


class Section(BaseModel):
    """One table of the file: nothing in it that is not known, nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

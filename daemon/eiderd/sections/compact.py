"""The section [compact]: when a database is written anew, and what that must be worth."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from eiderd.maintenance.window import checked as _window
from eiderd.sections.section import Section, Text, Url, usable
from eiderd.units import Duration  # noqa: TC001  (pydantic reads it)


def _checked_file(text: str) -> str:
    if "/" in text:
        usable(Path(text))
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise ValueError("must be an absolute path, or the name of a credential")
    return text


class CompactSection(Section):
    window: Annotated[str, AfterValidator(_window)] | None = Field(
        None,
        description="When eiderd may stop the application to write its database anew, in local "
        "time: days and times. Not set: never by itself. Then run eider setup, which lets the "
        "service write there.",
    )
    min_gain: float = Field(
        0.2, ge=0, lt=1, description="Leave the file as it is if less than this share is saved."
    )
    backup_within: Duration = Field(
        timedelta(hours=24),
        description="Refuse when the newest verified backup is older than this.",
    )
    url: Url | None = Field(
        None,
        description="Ask the application to compact its database itself, by POST to this URL. It "
        "is not stopped then, and eiderd writes nothing.",
    )
    url_headers: Annotated[Text, AfterValidator(_checked_file)] | None = Field(
        None,
        description="A file of mode 0600, or the name of a systemd credential, with a header a "
        "line for that URL, as in Authorization: Bearer ...",
    )

    @model_validator(mode="after")
    def _headers_have_a_url(self) -> Self:
        if self.url_headers and not self.url:
            raise ValueError("url_headers needs compact.url")
        return self

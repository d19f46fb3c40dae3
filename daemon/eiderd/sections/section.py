"""What the sections of the configuration are made of."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from eiderd.words import is_unicode

_LONGEST_PATH, _LONGEST_NAME = 4000, 255  # in bytes; what Linux takes, with room for ours below it


def usable(path: Path) -> Path:
    """Return a path that can be meant. Raise ValueError, in a person's words."""
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    if "\0" in str(path) or not is_unicode(str(path)):
        raise ValueError("must be text, in UTF-8 and without NUL")
    longest = max(len(part.encode()) for part in path.parts)
    if longest > _LONGEST_NAME or len(str(path).encode()) > _LONGEST_PATH:
        raise ValueError("is longer than a path can be")
    return path


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text")
    return value


def _url(value: str) -> str:
    plain_text = value.isascii() and value.isprintable() and " " not in value
    try:
        parts = urllib.parse.urlsplit(value)
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # which would say what it takes for the port: a part of a password
        well = False
    if not well or not plain_text:
        raise ValueError('must be a URL, as in "http://127.0.0.1:3857/api/v1/health"')
    if parts.username is not None:
        raise ValueError("must have no password in it")
    return value


AbsolutePath = Annotated[Path, AfterValidator(usable)]
Text = Annotated[str, AfterValidator(_text)]
Url = Annotated[str, AfterValidator(_url)]  # of HTTP


class Section(BaseModel):
    """One table of the file: nothing in it that is not known, nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

"""Which version of an application goes with which schema, DuckDB and NATS: a matrix. Pure.

Versions are whatever people write: "v1.50.1", "1.50.1-rc1", "ghcr.io/x/y:v1.50.1", "Release 1.50".
Only their numbers are compared.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from eiderd import toml

Numbers: TypeAlias = tuple[int, ...]

_VERSION: Final = re.compile(r"(?<![\w.])[vV]?(\d{1,6}(?:\.\d{1,6})+|\d{1,6}(?![\w.]))")
_PATTERN: Final = re.compile(r"[vV]?(\d{1,6}(?:\.\d{1,6})*)(?:\.[xX*])?")


def numbers(text: str | None) -> Numbers | None:
    """Return the numbers of the first thing in `text` that looks like a version, if one does."""
    found = _VERSION.search(text or "")
    return tuple(map(int, found[1].split("."))) if found else None


def is_older(one: Numbers, other: Numbers) -> bool:
    """Compare versions: 1.4 and 1.4.0 are the same."""
    size = max(len(one), len(other))
    return _padded(one, size) < _padded(other, size)


def _padded(version: Numbers, size: int) -> Numbers:
    return version + (0,) * (size - len(version))


def _pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError('must be a version, as in "1.48.x" or "1.48.3"')
    return text


def _version(text: str) -> str:
    if numbers(text) is None or not _PATTERN.fullmatch(text):
        raise ValueError('must be a version, as in "2.10"')
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Row(_Part):
    """A version of the application, or all releases of one, and what goes with it."""

    application: Annotated[str, AfterValidator(_pattern)]
    duckdb: Annotated[str, AfterValidator(_version)] | None = None
    schema_: int = Field(alias="schema", ge=0)
    nats: Annotated[str, AfterValidator(_version)] | None = None

    @property
    def numbers(self) -> Numbers:
        found = _PATTERN.fullmatch(self.application)
        return tuple(map(int, found[1].split("."))) if found else ()

    @property
    def lowest(self) -> str:
        """The first release that it stands for: of 1.48.x, 1.48.0."""
        whole = self.numbers + (0,) * (3 - len(self.numbers))
        return ".".join(map(str, whole))

    def is_of(self, version: Numbers) -> bool:
        return _padded(version, len(self.numbers))[: len(self.numbers)] == self.numbers


class Matrix(_Part):
    """The rows, the oldest version first. A newer version never has an older schema."""

    application: str
    sequential: bool = True
    install: dict[Literal["systemd", "docker", "commands", "none"], str] = Field(
        default_factory=dict
    )
    version: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        for older, newer in itertools.pairwise(self.version):
            if not is_older(older.numbers, newer.numbers):
                raise ValueError(f"{newer.application} must stand before {older.application}")
            if newer.schema_ < older.schema_:
                raise ValueError(
                    f"{newer.application} has schema {newer.schema_}, which is older than that of "
                    f"{older.application}"
                )
        return self

    def of(self, version: Numbers | None) -> Row | None:
        """Return the row that a version of the application belongs to: the closest one."""
        rows = [row for row in self.version if version and row.is_of(version)]
        return max(rows, key=lambda row: len(row.numbers), default=None)

    def with_schema(self, schema: int) -> Row | None:
        """Return the oldest version of the application that knows this schema."""
        return next((row for row in self.version if row.schema_ >= schema), None)

    @property
    def schemas(self) -> frozenset[int]:
        return frozenset(row.schema_ for row in self.version)

    def command(self, kind: str, row: Row) -> str | None:
        """Return what to type to install a version, as far as the matrix knows."""
        known = {str(name): text for name, text in self.install.items()}.get(kind)
        return known.replace("{version}", row.lowest) if known else None


def read(text: str) -> Matrix:
    """Return the matrix that a file holds. Raise ValueError, in a person's words."""
    try:
        return Matrix.model_validate(toml.read(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = str(first["msg"]).removeprefix("Value error, ")
        raise ValueError(f"{place}: {said}" if place else said) from error
    except ValueError as error:
        raise ValueError(f"it is not TOML: {error}") from error

"""The section [application]: who starts and stops what holds the database, and what is allowed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eiderd.schema.compatibility import numbers
from eiderd.sections.section import Section, Text, Url
from eiderd.units import Duration  # noqa: TC001  (pydantic reads it)

Verb = Literal["state", "start", "stop", "freeze", "thaw"]


class ApplicationSection(Section):
    kind: Literal["none", "systemd", "docker", "commands"] = Field(
        "none", description="Who starts and stops the application that holds the database."
    )
    unit: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*\.service$",
        description="Its unit, of kind systemd.",
    )
    container: str | None = Field(
        None,
        pattern=r"^(compose:/[^:]+:)?[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Its container, of kind docker: a name, or compose:FILE:SERVICE.",
    )
    commands: dict[Verb, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Of kind commands: words to run for state, start, stop, freeze and thaw. "
        "state ends with 0 when it runs and 3 when it is stopped.",
    )
    health_url: Url | None = Field(
        None,
        description="Answers 200 with JSON when the application is well, without a password.",
    )
    version_url: Url | None = Field(
        None,
        description="Answers with JSON in which the application's version stands, without a "
        "password. It is compared with the schema: see schema.compatibility.",
    )
    version_field: str = Field(
        "/version",
        pattern=r"^(/[^/]*)+$",
        description='Where in that JSON, as a JSON pointer: "/data/version".',
    )
    version_command: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        None, description="Or words to run that print it: the first version in there is meant."
    )
    version: Text | None = Field(None, description="Or the version itself.")
    allow_freeze: bool = Field(
        False,
        description="Freeze it for the last pass over a database that changes faster than it can "
        "be copied: for a second at most.",
    )
    allow_stop: bool = Field(
        False, description="Stop it for a copy when all else failed, and start it again."
    )
    timeout: Duration = Field(
        timedelta(minutes=1), description="How long it may take to start, or to stop."
    )

    @model_validator(mode="after")
    def _has_one_version(self) -> Self:
        told = [self.version_url, self.version_command, self.version]
        if sum(one is not None for one in told) > 1:
            raise ValueError("version_url, version_command and version exclude each other")
        if self.version is not None and numbers(self.version) is None:
            raise ValueError('version must be one, as in "1.50.1"')
        return self

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needs = {"systemd": "unit", "docker": "container", "commands": "commands"}.get(self.kind)
        if needs and not getattr(self, needs):
            raise ValueError(f'kind "{self.kind}" needs application.{needs}')
        for allowed, verbs in (
            ("allow_freeze", {"freeze", "thaw"}),
            ("allow_stop", {"stop", "start"}),
        ):
            if getattr(self, allowed) and self.kind == "none":
                raise ValueError(f"{allowed} needs application.kind")
            missing = verbs - set(self.commands)
            if getattr(self, allowed) and self.kind == "commands" and missing:
                raise ValueError(f"{allowed} needs commands for {' and '.join(sorted(missing))}")
        return self

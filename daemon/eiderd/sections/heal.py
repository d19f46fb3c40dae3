"""The section [heal]: what eiderd may repair by itself, and how often it may try."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from eiderd.sections.section import Section
from eiderd.units import Duration  # noqa: TC001  (pydantic reads it)


class HealSection(Section):
    enabled: bool = Field(
        True, description="Repair what is safe to repair; false: only say what to type."
    )
    tries: int = Field(
        5,
        ge=1,
        le=100,
        description="Give up a repair, and say so, after this many tries within the period.",
    )
    cooldown: Duration = Field(
        timedelta(minutes=5),
        description="Wait so long between two tries; it doubles while they do not help.",
    )
    period: Duration = Field(timedelta(hours=24), description="How long a try counts.")
    backup: bool = Field(True, description="Take a backup again when one failed.")
    missed: bool = Field(True, description="Run once what was missed.")
    quarantine: bool = Field(
        True,
        description="Move an archive that is corrupt to quarantine/ below the backups, and take "
        "another backup at once.",
    )
    disk: bool = Field(
        True,
        description="When a disk is low: prune by the rules, remove what runs that died left.",
    )
    streams: bool = Field(
        True, description="Create a NATS stream or consumer that is missing, as configured."
    )
    restore: bool = Field(
        False,
        description="When the application is down because its database cannot be opened: rescue it "
        "on a copy and put that in its place, or else the newest verified backup. That takes "
        "engine.application, whose word counts. Then run eider setup, which lets the service write "
        "there.",
    )

"""Binds the drill: the restore that a person would type, into scratch, with a room check before."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eiderd import room
from eiderd.config import Settings
from eiderd.errors import VerificationFailed
from eiderd.maintenance import restore_plan as restoring
from eiderd.maintenance.restore import Restore
from eiderd.outside import archive, clock, files, filesystem

if TYPE_CHECKING:
    from eiderd.model import Backup, Proof


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Restores a backup for practice. Called with it: see `jobs.drill.Rehearse`."""

    settings: Settings
    restores: Restore

    def __call__(self, backup: Backup, /) -> tuple[Proof, float]:
        with files.scratch(self.settings.service.state / "scratch") as scratch:
            source = restoring.source_of(
                backup, archive=str(self.settings.backup.directory / backup.archive)
            )
            began = clock.reading().up
            plan = self.restores.plan(source, to=scratch / "drill")
            extras = _extra_bytes(backup)
            need = room.Need(
                folder=scratch,
                bytes=plan.needed_bytes + extras,
                disk=filesystem.look(scratch),
            )
            room.ensure((need,), critical_bytes=self.settings.disk.critical, what="a drill")
            ended = self.restores.to_folder(plan, backup=backup, extras=bool(extras))
            seconds = clock.reading().up - began
        if ended.value.proof is None:
            raise VerificationFailed(
                f"nothing was read of backup {backup.id}", hint=f"eider verify {backup.id}"
            )
        return ended.value.proof, seconds


def _extra_bytes(backup: Backup) -> int:
    folder = f"{archive.EXTRA_FOLDER}/"
    return sum(member.bytes for member in backup.members if member.name.startswith(folder))

"""The verb that makes eiderd ready on this machine: it looks, shows each change, and asks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eiderd import config as configuration
from eiderd.cli import documents, setup_report
from eiderd.cli.root import Json, absolute, session
from eiderd.errors import ConfigError
from eiderd.sections import environment

if TYPE_CHECKING:
    import datetime

    from eiderd.outside.host import Host
    from eiderd.setup.app import Plan, Wishes

_Text = str | None
Database = Annotated[
    _Text, typer.Option(metavar="FILE", help="Any DuckDB file; else Cartographus is looked for.")
]
Unit = Annotated[_Text, typer.Option(metavar="UNIT", help="The application's unit.")]
Compose = Annotated[_Text, typer.Option(metavar="FILE", help="The application's Compose file.")]
Container = Annotated[
    _Text, typer.Option(metavar="NAME", help="The application's container, or Compose service.")
]
Backups = Annotated[
    _Text, typer.Option(metavar="FOLDER", help="Where backups go, best on another disk.")
]
Access = Annotated[
    Literal["acl", "group", "none"] | None,
    typer.Option(help="How eiderd gets to read the data: an access list (acl), or its group."),
]
Docker = Annotated[
    bool, typer.Option("--docker", help="Let eiderd speak with Docker: as good as root.")
]
Systemd = Annotated[
    bool, typer.Option("--systemd", help="Install the units too: no package brought them.")
]
Removal = Annotated[bool, typer.Option("--remove", help="Take back what setup gave this machine.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Root = Annotated[
    Path | None, typer.Option(hidden=True, help="An image of a machine instead of this one.")
]


def setup(  # noqa: PLR0917  (typer gives each by its name)
    database: Database = None,
    unit: Unit = None,
    compose: Compose = None,
    container: Container = None,
    backups: Backups = None,
    access: Access = None,
    docker: Docker = False,
    systemd: Systemd = False,
    remove: Removal = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    root: Root = None,
    json_: Json = False,
) -> None:
    """Find the application, write the configuration, and let eiderd read the data."""
    from eiderd.outside.host import Host  # noqa: PLC0415
    from eiderd.setup import afterwards  # noqa: PLC0415  (they take long to import)
    from eiderd.setup import app as setup_app  # noqa: PLC0415
    from eiderd.setup import removal as setup_removal  # noqa: PLC0415

    host = Host(root.absolute()) if root else Host()
    wishes = setup_app.Wishes(
        config=_place(),
        database=_absolute(database),
        unit=unit,
        compose=_absolute(compose),
        container=container,
        backups=_absolute(backups),
        access=access,
        docker=docker,
        systemd=systemd,
    )
    _ensure_allowed(host, wishes, dry_run=dry_run)
    plan = setup_removal.removal(host, wishes) if remove else setup_app.plan(host, wishes)
    rows = _carried_out(host, plan, dry_run=dry_run, yes=yes, json_=json_)
    checks = [] if dry_run or remove else _doctors_word(host, wishes.config)
    then = afterwards.commands(host, rows, config=wishes.config, removed=remove)
    _tell(rows, plan, checks, then, json_=json_, dry_run=dry_run)
    raise typer.Exit(setup_report.code(rows, checks))


def _tell(
    rows: list[dict[str, str]],
    plan: Plan,
    checks: list[dict[str, Any]],
    then: tuple[str, ...],
    *,
    json_: bool,
    dry_run: bool,
) -> None:
    if json_:
        documents.plain_document(setup_report.document(rows, plan, checks, then))
    else:
        setup_report.end(rows, checks, then, dry_run=dry_run)


def _ensure_allowed(host: Host, wishes: Wishes, *, dry_run: bool) -> None:
    if host.is_this_machine and not (host.is_root or dry_run or wishes.is_own):
        raise ConfigError(
            f"only root may write {wishes.config}",
            hint="sudo eider setup; or for yourself: eider --config ~/eiderd.toml setup",
        )


def _carried_out(
    host: Host, plan: Plan, *, dry_run: bool, yes: bool, json_: bool
) -> list[dict[str, str]]:
    """Show the plan, and do it unless it is only to be shown. Return what became of each step."""
    from eiderd.outside import clock  # noqa: PLC0415

    if not json_:
        setup_report.found(plan)
    run = _Run(host, plan, at=clock.now(), asks=not (yes or dry_run), shows=not json_)
    if dry_run:
        return run.shown()
    if not yes and (json_ or not sys.stdin.isatty()) and run.is_anything_to_do():
        raise ConfigError(
            "nothing was changed: there is nobody to ask",
            hint="Look first: eider setup --dry-run; then: eider setup --yes",
        )
    return run.done()


class _Run:
    """One visit of the steps, each shown, asked about and done."""

    def __init__(
        self, host: Host, plan: Plan, *, at: datetime.datetime, asks: bool, shows: bool
    ) -> None:
        self._host, self._plan, self._at = host, plan, at
        self._asks, self._shows = asks, shows
        self._changed: list[str] = []

    def is_anything_to_do(self) -> bool:
        from eiderd.setup import doing as setup_doing  # noqa: PLC0415

        return any(
            not setup_doing.is_done(self._host, step, changed=()) for step in self._plan.steps
        )

    def shown(self) -> list[dict[str, str]]:
        """Return what would be done with each step."""
        from eiderd.setup import doing as setup_doing  # noqa: PLC0415
        from eiderd.setup.plan import Remove, Write  # noqa: PLC0415

        rows = []
        for step in self._plan.steps:
            done = setup_doing.is_done(self._host, step, changed=self._changed)
            if done and setup_doing.is_in_vain(step):
                continue
            if not done and isinstance(step, Write | Remove):
                self._changed.append(step.path)
            rows.append(self._row(step, "done" if done else "to do"))
        return rows

    def done(self) -> list[dict[str, str]]:
        """Do each step that is left, if the person agrees, and return what became of it."""
        from eiderd.setup import doing as setup_doing  # noqa: PLC0415

        rows = []
        for step in self._plan.steps:
            if setup_doing.is_done(self._host, step, changed=self._changed):
                if not setup_doing.is_in_vain(step):
                    rows.append(self._row(step, "done"))
                continue
            row = self._row(step, "to do")
            if self._asks and not typer.confirm("  Do it?", default=False):
                rows.append({**row, "state": "declined"})
                continue
            changed = setup_doing.apply(self._host, step, at=self._at)
            self._changed += [changed] if changed else []
            rows.append({**row, "state": "changed"})
        return rows

    def _row(self, step: Any, state: str) -> dict[str, str]:  # noqa: ANN401  (a Step)
        from eiderd.setup import doing as setup_doing  # noqa: PLC0415

        row = {
            "kind": step.kind,
            "what": step.what,
            "why": step.why,
            "command": setup_doing.command_of(self._host, step),
            "difference": "" if state == "done" else setup_doing.difference(self._host, step),
            "text": "" if state == "done" else getattr(step, "text", ""),
            "kept": setup_doing.aside(self._host, step, at=self._at) or "",
            "state": state,
        }
        if self._shows:
            setup_report.step(row)
        return row


def _doctors_word(host: Host, config_file: str) -> list[dict[str, Any]]:
    from eiderd.setup import doing as setup_doing  # noqa: PLC0415
    from eiderd.setup.plan import SERVICE_DROP_IN  # noqa: PLC0415
    from eiderd.setup.sandbox import groups_in  # noqa: PLC0415

    if not host.is_this_machine or not host.is_file(config_file):
        return []
    groups = groups_in(host.text(SERVICE_DROP_IN) or "")
    return setup_doing.doctors_word(host, config_file=config_file, groups=groups)


def _place() -> str:
    chosen = session.config or os.environ.get(environment.CONFIG) or configuration.DEFAULT_PATH
    return str(absolute(str(chosen)))


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(absolute(path))

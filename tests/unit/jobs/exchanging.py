"""An application and an exchange of its files, for jobs that do one: all that is done is noted."""

from __future__ import annotations

import dataclasses

from eiderd.evidence import ApplicationState, Exchange, Settled


@dataclasses.dataclass
class Stage:
    """An application, its database and what was done to them."""

    state_: ApplicationState = ApplicationState.RUNNING
    kind: str = "systemd"
    done: list[str] = dataclasses.field(default_factory=list)
    fails: dict[str, Exception] = dataclasses.field(default_factory=dict)
    settles: Settled = Settled.FINISHED
    had_live: bool = True

    def do(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise self.fails.pop(what)

    def name(self) -> str:
        return "unit app.service"

    def state(self) -> ApplicationState:
        return self.state_

    def start(self) -> None:
        self.do("start")
        self.state_ = ApplicationState.RUNNING

    def stop(self) -> None:
        self.do("stop")
        self.state_ = ApplicationState.STOPPED


class Work:
    """One exchange, or its roll back."""

    def __init__(
        self, stage: Stage, *, restart: bool, kind: str = "restore", what: str = "B"
    ) -> None:
        self._stage = stage
        self.is_made = False
        self.can_go_back = stage.had_live
        self.plan = Exchange(
            kind=kind, what=what, live="app.duckdb", had_live=stage.had_live,
            wal_base="app.duckdb", incoming="i", incoming_wals=(), aside="A", aside_wals=(),
            live_wals=(), staging=None, restart=restart, phase="moving",
        )  # fmt: skip

    def exchange(self) -> None:
        self._stage.do(f"exchange {self.plan.kind}")
        self.is_made = True

    def settle(self) -> Settled:
        self._stage.do("settle")
        return self._stage.settles

    def close(self) -> None:
        self._stage.do(f"close {self.plan.kind}")

    def back(self) -> Work:
        return Work(self._stage, restart=self.plan.restart, kind="roll back", what=self.plan.what)

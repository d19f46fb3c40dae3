"""How it is logged: a sentence, a stable word for machines, to standard error.

The journal of systemd has a time and a priority for each line: told the priority, as sd-daemon(3)
says, it needs neither in the text.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from eiderd.outside import systemd
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.errors import EiderError

_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def configure(*, level: str, format_: str) -> None:
    """Log from `level` on, as `text` for people or as `json` lines."""
    _configure(level=level, format_=format_, journal=systemd.is_journal(sys.stderr))


def configure_verb(*, level: str, format_: str) -> None:
    """As `configure`, for a person at a terminal, who is told how it ended anyway."""
    _configure(level="debug" if level == "debug" else "critical", format_=format_, journal=False)


def complain(error: EiderError) -> None:
    """Say why the process ends, whether logging was configured already or not."""
    message = "\n".join(map(plain, error.message.split("\n")))
    said = f"eiderd: {message}" + (f"\n  hint: {plain(error.hint)}" if error.hint else "")
    if systemd.is_journal(sys.stderr):
        said = _with_priority(None, "error", said)
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()


def _configure(*, level: str, format_: str, journal: bool) -> None:
    structlog.configure(
        processors=list(_processors(as_json=format_ == "json", journal=journal)),
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _processors(*, as_json: bool, journal: bool) -> Iterator[structlog.types.Processor]:
    if as_json or not journal:  # whoever collects documents wants them whole
        yield structlog.processors.add_log_level
        yield structlog.processors.TimeStamper(fmt="iso", utc=True)
    if as_json:
        yield structlog.processors.JSONRenderer()
    else:
        # A traceback with the values of variables, as it usually is, would tell secrets.
        yield structlog.dev.ConsoleRenderer(
            colors=not journal and sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    if journal:
        yield _with_priority


def _with_priority(_logger: object, level: str, said: Any) -> str:  # noqa: ANN401  (structlog's)
    """Return what was said with the priority before each line: each is an entry of its own."""
    priority = _PRIORITIES.get(level, _PRIORITIES["info"])
    return "\n".join(f"<{priority}>{line}" for line in str(said).split("\n"))

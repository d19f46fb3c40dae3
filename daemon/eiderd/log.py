"""How it is logged: a sentence, a stable word for machines, to standard error."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(*, level: str, format_: str) -> None:
    """Log from `level` on, as `text` for people or as `json` lines."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if format_ == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def configure_verb(*, level: str, format_: str) -> None:
    """As `configure`, for a person at a terminal, who is told how it ended anyway."""
    configure(level="debug" if level == "debug" else "critical", format_=format_)

"""How `eider` begins and ends: every way it can end becomes one exit code and one message."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from typing import TextIO

import typer

from eiderd.cli import cli, session, terminal
from eiderd.errors import Bug, ConfigError, EiderError, ExitCode, Interrupted, NotPermitted
from eiderd.outside import signals

_SIGPIPE = 128 + 13  # as shells say it of a command whose reader went away


def run() -> None:
    """Be the console script."""
    _open_standard_streams()
    signals.raise_ended()
    try:
        code = main()
    except signals.Ended as ended:  # while the end was being told
        code = ended.exit_code
    signals.end_at_once()
    sys.exit(code)


def main(words: list[str] | None = None) -> int:
    """Run `eider` with these words (those of the command line) and return its exit code."""
    words = sys.argv[1:] if words is None else words
    session.typed = shlex.join(("eider", *words))
    code: int = ExitCode.DONE
    try:
        code, failure = _attempt(words)
        terminal.flush()  # before the failure is told: nobody reading may be all that failed
        if failure:
            terminal.error(failure, code=code, as_json="--json" in words)
            terminal.flush()
    except terminal.Unread as unread:
        return _ended_unread(unread.why, code=code)
    return code


def _attempt(words: list[str]) -> tuple[int, EiderError | None]:
    """Run the verb. Return the exit code, and the failure that nobody was told of yet."""
    try:
        code = int(cli(args=words, standalone_mode=False) or 0)
    except EiderError as error:
        return error.exit_code, error
    except signals.Ended as ended:
        return ended.exit_code, _interrupted(ended.name)
    except (typer.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        return ExitCode.USAGE, _usage(error)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # only typer's help ends like this
            raise terminal.Unread(leaving.__context__) from leaving
        raise  # shell completion has said what it had to say
    except terminal.Unread:
        raise
    except PermissionError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        hint = f"Run: sudo {session.typed}" if os.geteuid() else "See whose it is: ls -ld"
        refused = NotPermitted(f"this user may not use {what}", hint=hint)
        return refused.exit_code, refused
    except Exception as error:  # noqa: BLE001  (what else it is, is a bug, and is reported as one)
        return ExitCode.BUG, _bug(error)
    # Typer makes an exit of the KeyboardInterrupt that Python's own handler raises.
    return code, _interrupted("SIGINT") if code == ExitCode.INTERRUPTED else None


def _interrupted(signal: str) -> Interrupted:
    return Interrupted(
        f"interrupted ({signal}); nothing half done was kept", hint="Run the command again."
    )


def _usage(error: typer.TyperException) -> ConfigError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "eider"
    return ConfigError(error.format_message(), hint=f"See: {command} --help")


def _bug(error: Exception) -> Bug:
    if session.debug or os.environ.get("EIDER_LOG__LEVEL") == "debug":
        terminal.complain("".join(traceback.format_exception(error)))
    return Bug(
        f"a bug in eiderd: {type(error).__name__}: {error}",
        hint="Run it again with EIDER_LOG__LEVEL=debug and report what it prints.",
    )


# Standard output --------------------------------------------------------------------------------


def _open_standard_streams() -> None:
    """Make sure that there are three, and that nothing to be printed is beyond their encoding.

    If one was closed, the next file opened would take its place and be written to.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:  # opened the wrong way round, reading and writing fail as they did
            os.open(os.devnull, flags)
    # Buffered even with PYTHONUNBUFFERED, so that an answer that fails to be written fails as one.
    sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)


def _writer(descriptor: int, like: TextIO | None) -> TextIO:
    return open(
        descriptor,
        "w",
        buffering=1 if descriptor == 2 else -1,  # noqa: PLR2004  (errors are seen line by line)
        encoding=like.encoding if like else None,
        errors="backslashreplace",
        closefd=False,
    )


def _ended_unread(error: OSError, *, code: int) -> int:
    """Say that nobody got the answer. A verb's own bad end goes first."""
    terminal.silence(sys.stdout)
    failed = code not in {ExitCode.DONE, ExitCode.BUG}
    if error.errno == errno.EPIPE:  # `eider list | head`: no need to say so
        return code if failed else _SIGPIPE
    terminal.problem(
        f"standard output cannot be written: {error.strerror}", "Send it somewhere else."
    )
    if failed:
        return code
    return ExitCode.NO_SPACE if error.errno == errno.ENOSPC else ExitCode.USAGE

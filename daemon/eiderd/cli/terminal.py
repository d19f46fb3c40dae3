"""How anything reaches the person or the script that asked: text, documents, problems, progress.

Nothing is interpreted as markup, and whatever others chose to name is made `plain` first. Colour
only on a terminal that wants it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any

import tomli_w
import typer

from eiderd.errors import ConfigError, Interrupted
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eiderd.errors import EiderError
    from eiderd.kit import Progress

BOLD, DIM, RED, GREEN, YELLOW, MAGENTA = "1", "2", "31", "32", "33", "35"
_ITEM = "\n  - "  # the only line end in a message that is ours


# Text -------------------------------------------------------------------------------------------


class Unread(Exception):
    """Standard output cannot be written: nobody gets the answer."""

    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.why = why


def say(text: str) -> None:
    write(text + "\n")


def write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise Unread(error) from error


def flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        raise Unread(error) from error


def paint(text: str, *colours: str, stream: IO[str] | None = None) -> str:
    """Return `text` in these colours, if the stream (standard output) shows them."""
    if not is_coloured(stream or sys.stdout):
        return text
    return f"\x1b[{';'.join(colours)}m{text}\x1b[0m"


def is_coloured(stream: IO[str]) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def document(text: bytes) -> None:
    """Print the one JSON document that was asked for, in ASCII: right wherever it is read."""
    decoded = text.decode()
    if not decoded.isascii():
        decoded = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in decoded)
    say(decoded.replace("\x7f", "\\u007f"))


def toml(document: dict[str, Any]) -> None:
    """Print TOML that reads back the same, whatever is in its strings and whatever the encoding."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()

    def shown(char: str) -> str:
        if char == "\n" or (char.isprintable() and (unicode or char.isascii())):
            return char
        code = ord(char)
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004

    write("".join(map(shown, tomli_w.dumps(document))))


def markdown(text: str) -> None:
    """Print a text of eiderd's own, laid out on a terminal and as it is elsewhere."""
    if not is_coloured(sys.stdout):
        write(text)
        return
    from rich.console import Console  # noqa: PLC0415  (it takes long, and only this needs it)
    from rich.markdown import Markdown  # noqa: PLC0415

    Console().print(Markdown(text))


# Problems ---------------------------------------------------------------------------------------


def error(failure: EiderError, *, as_json: bool, code: int | None = None) -> None:
    """Print a failure: a line that names the fault, and the next thing to type.

    `code` is what eider exits with, where that is not the one of the failure's kind.
    """
    if not as_json:
        problem(failure.message, failure.hint)
        return
    words = {"message": _message(failure.message), "hint": plain(failure.hint)}
    error = {"error": {**failure.to_json(), **words, "exit_code": int(code or failure.exit_code)}}
    document(json.dumps(error, indent=2).encode())


def problem(message: str, hint: str) -> None:
    lines = f"{paint('eider:', BOLD, RED, stream=sys.stderr)} {_message(message)}\n"
    if hint:
        lines += f"  {paint('hint:', BOLD, stream=sys.stderr)} {plain(hint)}\n"
    complain(lines)


def complain(text: str) -> None:
    """Write to standard error. That nobody reads it must not change how the command ends."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def silence(stream: IO[str]) -> None:
    """Send what is still buffered nowhere: Python would complain about it when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _message(text: str) -> str:
    return _ITEM.join(map(plain, text.split(_ITEM)))


# Progress ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Show a bar per phase on standard error, with rate and time left. Nothing when piped."""
    if not is_coloured(sys.stderr):
        yield lambda _phase, _done, _total, /: None
        return
    from rich import progress as bars  # noqa: PLC0415  (it takes long, and only this needs it)
    from rich.console import Console  # noqa: PLC0415

    shown = bars.Progress(
        bars.TextColumn("{task.description:<24}", markup=False),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, bars.TaskID] = {}

    def tell(phase: str, done: int, total: int, /) -> None:
        if phase not in tasks:
            tasks[phase] = shown.add_task(phase, total=total)
        shown.update(tasks[phase], completed=done, total=max(total, 1))

    with shown:
        yield tell


def ask(
    question: str = "Go ahead?",
    *,
    quiet: bool,
    hint: str = "Look at the plan (--dry-run), then say --yes.",
) -> None:
    """Raise ConfigError when nobody can be asked or the answer is no, Interrupted for none."""
    if quiet or not sys.stdin.isatty() or not sys.stdout.isatty():
        raise ConfigError("nobody is there to be asked, so nothing was done", hint=hint)
    flush()
    again = "To do it, run the command again."
    try:
        agreed = typer.confirm(question)
    except typer.Abort as ended:
        raise Interrupted("there was no answer, so nothing was done", hint=again) from ended
    if not agreed:
        raise ConfigError("the answer was no, so nothing was done", hint=again)

"""Words that others chose (names, notes, messages), made fit to be shown. Pure."""

from __future__ import annotations

_LONGEST = 200  # a path on most machines; more is noise, or somebody's joke
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """Return `text` in one line that cannot steer a terminal, its over-long words shortened.

    Escape sequences, C1 codes, marks that reverse the reading direction and what is not Unicode at
    all become a replacement character, line ends and tabs a space.
    """
    if not text.isprintable():
        text = "".join(map(_shown, text))
    if len(text) > _LONGEST:
        text = " ".join(map(_shortened, text.split(" ")))
    return text


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else _REPLACEMENT


def _shortened(word: str) -> str:
    if len(word) <= _LONGEST:
        return word
    half = _LONGEST // 2
    return f"{word[: half - 1]}…{word[-half:]}"


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8. Bytes of a command line or a name may be anything."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def many(count: int, word: str) -> str:
    """Return "1 table", "21 tables", "4,500 rows"."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"

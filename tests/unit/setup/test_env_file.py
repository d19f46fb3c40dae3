"""Environment files: what systemd and Compose take from them, whoever wrote them and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.setup.env_file import dotenv, systemd

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)
# systemd takes a carriage return for a line's end wherever it stands.
VALUES = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=b", {"A": "b"}),
        ("A=b\nA=c\n", {"A": "c"}),
        ("  A = b c \t\n", {"A": "b c"}),
        ("# A=b\n; B=c\nC=d # e", {"C": "d # e"}),
        ('A="b c"\r\nB=\'d "e"\'\r\n', {"A": "b c", "B": 'd "e"'}),
        ("A=", {"A": ""}),
        ("export A=b\nB=c", {"B": "c"}),  # systemd ignores it, so the application never saw it
        ("A=b\\\nc", {"A": "bc"}),
        ('A="b\\\nc"', {"A": "bc"}),
        ('A="b\\$c\\d"', {"A": "b$c\\d"}),
        ("A='b\nc'", {"A": "b\nc"}),
        ('A="b"c', {"A": "bc"}),
        ("no line of it\nA=b", {"A": "b"}),
        ("1A=b\nA-B=c\n=d\nE=f", {"E": "f"}),
        ("A='never closed", {}),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(text: str, found: dict[str, str]) -> None:
    assert systemd(text) == found


@given(name=NAMES, value=VALUES)
def test_what_was_quoted_for_systemd_comes_back(name: str, value: str) -> None:
    quoted = "".join(f"\\{sign}" if sign in '"\\`$' else sign for sign in value)
    assert systemd(f'X=1\n{name}="{quoted}"\nY_=2\n')[name] == value


@given(st.text(max_size=200))
def test_no_text_is_too_much(text: str) -> None:
    for found in (systemd(text), dotenv(text)):
        assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=b # c\nexport D=e", {"A": "b", "D": "e"}),
        ("A=b#c", {"A": "b#c"}),
        ('A="b # c" # d', {"A": "b # c"}),
        ("A='b\\n'\nC=\"d\\n\"", {"A": "b\\n", "C": "d\n"}),
        ("#A=b\n\nC: d", {"C": "d"}),
        ("A=b\r\nC=\r\n", {"A": "b", "C": ""}),
    ],
)
def test_a_file_is_read_as_compose_reads_it(text: str, found: dict[str, str]) -> None:
    assert dotenv(text) == found

"""A unit as its files say it: what decides the environment of the application."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eiderd.setup.unit_file import parse, words

UNIT = """
# A comment
[Unit]
Environment=NOT=here
[Service]
ExecStart=/opt/app/app \\
    --serve
Environment=A=b "C=d e" 'F=g'
Environment=H=100%%
EnvironmentFile=-/etc/app/env
EnvironmentFile=/etc/app/more
WorkingDirectory=/opt/app
[Install]
Environment=NOR=there
"""


def test_what_decides_the_environment_is_read() -> None:
    unit = parse("app.service", [UNIT])
    assert unit.environment == {"A": "b", "C": "d e", "F": "g", "H": "100%"}
    assert unit.environment_files == ("/etc/app/env", "/etc/app/more")
    assert unit.optional == {"/etc/app/env"}
    assert unit.working_directory == "/opt/app"
    assert "--serve" in unit.commands[0]


def test_a_drop_in_adds_and_an_empty_setting_forgets() -> None:
    more = "[Service]\nEnvironmentFile=\nEnvironmentFile=/etc/other\nEnvironment=A=z\n"
    unit = parse("app.service", [UNIT, more])
    assert unit.environment_files == ("/etc/other",)
    assert unit.environment["A"] == "z"
    assert unit.environment["C"] == "d e"


def test_windows_line_ends_change_nothing() -> None:
    assert parse("a", [UNIT.replace("\n", "\r\n")]) == parse("a", [UNIT])


@given(st.lists(st.text(max_size=200), max_size=3))
def test_no_text_is_too_much(texts: list[str]) -> None:
    unit = parse("a.service", ["[Service]\n" + text for text in texts])
    assert unit.working_directory.startswith("/")


def test_the_words_of_a_list_go_on_until_an_empty_one_forgets_them() -> None:
    first = '[Service]\nReadWritePaths=/a "/b c" "/d%%e"\nReadWritePaths=/f\nProtectHome=yes\n'
    assert words([first], ["ReadWritePaths", "BindPaths"]) == {
        "ReadWritePaths": ("/a", "/b c", "/d%e", "/f"),
        "BindPaths": (),
    }
    later = "[Unit]\nReadWritePaths=/no\n[Service]\nReadWritePaths=\nReadWritePaths=/g\n"
    assert words([first, later], ["ReadWritePaths"]) == {"ReadWritePaths": ("/g",)}

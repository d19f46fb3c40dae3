"""What is noted of what was given: nothing is forgotten, and nothing else is believed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.setup.plan import Grant
from eiderd.setup.record import added, grants_in, text_of

BASE = "d:u::rwx,d:g::r-x,d:o::---"
PATHS = st.text(alphabet="ab /'\"$é#", min_size=1, max_size=9).map(lambda name: f"/{name}")
GRANTS = st.builds(
    Grant,
    what=st.just(""),
    why=st.just(""),
    path=PATHS,
    rights=st.just("rx"),
    inherited=st.sampled_from(["", "rx"]),
)


def _given(path: str, *, inherited: str = "", base: str = "") -> Grant:
    return Grant(what="", why="", path=path, rights="r", inherited=inherited, base=base)


def _facts(text: str) -> set[tuple[str, bool, str]]:
    return {(one.path, bool(one.inherited), one.base) for one in grants_in(text)}


def test_each_kind_of_grant_comes_back_as_it_was() -> None:
    text = text_of(
        [_given("/data", inherited="rx", base=BASE), _given("/srv", inherited="rx"), _given("/way")]
    )
    assert text.splitlines()[2:] == [f"{BASE} /data", "inherited /srv", "entry /way"]
    assert _facts(text) == {("/data", True, BASE), ("/srv", True, ""), ("/way", False, "")}


def test_what_was_begun_once_is_remembered_however_often_setup_runs() -> None:
    """The second time there is a default already, which must not look like somebody else's."""
    text = added(None, _given("/data", inherited="rx", base=BASE))
    assert added(text, _given("/data", inherited="rx")) == text
    assert added(text, _given("/data")) == text


def test_a_folder_that_was_passed_and_now_has_the_database_is_noted_as_that() -> None:
    text = added(added(None, _given("/data")), _given("/data", inherited="rx", base=BASE))
    assert _facts(text) == {("/data", True, BASE)}


@given(st.lists(GRANTS, max_size=6))
def test_no_path_is_lost_whatever_it_is_called(grants: list[Grant]) -> None:
    text = None
    for one in grants:
        text = added(text, one)
    wanted = {one.path: False for one in grants}
    for one in grants:
        wanted[one.path] |= bool(one.inherited)
    assert {path: inherited for path, inherited, _base in _facts(text or "")} == wanted


@pytest.mark.parametrize(
    "line", ["", "#", "entry", "entry relative", "entry  /x", "rm /x", "/x", "d:u:root:rwx /x"]
)
def test_a_line_that_setup_does_not_write_is_nothing(line: str) -> None:
    assert not list(grants_in(f"{line}\n"))


def test_what_is_left_of_some_is_a_file_again() -> None:
    text = text_of([_given("/a"), _given("/b")])
    left = [one for one in grants_in(text) if one.path == "/b"]
    assert _facts(text_of(left)) == {("/b", False, "")}
    assert dataclasses.replace(left[0], takes_back=True).path == "/b"

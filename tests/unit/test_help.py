"""The help of every verb: all that was written for it is shown, and nothing of it is markup."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from eiderd import entry
from eiderd.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def _every(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401  (typer brings its own click)
    yield path, command
    for name, verb in getattr(command, "commands", {}).items():
        yield from _every(verb, *path, name)


VERBS = dict(_every(typer.main.get_command(cli)))


def _shown(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    assert entry.main([*path, "--help"]) == 0
    return _unwrapped(capsys.readouterr().out)


def _unwrapped(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_word_of_a_help_text_is_shown(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    verb, shown = VERBS[path], _shown(path, capsys)
    assert _unwrapped(verb.help) in shown
    for parameter in verb.params:
        if not getattr(parameter, "hidden", False):
            assert _unwrapped(parameter.help) in shown
    for inner in getattr(verb, "commands", {}).values():
        assert _unwrapped(inner.help.partition("\n\n")[0]) in shown


@pytest.mark.parametrize(
    "path", [path for path, verb in VERBS.items() if not hasattr(verb, "commands")], ids=" ".join
)
def test_every_verb_answers_with_json(path: tuple[str, ...]) -> None:
    assert "--json" in {option for parameter in VERBS[path].params for option in parameter.opts}


@pytest.mark.parametrize("verb", ["example", "reference"])
def test_a_text_is_one_document(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["config", verb]) == 0
    text = capsys.readouterr().out
    assert entry.main(["--json", "config", verb]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": text}


def test_a_word_in_brackets_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert "therulesof[retention]nolongerkeep" in _shown(("prune",), capsys)

"""The verbs that look at the configuration."""

from __future__ import annotations

from eiderd import config as configuration
from eiderd.cli import documents, terminal
from eiderd.cli.root import Json, session
from eiderd.errors import ConfigError
from eiderd.sections import example
from eiderd.words import plain


def options(json_: Json = False) -> None:
    del json_


def check(json_: Json = False) -> None:
    """Say whether the configuration can be meant, and what it lacks."""
    from eiderd.app import App  # noqa: PLC0415  (it takes long, and `config show` is without it)

    settings, path = session.load()
    session.go_on_as_service(settings)
    session.ensure_visible(settings)
    problems = App(settings).problems()
    if problems:
        raise ConfigError(
            "the configuration is well-formed, but:"
            + "".join(f"\n  - {plain(problem)}" for problem in problems),
            hint="Correct that and run: eider config check",
        )
    if json_:
        documents.plain_document({"ok": True, "file": path and str(path)})
    else:
        place = plain(str(path or "the environment"))
        terminal.say(f"{terminal.paint('✓', terminal.GREEN)} {place}: a good configuration")


def show(json_: Json = False) -> None:
    """Print the configuration in force: file, profile, environment and defaults together."""
    document = configuration.shown(session.settings(as_root=True))
    if json_:
        documents.plain_document(document)
    else:
        terminal.toml(document)


def print_example(json_: Json = False) -> None:
    """Print an annotated configuration to start from."""
    text = example.annotated()
    if json_:
        documents.plain_document({"text": text})
    else:
        terminal.write(text)


def print_reference(json_: Json = False) -> None:
    """Print every setting with its kind, its default and its meaning, as Markdown."""
    from eiderd.sections import reference  # noqa: PLC0415

    text = reference.markdown()
    if json_:
        documents.plain_document({"text": text})
    else:
        terminal.markdown(text)

"""The configuration that setup writes: what was found, in the annotated file, the rest kept."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

from eiderd import config, resources, toml
from eiderd.errors import ConfigError
from eiderd.sections import environment, example, wording
from eiderd.setup.facts import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eiderd.setup.facts import Application

RETENTION: Final = {
    "min_count": 3,
    "keep_recent_hours": 48,
    "daily": 14,
    "weekly": 8,
    "monthly": 12,
}


def wanted(application: Application, *, database: str, docker: bool) -> dict[str, Any]:
    """Return what is so because of what was found. `docker`: eiderd may speak with Docker."""
    document: dict[str, Any] = {"profile": KNOWN} if application.known else {}
    document["database"] = {"path": database}
    keeper: dict[str, Any] = {}
    if application.kind == "systemd":
        keeper = {"kind": "systemd", "unit": application.name}
    elif application.kind == "docker" and docker:
        keeper = {"kind": "docker", "container": application.name}
    if application.health_url:
        keeper["health_url"] = application.health_url
    if keeper:
        document["application"] = keeper
    if application.nats_url:
        document["nats"] = {"url": application.nats_url}
    return document


def chosen(*, state: str | None, backups: str | None) -> dict[str, Any]:
    """Return what only a new configuration gets: a person may have chosen otherwise since."""
    document: dict[str, Any] = {"retention": dict(RETENTION)}
    if state:
        document["service"] = {"state": state}
    if backups:
        document["backup"] = {"directory": backups}
    return document


def read(text: str, *, path: str) -> dict[str, Any]:
    """Return what a configuration says. Raise ConfigError."""
    try:
        return toml.read(text)
    except ValueError as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", hint="Correct it, or move it away, and run setup again."
        ) from error


def database_of(text: str, *, path: str) -> str | None:
    """Return the database that a configuration names. Raise ConfigError."""
    section = read(text, path=path).get("database")
    found = section.get("path") if isinstance(section, dict) else None
    return found if isinstance(found, str) else None


def is_untouched(document: Mapping[str, Any]) -> bool:
    """Say whether a configuration sets nothing, as packages bring it, or is the example."""
    return _bare(document) in ({}, _bare(tomllib.loads(example.annotated())))


def merged(
    old: Mapping[str, Any] | None, *, found: Mapping[str, Any], first: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the configuration that is to be; None when the old one means it already.

    Given an old one, everything in it stays that was not found to be otherwise; who keeps the
    application stays too, once a person has decided it.
    """
    if old is None or is_untouched(old):
        return environment.merge(first, found)
    found = dict(found)
    keeper, now = old.get("application"), found.get("application", {})
    if isinstance(keeper, dict) and keeper.get("kind", now.get("kind")) != now.get("kind"):
        found.pop("application", None)
    if _is_within(found, environment.merge(_profile(old), old)):
        return None
    return environment.merge(old, found)


def text_of(document: Mapping[str, Any]) -> str:
    """Return the annotated file. Raise ConfigError when it would not mean the document."""
    text = example.annotated(document)
    if _bare(tomllib.loads(text)) != _bare(document):
        known = set(config.Settings.model_fields) | {"schema"}
        strange = ", ".join(sorted(set(document) - known)) or "one of its settings"
        raise ConfigError(
            f"the configuration has what eiderd does not know: {strange}",
            hint="See: eider config check",
        )
    return text


def changes(old: str | None, new: str, *, path: str) -> Iterator[str]:
    """Return what comes (+) and goes (-) of what a configuration sets, below its section."""
    before, after = (_lines(read(text or "", path=path)) for text in (old, new))
    for section in dict.fromkeys([*after, *before]):
        was, becomes = before.get(section, {}), after.get(section, {})
        keys = [key for key in {**was, **becomes} if was.get(key) != becomes.get(key)]
        if keys and section:
            yield f" [{section}]"
        for key in keys:
            yield from (
                f"{sign}{said[key]}" for sign, said in (("-", was), ("+", becomes)) if key in said
            )


def _lines(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the lines of a document by section and setting; what is in no section is in ''."""
    alone = {key: value for key, value in document.items() if not isinstance(value, dict)}
    sections = {key: value for key, value in document.items() if isinstance(value, dict)}
    return {
        section: {key: f"{key} = {_shown(key, value)}" for key, value in values.items()}
        for section, values in {"": alone, **sections}.items()
    }


def _shown(key: str, value: object) -> str:
    """Return a value as it stands in the file, but for the password in a URL."""
    if key.endswith("url"):
        urls = value if isinstance(value, list) else [value]
        bare = [wording.without_password(one) if isinstance(one, str) else one for one in urls]
        value = bare if isinstance(value, list) else bare[0]
    return example.inline(value)


def _bare(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return it without sections in which nothing is set."""
    return {key: value for key, value in document.items() if value != {}}


def _is_within(part: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    return all(
        _is_within(value, whole.get(key) or {})
        if isinstance(value, dict)
        else whole.get(key) == value
        for key, value in part.items()
    )


def _profile(document: Mapping[str, Any]) -> dict[str, Any]:
    known = resources.profiles().get(str(document.get("profile")))
    return tomllib.loads(known.read_text()) if known else {}

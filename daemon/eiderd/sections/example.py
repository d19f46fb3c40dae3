"""The annotated configuration, written from the settings themselves so that it cannot drift."""

from __future__ import annotations

import datetime
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from pydantic import BaseModel, ByteSize

from eiderd.config import Settings
from eiderd.units import spell_duration, spell_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

_HEAD = """\
# The configuration of eiderd: /etc/eiderd/eiderd.toml, or what --config or EIDER_CONFIG names.
#
# Only database.path is required. What is commented out shows its default. Durations and sizes carry
# their unit ("90s", "1h30m", "7d"; "500MB", "2GiB"). Every setting can also come from the
# environment, which wins: EIDER_DATABASE__PATH, EIDER_BACKUP__DIRECTORY, ...
# Check it: eider config check

# Defaults for a known application; whatever stands in this file wins.
"""
_PROFILE = '"cartographus"'
_PATH = '"/data/cartographus.duckdb"'
_SHOWN_WHEN_UNSET = {
    "mirror.rate_limit": '"50MB"',
    "engine.application": '"1.4.3"',
    "application.unit": '"app.service"',
    "application.container": '"app"',
    "application.commands": '{ start = ["/usr/local/bin/app", "start"] }',
    "application.health_url": '"http://127.0.0.1:8080/health"',
    "application.version_url": '"http://127.0.0.1:8080/version"',
    "application.version_command": '["/usr/local/bin/app", "--version"]',
    "application.version": '"1.50.1"',
    "schema.compatibility": '"cartographus"',
    "backup.fresh_within": '"26h"',
    "retention.max_age_days": "400",
    "retention.max_count": "60",
    "retention.max_total_bytes": '"50GB"',
    "compact.window": '"sun 03:00-05:00"',
    "compact.url": '"http://127.0.0.1:8080/admin/compact"',
    "compact.url_headers": '"eiderd.compact-headers"',
    "disk.ballast": '"500MB"',
    "server.tls_certificate": '"/etc/eiderd/tls/chain.pem"',
    "server.tls_key": '"/etc/eiderd/tls/key.pem"',
    "server.basic_auth": '"/etc/eiderd/basic-auth"',
    "nats.url": '"nats://127.0.0.1:4222"',
    "nats.credentials": '"/etc/eiderd/nats.creds"',
    "nats.settle": '"30s"',
    "nats.nkey": '"/etc/eiderd/nats.nk"',
    "nats.token_file": '"nats-token"',
    "nats.user": '"eiderd"',
    "nats.password_file": '"nats-password"',
    "nats.domain": '"hub"',
    "nats.tls_ca": '"/etc/eiderd/tls/nats-ca.pem"',
    "nats.tls_certificate": '"/etc/eiderd/tls/chain.pem"',
    "nats.tls_key": '"/etc/eiderd/tls/key.pem"',
    "nats.store_limit": '"10GB"',
    "nats.streams": '{ ORDERS = { subjects = ["orders.>"], max_age = "7d" } }',
    "content.time_columns": '{ playback_events = "started_at" }',
}


def annotated(values: Mapping[str, Any] | None = None) -> str:
    """Return the text of `config/eiderd.toml`; what `values` has, as a file would, is set in it."""
    said = values or {}
    profile = f"profile = {inline(said['profile'])}" if "profile" in said else None
    return f"{_HEAD}{profile or f'# profile = {_PROFILE}'}\n" + "".join(
        _section(name, field, said) for name, field in Settings.model_fields.items()
    )


def _section(name: str, field: FieldInfo, values: Mapping[str, Any]) -> str:
    model = field.annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    title = field.alias or name
    return f"\n[{title}]\n" + "".join(
        line
        for key, inner in model.model_fields.items()
        for line in _setting(title, key, inner, values.get(title, {}))
    )


def _setting(section: str, key: str, field: FieldInfo, values: Mapping[str, Any]) -> Iterator[str]:
    for line in textwrap.wrap(field.description or "", 96):
        yield f"# {line}\n"
    if key in values:
        yield f"{key} = {inline(values[key])}\n"
        return
    if field.is_required():
        yield f"{key} = {_PATH}\n"
        return
    default = field.get_default(call_default_factory=True)
    shown = _SHOWN_WHEN_UNSET.get(f"{section}.{key}") or spelled(default)
    unset = "" if default not in (None, {}) else "  # not set"
    yield f"# {key} = {shown}{unset}\n"


def inline(value: object) -> str:
    """Return a value of a file on one line, whatever is in it."""
    match value:
        case dict():
            pairs = (f"{inline(str(key))} = {inline(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case list() | tuple():
            return f"[{', '.join(map(inline, value))}]"
        case _:
            return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()


def spelled(value: object) -> str:
    """Return a default as a file spells it."""
    match value:
        case datetime.timedelta():
            return f'"{spell_duration(value)}"'
        case ByteSize():
            return f'"{spell_size(value)}"'
        case Path():
            return f'"{value}"'
        case tuple():
            return "[" + ", ".join(map(spelled, value)) + "]"
        case _:
            return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()

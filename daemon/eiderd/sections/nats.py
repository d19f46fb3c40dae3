"""The section [nats]: where NATS is, how to log in, and which streams and consumers are expected.

What is said of a stream or consumer is compared with what is there, and it is created with that
when it is missing. What is not said is not looked at.
"""

from __future__ import annotations

import re
import urllib.parse
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, field_serializer, model_validator

from eiderd.broker.evidence import ExpectedConsumer, ExpectedStream, is_name
from eiderd.sections.section import AbsolutePath, Section, Text
from eiderd.units import Duration, Size  # noqa: TC001  (pydantic reads them)

_SECRET_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_SCHEMES = ("nats", "tls")
_WEBSOCKETS = ("ws", "wss")


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError("must be a name of NATS: no spaces, and none of . * > / \\")
    return value


def _subject(value: str) -> str:
    tokens = value.split(".")
    if not all(tokens) or not value.isprintable() or " " in value or ">" in tokens[:-1]:
        raise ValueError('must be a subject, as in "orders.>" or "orders.*.new"')
    return value


def _secret(value: str) -> str:
    if value.startswith("/") and value.isprintable():
        return value
    if not _SECRET_NAME.fullmatch(value) or value in (".", ".."):
        raise ValueError("must be an absolute path, or a name that LoadCredential= of the unit has")
    return value


def _urls(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for url in _split(value):
        try:
            parts = urllib.parse.urlsplit(url)
            is_web = parts.scheme in _WEBSOCKETS
            well = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
        except ValueError:
            well = is_web = False
        if is_web:
            raise ValueError(
                "must not be a websocket: name the port for clients, as in "
                '"nats://127.0.0.1:4222" or "tls://nats:4222"'
            )
        if not well or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError('must be a URL, as in "nats://127.0.0.1:4222" or "tls://nats:4222"')
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("must end after the port")
    return value


def _split(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(str.strip, value.split(","))) if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_name)]
Subject = Annotated[str, AfterValidator(_subject)]
Subjects = Annotated[tuple[Subject, ...], Field(min_length=1)]
Secret = Annotated[str, AfterValidator(_secret)]
Urls = Annotated[str | Annotated[tuple[str, ...], Field(min_length=1)], AfterValidator(_urls)]
Many = Annotated[int, Field(ge=1, le=2**53)]


class ConsumerSection(Section):
    """One consumer of a stream."""

    expected: bool = True  # false: a profile's consumer that is not used here
    filter_subjects: Subjects | None = None
    deliver_policy: Literal["all", "last", "new", "last_per_subject"] | None = None
    deliver_group: Name | None = None
    ack_policy: Literal["none", "all", "explicit"] | None = None
    ack_wait: Duration | None = None
    max_deliver: Many | None = None
    max_ack_pending: Many | None = None
    replay_policy: Literal["instant", "original"] | None = None
    inactive_threshold: Duration | None = None
    replicas: Annotated[int, Field(ge=1, le=5)] | None = None
    max_lag: Many | None = None
    max_redelivered: Many | None = None

    def config(self) -> dict[str, Any]:
        """Return what the API calls it."""
        said = _said(self, renamed={"replicas": "num_replicas"}, besides=_NOT_OF_THE_API)
        subjects = said.pop("filter_subjects", None)
        if subjects and len(subjects) == 1:
            said["filter_subject"] = subjects[0]
        elif subjects:
            said["filter_subjects"] = subjects
        return said


class StreamSection(Section):
    """One stream, and its consumers by name."""

    expected: bool = True
    subjects: Subjects
    retention: Literal["limits", "interest", "workqueue"] | None = None
    discard: Literal["old", "new"] | None = None
    storage: Literal["file", "memory"] | None = None
    replicas: Annotated[int, Field(ge=1, le=5)] | None = None
    max_age: Duration | None = None
    max_bytes: Size | None = None
    max_messages: Many | None = None
    max_messages_per_subject: Many | None = None
    max_message_size: Size | None = None
    duplicate_window: Duration | None = None
    allow_direct: bool | None = None
    allow_rollup: bool | None = None
    deny_delete: bool | None = None
    deny_purge: bool | None = None
    compression: Literal["none", "s2"] | None = None
    consumers: dict[Name, ConsumerSection] = Field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """Return what the API calls it."""
        renamed = {
            "replicas": "num_replicas",
            "max_messages": "max_msgs",
            "max_messages_per_subject": "max_msgs_per_subject",
            "max_message_size": "max_msg_size",
            "allow_rollup": "allow_rollup_hdrs",
        }
        return _said(self, renamed=renamed, besides=_NOT_OF_THE_API)


_NOT_OF_THE_API = frozenset({"expected", "consumers", "max_lag", "max_redelivered"})


def _said(section: Section, *, renamed: dict[str, str], besides: frozenset[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if value is None or name in besides:
            continue
        match value:
            case timedelta():
                value = value // timedelta(microseconds=1) * 1000
            case ByteSize():
                value = int(value)
            case tuple():
                value = list(value)
        found[renamed.get(name, name)] = value
    return found


class NatsSection(Section):
    url: Urls | None = Field(
        None,
        description="Where NATS is; several servers of a cluster as a list, or separated by "
        "commas. Nothing of NATS is looked at while it is not set.",
    )
    credentials: Secret | None = Field(
        None,
        description="A credentials file, as nsc writes it. This and the files below may be read by "
        "eiderd's user only; a name without a path is one of the unit's LoadCredential=.",
    )
    nkey: Secret | None = Field(None, description="A file with the NKEY seed of a user.")
    token_file: Secret | None = Field(None, description="A file with a token.")
    user: Text | None = Field(None, description="A user, with password_file.")
    password_file: Secret | None = Field(None, description="A file with the user's password.")
    domain: Name | None = Field(
        None,
        description="The domain whose JetStream is meant, where the server at the url is a leaf "
        "node without one of its own.",
    )
    tls_ca: AbsolutePath | None = Field(
        None, description="A PEM file with the authority that signed the server's certificate."
    )
    tls_certificate: AbsolutePath | None = Field(
        None, description="A PEM file with eiderd's own certificate, where one is asked for."
    )
    tls_key: AbsolutePath | None = Field(None, description="The PEM file with its private key.")
    timeout: Duration = Field(
        timedelta(seconds=5), description="How long one look may take, up to 30s."
    )
    max_rtt: Duration = Field(
        timedelta(milliseconds=500), description="Warn when an answer takes longer than this."
    )
    max_lag: Many = Field(
        10_000, description="Warn when more messages than this wait for a consumer."
    )
    max_redelivered: Many = Field(
        100, description="Warn when more messages than this had to be delivered again."
    )
    stalled_after: Duration = Field(
        timedelta(minutes=10),
        description="Warn when a consumer with messages acknowledged none for this long.",
    )
    store_limit: Size | None = Field(
        None,
        description="How much the server may store (max_file), where the account has no limit of "
        "its own: NATS does not tell.",
    )
    store_warn: float = Field(
        0.8, gt=0, le=1, description="Warn when this share of a limit of the store is used."
    )
    backup: tuple[Name, ...] = Field(
        (),
        description="The streams that go into each backup, with their consumers, before the "
        "database does. A backup does without one that cannot be had, and says so.",
    )
    settle: Duration | None = Field(
        None,
        description="How long the database is waited for after the streams: as long as the "
        "application keeps in memory only what it has acknowledged, up to 5m.",
    )
    streams: dict[Name, StreamSection] = Field(
        default_factory=dict,
        description="The streams that should be there, by name, with their consumers: see the "
        "README. What a profile brings and is not used here: expected = false.",
    )

    @property
    def urls(self) -> tuple[str, ...]:
        return () if self.url is None else _split(self.url)

    def expected(self) -> tuple[ExpectedStream, ...]:
        """Return the streams and consumers that should be there."""
        return tuple(
            ExpectedStream(
                name=name,
                config=stream.config(),
                consumers=tuple(
                    ExpectedConsumer(
                        stream=name,
                        name=of,
                        config=one.config(),
                        max_lag=one.max_lag or self.max_lag,
                        max_redelivered=one.max_redelivered or self.max_redelivered,
                    )
                    for of, one in stream.consumers.items()
                    if one.expected
                ),
            )
            for name, stream in self.streams.items()
            if stream.expected
        )

    @field_serializer("url", when_used="json")
    def _without_passwords(self, _value: object) -> str | list[str] | None:
        shown = [re.sub(r"//.*@", "//***@", url) for url in self.urls]
        return shown[0] if isinstance(self.url, str) and len(shown) == 1 else shown or None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.user is None) is not (self.password_file is None):
            raise ValueError("user and password_file belong together")
        ways = ("credentials", "nkey", "token_file", "user")
        named = [way for way in ways if getattr(self, way) is not None]
        if len(named) > 1:
            raise ValueError(f"there is one way to log in, not {len(named)}: {', '.join(named)}")
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("tls_key needs tls_certificate")
        if self.settle and self.settle > timedelta(minutes=5):
            raise ValueError("settle may be up to 5m")
        if self.timeout > timedelta(seconds=30):
            raise ValueError("timeout may be up to 30s")
        return self

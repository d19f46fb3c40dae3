"""From the configuration to NATS: which server it is, one look at it, and its streams made right.

nats-py is imported when NATS is configured and asked for the first time: it takes some megabytes,
which a service without NATS need not have.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from eiderd.broker.evidence import NatsStanding
from eiderd.errors import BrokerUnavailable, ConfigError
from eiderd.jobs import ensure as ensure_job
from eiderd.watch import nats as nats_watch

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from eiderd.broker.evidence import ExpectedStream, NatsSeen
    from eiderd.health import Finding
    from eiderd.jobs.ensure import Ensured
    from eiderd.model import Outcome
    from eiderd.outside.nats_client.connection import Server
    from eiderd.sections.nats import NatsSection
    from eiderd.watch.nats import Known

_CONNECT_SECONDS = 2.0  # for each url, when there is time for it


def refuse_none(section: NatsSection) -> None:
    """Raise ConfigError when there is no NATS."""
    if not section.urls:
        raise ConfigError(
            "nats.url is not set, so there is no NATS to ask",
            hint='Set it: url = "nats://127.0.0.1:4222" below [nats]',
        )


def server_of(section: NatsSection) -> Server:
    """Return the server that is configured. Raise ConfigError when there is none."""
    from eiderd.outside.nats_client.connection import Server  # noqa: PLC0415  (see above)

    refuse_none(section)
    urls = section.urls
    patience = section.timeout.total_seconds() / (len(urls) + 1)
    return Server(
        urls=urls,
        credentials=section.credentials,
        nkey=section.nkey,
        token_file=section.token_file,
        user=section.user,
        password_file=section.password_file,
        domain=section.domain,
        tls_ca=str(section.tls_ca) if section.tls_ca else None,
        tls_certificate=str(section.tls_certificate) if section.tls_certificate else None,
        tls_key=str(section.tls_key) if section.tls_key else None,
        connect_seconds=min(_CONNECT_SECONDS, patience),
    )


def see(section: NatsSection, expected: Sequence[ExpectedStream]) -> NatsSeen:
    """Return one look. Raise BrokerUnavailable, ConfigError."""
    from eiderd.outside.nats_client import streams  # noqa: PLC0415  (see above)

    wanted = {stream.name: [one.name for one in stream.consumers] for stream in expected}
    seconds = section.timeout.total_seconds()
    return streams.look(server_of(section), wanted, timeout_seconds=seconds)


def look(
    section: NatsSection,
    *,
    now: datetime.datetime,
    known: Known,
    application_down: Callable[[], bool],
) -> tuple[NatsStanding, tuple[Finding, ...], Known]:
    """Return how NATS stands, what is wrong, and what the next look needs to know."""
    expected = section.expected()
    standing = standing_of(section)
    try:
        seen = see(section, expected)
    except BrokerUnavailable as error:
        found = nats_watch.down(error, application_down=application_down())
        return standing_of(section, why=error.message), (found,), known
    limits = nats_watch.Limits(
        max_rtt=section.max_rtt,
        stalled_after=section.stalled_after,
        store_warn=section.store_warn,
        store_bytes=standing.store_limit_bytes,
    )
    judge = functools.partial(
        nats_watch.run, now=now, seen=seen, expected=expected, limits=limits, known=known
    )
    findings, learned = judge(application_down=False)
    if findings and application_down():  # asking takes its time, and is of no use when all is well
        findings, learned = judge(application_down=True)
    return standing_of(section, seen=seen), findings, learned


def standing_of(
    section: NatsSection, *, seen: NatsSeen | None = None, why: str = ""
) -> NatsStanding:
    expected = section.expected()
    return NatsStanding(
        expected={stream.name: tuple(one.name for one in stream.consumers) for stream in expected},
        seen=seen,
        why=why,
        store_limit_bytes=int(section.store_limit) if section.store_limit else None,
    )


def ensure(section: NatsSection, *, drift: bool, dry_run: bool) -> Outcome[Ensured]:
    """Create what is missing; with `drift`, change what differs. `dry_run` only looks."""
    from eiderd.outside.nats_client import streams  # noqa: PLC0415  (see above)

    expected = section.expected()
    server, seconds = server_of(section), section.timeout.total_seconds()
    bind = functools.partial
    return ensure_job.run(
        expected=expected,
        look=bind(see, section, expected),
        create_stream=bind(streams.create_stream, server, timeout_seconds=seconds),
        create_consumer=bind(streams.create_consumer, server, timeout_seconds=seconds),
        change_stream=bind(streams.change_stream, server, timeout_seconds=seconds),
        change_consumer=bind(streams.change_consumer, server, timeout_seconds=seconds),
        drift=drift,
        dry_run=dry_run,
    )

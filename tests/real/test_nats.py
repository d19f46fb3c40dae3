"""The watcher of NATS against real servers: what is broken is found in two looks, and clears."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from eiderd import config
from eiderd.broker import look as broker
from eiderd.health import Kind, Severity
from eiderd.outside.nats_client import connection
from eiderd.sections.nats import NatsSection
from eiderd.watch.nats import Known
from tests.helpers import until
from tests.nats_servers import NEWEST, VERSIONS, NatsServer, nats_cluster, nats_server, urls
from tests.slow_line import slow_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from eiderd.broker.evidence import NatsStanding
    from eiderd.health import Finding
    from eiderd.jobs.ensure import Ensured
    from eiderd.model import Outcome

MINUTE = datetime.timedelta(minutes=1)
BEGAN = datetime.datetime(2026, 3, 4, 12, 0, tzinfo=datetime.UTC)
CONSUMER = {
    "filter_subjects": ["orders.>"],
    "deliver_policy": "new",
    "deliver_group": "writers",
    "ack_wait": "30s",
    "max_deliver": 5,
}
STREAM = {
    "subjects": ["orders.>"],
    "retention": "limits",
    "storage": "file",
    "max_age": "7d",
    "max_bytes": "8MB",
    "duplicate_window": "2m",
    "allow_direct": True,
    "consumers": {"writer": CONSUMER},
}


class Watch:
    """Looks as the service does, a minute apart, and remembers."""

    def __init__(self, url: object, **settings: Any) -> None:
        streams = settings.pop("streams", {"ORDERS": STREAM})
        said = {"url": url, "timeout": "2s", "streams": streams, **settings}
        self.section = NatsSection.model_validate(said)
        self.application_down = False
        self.known = Known()
        self.at = BEGAN
        self.standing: NatsStanding | None = None
        self.seconds = 0.0

    def look(self) -> dict[tuple[Kind, str], Finding]:
        self.at += MINUTE
        began = time.monotonic()
        self.standing, found, self.known = broker.look(
            self.section,
            now=self.at,
            known=self.known,
            application_down=lambda: self.application_down,
        )
        self.seconds = time.monotonic() - began
        return {one.name: one for one in found}

    def kinds(self) -> set[Kind]:
        return {kind for kind, _subject in self.look()}

    def ensure(self, **how: bool) -> Outcome[Ensured]:
        return broker.ensure(self.section, **{"drift": False, "dry_run": False, **how})

    def do(self, what: Callable[[Client], Awaitable[Any]]) -> Any:  # noqa: ANN401
        return connection.ask(broker.server_of(self.section), what, timeout_seconds=20)

    def api(self, subject: str, **order: Any) -> Any:  # noqa: ANN401
        async def question(client: Client) -> Any:  # noqa: ANN401
            body = json.dumps(order).encode()
            said = await client.request(f"$JS.API.{subject}", body, timeout=5)
            return json.loads(said.data)

        answer = self.do(question)
        assert "error" not in answer, answer
        return answer

    def publish(self, count: int, *, size: int = 10, subject: str = "orders.new") -> None:
        async def question(client: Client) -> None:
            stream = client.jetstream()
            for _ in range(count):
                await stream.publish(subject, b"x" * size)

        self.do(question)

    def change(self, **fields: Any) -> None:
        now = self.api("STREAM.INFO.ORDERS")["config"]
        self.api("STREAM.UPDATE.ORDERS", **{**now, **fields})


def _given_watch(server: NatsServer, **settings: Any) -> Watch:
    """Return a watch of a server that has all that is expected."""
    watch = Watch(server.url, **settings)
    watch.ensure()
    assert watch.look() == {}
    return watch


@pytest.fixture(scope="module", params=VERSIONS)
def each_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats"), version=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def server(shared: NatsServer) -> NatsServer:
    """Return a server without any stream."""
    watch = Watch(shared.url)
    for name in watch.api("STREAM.NAMES")["streams"] or ():
        watch.api(f"STREAM.DELETE.{name}")
    return shared


# Every version ----------------------------------------------------------------------------------


def test_what_is_missing_is_found_created_and_clears(each_server: NatsServer) -> None:
    watch = Watch(each_server.url)
    found = watch.look()
    assert set(found) == {(Kind.STREAM_MISSING, "ORDERS")}
    assert found[Kind.STREAM_MISSING, "ORDERS"].severity is Severity.CRITICAL
    assert [step.done for step in watch.ensure(dry_run=True).value.steps] == [False, False]
    assert set(watch.look()) == {(Kind.STREAM_MISSING, "ORDERS")}

    steps = watch.ensure().value.steps
    assert [(step.subject, step.done) for step in steps] == [
        ("ORDERS", True),
        ("ORDERS/writer", True),
    ]
    assert watch.look() == {}
    assert watch.ensure().value.steps == ()

    watch.api("CONSUMER.DELETE.ORDERS.writer")
    assert set(watch.look()) == {(Kind.CONSUMER_MISSING, "ORDERS/writer")}
    watch.ensure()
    assert watch.look() == {}
    watch.api("STREAM.DELETE.ORDERS")
    assert watch.kinds() == {Kind.STREAM_MISSING}


def test_a_changed_configuration_is_found_and_undone_when_asked(each_server: NatsServer) -> None:
    watch = _given_watch(each_server)
    watch.change(max_age=3600 * 10**9, subjects=["orders.>", "refunds.>"])
    now = watch.api("CONSUMER.INFO.ORDERS.writer")["config"]
    order = {"stream_name": "ORDERS", "config": {**now, "max_deliver": 9}}
    watch.api("CONSUMER.CREATE.ORDERS.writer", **order)

    found = watch.look()
    assert set(found) == {(Kind.NATS_DRIFT, "ORDERS"), (Kind.NATS_DRIFT, "ORDERS/writer")}
    said = found[Kind.NATS_DRIFT, "ORDERS"].message
    assert "max_age is 1h and should be 1w" in said
    assert "subjects is orders.>, refunds.> and should be orders.>" in said
    assert watch.ensure().value.steps[0].what == "leave"
    assert set(watch.look()) == set(found), "drift is only proposed"

    watch.ensure(drift=True)
    assert watch.look() == {}
    watch.api("STREAM.DELETE.ORDERS")


def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    for version in VERSIONS:
        with nats_server(tmp_path / version, version=version) as server:
            watch = _given_watch(server)
            watch.publish(3)
            server.stop()
            found = watch.look()
            assert set(found) == {(Kind.NATS_DOWN, "")}
            assert found[Kind.NATS_DOWN, ""].severity is Severity.CRITICAL
            server.start()
            assert watch.look() == {}, "it has everything it had"


def test_a_server_without_jetstream(tmp_path: Path) -> None:
    for version in VERSIONS:
        with nats_server(tmp_path / version, version=version, jetstream=False) as server:
            watch = Watch(server.url)
            assert watch.kinds() == {Kind.JETSTREAM_OFF}
            server.jetstream = True
            server.restart()
            assert watch.kinds() == {Kind.STREAM_MISSING}


def test_the_profile_of_cartographus_is_what_its_server_can_have(tmp_path: Path) -> None:
    file = tmp_path / "eiderd.toml"
    for version in VERSIONS:
        with nats_server(tmp_path / version, version=version, max_file="10GiB") as server:
            file.write_text(
                'profile = "cartographus"\n[database]\npath = "/data/app.duckdb"\n'
                f'[nats]\nurl = "{server.url}"\n'
            )
            watch = Watch(server.url)
            watch.section = config.load(file)[0].nats
            assert watch.kinds() == {Kind.STREAM_MISSING}
            watch.ensure()
            assert watch.look() == {}
            assert watch.api("CONSUMER.NAMES.MEDIA_EVENTS")["total"] == 2


# One server -------------------------------------------------------------------------------------


def test_a_paused_server_costs_no_more_than_the_deadline(server: NatsServer) -> None:
    watch = _given_watch(server)
    server.pause()
    try:
        for _look in range(2):
            assert watch.kinds() == {Kind.NATS_DOWN}
            assert watch.seconds < 6, "the deadline is 2 s"
    finally:
        server.resume()
    assert watch.look() == {}


def test_a_slow_line_is_found_while_it_is_slow(server: NatsServer) -> None:
    _given_watch(server)
    with slow_line(server.port) as line:
        watch = Watch(f"nats://127.0.0.1:{line.port}", timeout="10s")
        assert watch.look() == {}
        line.delay_seconds = 0.3
        assert watch.kinds() == {Kind.NATS_SLOW}
        assert watch.seconds < 10
        line.delay_seconds = 0.0
        assert watch.look() == {}


def test_a_line_too_slow_for_the_deadline_is_down(server: NatsServer) -> None:
    with slow_line(server.port) as line:
        line.delay_seconds = 3.0
        watch = Watch(f"nats://127.0.0.1:{line.port}")
        assert watch.kinds() == {Kind.NATS_DOWN}
        assert watch.seconds < 6


def test_the_store_of_an_account_fills_and_is_emptied(tmp_path: Path) -> None:
    accounts = (
        "accounts { APP { jetstream { max_file: 4MB, max_mem: 1MB }, "
        "users: [ { user: app, password: secret } ] } }"
    )
    with nats_server(tmp_path, more=accounts, user_info="app:secret@") as server:
        roomy = {**STREAM, "max_bytes": "4000000", "discard": "new"}
        watch = _given_watch(server, streams={"ORDERS": roomy})
        watch.publish(60, size=60_000)
        found = watch.look()
        assert set(found) == {(Kind.NATS_STORE_FULL, ""), (Kind.NATS_STORE_FULL, "ORDERS")}
        with contextlib.suppress(Exception):  # the server says that there is no room
            watch.publish(20, size=60_000)
        assert (Kind.NATS_STORE_FULL, "ORDERS") in watch.look()
        watch.api("STREAM.PURGE.ORDERS")
        assert watch.look() == {}


def test_a_store_whose_limit_only_the_configuration_knows(tmp_path: Path) -> None:
    with nats_server(tmp_path, max_file="4MB") as server:
        unbounded = {key: value for key, value in STREAM.items() if key != "max_bytes"}
        watch = _given_watch(server, store_limit="4MB", streams={"ORDERS": unbounded})
        with pytest.raises(Exception, match="did not do"):
            watch.publish(100, size=60_000)
        found = watch.look()
        assert set(found) == {(Kind.NATS_STORE_FULL, "")}
        watch.api("STREAM.PURGE.ORDERS")
        assert watch.look() == {}


def test_a_consumer_that_falls_behind_and_one_that_stalls(server: NatsServer) -> None:
    watch = _given_watch(server, max_lag=10, stalled_after="5m")
    watch.publish(12)
    assert watch.kinds() == {Kind.NATS_LAG}
    for _minute in range(5):
        kinds = watch.kinds()
    assert kinds == {Kind.NATS_LAG, Kind.NATS_STALLED}
    found = watch.look()[Kind.NATS_STALLED, "ORDERS/writer"]
    assert "nobody listens" in found.message
    _take_all(watch, 12)
    assert watch.look() == {}


def test_messages_that_are_delivered_again_and_again(server: NatsServer) -> None:
    hasty = {**CONSUMER, "ack_wait": "1s", "max_redelivered": 2}
    streams = {"ORDERS": {**STREAM, "consumers": {"writer": hasty}}}
    watch = _given_watch(server, streams=streams)
    watch.publish(4)

    async def listen(client: Client) -> None:
        info = await client.jetstream().consumer_info("ORDERS", "writer")
        assert info.config.deliver_subject
        taken = await client.subscribe(info.config.deliver_subject, queue="writers")
        for _ in range(8):
            await taken.next_msg(timeout=5)

    watch.do(listen)
    assert watch.kinds() == {Kind.NATS_REDELIVERED}
    _take_all(watch, 4)
    assert watch.look() == {}


def test_a_consumer_that_is_missing_while_the_application_is_down_is_no_news(
    server: NatsServer,
) -> None:
    watch = _given_watch(server)
    watch.api("CONSUMER.DELETE.ORDERS.writer")
    watch.application_down = True
    (found,) = watch.look().values()
    assert (found.kind, found.severity) == (Kind.CONSUMER_MISSING, Severity.NOTICE)
    watch.application_down = False
    (found,) = watch.look().values()
    assert found.severity is Severity.WARNING


def test_a_stream_that_was_created_anew_is_told_for_a_day(server: NatsServer) -> None:
    watch = _given_watch(server)
    watch.publish(7)
    assert watch.look() == {}
    watch.api("STREAM.DELETE.ORDERS")
    watch.ensure()
    watch.publish(1)
    (found,) = (one for one in watch.look().values() if one.kind is Kind.NATS_WENT_BACK)
    assert found.severity is Severity.NOTICE
    assert "was at message 7 and went back to 1" in found.message
    watch.at += datetime.timedelta(hours=24)
    assert Kind.NATS_WENT_BACK not in watch.kinds()


def test_a_sequence_that_goes_backwards(tmp_path: Path) -> None:
    """As after a power cut on a disk that lies, or when an older store was put in its place."""
    with nats_server(tmp_path / "nats") as server:
        watch = _given_watch(server)
        watch.publish(2)
        server.stop()
        saved = tmp_path / "saved"
        server.store.rename(saved)
        _copy(saved, server.store)
        server.start()
        watch.publish(5)
        assert watch.kinds() == set()
        server.stop()
        server.store.rename(tmp_path / "newer")
        saved.rename(server.store)
        server.start()
        (found,) = (one for one in watch.look().values() if one.kind is Kind.NATS_WENT_BACK)
        assert found.severity is Severity.WARNING
        assert "was at message 7 and went back to 2" in found.message


def test_who_created_a_stream_otherwise_is_told_so(server: NatsServer) -> None:
    watch = Watch(server.url)
    watch.api("STREAM.CREATE.OTHER", name="OTHER", subjects=["orders.>"])
    with pytest.raises(Exception, match="create ORDERS: JetStream said: subjects overlap") as told:
        watch.ensure()
    assert "ORDERS/writer" not in str(told.value), "without its stream it is not even tried"


# A cluster --------------------------------------------------------------------------------------


def _given_cluster_watch(servers: list[NatsServer]) -> Watch:
    consumer = {**CONSUMER, "replicas": 3}
    streams = {"ORDERS": {**STREAM, "replicas": 3, "consumers": {"writer": consumer}}}
    watch = Watch(list(urls(servers)), streams=streams, timeout="4s")
    until(lambda: _ensured(watch), seconds=60, what="the stream")
    until(lambda: watch.look() == {}, seconds=60, what="a cluster that is well")
    return watch


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_goes_on_without_the_server_that_was_asked(version: str, tmp_path: Path) -> None:
    with nats_cluster(tmp_path, version=version) as servers:
        watch = _given_cluster_watch(servers)
        servers[0].kill()
        until(lambda: watch.kinds() == {Kind.NATS_REPLICA_BEHIND}, seconds=40, what="one less")
        servers[0].start()
        until(lambda: watch.look() == {}, seconds=40, what="a cluster that is well again")


def test_a_cluster_that_loses_its_leader_and_then_its_majority(tmp_path: Path) -> None:
    with nats_cluster(tmp_path) as servers:
        watch = _given_cluster_watch(servers)
        leader = watch.api("STREAM.INFO.ORDERS")["cluster"]["leader"]
        gone = next(server for server in servers if server.name == leader)
        gone.kill()
        until(lambda: watch.kinds() == {Kind.NATS_REPLICA_BEHIND}, seconds=40, what="one less")
        other = next(server for server in servers if server is not gone)
        other.pause()  # one of three is left, which cannot decide
        until(lambda: Kind.NATS_NO_LEADER in watch.kinds(), seconds=40, what="no leader")
        assert watch.seconds < 5.0, "the deadline is 4 s"
        other.resume()
        gone.start()
        until(lambda: watch.look() == {}, seconds=60, what="a cluster that is well again")


def _ensured(watch: Watch) -> bool:
    with contextlib.suppress(Exception):  # the servers are still finding each other
        watch.ensure()
        return True
    return False


# Logging in -------------------------------------------------------------------------------------


def test_a_refused_login_is_found_and_clears(tmp_path: Path) -> None:
    with nats_server(
        tmp_path / "nats", more="authorization { token: right }", user_info="right@"
    ) as server:
        secret = tmp_path / "token"
        secret.write_text("wrong\n")
        secret.chmod(0o600)
        watch = Watch(f"nats://127.0.0.1:{server.port}", token_file=str(secret))
        found = watch.look()
        assert set(found) == {(Kind.NATS_REFUSED, "")}
        assert "wrong" not in str(found)
        secret.write_text("right\n")
        assert watch.kinds() == {Kind.STREAM_MISSING}


def test_a_user_who_may_not_ask_is_told_so_at_once(tmp_path: Path) -> None:
    users = (
        "authorization { users: [ { user: app, password: secret, "
        'permissions: { publish: ["orders.>"], subscribe: ["_INBOX.>"] } } ] }'
    )
    with nats_server(tmp_path, more=users, user_info="app:secret@") as server:
        watch = Watch(server.url, timeout="10s")
        (found,) = watch.look().values()
        assert found.kind is Kind.NATS_REFUSED
        assert "$JS.API" in found.command
        assert "secret" not in str(found)
        assert watch.seconds < 4


def test_an_nkey_logs_in(tmp_path: Path) -> None:
    import nkeys  # noqa: PLC0415  (only here)

    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file = tmp_path / "user.nk"
    file.write_text(f"# who it is\n{seed.decode()}\n")
    file.chmod(0o600)
    with nats_server(
        tmp_path / "nats", more=f"authorization {{ users: [ {{ nkey: {public} }} ] }}"
    ) as server:
        assert Watch(server.url, nkey=str(file)).kinds() == {Kind.STREAM_MISSING}
        assert Watch(server.url).kinds() == {Kind.NATS_REFUSED}


# What the tests need ----------------------------------------------------------------------------


def _take_all(watch: Watch, count: int) -> None:
    """Listen as the application does, and acknowledge so many messages."""

    async def listen(client: Client) -> None:
        info = await client.jetstream().consumer_info("ORDERS", "writer")
        assert info.config.deliver_subject
        taken = await client.subscribe(info.config.deliver_subject, queue="writers")
        done: set[str] = set()
        while len(done) < count:
            message = await taken.next_msg(timeout=10)
            await message.ack_sync()
            done.add(str(message.metadata.sequence.stream))

    watch.do(listen)


def _copy(source: Path, target: Path) -> None:
    import shutil  # noqa: PLC0415

    shutil.copytree(source, target)


def test_the_newest_version_is_among_those_that_are_tested() -> None:
    assert NEWEST in VERSIONS

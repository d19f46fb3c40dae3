"""A stream is replaced, and whatever does it dies at any step: what was there is never lost.

The steps of a true run are counted: every command to the server, every call that changes a folder.
Then one run after the other is killed before the next of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nats.aio.client import Client

from eiderd.errors import BrokerUnavailable, EiderError, StoreUnavailable
from eiderd.outside.nats_client import connection, replacing, transfer_worker
from tests import helpers
from tests.nats_servers import NatsServer, nats_server
from tests.real import streams
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.helpers import Place

VERSION = "2.12"
CALLS = ("replace", "rename", "unlink", "fsync", "rmdir", "mkdir")
OLD, NEW = range(1, 7), range(100, 105)
DELETE = "PUB $JS.API.STREAM.DELETE.EVENTS"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats"), version=VERSION) as server:
        yield server


@dataclasses.dataclass(frozen=True)
class Scene:
    """A stream as it was (`before`), and in `folder` the one that is to take its place."""

    root: Path
    server: NatsServer
    storage: str
    folder: Path
    before: dict[int, Any]
    after: dict[int, Any]

    @property
    def parent(self) -> Path:
        return self.root / "state" / "streams-set-aside"

    @property
    def aside(self) -> Path:
        return self.parent / "EVENTS-20260304-120000"

    def reset(self) -> None:
        shutil.rmtree(self.root / "state", ignore_errors=True)
        (self.root / "state").mkdir()
        _fill(self.server, OLD, self.storage)

    def replace(self, folder: Path, aside: Path) -> None:
        scratch = self.root / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        transfer_worker.restore(
            server=dataclasses.asdict(connection.Server(urls=(self.server.url,))),
            folder=str(folder),
            changes={},
            aside=str(aside),
            scratch=str(scratch),
            deadline_seconds=30,
            progress=lambda *_: None,
        )

    def now(self) -> dict[int, Any] | None:
        there = "EVENTS" in streams.names(self.server.url)
        return streams.everything(self.server.url) if there else None


def _fill(server: NatsServer, numbers: range, storage: str) -> None:
    helpers.until(lambda: _is_made_anew(server, storage), what="an empty stream")
    streams.publish(server.url, len(numbers), first=numbers.start)
    streams.acknowledge(server.url, 2)
    streams.remove(server.url, 4)


def _is_made_anew(server: NatsServer, storage: str) -> bool:
    """A server may bring back the messages of a stream of that name, which it said it removed.

    Seen with 2.10, 2.12 and 2.15, of file streams, when a name is removed and made over and over.
    """
    if "EVENTS" in streams.names(server.url):
        streams.drop(server.url)
    streams.create(server.url, storage=storage)
    return bool(streams.info(server.url)["state"]["messages"] == 0)


@pytest.fixture(params=["file", "memory", "damaged"])
def scene(request: pytest.FixtureRequest, server: NatsServer, tmp_path: Path) -> Scene:
    """By snapshot, one message after the other, and where the old one has to be put back."""
    is_damaged = request.param == "damaged"
    storage = "file" if is_damaged else request.param
    _fill(server, NEW, storage)
    folder = tmp_path / "new"
    after = streams.everything(server.url)
    transfer_worker.capture(
        server=dataclasses.asdict(connection.Server(urls=(server.url,))),
        streams=["EVENTS"],
        folder=str(folder),
        most_bytes=1 << 30,
        settle_seconds=0,
        deadline_seconds=30,
        by_message=False,
        progress=lambda *_: None,
    )
    if is_damaged:
        data = bytearray((folder / "EVENTS" / "stream.tar.s2").read_bytes())
        data[10 + 4] ^= 0xFF  # the checksum of the first frame, which only the server reads
        (folder / "EVENTS" / "stream.tar.s2").write_bytes(data)
    _fill(server, OLD, storage)
    before = streams.everything(server.url)
    after = before if is_damaged else after
    return Scene(tmp_path, server, storage, folder / "EVENTS", before, after)


def _cut(do: Callable[[], None], *, at: int | None) -> tuple[list[str], bool]:
    """Do it in a child that is killed before its step number `at`; return the steps it came to."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(reading)
            _count(writing, at=at)
            with contextlib.suppress(EiderError):  # damaged: the old one was put back
                do()
            status = 0
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        steps = pipe.read().splitlines()
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}, f"it failed by itself: {steps}"
    return steps, code == 0


def _count(writing: int, *, at: int | None) -> None:
    taken = 0

    def step(said: str) -> None:
        nonlocal taken
        taken += 1
        os.write(writing, f"{said}\n".encode())
        if taken == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def call(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **more: Any) -> Any:  # noqa: ANN401
            on = words[0]
            step(f"{name} {Path(f'/proc/self/fd/{on}').readlink() if name == 'fsync' else on}")
            return real(*words, **more)

        return counted

    for name in CALLS:
        setattr(os, name, call(name, getattr(os, name)))
    send = Client._send_command

    async def sent(self: Client, command: bytes, priority: bool = False) -> None:  # noqa: FBT001, FBT002
        step(" ".join(command.decode(errors="replace").split()[:2]))
        await send(self, command, priority)

    setattr(Client, "_send_command", sent)  # noqa: B010


# Every step -------------------------------------------------------------------------------------


def test_whichever_step_it_dies_before_what_was_there_can_be_had(scene: Scene) -> None:
    scene.reset()
    steps, ended = _cut(lambda: scene.replace(scene.folder, scene.aside), at=None)
    assert ended
    assert scene.now() == scene.after
    assert replacing.begun(scene.parent) == ()
    assert DELETE in steps
    told = 0
    for at in range(1, len(steps) + 1):
        scene.reset()
        came, ended = _cut(lambda: scene.replace(scene.folder, scene.aside), at=at)
        assert not ended
        told += _check_what_is_left(scene, last=f"killed before step {at}, {came[-1]}")
    assert told > 5, "what follows the removal is more than a few steps"


def _check_what_is_left(scene: Scene, *, last: str) -> bool:
    """Return whether a record tells of it. It is to be so wherever the old one is not there."""
    begun = replacing.begun(scene.parent)
    now = scene.now()
    if not begun:
        assert now in (scene.before, scene.after), f"lost: {last}"
        return False
    (one,) = begun
    assert (one.stream, one.server) == ("EVENTS", scene.server.url), last
    back = Path(one.folder)
    again = scene.parent / "EVENTS-20260304-130000"
    helpers.until(lambda: _is_done(lambda: scene.replace(back, again)), what=last)
    assert scene.now() == scene.before, last
    assert streams.consumer(scene.server.url)["num_pending"] == 3, last
    return True


def _is_done(do: Callable[[], None]) -> bool:
    """Whether it could be done: a server needs a moment to see that a restore has died."""
    with contextlib.suppress(BrokerUnavailable):
        do()
        return True
    return False


def test_one_that_was_killed_is_told_of_until_it_is_put_back(
    server: NatsServer, tmp_path: Path
) -> None:
    place = helpers.given_place(tmp_path / "place", rows=100, wal_rows=0)
    _fill(server, range(1, 600), "file")
    streams.publish(server.url, 400, first=1000, size=60_000, noise=True)  # not made at once
    settings: dict[str, Any] = {
        "nats__url": server.url,
        "nats__backup": ["EVENTS"],
        "nats__streams": {"EVENTS": {"subjects": ["events.>"]}},
        "service__look_every": "1s",
    }
    place.configure(**settings).backup()
    _fill(server, OLD, "file")
    before = streams.everything(server.url)

    process = helpers.start("nats", "restore", "--replace", "--yes", config=place.config)
    parent = place.state / "streams-set-aside"
    helpers.until(lambda: "EVENTS" not in streams.names(server.url), what="its removal")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for one in (*map(int, children), process.pid):
        os.kill(one, signal.SIGSTOP)
    assert "nats_replace_unfinished" not in _kinds(place), "while it is at work, it is at work"
    process.kill()
    process.communicate()
    assert "EVENTS" not in streams.names(server.url), "it was too quick to be killed"

    (begun,) = replacing.begun(parent)
    (found,) = (one for one in _findings(place) if one["kind"] == "nats_replace_unfinished")
    assert (found["subject"], found["severity"]) == ("EVENTS", "critical")
    assert begun.folder in found["message"]
    assert found["command"] == f"eider nats restore {begun.folder} --replace"
    said = place.eider("nats", "status").good_manners()
    assert said.code == 3
    assert found["command"] in said.stdout
    assert "critical: " in place.eider("nats", "check").stdout
    checks = {one["name"]: one for one in place.eider("doctor", "--json").json["checks"]}
    assert checks["nats replace unfinished"]["mark"] == "problem"
    assert not any("rm -r" in one["command"] for one in checks.values()), "it is all that is left"
    looked = place.eider("nats", "restore", "--dry-run", "--json")
    assert begun.folder in " ".join(looked.json["streams"][0]["warnings"])

    with running(place, **settings) as service:
        service.until(lambda: "stream_missing" in service.kinds(), what="what is missing")
        assert "nats_replace_unfinished" in service.kinds()
        ran = place.eider(*found["command"].split()[1:], "--yes").good_manners()
        assert ran.code == 0, ran
        assert streams.everything(server.url) == before
        service.until(lambda: not service.kinds() & _OURS, what="that all is well")
    assert replacing.begun(parent) == ()
    assert Path(begun.folder, "backup.json").exists(), "eiderd removes nothing that it set aside"


_OURS = {"nats_replace_unfinished", "stream_missing"}


def _findings(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = place.eider("status", "--json").json["findings"]
    return found


def _kinds(place: Place) -> set[str]:
    return {one["kind"] for one in _findings(place)} & {*_OURS}


def test_what_another_run_has_set_aside_is_never_written_over(scene: Scene) -> None:
    scene.reset()
    scene.aside.mkdir(parents=True)
    (scene.aside / "backup.json").write_text("mine")
    with pytest.raises(StoreUnavailable, match="File exists"):
        scene.replace(scene.folder, scene.aside)
    assert scene.now() == scene.before
    assert helpers.files_below(scene.aside) == {"backup.json"}


def test_what_is_set_aside_is_on_disk_before_the_stream_is_removed(scene: Scene) -> None:
    """As a power cut needs it."""
    scene.reset()
    steps, _ended = _cut(lambda: scene.replace(scene.folder, scene.aside), at=None)
    aside, deleted = str(scene.aside), steps.index(DELETE)
    record = steps.index(f"replace {aside}/.replacing.json.new")
    data = "stream.tar.s2" if scene.storage == "file" else "messages.jsonl"
    for name in ("backup.json", data, ".replacing.json.new"):
        assert f"fsync {aside}/{name}" in steps[:record], name
    for folder in (aside, str(scene.parent), str(scene.root / "state")):
        assert f"fsync {folder}" in steps[record:deleted], folder
    assert DELETE not in steps[:deleted]
    ended = steps.index(f"unlink {aside}/replacing.json")
    assert f"fsync {aside}" in steps[ended:]
    looked = [at for at, step in enumerate(steps) if step.startswith("PUB $JS.API.")]
    assert looked[-1] < ended, "the record goes when the new stream was looked at"

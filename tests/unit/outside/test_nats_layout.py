"""Streams in folders: what may be put back, and what is refused before a server sees it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import SourceUnavailable, VerificationFailed
from eiderd.outside.nats_client import layout, messages, prints
from eiderd.outside.nats_client.messages import Message

if TYPE_CHECKING:
    from pathlib import Path


def _line(sequence: int, *, subject: str = "events.a", **more: Any) -> str:
    data = base64.b64encode(b"data").decode()
    return json.dumps({"seq": sequence, "subject": subject, "data": data, **more}) + "\n"


def _given_folder(folder: Path, *, name: object = "EVENTS", lines: str = "") -> Path:
    folder.mkdir()
    described = {"config": {"name": name}, "state": {"messages": 1}, "consumers": [{}, 5]}
    (folder / "backup.json").write_text(json.dumps(described))
    (folder / "messages.jsonl").write_text(lines or _line(1))
    return folder


def test_a_folder_is_read_as_it_was_described(tmp_path: Path) -> None:
    layout.describe(
        tmp_path, config={"name": "EVENTS"}, state={"messages": 3}, removed=2, durables=["a"],
        consumers=[{}],
    )  # fmt: skip
    (tmp_path / "messages.jsonl").write_text(_line(1))
    stored = layout.check(tmp_path)
    assert (stored.name, stored.method, stored.state) == ("EVENTS", "messages", {"messages": 3})
    assert (stored.removed, stored.durables) == (2, ("a",))
    assert (tmp_path / "backup.json").stat().st_mode & 0o777 == 0o600


def test_where_nothing_is_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no backup of a stream"):
        layout.read(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "a.b", "", 5, None, "x\x1b[31m", "é" * 200])
def test_a_name_that_no_stream_can_have_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(VerificationFailed, match="no name"):
        layout.read(_given_folder(tmp_path / "one", name=name))


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"config": {}}', "[" * 100_000])
def test_a_description_that_is_none_is_refused(tmp_path: Path, document: str) -> None:
    folder = _given_folder(tmp_path / "one")
    (folder / "backup.json").write_text(document)
    with pytest.raises(VerificationFailed):
        layout.read(folder)


def test_which_of_two_kinds_of_data_is_meant_is_not_guessed(tmp_path: Path) -> None:
    folder = _given_folder(tmp_path / "one")
    (folder / "stream.tar.s2").write_bytes(b"")
    with pytest.raises(VerificationFailed, match="should stand beside"):
        layout.read(folder)
    (folder / "stream.tar.s2").unlink()
    (folder / "messages.jsonl").unlink()
    with pytest.raises(VerificationFailed, match="should stand beside"):
        layout.read(folder)


@pytest.mark.parametrize("lines", [_line(1)[:-5], "no json\n", "5\n", '{"no": "number"}\n'])
def test_messages_that_are_not_whole_are_noticed(tmp_path: Path, lines: str) -> None:
    with pytest.raises(VerificationFailed):
        layout.check(_given_folder(tmp_path / "one", lines=lines))


@pytest.mark.parametrize(
    "second",
    [_line(1), _line(0), _line(2, subject="a\r\nPUB x 0"), _line(2, subject="a b"),
     _line(2, subject="events.*"), _line(2, subject=""), _line(2, hdrs="%%"), "\n", "[]\n",
     _line(2, subject="a..b")],
)  # fmt: skip
def test_a_message_that_none_can_be_ends_the_reading(tmp_path: Path, second: str) -> None:
    folder = _given_folder(tmp_path / "one", lines=_line(1) + second)
    reading = messages.stored(folder / "messages.jsonl")
    assert next(reading).sequence == 1
    with pytest.raises(VerificationFailed, match="damaged after message 1"):
        next(reading)


def test_what_was_for_the_publishing_is_left_out_and_nothing_else() -> None:
    kept = b"NATS/1.0\r\nx-odd:  two  spaces \r\nNats-Msg-Id: 5\r\n\r\n"
    assert messages.without_publishing(kept) == kept
    for name in (b"Nats-Expected-Last-Sequence", b"Nats-Batch-Id", b"Nats-Batch-Commit"):
        more = kept.replace(b"x-odd", name + b": 4\r\nx-odd")
        assert messages.without_publishing(more) == kept
    assert messages.without_publishing(b"NATS/1.0\r\nnats-expected-stream: A\r\n\r\n") == b""
    assert messages.header(kept, b"nats-msg-id") == b"5"


# Fingerprints -----------------------------------------------------------------------------------


def _message(sequence: int, *, data: bytes = b"x", subject: str = "a", time: str = "") -> Message:
    return Message(sequence=sequence, time=time, subject=subject, headers=b"", data=data)


def _compared(tmp_path: Path, old: list[Message], new: list[Message], before: float = 0.0) -> Any:  # noqa: ANN401
    for name, found in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(b"".join(map(prints.record, found)))
    with (tmp_path / "old").open("rb") as one, (tmp_path / "new").open("rb") as other:
        return prints.compare(one, other, expired_before=before)


def test_the_same_messages_agree(tmp_path: Path) -> None:
    every = [_message(number) for number in (1, 2, 5, 9)]
    found = _compared(tmp_path, every, every)
    assert found.agree
    assert (found.same, found.extra) == (4, 0)


@pytest.mark.parametrize(
    "other",
    [_message(2, data=b"y"), _message(2, subject="b"), _message(2, data=b"", subject="ax"),
     _message(3)],
)  # fmt: skip
def test_one_message_that_is_not_the_same_is_found(tmp_path: Path, other: Message) -> None:
    found = _compared(tmp_path, [_message(1), _message(2)], [_message(1), other])
    assert not found.agree
    assert found.first_wrong == 2


def test_what_is_missing_because_of_its_age_is_told_apart(tmp_path: Path) -> None:
    old = _message(1, time="2026-01-01T00:00:00.123456789Z")
    young = _message(2, time="2026-03-01T00:00:00Z")
    february = 1_769_904_000.0
    found = _compared(tmp_path, [old, young], [young], february)
    assert (found.agree, found.gone, found.missing) == (True, 1, 0)
    found = _compared(tmp_path, [old, young], [old], february)
    assert (found.agree, found.gone, found.missing, found.first_wrong) == (False, 0, 1, 2)
    assert _compared(tmp_path, [young], [young, _message(3)]).extra == 1


@pytest.mark.parametrize("time", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_excuses_no_missing_message(tmp_path: Path, time: str) -> None:
    found = _compared(tmp_path, [_message(1, time=time)], [], before=4e9)
    assert (found.agree, found.gone, found.missing) == (False, 0, 1)

"""Children that die, hang, babble or eat memory: none of it reaches the parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eiderd.errors import ChildFailed, NoSpace, NotPermitted
from eiderd.outside import process

if TYPE_CHECKING:
    from collections.abc import Callable

GIGABYTE = 1 << 30


def _run(
    code: str,
    *,
    order: dict[str, object] | None = None,
    deadline: float = 20.0,
    memory: int = GIGABYTE,
    progress: Callable[[Any], None] = lambda _said: None,
) -> process.Answer:
    return process.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        order=order or {},
        limits=process.Limits(address_space=memory, deadline_seconds=deadline),
        progress=progress,
    )


def test_an_order_goes_in_and_a_result_comes_out() -> None:
    told: list[Any] = []
    answer = _run(
        """
        import json, sys
        order = json.load(sys.stdin)
        print(json.dumps({"progress": {"done": 1}}))
        print("something else")
        print(json.dumps({"result": {"got": order["word"]}}))
        """,
        order={"word": "ö" * 200_000},
        progress=told.append,
    )
    assert answer.result == {"got": "ö" * 200_000}
    assert told == [{"done": 1}]
    assert answer.peak_bytes > 1_000_000


def test_an_error_comes_back_as_itself() -> None:
    with pytest.raises(NoSpace, match="full") as caught:
        _run(
            """
            from eiderd.errors import NoSpace
            from eiderd.outside import process
            def fail(**words):
                raise NoSpace("the disk is full", hint="free some")
            raise SystemExit(process.serve({"work": fail}))
            """,
            order={"do": "work"},
        )
    assert caught.value.hint == "free some"


def test_what_a_child_may_not_do_is_no_bug_to_be_reported() -> None:
    with pytest.raises(NotPermitted, match="may not reach /x y: Permission denied") as caught:
        _run(
            """
            from eiderd.outside import process
            def fail(**words):
                raise PermissionError(13, "Permission denied", "/x y")
            raise SystemExit(process.serve({"work": fail}))
            """,
            order={"do": "work"},
        )
    assert caught.value.hint == "See whose it is: ls -ld '/x y'"
    with pytest.raises(ChildFailed) as died:
        _run("raise PermissionError(13, 'Permission denied', '/x y')")
    assert "report" not in died.value.hint


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise ValueError('a bug')", "exit 1"),
        ("pass", "exit 0"),
        ("print('{\"result\": {}}'); raise SystemExit(3)", "exit 3"),
    ],
)
def test_a_child_that_dies_is_reported_as_dead(code: str, how: str) -> None:
    with pytest.raises(ChildFailed) as caught:
        _run(code)
    assert caught.value.how == how


def test_what_it_said_last_is_in_the_message() -> None:
    with pytest.raises(ChildFailed, match="a bug of a kind"):
        _run("raise ValueError('a bug of a kind')")


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(600)",
        "import os, time; os.close(1); os.close(2); time.sleep(600)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "import os, time; os.fork(); time.sleep(600)",
        "while True: print('x' * 1000)",
    ],
)
def test_a_child_that_hangs_is_ended_at_its_deadline(code: str) -> None:
    began = time.monotonic()
    with pytest.raises(ChildFailed) as caught:
        _run(code, deadline=0.5)
    assert caught.value.how == "deadline"
    assert time.monotonic() - began < 5
    assert not process._children


def test_a_child_cannot_have_more_memory_than_its_limit() -> None:
    with pytest.raises(ChildFailed, match="MemoryError"):
        _run("x = bytes(500_000_000)", memory=300_000_000)


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LONGEST_LINE", 1 << 20)
    with pytest.raises(ChildFailed) as caught:
        _run("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    assert caught.value.how == "babble"


def test_a_child_runs_at_low_priority() -> None:
    nice = _run('import os; print(\'{"result": {"nice": %d}}\' % os.nice(0))').result["nice"]
    assert nice == min(19, os.nice(0) + 10)


def test_both_results_come_back() -> None:
    assert process.together(lambda: 1, lambda: "two") == (1, "two")


def test_when_one_fails_the_other_is_ended() -> None:
    def hang() -> process.Answer:
        return _run("import time; time.sleep(600)", deadline=600)

    def fail() -> process.Answer:
        deadline = time.monotonic() + 10
        while not process._children and time.monotonic() < deadline:
            os.sched_yield()
        raise NoSpace("full")

    with pytest.raises(NoSpace):
        process.together(hang, fail)
    assert not process._children


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    return False


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the parent: nobody is left to end the child but the kernel."""
    note = tmp_path / "pid"
    code = textwrap.dedent(
        f"""
        import sys
        from eiderd.outside import process
        process.run(
            [sys.executable, "-c", "import os, time; f = open('{note}.new', 'w');"
             "f.write(str(os.getpid())); f.close();"
             "os.rename('{note}.new', '{note}'); time.sleep(600)"],
            order={{}}, limits=process.Limits(address_space=1 << 30, deadline_seconds=600),
            progress=print,
        )
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    _await(note.exists)
    child = int(note.read_text())
    assert _alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _await(lambda: not _alive(child))


def _await(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        os.sched_yield()

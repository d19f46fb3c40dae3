"""Child processes: whatever can crash, hang or eat memory runs in one, within limits.

A child gets its order as one JSON document on standard input and answers with JSON lines on
standard output: any number of `{"progress": …}`, then one `{"result": …}` or `{"error": …}`. Its
limits are set by util-linux and coreutils commands that replace themselves with the child (setpriv,
prlimit, nice, ionice), because code run between fork and exec in a process with threads may
deadlock.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import select
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from eiderd.errors import ChildFailed, Interrupted, NotPermitted, from_json
from eiderd.outside import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Progress: TypeAlias = Callable[[int, int], None]

_children: set[subprocess.Popen[bytes]] = set()
_closed = threading.Event()

_STDERR_KEPT: Final = 4096
_LONGEST_LINE: Final = 64 << 20
_SECONDS_BETWEEN_REPORTS: Final = 0.1
_SECONDS_TO_DIE: Final = 5.0
_LOWEST_PRIORITY: Final = ("nice", "-n", "10", "ionice", "-c", "2", "-n", "7")
_ENVIRONMENT: Final = {
    # One thread of linear algebra is one too many here, and each reserves address space.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`address_space` in bytes bounds what the child may map; `deadline_seconds` its life."""

    address_space: int
    deadline_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a child said. `peak_bytes` is the largest resident set it had."""

    result: dict[str, Any]
    peak_bytes: int
    seconds: float


def run(
    command: Sequence[str],
    *,
    order: Mapping[str, object],
    limits: Limits,
    progress: Callable[[Mapping[str, Any]], None],
    descriptors: Sequence[int] = (),
) -> Answer:
    """Run a child, hand it `order` and open `descriptors`, pass on its progress, return its result.

    Raise the error that the child reported, or ChildFailed when it died, hung past its deadline or
    gave no result. Whatever happens, the child is gone when this returns or raises.
    """
    began = time.monotonic()
    with _started(command, limits, descriptors) as child:
        deadline = began + limits.deadline_seconds
        lines = _Lines(child, deadline=deadline)
        feeder = threading.Thread(target=_feed, args=(child, order), daemon=True)
        feeder.start()
        result: dict[str, Any] | None = None
        for line in lines:
            if "progress" in line:
                progress(line["progress"])
            elif "error" in line:
                raise from_json(line["error"])
            elif "result" in line:
                result = line["result"]
        status, usage = _reap(child, deadline=deadline)
        feeder.join()
        if result is None or status != 0:
            raise _died(status, lines.stderr_tail())
    return Answer(
        result=result, peak_bytes=usage.ru_maxrss * 1024, seconds=time.monotonic() - began
    )


@contextlib.contextmanager
def _started(
    command: Sequence[str], limits: Limits, descriptors: Sequence[int]
) -> Iterator[subprocess.Popen[bytes]]:
    wrapped = [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("prlimit", f"--as={limits.address_space}", "--core=0", "--"),
        *_LOWEST_PRIORITY,
        *command,
    ]
    if _closed.is_set():
        raise Interrupted("eiderd is ending", hint="Run the command again.")
    child = subprocess.Popen(
        wrapped,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that all of it can be killed at once
        pass_fds=descriptors,
        env={**os.environ, **_ENVIRONMENT},
    )
    _children.add(child)
    if _closed.is_set():  # it was closed meanwhile, perhaps before this child was in the set
        end_all()
    try:
        yield child
    finally:
        _children.discard(child)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        # A process that waits for a dead disk does not die: nobody may wait for it in turn.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_SECONDS_TO_DIE)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _feed(child: subprocess.Popen[bytes], order: Mapping[str, object]) -> None:
    stdin = child.stdin
    if stdin:
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps({**order, "parent": os.getpid()}).encode())
            stdin.close()


def _reap(child: subprocess.Popen[bytes], *, deadline: float) -> tuple[int, Any]:
    """Wait for the child and return its exit status and what it used.

    It may have closed its output and live on: the deadline holds here too.
    """
    with contextlib.closing(_ProcessHandle(child.pid)) as handle:
        if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise _late()
    _pid, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage


class _ProcessHandle:
    """A descriptor that becomes readable when the process ends (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def _late() -> ChildFailed:
    return ChildFailed("a child process did not end before its deadline", how="deadline")


def _died(status: int, stderr_tail: str) -> ChildFailed:
    last = stderr_tail.strip().splitlines()[-1:]
    said = f": {last[0][:300]}" if last else ""
    hint = "Run the command again; if it happens again, report it."
    if status < 0:
        how = signal.Signals(-status).name
        message = f"a child process was killed by {how}{said}"
    else:
        how = f"exit {status}"
        message = f"a child process gave no result ({how}){said}"
    if status == -signal.SIGKILL:
        message = f"a child process was killed (SIGKILL), as when memory runs out{said}"
        hint = (
            "Look: journalctl -k | grep -i 'out of memory'. More for the service: "
            "systemctl edit eiderd, MemoryMax=6G."
        )
    elif "Permission denied" in said:  # no bug: somebody else's
        hint = f"User {os.geteuid()} may not; run it as root, or see whose it is: ls -l"
    return ChildFailed(message, hint=hint, how=how)


class _Lines:
    """The JSON lines of a child until it closes its output, or the deadline passes."""

    def __init__(self, child: subprocess.Popen[bytes], *, deadline: float) -> None:
        self._child = child
        self._deadline = deadline
        self._stderr = b""

    def stderr_tail(self) -> str:
        return self._stderr.decode("utf-8", "replace")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rest = bytearray()  # of a line whose end has not come
        for data in self._chunks():
            *lines, end = data.split(b"\n")
            if lines:
                lines[0], rest = bytes(rest) + lines[0], bytearray()
            rest += end
            if len(rest) > _LONGEST_LINE:
                raise ChildFailed("the child process sent a line without end", how="babble")
            for line in lines:
                with contextlib.suppress(ValueError):
                    document = json.loads(line)
                    if isinstance(document, dict):
                        yield document

    def _chunks(self) -> Iterator[bytes]:
        with selectors.DefaultSelector() as selector:
            for name, stream in (("out", self._child.stdout), ("err", self._child.stderr)):
                if stream:
                    os.set_blocking(stream.fileno(), False)
                    selector.register(stream, selectors.EVENT_READ, name)
            while selector.get_map():
                left = self._deadline - time.monotonic()
                ready = selector.select(timeout=max(0.0, left))
                if not ready and left <= 0:
                    raise _late()
                for key, _events in ready:
                    yield from self._take(selector, key)

    def _take(
        self, selector: selectors.BaseSelector, key: selectors.SelectorKey
    ) -> Iterator[bytes]:
        stream = key.fileobj
        data = os.read(key.fd, 1 << 16)
        if not data:
            selector.unregister(stream)
        elif key.data == "out":
            yield data
        else:
            self._stderr = (self._stderr + data)[-_STDERR_KEPT:]


_Result = TypeVar("_Result")
_Other = TypeVar("_Other")


def together(one: Callable[[], _Result], other: Callable[[], _Other], /) -> tuple[_Result, _Other]:
    """Run both at once and return both results. Raise the first failure, having ended the other.

    Also when the main thread is interrupted: no child outlives this call.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        first, second = pool.submit(one), pool.submit(other)
        try:
            futures: list[concurrent.futures.Future[Any]] = [first, second]
            concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException:
            end_all()
            raise
    return first.result(), second.result()


def close() -> None:
    """Kill every child of this process, and let no further one begin."""
    _closed.set()
    end_all()


def who(pid: int) -> str | None:
    """Return what tells this process from any other that ever has its number; None: no such one."""
    try:
        stat, boot = kernel.text(f"/proc/{pid}/stat"), kernel.boot()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{pid}:{fields[18]}:{boot}"  # when it began, in ticks


def end_all() -> None:
    """Kill every child of this process. Whoever waits for one is told that it died."""
    for child in list(_children):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


# In the child -----------------------------------------------------------------------------------


def serve(verbs: Mapping[str, Callable[..., object]]) -> int:
    """Be the child: read the order, do its verb, answer. Return the exit code.

    `verbs` maps the order's `do` to a function that takes the other words of the order and a
    `progress` callback, and returns something JSON can say.
    """
    order = json.load(sys.stdin)
    # Our parent may have died before the kernel was told to end us with it.
    if os.getppid() != order.pop("parent"):
        return 1
    out = sys.stdout
    try:
        result = verbs[order.pop("do")](**order, progress=_reporter(out))
    except PermissionError as error:
        _say(out, {"error": _not_permitted(error).to_json()})
        return 0
    except Exception as error:
        to_json = getattr(error, "to_json", None)
        if to_json is None:
            raise
        _say(out, {"error": to_json()})
        return 0
    _say(out, {"result": result})
    return 0


def _not_permitted(error: PermissionError) -> NotPermitted:
    what = f" {error.filename}" if error.filename else ""
    return NotPermitted(
        f"this user may not reach{what}: {error.strerror or error}",
        hint=f"See whose it is: ls -ld{what and f' {shlex.quote(str(error.filename))}'}",
    )


def _reporter(out: IO[str]) -> Progress:
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_REPORTS or done >= total:
            last = now
            _say(out, {"progress": {"done": done, "total": total}})

    return report


def _say(out: IO[str], document: Mapping[str, object]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()

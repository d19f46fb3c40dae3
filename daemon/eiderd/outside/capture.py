"""Double collect: an exact copy of a live database, without its application's help.

The mirror is a private, byte-exact copy of the database and its WAL files. A refresh repeats:

1. *Look*: compare the header pages, the size and the first word of every block with the mirror's.
2. If the WAL was read after the last copying, nothing differs now, and the WAL has only grown since
   (without an entry that frees blocks), the mirror **is** the state of the files at the instant the
   WAL was read: every block had the same content before and after it. Done.
3. *Copy* what differs. 4. *Read the WAL* to its end. Go to 1.

A database that never rests long enough is given a rest: with a keeper, the same is done while the
application stands still, once most of the copying is done.

This is the classic double collect of atomic snapshots (Afek et al., "Atomic snapshots of shared
memory", J. ACM 40(4), 1993), on blocks. Three things make the first word of a block too little, and
what is done about each:

- A block may be caught half written. Then its checksum is wrong (`sound`), and it is compared in
  full, not by its word, until the refresh ends. In an encrypted file that goes for every block.
- The checksum forgets the order of words, so a block rewritten with the same words in another order
  keeps its first word (seen with every engine: values of a few rows that change places, three
  checkpoints). So a *thorough* refresh, which every backup asks for, compares every byte once, and
  once more in the end if blocks may have been reused since: by a checkpoint, or after a drop.
- A block may change and change back between two looks. Between them the WAL cannot have been
  truncated (the header would differ), so the block must have been freed and reused, which an entry
  in the WAL shows: such a pass does not count.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final

from eiderd.errors import ConfigError, NotConverged
from eiderd.outside import files
from eiderd.outside.collect import Collect
from eiderd.outside.mark import Mark

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.evidence import Captured
    from eiderd.outside.application.hold import Keeper
    from eiderd.outside.collect import Progress

_APPROACHES: Final = 10  # passes before the application is frozen, while they still help
_HELD_PASSES: Final = 20  # two are enough if it stands still


def refresh(
    *,
    source: Path,
    mirror: Path,
    passes: int,
    timeout_seconds: float,
    rate_limit: int | None,
    thorough: bool,
    progress: Progress,
    keeper: Keeper | None = None,
) -> Captured:
    """Make `mirror` the exact state of the database at `source` at one instant of this call.

    `rate_limit` bounds the bytes read from the database per second. `progress` is told bytes done
    and bytes to do. Memory is bounded whatever the size of the file, but for 16 bytes per block.
    With a `keeper`, who freezes the application, the last passes are made while it stands still.

    Raise SourceUnavailable when the database cannot be read, NotConverged when it changed faster
    than `passes` passes, or `timeout_seconds` after the first one, allow, NoSpace and
    StoreUnavailable for the mirror.
    """
    if mirror.is_symlink():
        raise ConfigError(f"{mirror} is a link", hint="Remove it: eiderd makes its mirror itself.")
    files.private_folder(mirror)
    began = time.monotonic()
    mark = Mark.begin(mirror, name=source.name)
    with Collect.opened(source, mirror, rate_limit=rate_limit, progress=progress) as work:
        first_pass = work.first_pass()
        # What the kernel copied at once has not been looked at block by block.
        unjudged = not mark.trusted or first_pass is not None
        if thorough or unjudged:
            work.distrust_everything(judge=unjudged)
        if not unjudged:
            work.distrust(mark.unsound)
        if keeper is None:
            number = _converge(work, passes, timeout_seconds, began=began, thorough=thorough)
            frozen_seconds = None
        else:
            number, frozen_seconds = _converge_held(work, keeper, thorough=thorough)
        report = work.report(
            passes=number,
            seconds=time.monotonic() - began,
            frozen_seconds=frozen_seconds,
            first_pass=first_pass,
            # What a refresh that did not end had written was never reported.
            everything=first_pass is not None or not mark.trusted,
        )
        mark.whole(unsound=work.unsound, thorough=thorough or unjudged)
    return report


def _converge(
    work: Collect, passes: int, timeout_seconds: float, *, began: float, thorough: bool
) -> int:
    """Make passes until the mirror is the database at one instant, and return how many it took."""
    copied = began
    for number in range(1, passes + 1):
        dirty = work.look()
        if work.settled and not dirty and work.wal_held():
            if not thorough or work.nothing_reused():
                return number
            work.distrust_everything(judge=False)
            continue
        if number > 1 and time.monotonic() - copied > timeout_seconds:
            raise _not_converged(work.source, number, time.monotonic() - copied, len(dirty))
        work.copy(dirty)
        work.read_wal()
        if number == 1:  # however long the first copying took, it is no sign of haste
            copied = time.monotonic()
    raise _not_converged(work.source, passes, time.monotonic() - copied, len(dirty))


# With the application standing still --------------------------------------------------------------


def _converge_held(work: Collect, keeper: Keeper, *, thorough: bool) -> tuple[int, float]:
    """Copy while it runs, converge while it stands still. Return the passes and how long it stood.

    Nothing is taken on trust: a freeze that does not freeze does not converge.
    """
    before, look_seconds = _approach(work, thorough=thorough)
    if look_seconds > keeper.seconds:
        raise _too_much(work, keeper, f"one look at all of it takes {look_seconds:.1f} s")
    with keeper.held() as still:
        work.throttle = functools.partial(_hurry, work, keeper, still.deadline)
        if thorough:
            work.distrust_everything(judge=False)
        began = time.monotonic()
        held = _converge(work, _HELD_PASSES, keeper.seconds, began=began, thorough=thorough)
    return before + held, still.seconds


def _approach(work: Collect, *, thorough: bool) -> tuple[int, float]:
    """Copy until little is left, or no less. Return the passes, and how long a last look takes."""
    left, passes = None, 0
    while passes < _APPROACHES:
        passes += 1
        dirty = work.look()
        work.copy(dirty)
        work.read_wal()
        if left is not None and len(dirty) * 2 >= left:
            break
        left = len(dirty)
    if thorough:
        work.distrust_everything(judge=False)
    throttle, work.throttle = work.throttle, lambda _count: None  # timed as it will be then
    began = time.monotonic()
    dirty = work.look()
    took, work.throttle = time.monotonic() - began, throttle
    work.copy(dirty)
    work.read_wal()  # always after copying: a look may find that the mirror is it already
    return passes + 1, took


def _hurry(work: Collect, keeper: Keeper, deadline: float, _count: int) -> None:
    """Be told of each read, as a throttle is, and end the work at the deadline."""
    if time.monotonic() > deadline:
        raise _too_much(work, keeper, "the last look at it was not done by then")


def _too_much(work: Collect, keeper: Keeper, why: str) -> NotConverged:
    return NotConverged(
        f"{work.source} cannot be copied while its application is frozen, "
        f"which may last {keeper.seconds:g} s: {why}",
        hint="Try again at a quieter moment, or let eiderd stop it: application.allow_stop = true.",
    )


def _not_converged(source: Path, passes: int, seconds: float, still: int) -> NotConverged:
    what = f"{still} blocks changed again" if still else "its write-ahead log was rewritten"
    return NotConverged(
        f"{source} changes faster than it can be copied: after {passes} passes in "
        f"{seconds:.1f} s {what}",
        hint="Try again at a quieter moment, raise mirror.passes or mirror.timeout, or let eiderd "
        "freeze the application for a moment: application.allow_freeze = true.",
    )

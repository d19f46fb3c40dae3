"""Double collect: an exact copy of a live database, without its application's help.

The mirror is a private, byte-exact copy of the database and its WAL files. A refresh repeats:

1. *Look*: compare the header pages, the size and the first word of every block with the mirror's.
2. If the WAL was read after the last copying, nothing differs now, and the WAL has only grown since
   (without an entry that frees blocks), the mirror **is** the state of the files at the instant the
   WAL was read: every block had the same content before and after it. Done.
3. *Copy* what differs. 4. *Read the WAL* to its end. Go to 1.

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

import time
from typing import TYPE_CHECKING

from eiderd.errors import ConfigError, NotConverged
from eiderd.outside import files
from eiderd.outside.collect import Collect
from eiderd.outside.mark import Mark

if TYPE_CHECKING:
    from pathlib import Path

    from eiderd.evidence import Captured
    from eiderd.outside.collect import Progress


def refresh(
    *,
    source: Path,
    mirror: Path,
    passes: int,
    timeout_seconds: float,
    rate_limit: int | None,
    thorough: bool,
    progress: Progress,
) -> Captured:
    """Make `mirror` the exact state of the database at `source` at one instant of this call.

    `rate_limit` bounds the bytes read from the database per second. `progress` is told bytes done
    and bytes to do. Memory is bounded whatever the size of the file, but for 16 bytes per block.

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
        copied = began
        first_pass = work.first_pass()
        # What the kernel copied at once has not been looked at block by block.
        unjudged = not mark.trusted or first_pass is not None
        if thorough or unjudged:
            work.distrust_everything(judge=unjudged)
        if not unjudged:
            work.distrust(mark.unsound)
        for number in range(1, passes + 1):
            dirty = work.look()
            if work.settled and not dirty and work.wal_held():
                if not thorough or work.nothing_reused():
                    break
                work.distrust_everything(judge=False)
                continue
            if number > 1 and time.monotonic() - copied > timeout_seconds:
                raise _not_converged(source, number, time.monotonic() - copied, len(dirty))
            work.copy(dirty)
            work.read_wal()
            if number == 1:  # however long the first copying took, it is no sign of haste
                copied = time.monotonic()
        else:
            raise _not_converged(source, passes, time.monotonic() - copied, len(dirty))
        report = work.report(
            passes=number,
            seconds=time.monotonic() - began,
            first_pass=first_pass,
            # What a refresh that did not end had written was never reported.
            everything=first_pass is not None or not mark.trusted,
        )
        mark.whole(unsound=work.unsound)
    return report


def _not_converged(source: Path, passes: int, seconds: float, still: int) -> NotConverged:
    what = f"{still} blocks changed again" if still else "its write-ahead log was rewritten"
    return NotConverged(
        f"{source} changes faster than it can be copied: after {passes} passes in "
        f"{seconds:.1f} s {what}",
        hint="Try again at a quieter moment, or raise mirror.passes or mirror.timeout.",
    )

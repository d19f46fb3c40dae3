"""The child that fills a catalog: `python -m tests.bench.manifests FROM_FOLDER TO_FOLDER COUNT`.

Copies the manifest of a true backup, a quarter of an hour apart, each with eiderd's own seal and an
archive of the right size without content.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from pathlib import Path

from eiderd import catalog


def main() -> None:
    source, target, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    model = catalog.read(source).backups[-1]
    target.mkdir(mode=0o700, parents=True)
    for number in range(1, count + 1):
        created_at = model.created_at - datetime.timedelta(minutes=15 * (count - number))
        id_ = created_at.strftime("%Y%m%d-%H%M%S")
        backup = dataclasses.replace(
            model,
            id=id_,
            sequence=number,
            created_at=created_at,
            archive=catalog.archive_name(id_),
        )
        (target / catalog.manifest_name(id_)).write_bytes(catalog.sealed(backup))
        with (target / backup.archive).open("wb") as archive:
            archive.truncate(backup.bytes)  # of the right size, and all of it a hole


if __name__ == "__main__":
    main()

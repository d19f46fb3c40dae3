"""A manifest as bytes: its names, its seal, and whether it is believed. No file is opened here.

The last line is a seal, the SHA-256 of every byte before it: a manifest that was edited by hand is
not believed. A brief is read from the same bytes, and nothing is made of tables and members.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Final

from pydantic import TypeAdapter, ValidationError

from eiderd.model import FORMAT, Backup, Brief, BriefContent, Noun, Unreadable

LARGEST: Final = 64 << 20  # bytes; what is larger is none
_ID: Final = re.compile(r"\d{8}-\d{6}(-[1-9]\d*)?")
_SEAL: Final = b',\n "seal": "'
_NOW: Final = f'{{\n "format": {FORMAT},\n'.encode()  # how one of the present format begins
_FORMAT: Final = re.compile(rb'\{\s*"format":\s*(\d{1,9})\b')
_TABLES: Final = b',\n  "tables": {'  # of the content, the last of what a brief has
_BACKUP: Final = TypeAdapter(Backup)
_BRIEF: Final = TypeAdapter(Brief)


def archive_name(id_: str) -> str:
    return f"backup-{id_}.tar.gz"


def manifest_name(id_: str) -> str:
    return f"backup-{id_}.json"


def sidecar_name(id_: str) -> str:
    return f"{archive_name(id_)}.sha256"


def pruned_name(id_: str) -> str:
    """Return the name of a manifest whose backup is being removed."""
    return f".{manifest_name(id_)}.pruned"


def is_id(text: str) -> bool:
    return bool(_ID.fullmatch(text))


def sidecar(backup: Backup) -> bytes:
    """Return what stands beside an archive, as `sha256sum -c` reads it."""
    return f"{backup.sha256}  {backup.archive}\n".encode()


def sealed(backup: Backup) -> bytes:
    body = _BACKUP.dump_json(backup, indent=1).removesuffix(b"\n}")
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def believe(data: bytes, *, id_: str) -> Backup | Unreadable:
    """Parse a manifest, unless anything about it is odd."""
    said = _FORMAT.match(data)
    if said and int(said[1]) > FORMAT:  # first of all: its seal may be another, too
        problem = f"a newer eiderd wrote it (format {int(said[1])})"
        return _doubt(data, id_=id_, problem=problem)
    body = _unsealed(data)
    if body is None:
        return _doubt(data, id_=id_, problem="its manifest was changed: the seal does not fit")
    return _parsed(_BACKUP, data, id_=id_)


def believe_brief(data: bytes, *, id_: str) -> Brief | Unreadable:
    """Do the same and return a brief, in a fraction of the time."""
    body = _unsealed(data)
    if body is not None and body.startswith(_NOW):
        # What follows is most of it, and none of it is in a brief. No string holds a line end.
        head, tables, _rest = body.partition(_TABLES)
        return _parsed(_BRIEF, head + b"}}" if tables else data, id_=id_)
    backup = believe(data, id_=id_)
    return brief_of(backup) if isinstance(backup, Backup) else backup


def brief_of(backup: Backup) -> Brief:
    content = backup.content
    return Brief(
        id=backup.id,
        sequence=backup.sequence,
        created_at=backup.created_at,
        state=backup.state,
        archive=backup.archive,
        bytes=backup.bytes,
        pinned=backup.pinned,
        note=backup.note,
        proof=backup.proof,
        nats_missing=backup.nats_missing,
        content=BriefContent(
            verdict=content.verdict,
            reasons=content.reasons,
            schema_version=content.schema_version,
            schema_digest=content.schema_digest,
        ),
    )


def _unsealed(data: bytes) -> bytes | None:
    body, seal, rest = data.rpartition(_SEAL)
    fits = seal and rest == f'{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()
    return body if fits else None


def _parsed(adapter: TypeAdapter[Noun], data: bytes, *, id_: str) -> Noun | Unreadable:
    try:
        found = adapter.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        problem = f"its manifest cannot be read: {place}: {first['msg']}"
        return _doubt(data, id_=id_, problem=problem)
    # Names are never taken from the document: a path in there could lead anywhere.
    if found.id != id_ or found.archive != archive_name(id_) or not is_id(id_):
        return _doubt(data, id_=id_, problem=f"its manifest is that of {found.id!r}")
    return found


def _doubt(data: bytes, *, id_: str, problem: str) -> Unreadable:
    """Its number stays taken, whatever became of it."""
    claimed = re.search(rb'"sequence": ?(\d{1,12})\b', data)
    doubt = Unreadable(id=id_, problem=problem)
    return dataclasses.replace(doubt, sequence=int(claimed[1])) if claimed else doubt

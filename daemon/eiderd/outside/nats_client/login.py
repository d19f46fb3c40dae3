"""Secrets for a login, read when they are needed, from files that nobody else may read.

A bare name is a file in $CREDENTIALS_DIRECTORY, where systemd puts what LoadCredential= names; a
path is taken as it stands. What they hold appears in no error, and no command line.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from eiderd.errors import ConfigError
from eiderd.outside import files

FOLDER: Final = "CREDENTIALS_DIRECTORY"

_MOST_BYTES: Final = 64 << 10
_LINE: Final = r"-----BEGIN {0}-----\s+(\S+)\s+-+END {0}-+"
_JWT: Final = re.compile(_LINE.format("NATS USER JWT"))
_SEED: Final = re.compile(_LINE.format("USER NKEY SEED"))
_NKEY: Final = re.compile(r"^\s*(SU[A-Z2-7]{56})\s*$", re.MULTILINE)


def read(name: str, *, setting: str) -> str:
    """Return the text of the file that `setting` names. Raise ConfigError, saying nothing of it."""
    path = _path(name, setting=setting)
    try:
        mode = path.stat().st_mode
        text = files.read_regular(path, most=_MOST_BYTES).decode()
    except OSError as error:
        raise ConfigError(
            f"{setting}: cannot read {path}: {error.strerror}",
            hint=f"It must be a file of the user that runs eiderd: ls -l {path}",
        ) from error
    except ValueError:  # too long, or not text
        raise ConfigError(f"{setting}: {path} holds no secret", hint=_WHAT[setting]) from None
    # systemd lets its own be read through an access list, which shows in the bits of the group.
    if Path(name).is_absolute() and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"{setting}: others may read {path}", hint=f"Keep the secret: chmod 600 {path}"
        )
    return text


def line(name: str, *, setting: str) -> str:
    """Return the first line of a file that holds nothing else, without its end."""
    text = read(name, setting=setting).strip("\r\n")
    if not text or not text.isprintable():
        raise ConfigError(f"{setting}: {name} does not hold one line", hint=_WHAT[setting])
    return text


def credentials(name: str) -> str:
    """Return a credentials file, as `nsc` writes it, that has both parts.

    nats-py reads for ever in one that has not.
    """
    text = read(name, setting="nats.credentials")
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if not jwt or not seed or not _NKEY.match(seed[1]):
        raise ConfigError(
            f"nats.credentials: {name} holds no user JWT and seed", hint=_WHAT["nats.credentials"]
        )
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt[1]}\n------END NATS USER JWT------\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed[1]}\n------END USER NKEY SEED------\n"
    )


def nkey(name: str) -> str:
    """Return the seed of a user in a file that `nk -gen user` wrote, comments or not."""
    found = _NKEY.search(read(name, setting="nats.nkey"))
    if not found:
        raise ConfigError(f"nats.nkey: {name} holds no seed of a user", hint=_WHAT["nats.nkey"])
    return found[1]


_WHAT: Final = {
    "nats.credentials": "Write it with: nsc generate creds --account ACCOUNT --name USER",
    "nats.nkey": "Write it with: nk -gen user > FILE",
    "nats.token_file": "It holds the token, in one line.",
    "nats.password_file": "It holds the password, in one line.",
}


def _path(name: str, *, setting: str) -> Path:
    if Path(name).is_absolute():
        return Path(name)
    folder = os.environ.get(FOLDER, "")
    if not folder:
        raise ConfigError(
            f'{setting}: "{name}" is a name, and there is no ${FOLDER}',
            hint=f"Name a path, or give it to the unit: LoadCredential={name}:/path/of/the/file",
        )
    return Path(folder) / name

"""The packages as the tests want them: built once for the sources as they are, then kept."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.service import box

PROJECT: Final = Path(__file__).parents[2]
_SOURCES: Final = ("daemon", "systemd", "config", "packaging/system", "packaging/demo",
                   "pyproject.toml", "constraints.txt", "README.md", "SECURITY.md",
                   "CHANGELOG.md")  # fmt: skip
_TO_BUILD: Final = ("hatchling", "pip", "setuptools", "wheel")
_KEPT: Final = 2  # sets of packages in the cache


@functools.cache  # of one run: whoever edits meanwhile does not get half of each
def _key() -> str:
    told = hashlib.sha256()
    for name in _SOURCES:
        place = PROJECT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts):
                told.update(str(path.relative_to(PROJECT)).encode() + path.read_bytes())
    return told.hexdigest()[:12]


def deb(*, debian: str = "12", release: int = 1) -> Path:
    """Return a .deb of the sources as they are, or the one that EIDERD_TEST_DEB names."""
    if (given := os.environ.get("EIDERD_TEST_DEB")) and (debian, release) == ("12", 1):
        return Path(given)
    return _built("deb", "--debian", debian, "--release", str(release), tree=f"tree-{debian}")


def rpm() -> Path:
    return _built("rpm", "--release", "1", tree="tree-12")  # it has the same Python


def wheels() -> Path:
    """Return a folder with all that `pip install` of the sources needs: it works off the net."""
    told = b"".join((PROJECT / name).read_bytes() for name in ("constraints.txt", "pyproject.toml"))
    home = box.CACHE.with_name("wheels") / hashlib.sha256(told).hexdigest()[:12]
    with box.alone(box.CACHE.with_name("wheels") / "lock"):
        if not home.exists():
            aside = home.with_name(".new")
            shutil.rmtree(aside, ignore_errors=True)
            words = ["wheel", "--wheel-dir", str(aside), "--constraint", "constraints.txt", "."]
            ran = subprocess.run(
                [sys.executable, "-m", "pip", "--quiet", *words, *_TO_BUILD],
                cwd=PROJECT, capture_output=True, text=True, check=False, timeout=600,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr[-3000:]
            next(aside.glob("eiderd-*.whl")).unlink()  # that is built where it is installed
            aside.rename(home)
    return home


def _built(*words: str, tree: str) -> Path:
    packages = box.CACHE.with_name("packages")
    folder = packages / _key()
    with box.alone(packages / "lock"):
        _forget_old(packages, folder)
        made = folder / "-".join(words)
        if not any(made.glob("eiderd*")):
            build = PROJECT / "packaging/system/build.py"
            ran = subprocess.run(
                [sys.executable, str(build), *words, f"--tree={folder / tree}", f"--to={made}"],
                capture_output=True, text=True, check=False, timeout=600,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr[-3000:]
        return next(made.glob("eiderd*"))


def _forget_old(packages: Path, ours: Path) -> None:
    others = [path for path in packages.iterdir() if path.is_dir() and path != ours]
    others.sort(key=lambda path: path.stat().st_mtime)
    for path in others[: -(_KEPT - 1)]:
        subprocess.run(["rm", "-rf", str(path)], check=True, timeout=60)

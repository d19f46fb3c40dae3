"""Builds the packages: a .deb for Debian 12 or 13, an .rpm, from one description by nfpm.

Run: make deb, or python packaging/system/build.py deb --debian 13 --to dist

The tree is a virtual environment below /usr/lib/eiderd for the distribution's own Python, with all
that eiderd needs as compiled wheels, then unit files, manual pages, completions. The same sources
give the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import email.utils
import gzip
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

import documents
import manual
from eiderd import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parents[1]
HOME: Final = "usr/lib/eiderd"
_GLIBC: Final = range(17, 35)  # that of the oldest system the packages are for, and older
_WITHOUT_WHEELS: Final = ("nkeys", "sdnotify")  # PyPI has their sources only: pure Python
_NOT_NEEDED: Final = ("bin", "numpy/*/tests", "numpy/tests", "numpy/f2py", "numpy/doc")
_MAINTAINER: Final = ("eiderd", "eiderd@users.noreply.github.com")
# What is nobody else's: the package removes them again.
_FOLDERS: Final = (f"/{HOME}", "/etc/eiderd", "/usr/share/eiderd", "/usr/share/doc/eiderd")
_FOR_DEBIAN: Final = (
    "/etc/needrestart/",
    "/usr/share/lintian/",
    "/usr/share/doc/eiderd/changelog.Debian",
)
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A distribution: its Python, how the release of the package is marked, what it depends on."""

    python: str
    mark: str
    packager: str
    depends: tuple[str, ...]
    recommends: tuple[str, ...]

    @property
    def interpreter(self) -> str:
        return f"/usr/bin/python{self.python}"


def _debian(python: str, mark: str) -> Target:
    major, minor = python.split(".")
    return Target(
        python=python,
        mark=mark,
        packager="deb",
        depends=(
            f"python3 (>= {python})",
            f"python3 (<< {major}.{int(minor) + 1})",
            f"python{python}",
            "libc6 (>= 2.28)",
            "libstdc++6",
            "systemd | systemd-standalone-sysusers",
            "systemd | systemd-standalone-tmpfiles",
        ),
        recommends=("acl", "polkitd", "python3-venv"),
    )


TARGETS: Final = {
    "12": _debian("3.11", "+deb12"),
    "13": _debian("3.13", "+deb13"),
    "rpm": Target(
        python="3.11",
        mark="",
        packager="rpm",
        depends=("/usr/bin/python3.11", "glibc >= 2.28", "libstdc++", "util-linux", "systemd"),
        recommends=("acl", "polkit"),
    ),
}
_DEBIANS: Final = {target.python: name for name, target in TARGETS.items() if name != "rpm"}


def _run(*words: str | Path, **more: Any) -> None:
    subprocess.run([str(word) for word in words], check=True, **more)


def _pip(*words: str | Path) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def moment() -> int:
    """Return the time that all files bear: that of the last commit, unless something says it."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None and shutil.which("git"):
        command = ["git", "-C", str(PROJECT), "log", "-1", "--format=%ct"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return int(said or (PROJECT / "pyproject.toml").stat().st_mtime)


def maintainer(environment: Mapping[str, str]) -> str:
    """Return who answers for the package: DEBFULLNAME and DEBEMAIL, as Debian's tools read them."""
    name, address = email.utils.parseaddr(environment.get("DEBEMAIL", ""))
    name = environment.get("DEBFULLNAME") or name or _MAINTAINER[0]
    said = f"{name} <{address or _MAINTAINER[1]}>"
    if not said.isprintable():
        raise SystemExit("DEBFULLNAME and DEBEMAIL are a name and an address, each on one line")
    return said


# The tree ---------------------------------------------------------------------------------------


def environment(home: Path, target: Target, *, machine: str) -> None:
    """Make a virtual environment at `home` that works once it stands at /usr/lib/eiderd."""
    site = home / "lib" / f"python{target.python}" / "site-packages"
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder)
        constraints = PROJECT / "constraints.txt"
        _pip("wheel", "--no-deps", "--wheel-dir", wheels, PROJECT)
        _pip("wheel", "--no-deps", "--wheel-dir", wheels, "-c", constraints, *_WITHOUT_WHEELS)
        platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in reversed(_GLIBC)]
        platforms.append(f"--platform=manylinux2014_{machine}")
        _pip(
            "install", "--target", site, "--no-compile", "--only-binary=:all:", *platforms,
            f"--python-version={target.python}", "--implementation=cp",
            "--find-links", wheels, "--constraint", constraints, f"eiderd=={__version__}",
        )  # fmt: skip
    for pattern in _NOT_NEEDED:
        for path in site.glob(pattern):
            shutil.rmtree(path)
    for record in site.glob("*.dist-info/RECORD"):
        # Its commands are gone, and what is said of them tells where this was built.
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if not line.startswith("../../bin/")))
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(target.interpreter)
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {target.python}\n"
    )
    for name, module in (("eider", "eiderd.__main__"), ("eiderd", "eiderd.service")):
        launcher = home / "bin" / name
        launcher.write_text(f"#!/{HOME}/bin/python3 -I\nfrom {module} import run\n\nrun()\n")
        launcher.chmod(0o755)


def furnish(root: Path) -> None:
    """Add all that stands outside the virtual environment."""
    units = root / "usr/lib/systemd/system"
    _copy(PROJECT / "systemd/eiderd.service", units / "eiderd.service")
    _copy(PROJECT / "systemd/eiderd-maintain@.service", units / "eiderd-maintain@.service")
    _copy(PROJECT / "systemd/eiderd.sysusers.conf", root / "usr/lib/sysusers.d/eiderd.conf")
    _copy(PROJECT / "systemd/eiderd.tmpfiles.conf", root / "usr/lib/tmpfiles.d/eiderd.conf")
    _copy(PROJECT / "systemd/eiderd.rules", root / "usr/share/polkit-1/rules.d/50-eiderd.rules")
    _copy(PROJECT / "systemd/eiderd.dbus.conf", root / "usr/share/dbus-1/system.d/eiderd.conf")
    # `eider setup` rewrites this conffile. dpkg asks at an upgrade, and fails where nobody answers,
    # as soon as a package brings another text of it: so its text never changes.
    _copy(HERE / "eiderd.toml", root / "etc/eiderd/eiderd.toml")
    _copy(HERE / "needrestart.conf", root / "etc/needrestart/conf.d/eiderd.conf")
    shared = root / "usr/share/eiderd"
    for rules in sorted((PROJECT / "config/prometheus/rules").glob("*.yml")):
        _copy(rules, shared / "prometheus" / rules.name)
    _copy(PROJECT / "config/grafana/eiderd.json", shared / "grafana/eiderd.json")
    about = root / documents.FOLDER
    documents.write(PROJECT, about)
    _copy(HERE / "copyright", about / "copyright")
    _zipped(about / "changelog.gz", (PROJECT / "CHANGELOG.md").read_bytes())
    _copy(HERE / "lintian-overrides", root / "usr/share/lintian/overrides/eiderd")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        manual.write(made)
        for page in made.glob("*.[158]"):
            to = root / f"usr/share/man/man{page.suffix[1:]}" / f"{page.name}.gz"
            _zipped(to, page.read_bytes())
        _copy(made / "eider", root / "usr/share/bash-completion/completions/eider")
        _copy(made / "_eider", root / "usr/share/zsh/vendor-completions/_eider")
        _copy(made / "eider.fish", root / "usr/share/fish/vendor_completions.d/eider.fish")
    (root / "usr/bin").mkdir(parents=True)
    for name in ("eider", "eiderd"):
        (root / "usr/bin" / name).symlink_to(f"../lib/eiderd/bin/{name}")


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def _zipped(to: Path, data: bytes) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(gzip.compress(data, 9, mtime=0))


def stage(root: Path, target: Target, *, machine: str) -> None:
    """Make in `root` all that a package installs, whatever the umask, with one time."""
    environment(root / HOME, target, machine=machine)
    furnish(root)
    at = moment()
    for path in sorted(root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        os.utime(path, (at, at), follow_symlinks=False)


# The package ------------------------------------------------------------------------------------


def description(root: Path, target: Target, *, release: int, machine: str) -> dict[str, Any]:
    """Return what nfpm is told."""
    scripts = HERE / "scripts"
    return {
        "name": "eiderd",
        "arch": _ARCHITECTURES[machine],
        "platform": "linux",
        "version": __version__,
        "version_schema": "none",
        "release": f"{release}{target.mark}",
        "section": "admin",
        "priority": "optional",
        "maintainer": maintainer(os.environ),
        "license": "Apache-2.0",
        "description": "verified hot backups of a live DuckDB database\n"
        "A service that takes backups of a live DuckDB file without its application's\n"
        "help, proves that each restores, keeps the right ones, watches what would\n"
        "make them worthless, and tells Prometheus.",
        "mtime": datetime.datetime.fromtimestamp(moment(), datetime.UTC).isoformat(),
        "depends": list(target.depends),
        "recommends": list(target.recommends),
        "contents": _contents(root, target),
        "scripts": {
            "deb": {
                "postinstall": str(scripts / "deb-postinst"),
                "preremove": str(scripts / "deb-prerm"),
                "postremove": str(scripts / "deb-postrm"),
            },
            "rpm": {
                "preinstall": str(scripts / "rpm-pre"),
                "postinstall": str(scripts / "rpm-post"),
                "preremove": str(scripts / "rpm-preun"),
                "postremove": str(scripts / "rpm-postun"),
            },
        }[target.packager],
        "deb": {"compression": "gzip"},
        "rpm": {
            "compression": "zstd",
            "summary": "Verified hot backups of a live DuckDB database",
            "scripts": {"posttrans": str(scripts / "rpm-posttrans")},
        },
    }


def _contents(root: Path, target: Target) -> list[dict[str, Any]]:
    owned = {"owner": "root", "group": "root"}
    found: list[dict[str, Any]] = []
    for path in sorted(root.rglob("*")):
        place = f"/{path.relative_to(root)}"
        if target.packager != "deb":
            place = place.replace("/zsh/vendor-completions/", "/zsh/site-functions/")
        if target.packager != "deb" and place.startswith(_FOR_DEBIAN):
            continue
        if path.is_symlink():
            found.append({"src": str(path.readlink()), "dst": place, "type": "symlink"})
        elif path.is_dir():
            if place.startswith(_FOLDERS):
                found.append({"dst": place, "type": "dir", "file_info": {**owned, "mode": 0o755}})
        else:
            mode = path.stat().st_mode & 0o777
            one: dict[str, Any] = {
                "src": str(path), "dst": place, "file_info": {**owned, "mode": mode},
            }  # fmt: skip
            if place.startswith("/etc/"):
                one["type"] = "config|noreplace"
            found.append(one)
    return found


def _debian_changelog(root: Path, version: str) -> None:
    text = f"eiderd ({version}) stable; urgency=medium\n\n  * See changelog.gz.\n\n"
    text += f" -- {maintainer(os.environ)}  {email.utils.formatdate(moment())}\n"
    path = root / "usr/share/doc/eiderd/changelog.Debian.gz"
    _zipped(path, text.encode())
    path.chmod(0o644)
    os.utime(path, (moment(), moment()))


def package(root: Path, target: Target, *, release: int, machine: str, to: Path) -> Path:
    """Make the package of a staged tree. Return where it stands."""
    to.mkdir(parents=True, exist_ok=True)
    if target.packager == "deb":
        _debian_changelog(root, f"{__version__}-{release}{target.mark}")
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "nfpm.yaml"
        wanted = description(root, target, release=release, machine=machine)
        said.write_text(yaml.safe_dump(wanted, sort_keys=False))
        nfpm = Path(sys.executable).with_name("nfpm")
        _run(nfpm, "package", "--config", said, "--packager", target.packager, "--target", folder,
             stdout=sys.stderr)  # fmt: skip
        made = next(Path(folder).glob(f"*.{target.packager}"))
        return Path(shutil.move(made, to / made.name))


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="DEBFULLNAME and DEBEMAIL in the environment name the maintainer of the package.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=["deb", "rpm"])
    parser.add_argument(
        "--debian", choices=sorted(_DEBIANS.values()), help="default: this machine's"
    )
    parser.add_argument("--to", type=Path, default=PROJECT / "dist")
    parser.add_argument("--release", type=int, default=1)
    parser.add_argument("--tree", type=Path, help="keep the tree here, or take what stands there")
    return parser.parse_args()


def main() -> int:
    words = _words()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    debian = words.debian or _DEBIANS.get(here, "12")
    target = TARGETS["rpm" if words.kind == "rpm" else debian]
    machine = platform.machine()
    with tempfile.TemporaryDirectory() as folder:
        root = words.tree or Path(folder) / "root"
        if not root.exists():
            aside = root.with_name(f".{root.name}.new")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            stage(aside, target, machine=machine)
            aside.rename(root)
        made = package(root, target, release=words.release, machine=machine, to=words.to)
    sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the packages say of themselves, before nfpm makes them."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SYSTEM = Path(__file__).parents[2] / "packaging" / "system"
NOBODY = "eiderd <eiderd@users.noreply.github.com>"
ADA = "Ada Lovelace <ada@example.org>"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  (a module)
    monkeypatch.syspath_prepend(str(SYSTEM))
    monkeypatch.delenv("DEBFULLNAME", raising=False)
    monkeypatch.delenv("DEBEMAIL", raising=False)
    return importlib.import_module("build")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, NOBODY),
        ({"DEBFULLNAME": "", "DEBEMAIL": ""}, NOBODY),
        ({"DEBFULLNAME": "Ada Lovelace", "DEBEMAIL": "ada@example.org"}, ADA),
        ({"DEBEMAIL": ADA}, ADA),
        ({"DEBFULLNAME": "Ada Lovelace", "DEBEMAIL": "Byron <ada@example.org>"}, ADA),
        ({"DEBEMAIL": "ada@example.org"}, "eiderd <ada@example.org>"),
        ({"DEBFULLNAME": "Ada Lovelace"}, NOBODY.replace("eiderd ", "Ada Lovelace ")),
    ],
)
def test_the_maintainer_is_whom_debians_own_variables_name(
    build: Any,  # noqa: ANN401
    environment: dict[str, str],
    said: str,
) -> None:
    assert build.maintainer(environment) == said


def test_a_maintainer_of_two_lines_is_refused(build: Any) -> None:  # noqa: ANN401
    with pytest.raises(SystemExit, match="each on one line"):
        build.maintainer({"DEBFULLNAME": "Ada\nDepends: everything"})


def test_the_package_and_its_changelog_name_the_maintainer(
    build: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DEBEMAIL", ADA)
    told = build.description(tmp_path, build.TARGETS["12"], release=1, machine="x86_64")
    assert told["maintainer"] == ADA
    (tmp_path / "usr/share/doc/eiderd").mkdir(parents=True)
    build._debian_changelog(tmp_path, "1.0-1")
    text = gzip.decompress((tmp_path / "usr/share/doc/eiderd/changelog.Debian.gz").read_bytes())
    assert f" -- {ADA}  " in text.decode()


def test_where_there_is_no_git_the_files_bear_the_time_of_the_project(
    build: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.moment() == int((SYSTEM.parents[1] / "pyproject.toml").stat().st_mtime)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert build.moment() == 1_000_000_000


def test_the_help_says_how() -> None:
    ran = subprocess.run(
        [sys.executable, str(SYSTEM / "build.py"), "--help"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "DEBFULLNAME and DEBEMAIL" in ran.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in (SYSTEM / "scripts").iterdir()))
def test_each_script_is_right_for_the_shell_that_runs_it(script: str) -> None:
    path = SYSTEM / "scripts" / script
    ran = subprocess.run(
        ["sh", "-n", str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    if script.startswith("deb-"):
        assert path.read_text().startswith("#!/bin/sh\nset -e\n")


def test_the_text_of_the_conffile_that_setup_rewrites_never_changes() -> None:
    """With another text, dpkg asks at the next upgrade whose file is to stay.

    Do not correct the sum here: what should be said elsewhere, say in `eider config example`.
    """
    text = (SYSTEM / "eiderd.toml").read_bytes()
    never_another = "e627db3a192ee80b1509493868c5f7d816b405a0c6e53afad9aede44b1049043"
    assert hashlib.sha256(text).hexdigest() == never_another


# Documents --------------------------------------------------------------------------------------

_TARGETS = re.compile(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"')


def test_no_link_of_an_installed_document_leads_nowhere(
    build: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    build.furnish(tmp_path)
    folder = tmp_path / "usr/share/doc/eiderd"
    documents = sorted(folder.glob("*.md"))
    assert {path.name for path in documents} >= {
        "README.md", "SECURITY.md", "REFERENCE.md", "METRICS.md",
    }  # fmt: skip
    led = 0
    for path in documents:
        for link in _TARGETS.finditer(path.read_text()):
            place, _, part = (link[1] or link[2]).partition("#")
            if re.match("[a-z]+:", place):
                continue
            led += 1
            beside = path.parent / place if place else path
            to = tmp_path / place.lstrip("/") if place.startswith("/") else beside
            assert to.exists(), f"{path.name}: {link[0]}"
            assert not part or part in _anchors(to), f"{path.name}: {link[0]}"
    assert led >= 5


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("README.md", "[all](config/REFERENCE.md#disk)", "[all](REFERENCE.md#disk)"),
        ("README.md", "[config/REFERENCE.md](config/REFERENCE.md)", "[REFERENCE.md](REFERENCE.md)"),
        ("config/prometheus/METRICS.md", "[it](../../SECURITY.md)", "[it](SECURITY.md)"),
        ("README.md", "[tests/a.py](tests/a.py), and", "tests/a.py, and"),
        ("README.md", "[a](https://b.example/c)", "[a](https://b.example/c)"),
        ("README.md", "a\n\n![b](c.svg)\n\nd\n", "a\n\nd\n"),
        ("README.md", 'a\n\n<p>\n<img src="b" alt="c">\n</p>\n\nd\n', "a\n\nd\n"),
    ],
)  # fmt: skip
def test_a_link_leads_to_where_a_package_has_it_or_is_none(
    build: Any,  # noqa: ANN401
    source: str,
    text: str,
    said: str,
) -> None:
    assert build.documents.adapted(source, text) == said

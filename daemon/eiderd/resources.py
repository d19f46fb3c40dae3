"""Files that ship with eiderd and are not code: profiles, alert rules, runbooks, the demo."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent.parent


def _first(*candidates: Path) -> Path:
    """Installed, they stand in the package; in a checkout, where they are written."""
    return next((path for path in candidates if path.exists()), candidates[0])


def profiles() -> dict[str, Path]:
    folder = _first(_PACKAGE / "profiles", _CHECKOUT / "config" / "profiles")
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def rules() -> dict[str, Path]:
    """Return the rule files for Prometheus, by name."""
    folder = _first(_PACKAGE / "prometheus_rules", _CHECKOUT / "config" / "prometheus" / "rules")
    return {path.stem: path for path in sorted(folder.glob("*.yml"))}


def compatibility() -> Path:
    """Return the matrix that ships with eiderd: that of Cartographus."""
    return _first(_PACKAGE / "compatibility.toml", _CHECKOUT / "config" / "compatibility.toml")


def runbooks() -> Path:
    """Return the folder of the runbooks."""
    return _first(_PACKAGE / "runbook_texts", _CHECKOUT / "config" / "runbooks")


def demo() -> Path:
    """The script of the demo; the imitation of Cartographus that it runs stands beside it."""
    return _first(_PACKAGE / "demo", _CHECKOUT / "packaging" / "demo") / "demo.py"


def units() -> Path:
    """Return the folder of what an installation gives to systemd and polkit."""
    return _first(_PACKAGE / "systemd", _CHECKOUT / "systemd")

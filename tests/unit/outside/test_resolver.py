"""Who is asked for the addresses of names, as the file of the resolver has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eiderd.outside import resolver

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_is_told_once_and_with_its_zone() -> None:
    text = "# x\nsearch lan\nnameserver 192.168.1.1\nnameserver\nnameserver fe80::1%eth0\n"
    found = resolver.nameservers(text + "nameserver 192.168.1.1\n")
    assert found == ("192.168.1.1", "fe80::1%eth0")


def test_without_the_file_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolver, "FILE", file)
    assert resolver.nameservers() == ()
    file.write_bytes(b"# caf\xe9\nnameserver 10.0.0.1\n")
    assert resolver.nameservers() == ("10.0.0.1",)

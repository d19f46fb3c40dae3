"""The section [server]: where the page and the metrics are served, and who may see them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from eiderd.sections.section import AbsolutePath, Section


class Server(Section):
    listen: str = Field(
        "127.0.0.1:9857",
        description="Where the status page, /metrics, /healthz and /readyz are served.",
    )
    tls_certificate: AbsolutePath | None = Field(
        None, description="A PEM file with the certificate chain; with it, only TLS is spoken."
    )
    tls_key: AbsolutePath | None = Field(None, description="The PEM file with its private key.")
    basic_auth: AbsolutePath | None = Field(
        None,
        description="A file that only eiderd's user may read, with a line NAME:PASSWORD for each "
        "who may look; /healthz stays open.",
    )

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not int(port) <= 65535:  # noqa: PLR2004
            raise ValueError('must be "HOST:PORT", as in "127.0.0.1:9857" or "[::1]:9857"')
        return value

    @model_validator(mode="after")
    def _has_both_or_none(self) -> Self:
        if (self.tls_certificate is None) is not (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

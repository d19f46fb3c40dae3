"""Logging in to real servers: TLS, certificates on both sides, credentials of an operator."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import nkeys
import pytest

from eiderd.errors import BrokerUnavailable, ConfigError
from eiderd.outside.nats_client import connection
from eiderd.outside.nats_client.connection import Server
from tests.nats_servers import nats_server

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.client import Client

CORE = {
    **dict.fromkeys(("subs", "data", "payload", "conn", "leaf", "imports", "exports"), -1),
    "wildcards": True,
}
UNLIMITED = {**CORE, **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)}
FREE = {"subs": -1, "data": -1, "payload": -1}  # of a user


def _ask(server: Server) -> str:
    async def question(client: Client) -> str:
        said = await client.request("$JS.API.INFO", b"", timeout=5)
        return str(json.loads(said.data)["type"])

    return connection.ask(server, question, timeout_seconds=5)


def _given_certificates(folder: Path) -> dict[str, str]:
    """Make an authority, and a certificate for the server and for eiderd each."""
    folder.mkdir()
    names = {name: folder / f"{name}.pem" for name in ("ca", "server", "client")}
    keys = {name: folder / f"{name}.key" for name in names}
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=test-ca", "-days", "2", "-keyout", keys["ca"], "-out",
             names["ca"])  # fmt: skip
    for name in ("server", "client"):
        request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
        extra.write_text("subjectAltName = IP:127.0.0.1\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                 f"/CN={name}", "-keyout", keys[name], "-out", request)  # fmt: skip
        _openssl("x509", "-req", "-in", request, "-CA", names["ca"], "-CAkey", keys["ca"],
                 "-CAcreateserial", "-days", "2", "-extfile", extra, "-out",
                 names[name])  # fmt: skip
    return {
        **{name: str(path) for name, path in names.items()},
        **{f"{name}_key": str(path) for name, path in keys.items()},
    }


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def test_tls_with_an_authority_of_ones_own_and_a_certificate_on_both_sides(tmp_path: Path) -> None:
    files = _given_certificates(tmp_path / "tls")
    more = (
        f'tls {{ cert_file: "{files["server"]}", key_file: "{files["server_key"]}", '
        f'ca_file: "{files["ca"]}", verify: true }}'
    )
    with nats_server(tmp_path / "nats", more=more) as server:
        for scheme in ("tls", "nats"):
            known = Server(
                urls=(server.url.replace("nats:", f"{scheme}:"),),
                tls_ca=files["ca"],
                tls_certificate=files["client"],
                tls_key=files["client_key"],
            )
            assert _ask(known).endswith("account_info_response")
        with pytest.raises(BrokerUnavailable, match="does not agree on TLS"):
            _ask(Server(urls=(server.url,)))  # an authority that nobody knows
        with pytest.raises(BrokerUnavailable):
            _ask(Server(urls=(server.url,), tls_ca=files["ca"]))  # no certificate of its own
        with pytest.raises(ConfigError, match="cannot use the certificates"):
            _ask(Server(urls=(server.url,), tls_ca=files["ca_key"]))


def test_what_is_escaped_in_a_url_is_the_password_that_it_means(tmp_path: Path) -> None:
    of_user = 'authorization { user: "app", password: "p@ss/w%:" }'
    of_anybody = 'authorization { token: "t@ken/#" }'
    with (
        nats_server(tmp_path / "named", more=of_user, user_info="app:p%40ss%2Fw%25%3A@") as one,
        nats_server(tmp_path / "token", more=of_anybody, user_info="t%40ken%2F%23@") as other,
    ):
        assert _ask(Server(urls=(one.url,))).endswith("info_response")
        assert _ask(Server(urls=(other.url,))).endswith("info_response")
        wrong = one.url.replace("%40", "")
        assert _ask(Server(urls=(wrong, other.url))).endswith("info_response")  # each has its own
        with pytest.raises(BrokerUnavailable, match="refuses the login"):
            _ask(Server(urls=(wrong,)))


def test_a_login_from_a_file_goes_before_that_of_the_url(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("right\n")
    secret.chmod(0o600)
    more, wrong = "authorization { token: right }", "app:wrong@"
    with nats_server(tmp_path / "nats", more=more, user_info=wrong) as server:
        known = Server(urls=(server.url,), token_file=str(secret))
        assert _ask(known).endswith("info_response")


def test_a_credentials_file_logs_in_to_an_account_of_an_operator(tmp_path: Path) -> None:
    operator, system, account, user, other = (
        _Key(nkeys.PREFIX_BYTE_OPERATOR, 1),
        _Key(nkeys.PREFIX_BYTE_ACCOUNT, 2),
        _Key(nkeys.PREFIX_BYTE_ACCOUNT, 3),
        _Key(nkeys.PREFIX_BYTE_USER, 4),
        _Key(nkeys.PREFIX_BYTE_USER, 5),
    )
    accounts = {
        system.public: operator.signs(system, "account", limits=CORE),
        account.public: operator.signs(account, "account", limits=UNLIMITED),
    }
    preload = ", ".join(f"{name}: {jwt}" for name, jwt in accounts.items())
    more = (
        f"operator: {operator.signs(operator, 'operator')}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {preload} }}"
    )
    with nats_server(tmp_path / "nats", more=more) as server:
        good = _given_credentials(tmp_path / "good", account.signs(user, "user", **FREE), user.seed)
        assert _ask(Server(urls=(server.url,), credentials=good)).endswith("info_response")
        bad = _given_credentials(tmp_path / "bad", account.signs(user, "user", **FREE), other.seed)
        with pytest.raises(BrokerUnavailable) as told:
            _ask(Server(urls=(server.url,), credentials=bad))
        assert told.value.how == "refused"
        assert other.seed not in str(told.value.to_json())


def _given_credentials(path: Path, jwt: str, seed: str) -> str:
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    path.chmod(0o600)
    return str(path)


class _Key:
    """A key of an operator, an account or a user, the same one each time."""

    def __init__(self, kind: int, number: int) -> None:
        self.seed = nkeys.encode_seed(bytes([number] * 32), kind).decode()
        self.public = nkeys.from_seed(bytearray(self.seed.encode())).public_key.decode()

    def signs(self, other: _Key, kind: str, **more: Any) -> str:
        """Return a JWT that says what `other` is."""
        claims = {"jti": "x", "iat": 1_700_000_000, "iss": self.public, "name": kind,
                  "sub": other.public, "nats": {"type": kind, "version": 2, **more}}  # fmt: skip
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        parts = [_encoded(json.dumps(one).encode()) for one in (head, claims)]
        pair = nkeys.from_seed(bytearray(self.seed.encode()))
        return ".".join((*parts, _encoded(pair.sign(".".join(parts).encode()))))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

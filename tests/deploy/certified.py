"""People with certificates, and how they ask a web server over TLS."""

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import servers
from tests.credentials.authority import CN, OU, Authority, Issued
from tests.deploy.house import TLS_HOST, House

CERTIFICATES = '[certificates]\nsource = "pki"\ngroups = "OU"\n'
RULES = """
[[rules]]
name = "with a certificate"
paths = ["/staff/**"]
allow = ["group:staff", "group:pki/staff"]
"""
MODE = "ssl_verify_client      optional;"
# nginx 1.22 speaks no TLS 1.3 unless told to.
VERSIONS = "ssl_protocols TLSv1.2 TLSv1.3;\n"
# What follows from what a certificate names; see `RULES`.
MEMBERS: Mapping[str, str] = {
    "alice": "pki/alice",
    "zoe": "pki/Zoë Müller",
    "odd": "pki/smith, alice=1+x\\;",
    "success": "pki/SUCCESS",
}
OTHERS: Mapping[str, str] = {"bob": "pki/bob"}
# Verified, and naming nobody.
NAMELESS = ("two names", "line end", "no name")
# Not verified.
WRONG = ("expired", "early", "revoked", "stranger", "unknown", "server")


class Answer(NamedTuple):
    """What came back.

    Args:
        status: 0 when the server broke off the handshake.
        resumed: the TLS session was an earlier one.
    """

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    resumed: bool = False


@dataclass(slots=True)
class Holders:
    """Certificates as files, and who signs them."""

    folder: Path
    authority: Authority = field(default_factory=Authority)
    others: Authority = field(default_factory=lambda: Authority("Clients of others"))
    issued: dict[str, Issued] = field(default_factory=dict)

    def write(self) -> None:
        """Sign all certificates and write what a web server has to know of them."""
        self.folder.mkdir()
        staff = (OU, "staff")
        half = timedelta(minutes=30)
        self.issued = {
            "alice": self.authority.issue([staff, (CN, "alice")], emails=["alice@example.com"]),
            "bob": self.authority.issue([(CN, "bob")]),
            "zoe": self.authority.issue([staff, (CN, "Zoë Müller")]),
            "odd": self.authority.issue([staff, (CN, "smith, alice=1+x\\;")]),
            "success": self.authority.issue([staff, (CN, "SUCCESS")]),
            "two names": self.authority.issue([staff, (CN, "alice"), (CN, "root")]),
            "line end": self.authority.issue([staff, (CN, "alice\r\nX-Authgate-User: carol")]),
            "no name": self.authority.issue([staff]),
            "expired": self.authority.issue([staff, (CN, "alice")], ends=-half),
            "early": self.authority.issue([staff, (CN, "alice")], begins=half),
            "revoked": self.authority.issue([staff, (CN, "alice")]),
            # Of an authority with the same name: whom one trusts is told by the key.
            "stranger": Authority().issue([staff, (CN, "alice")]),
            "unknown": self.others.issue([staff, (CN, "alice")]),
            "server": self.authority.issue([staff, (CN, "alice")], usage=ExtendedKeyUsageOID.SERVER_AUTH),
        }
        for name, one in self.issued.items():
            one.write(self.folder, name)
        (self.folder / "ca.pem").write_text(self.authority.pem)
        (self.folder / "others.pem").write_text(self.others.pem)
        self.revoke("revoked")

    def revoke(self, *names: str, ends: timedelta = timedelta(hours=1)) -> None:
        """Write the lists of what was taken back."""
        own = self.authority.crl(*(self.issued[name] for name in names), ends=ends)
        (self.folder / "crl.pem").write_text(own + self.others.crl())

    def context(self, name: str | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Return how somebody speaks TLS, with a certificate if a name is given."""
        context = ssl.create_default_context(cafile=str(self.folder.parent / "cert.pem"))
        context.minimum_version = context.maximum_version = version
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem")
        return context


class Connection:
    """A connection to a site, kept until the end of the block.

    Args:
        host: what the handshake names.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None, host: str = TLS_HOST
    ) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=servers.DEADLINE)
        # Else it would make another one, without TLS, when the server has closed this one.
        self._http.auto_open = 0
        self._host = host
        raw = socket.create_connection(("127.0.0.1", port), timeout=servers.DEADLINE)
        self._socket = context.wrap_socket(raw, server_hostname=host, session=session)
        self._http.sock = self._socket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def session(self) -> ssl.SSLSession | None:
        return self._socket.session

    def get(self, path: str, headers: Mapping[str, str] = {}, host: str = "") -> Answer:
        """Ask."""
        self._http.request("GET", path, headers={"Host": f"{host or self._host}:{self._http.port}", **headers})
        answer = self._http.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read(), bool(self._socket.session_reused))


def ask(port: int, context: ssl.SSLContext, path: str, headers: Mapping[str, str] = {}, host: str = TLS_HOST) -> Answer:
    """Ask once."""
    try:
        with Connection(port, context, host=host) as connection:
            return connection.get(path, headers)
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return Answer(0)


def shown(language: str) -> str:
    """Return the lines that docs/certificates.md shows for a web server."""
    text = (servers.PACKAGE_ROOT / "docs" / "certificates.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


@dataclass(slots=True)
class CertifiedHouse(House):
    """A site that asks its visitors for certificates.

    Args:
        mode: in place of ``ssl_verify_client optional;``.
        http: further lines at http level.
    """

    mode: str = MODE
    http: str = ""

    def http_block(self, more: str = "") -> str:
        text = House.http_block(self, more)
        before, key, after = text.partition(f"    ssl_certificate_key {self.folder / 'key.pem'};\n")
        assert key
        lines = shown("nginx")
        assert MODE in lines
        lines = lines.replace(MODE, self.mode).replace("/etc/ssl/clients", str(self.folder / "clients"))
        return VERSIONS + self.http + before + key + lines + after

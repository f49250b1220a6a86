"""A site behind Caddy as an operator would build it: the example of deploy/caddy with other names in it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from authgate.cli.snippet import caddy_files
from authgate.config import load
from tests import servers
from tests.deploy.house import HTTP_HOST, TLS_HOST, House, Inhabited, exchange
from tests.deploy.house import _certificate as make_certificate
from tests.servers import PACKAGE_ROOT, Server

EXAMPLE = PACKAGE_ROOT / "deploy" / "caddy" / "Caddyfile"

# The protected block of HTTP_HOST, the last one of the example.
PROTECTED = "\t\timport authgate_protect\n\t\tfile_server\n"
# No network, no certificate of an authority of its own, no port but those of the test.
GLOBAL = "\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n\tservers {\n\t\tprotocols h1 h2\n\t}\n"


@dataclass(slots=True)
class CaddyHouse(House):
    """Folders, ports and configuration of one site; nothing runs yet.

    Args:
        change: what is done to each file of the configuration, by name and text.
        above: at the level of sites, before the first one.
        before: in the site HTTP_HOST, before its protected block.
        inside: in place of what is in the protected block of HTTP_HOST, below its root; empty: the example's lines.
        behind: in the site HTTP_HOST, after its protected block.
        below: after the example.
    """

    change: Callable[[str, str], str] = field(default=lambda name, text: text)
    above: str = ""
    before: str = ""
    inside: str = ""
    behind: str = ""
    below: str = ""

    def build(self) -> None:
        """Write everything but Caddy's configuration."""
        House.build(self)
        for path in self.files.rglob("*"):
            # Long ago, as most files: of a date of this minute nobody knows whether it stays.
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def caddyfile(self) -> str:
        """Write the snippets for this site and return the example with this folder's names and ports."""
        includes = self.folder / "authgate"
        includes.mkdir(exist_ok=True)
        for name, text in caddy_files(load(self.config)).items():
            (includes / name).write_text(self.change(name, text))
        text = self.change("Caddyfile", EXAMPLE.read_text())
        first, site, rest = text.rpartition(f"http://{HTTP_HOST} {{\n")
        head, block, end = rest.partition("\thandle {\n")
        if not block or (self.inside and PROTECTED not in end):
            raise LookupError("the example does not hold the protected block any more")
        end = end.replace(PROTECTED, self.inside or PROTECTED)
        kept, brace, _ = end.rpartition("}\n")
        text = f"{first}{site}{head}{self.before}\n{block}{kept}{self.behind}\n{brace}{self.below}"
        text = text.replace("import authgate/authgate.caddy\n", f"import authgate/authgate.caddy\n{self.above}\n", 1)
        return self.placed(text)

    def placed(self, text: str) -> str:
        """Put this folder's names and ports in the place of an example's."""
        certificate, key = make_certificate(self.folder)
        for written, real in (
            ("\tadmin off\n", GLOBAL),
            (f"https://{TLS_HOST} {{\n", f"https://{TLS_HOST}:{self.tls_port} {{\n\ttls {certificate} {key}\n"),
            (f"http://{HTTP_HOST} {{\n", f"http://{HTTP_HOST}:{self.http_port} {{\n"),
            ("http:// {\n", f"http://:{self.http_port} {{\n"),
            ("/var/www/acme", str(self.folder / "acme")),
            ("/srv/files", str(self.files)),
        ):
            if written not in text:
                raise LookupError(f"the example does not hold {written!r} any more")
            text = text.replace(written, real)
        return text


@dataclass(slots=True)
class Running(Inhabited):
    """A house whose servers run."""

    house: CaddyHouse
    caddy: Server

    def raw(self, request: str, *headers: str, body: bytes = b"") -> bytes:
        """Send a request line and its headers as they are and return everything that comes back."""
        lines = [request, f"Host: {HTTP_HOST}:{self.house.http_port}", *headers, "Connection: close", "", ""]
        return exchange(self.house.http_port, "\r\n".join(lines).encode("latin-1") + body)


@contextmanager
def inhabited(house: CaddyHouse) -> Iterator[Running]:
    """Run authgate and Caddy for a house that is built."""
    with servers.authgate(house.config) as authgate, caddy(house) as server:
        yield Running(house, authgate, server)


@contextmanager
def caddy(house: CaddyHouse) -> Iterator[Server]:
    """Run Caddy until the end of the block."""
    program = servers.require("caddy")
    config = house.folder / "Caddyfile"
    config.write_text(house.caddyfile())
    # Not the home of whoever runs the tests.
    own = [f"{name}={house.folder}/caddy" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
    command = ["/usr/bin/env", *own, program, "run", "--adapter", "caddyfile", "--config", str(config)]
    with servers.child(command, house.folder / "caddy.log") as server:
        servers.eventually(lambda: servers.listens(house.http_port), "Caddy listens", server)
        yield server


@contextmanager
def house_of(folder: Path, **more: object) -> Iterator[Running]:
    """Build a house and run its servers."""
    house = CaddyHouse(folder, **more)  # type: ignore[arg-type] # named as the fields are
    house.build()
    with inhabited(house) as running:
        yield running

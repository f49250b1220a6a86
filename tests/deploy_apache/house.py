"""A site behind Apache as an operator would build it: an example of deploy/apache with other names in it."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from authgate.cli.snippet import apache_files, apache_secret
from authgate.config import load
from tests import servers
from tests.deploy.house import HTTP_HOST, House, Inhabited, exchange
from tests.deploy.house import _certificate as make_certificate
from tests.servers import PACKAGE_ROOT, Server

SHIPPED = PACKAGE_ROOT / "deploy" / "apache"
MODULES = Path("/usr/lib/apache2/modules")

# What Debian's Apache has from the start, and what the heads of the includes enable besides.
STOCK = (
    *("mpm_event", "authn_core", "authz_core", "authz_host", "authz_user", "authn_file", "auth_basic"),
    *("alias", "dir", "env", "mime", "negotiation", "setenvif", "autoindex"),
)
ENABLED: Mapping[str, tuple[str, ...]] = {
    "fastcgi": ("authnz_fcgi", "rewrite", "allowmethods", "headers", "proxy", "proxy_http", "asis", "ssl"),
    "rewritemap": ("rewrite", "unique_id", "allowmethods", "headers", "proxy", "proxy_http", "asis"),
}
# Where a test's own lines go: the last ones of the virtual host of HTTP_HOST in the example.
ENDS: Mapping[str, str] = {
    "fastcgi": "    Include authgate/authgate-site.conf\n",
    "rewritemap": "    RewriteOptions InheritBefore\n",
}
SECRET_OF_FASTCGI = "x9" * 24


@dataclass(slots=True)
class ApacheHouse(House):
    """Folders, ports and configuration of one site; nothing runs yet.

    Args:
        wiring: ``fastcgi`` or ``rewritemap``; the example of that name.
        modules: further ones.
        missing: those that are not loaded.
        change: what is done to each file of the configuration, by name and text.
        above: at server level, before the example.
        inside: in the virtual host of HTTP_HOST, before the include.
        behind: there, after it.
        below: after the example.
    """

    wiring: str = "fastcgi"
    modules: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    change: Callable[[str, str], str] = field(default=lambda name, text: text)
    above: str = ""
    inside: str = ""
    behind: str = ""
    below: str = ""
    fastcgi_port: int = field(default_factory=servers.free_port)

    @property
    def error_log(self) -> Path:
        return self.folder / "apache" / "error.log"

    @property
    def log(self) -> Path:
        return self.folder / "authgate.log.apache"

    def build(self) -> None:
        """Write everything but Apache's configuration."""
        House.build(self)
        for path in self.files.rglob("*"):
            # Long ago, as most files: Apache calls a date of this minute a weak validator.
            os.utime(path, (1_700_000_000, 1_700_000_000))
        secret = self.folder / "fastcgi.secret"
        secret.touch(0o600)
        secret.write_text(SECRET_OF_FASTCGI)
        listen = f'[listen]\nfastcgi = "127.0.0.1:{self.fastcgi_port}"\nfastcgi_secret_file = "fastcgi.secret"\n'
        self.config.write_text(self.config.read_text().replace("[listen]\n", listen))

    def apache_config(self) -> str:
        """Write the includes for this site and return the example with this folder's names and ports."""
        settings = load(self.config)
        includes = self.folder / "authgate"
        includes.mkdir(exist_ok=True)
        for name, text in {**apache_files(settings), "authgate-secret.conf": apache_secret(settings)}.items():
            (includes / name).write_text(self.change(name, self.placed(text)))
        name = f"example-{self.wiring}.conf"
        text = (SHIPPED / name).read_text()
        before, host, rest = text.rpartition(f"    ServerName {HTTP_HOST}\n")
        end = ENDS[self.wiring]
        if end not in rest:
            raise LookupError(f"{name} does not hold {end!r} any more")
        rest = rest.replace(end, f"{self.inside}\n{end}{self.behind}\n")
        return f"{self.above}\n{self.change(name, self.placed(before + host + rest))}\n{self.placed(self.below)}"

    def placed(self, text: str) -> str:
        """Put this folder's names and ports in the place of an example's."""
        certificate, key = make_certificate(self.folder)
        environment = f"prg:/usr/bin/env PYTHONPATH={PACKAGE_ROOT} {sys.executable} -m authgate"
        for written, real in (
            ("*:80>", f"127.0.0.1:{self.http_port}>"),
            ("*:443>", f"127.0.0.1:{self.tls_port}>"),
            ("/etc/ssl/files.example.com/fullchain.pem", str(certificate)),
            ("/etc/ssl/files.example.com/privkey.pem", str(key)),
            ("${APACHE_LOG_DIR}/authgate.log", str(self.log)),
            ("/etc/apache2/", f"{self.folder}/"),
            ("/var/www/acme", str(self.folder / "acme")),
            ("/srv/files", str(self.files)),
            ("prg:/opt/authgate/bin/authgate", environment),
            # The program runs as whoever runs the tests.
            (" authgate:authgate\n", "\n"),
        ):
            text = text.replace(written, real)
        return text

    def main_config(self) -> str:
        """Return everything that an operator finds in /etc/apache2 already, and the example."""
        modules = [name for name in (*STOCK, *ENABLED[self.wiring], *self.modules) if name not in self.missing]
        group = servers.nginx_group()
        root = self.folder / "apache"
        root.mkdir(exist_ok=True)
        lines = [
            *(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in modules),
            *((f"User {'nobody' if group == 'nogroup' else group}", f"Group {group}") if group else ()),
            *(f'ServerRoot "{self.folder}"', f'DefaultRuntimeDir "{root}"', f'PidFile "{root}/pid"'),
            *(f'ErrorLog "{self.error_log}"', "ServerName localhost", "TypesConfig /etc/mime.types"),
            *(f"Listen 127.0.0.1:{self.http_port}", f"Listen 127.0.0.1:{self.tls_port}"),
            *("StartServers 1", "ServerLimit 2", "ThreadsPerChild 16", "MaxRequestWorkers 32", "MinSpareThreads 1"),
            "MaxSpareThreads 32",
            self.apache_config(),
        ]
        return "\n".join([*lines, ""])


@dataclass(slots=True)
class Running(Inhabited):
    """A house whose servers run."""

    house: ApacheHouse
    apache: Server

    def raw(self, request: str) -> bytes:
        """Send a request line and its headers as they are and return everything that comes back."""
        head = f"{request}\r\nHost: {HTTP_HOST}:{self.house.http_port}\r\nConnection: close\r\n\r\n"
        return exchange(self.house.http_port, head.encode("latin-1"))


@contextmanager
def inhabited(house: ApacheHouse) -> Iterator[Running]:
    """Run authgate and Apache for a house that is built."""
    with servers.authgate(house.config) as authgate, apache(house) as server:
        yield Running(house, authgate, server)


@contextmanager
def apache(house: ApacheHouse) -> Iterator[Server]:
    """Run Apache until the end of the block."""
    program = servers.require("apache2")
    config = house.folder / "httpd.conf"
    config.write_text(house.main_config())
    named = re.findall(r"^LoadModule \S+ (\S+)", config.read_text(), re.MULTILINE)
    missing = [path for path in named if not Path(path).exists()]
    if missing:
        servers.lacking(f"Apache has no {', '.join(missing)}")
    with servers.child([program, "-DFOREGROUND", "-f", str(config)], house.folder / "apache.out") as server:
        servers.eventually(lambda: servers.listens(house.http_port), "Apache listens", server)
        yield server


@contextmanager
def house_of(folder: Path, **more: object) -> Iterator[Running]:
    """Build a house and run its servers."""
    house = ApacheHouse(folder, **more)  # type: ignore[arg-type] # named as the fields are
    house.build()
    with inhabited(house) as running:
        yield running

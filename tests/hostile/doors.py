"""The servers of the site while they run, and each of them as somebody outside sees it."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests import servers
from tests.delivery.site import apache
from tests.deploy.house import hidden_fields, password
from tests.hostile.site import DOORS, HOLES, MODULES, Site
from tests.hostile.tree import PEOPLE, File

_NARROW = frozenset({"x-accel", "x-sendfile", "caddy"})


@dataclass(frozen=True, slots=True)
class Door:
    """One web server as somebody outside sees it.

    Args:
        credentials: header lines by which each person is known; more than one way, taken in turn.
        root: the folder of the site.
    """

    name: str
    host: bytes
    port: int
    root: bytes
    credentials: Mapping[str, Sequence[tuple[bytes, ...]]]

    def leads_to(self, file: File) -> bool:
        """Tell whether the plain address of a file is one of this door."""
        if not file.path or file.neighbour:
            return False
        if self.name not in _NARROW:
            return True
        # Behind these doors lies one folder, and names with these bytes are refused (docs/deliver.md, /forward).
        odd = any(mark in file.path.lower() for mark in (b";", b"\\", b"%2f", b"%5c", b"%2e"))
        # Caddy leads from an index page to its folder.
        return file.is_inside and not odd and not (self.name == "caddy" and file.path.endswith(b"/index.html"))


@dataclass(frozen=True, slots=True)
class Running:
    """A site whose servers run."""

    site: Site
    authgate: servers.Server
    nginx: servers.Server
    apache: servers.Server
    caddy: servers.Server

    def door(self, name: str, hole: str = "") -> Door:
        """Return a door; people are logged in there, and known by password as well where that counts.

        Args:
            hole: the site with a hole that is behind the same port.
        """
        host = HOLES[hole] if hole else DOORS[name]
        port = self.site.ports[name]
        known: dict[str, Sequence[tuple[bytes, ...]]] = {"nobody": [()]}
        for who in PEOPLE:
            if who != "nobody":
                session = (b"Cookie: " + _logged_in(host, port, who),)
                basic = (b"Authorization: Basic " + b64encode(f"{who}:{password(who)}".encode()),)
                # mod_rewrite cannot hand on a password without its being in the command of a program.
                known[who] = [session] if name == "rewritemap" else [session, basic]
        root = f"{self.site.folder}/root".encode()
        return Door(name, host.encode(), port, root, known)

    def losses(self) -> list[str]:
        """Return what the servers say that they should not: tracebacks, crashes, children that have died."""
        logs = [self.authgate.output, self.nginx.output, self.site.folder / "apache" / "error.log", self.caddy.output]
        marks = ("Traceback", "exited on signal", "exit signal", "panic", "[emerg]", "[alert]", "[crit]", "segfault")
        return [
            line
            for log in logs
            for line in log.read_text("utf-8", "replace").splitlines()
            if any(mark in line for mark in marks)
        ] + [f"{server.process.args!r} has ended" for server in self._servers() if server.process.poll() is not None]

    def workers(self) -> list[list[int]]:
        """Return the process ids that stay the same as long as nothing dies."""
        return [self.authgate.family(), self.nginx.family()]

    def _servers(self) -> tuple[servers.Server, ...]:
        return self.authgate, self.nginx, self.apache, self.caddy


def _logged_in(host: str, port: int, who: str) -> bytes:
    """Fill in the login form and return the cookie."""
    url = f"http://127.0.0.1:{port}/authgate/login"
    headers = {"Host": f"{host}:{port}", "Accept": "text/html"}
    with httpx.Client(trust_env=False, headers=headers) as client:
        shown = client.get(url)
        form = {**hidden_fields(shown.text), "username": who, "password": password(who)}
        cookie = "; ".join(line.partition(";")[0] for line in shown.headers.get_list("set-cookie"))
        answer = client.post(url, data=form, headers={"Cookie": cookie, "Origin": f"http://{host}:{port}"})
    if answer.status_code != 303:
        raise LookupError(f"{who} cannot log in at {host}: {answer.status_code} {answer.text}")
    pairs = (line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
    return next(pair for pair in pairs if pair.startswith("authgate=") and pair != "authgate=").encode()


@contextmanager
def inhabited(folder: Path) -> Iterator[Running]:
    """Build the site and run its servers until the end of the block."""
    site = Site(folder)
    site.build()
    with (
        servers.authgate(site.config) as authgate,
        servers.nginx(folder / "front", site.nginx_config(), site.ports["nginx"]) as nginx,
        apache(folder, site.apache_config(), site.ports["fastcgi"], MODULES) as server,
        _caddy(site) as caddy,
    ):
        yield Running(site, authgate, nginx, server, caddy)


@contextmanager
def _caddy(site: Site) -> Iterator[servers.Server]:
    config = site.folder / "caddy" / "Caddyfile"
    text = site.caddyfile()
    config.write_text(text)
    # Not the home of whoever runs the tests.
    own = [f"{name}={site.folder}/caddy" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
    command = ["/usr/bin/env", *own, servers.require("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
    with servers.child(command, site.folder / "caddy" / "output.log") as server:
        servers.eventually(lambda: servers.listens(site.ports["caddy"]), "Caddy listens", server)
        yield server

"""A site as an operator would build it: files, authgate.toml, and deploy/nginx/example.conf with other names in it."""

import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import argon2
import httpx

from authgate.cli.snippet import nginx_files
from authgate.config import load
from tests import servers

EXAMPLE = servers.PACKAGE_ROOT / "deploy" / "nginx" / "example.conf"

# Trusts nobody, for clients that speak plain http: httpx's own reads the certificates of the whole world each time.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

HTTP_HOST = "intranet.example.com"
TLS_HOST = "files.example.com"

# No answer to somebody who may not have it holds this.
SECRET = b"not for you"
OPEN = b"for everybody"

FILES: Mapping[str, bytes] = {
    "index.html": b"<!doctype html><title>index</title>" + OPEN,
    "public/hello.txt": OPEN,
    "public/letters.txt": b"abcdefghijklmnopqrstuvwxyz",
    "public/cached.txt": OPEN,
    "public/pages/index.html": OPEN,
    "public/include.shtml": b'<!--#include virtual="/denied/secret.txt" --> ' + OPEN,
    "staff/handbook.txt": b"handbook: " + SECRET,
    "reports/q3.csv": b"q3: " + SECRET,
    "home/alice/notes.txt": b"alice's: " + SECRET,
    "home/bob/notes.txt": b"bob's: " + SECRET,
    "denied/secret.txt": SECRET,
    "denied/secret.txt.html": SECRET,
    "denied/index.html": SECRET,
    "denied/table.csv": SECRET,
}

GROUPS = "staff: alice carol\nfinance: carol\nadmin: carol\n"
USERS = ("alice", "bob", "carol")

# The cheapest line argon2id has (RFC 9106 section 3.1): these passwords protect nothing.
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

RULES = """
[[rules]]
name = "closed"
paths = ["/denied/**"]
deny = ["anyone"]

[[rules]]
name = "cached"
paths = ["/public/cached.txt"]
allow = ["anyone"]
cache = "public, max-age=600"

[[rules]]
name = "open"
paths = ["/", "/index.html", "/public/**"]
allow = ["anyone"]

[[rules]]
name = "staff"
paths = ["/staff/**"]
allow = ["group:staff"]

[[rules]]
name = "reports"
paths = ["/reports/**"]
allow = ["group:finance"]

[[rules]]
name = "homes"
paths = ["/home/{owner}/**"]
allow = ["user:{owner}"]
"""


def password(user: str) -> str:
    """Return a user's password."""
    return f"{user}-demo"


@dataclass(slots=True)
class House:
    """Folders, ports and configuration of one site; nothing runs yet.

    Args:
        sites: further origins, without port, that rules may name as hosts.
        rules: further rules, before those of the files.
        rules_of_files: those of the files.
        users: further lines of the section `[users]`.
    """

    folder: Path
    sites: tuple[str, ...] = ()
    rules: str = ""
    rules_of_files: str = RULES
    users: str = ""
    workers: int = 1
    http_port: int = field(default_factory=servers.free_port)
    tls_port: int = field(default_factory=servers.free_port)

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "check.sock"

    @property
    def web_socket(self) -> Path:
        return self.folder / "run" / "web.sock"

    @property
    def log(self) -> Path:
        return self.folder / "access.log"

    def origin(self, host: str = HTTP_HOST) -> str:
        """Return the origin of a site as browsers write it."""
        return f"https://{host}:{self.tls_port}" if host == TLS_HOST else f"http://{host}:{self.http_port}"

    def build(self) -> None:
        """Write everything but nginx.conf."""
        for name, content in FILES.items():
            path = self.files / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        acme = self.folder / "acme" / ".well-known" / "acme-challenge"
        acme.mkdir(parents=True)
        (acme / "token").write_bytes(OPEN)
        lines = [f"{user}:{CHEAP.hash(password(user))}\n" for user in USERS]
        (self.folder / "users.htpasswd").write_text("".join(lines))
        (self.folder / "groups").write_text(GROUPS)
        origins = [self.origin(), self.origin(TLS_HOST), *(self.origin(host) for host in self.sites)]
        group = servers.nginx_group()
        self.config.write_text(
            f"workers = {self.workers}\n"
            + "".join(f'[[sites]]\norigin = "{origin}"\n' for origin in origins)
            + "[listen]\n"
            + (f'group = "{group}"\n' if group else "")
            + '[users]\nhtpasswd = "users.htpasswd"\ngroups = "groups"\n'
            + self.users
            + self.rules
            + self.rules_of_files
        )
        (self.folder / "state").mkdir()

    def http_block(self, more: str = "") -> str:
        """Write the includes for this site and return example.conf with this folder's names and ports.

        Args:
            more: further server blocks.
        """
        includes = self.folder / "authgate"
        includes.mkdir(exist_ok=True)
        for name, text in nginx_files(load(self.config)).items():
            (includes / name).write_text(text)
        certificate, key = _certificate(self.folder)
        text = re.sub(r"^ *listen \[::\].*\n", "", EXAMPLE.read_text(), flags=re.MULTILINE)
        for written, real in (
            ("listen 80", f"listen 127.0.0.1:{self.http_port}"),
            ("listen 443", f"listen 127.0.0.1:{self.tls_port}"),
            ("/etc/ssl/files.example.com/fullchain.pem", str(certificate)),
            ("/etc/ssl/files.example.com/privkey.pem", str(key)),
            ("/var/log/nginx/authgate.log", str(self.log)),
            ("/var/www/acme", str(self.folder / "acme")),
            ("/srv/files", str(self.files)),
        ):
            if written not in text:
                raise LookupError(f"example.conf does not hold {written!r} any more")
            text = text.replace(written, real)
        return text + more


@dataclass(slots=True)
class Inhabited:
    """A house whose authgate runs, behind whatever web server."""

    house: House
    authgate: servers.Server

    def client(self, user: str | None = None, host: str = HTTP_HOST) -> httpx.Client:
        """Return a program that asks this site, with Basic credentials if a user is given."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.house.http_port}",
            headers={"Host": f"{host}:{self.house.http_port}"},
            auth=(user, password(user)) if user else None,
            verify=NO_TLS,
            trust_env=False,
            timeout=servers.DEADLINE * 2,
        )

    def get(self, path: str, user: str | None = None, host: str = HTTP_HOST, **headers: str) -> httpx.Response:
        """Ask once, as a program does."""
        with self.client(user, host) as client:
            return client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def browser(self, user: str | None = None) -> "Visitor":
        """Return somebody with a browser's headers and cookies, logged in through the form if a user is given."""
        visitor = Visitor(self.house)
        if user:
            visitor.login(user)
        return visitor


@dataclass(slots=True)
class Running:
    """A house whose servers run."""

    house: House
    authgate: servers.Server
    nginx: servers.Server

    def client(self, host: str = HTTP_HOST, user: str | None = None) -> httpx.Client:
        """Return a program that asks this site, with Basic credentials if a user is given."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.house.http_port}",
            headers={"Host": f"{host}:{self.house.http_port}"},
            auth=(user, password(user)) if user else None,
            verify=NO_TLS,
            trust_env=False,
        )

    def browser(self, user: str | None = None) -> "Visitor":
        """Return somebody with a browser's headers and cookies, logged in through the form if a user is given."""
        visitor = Visitor(self.house)
        if user:
            visitor.login(user)
        return visitor

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return everything that comes back until nginx closes."""
        return exchange(self.house.http_port, request)

    def logged(self, ask: Callable[[], object]) -> dict[str, object]:
        """Return the access log's line about what `ask` does."""
        # nginx logs after it has answered: what was asked before must not be taken for what `ask` does.
        marker = f"/marker-{self.house.log.stat().st_size}"
        with self.client() as client:
            client.get(marker)
        servers.eventually(lambda: marker.encode() in self.house.log.read_bytes(), "the line before in the access log")
        before = self.house.log.stat().st_size
        ask()
        servers.eventually(lambda: self._lines_after(before), "a line in the access log")
        return self._lines_after(before)[0]

    def _lines_after(self, offset: int) -> list[dict[str, object]]:
        text = self.house.log.read_bytes()[offset:].decode("utf-8", "replace")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


class Visitor:
    """Somebody with a browser: navigations, cookies, forms. No JavaScript: see test_demo.py for that."""

    NAVIGATION: Mapping[str, str] = {
        "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
        "Sec-Fetch-Site": "none",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }

    def __init__(self, house: House) -> None:
        self.house = house
        self.cookies: dict[str, str] = {}

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Go to an address."""
        return self._send("GET", path, headers or self.NAVIGATION, None)

    def post(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        """Send a form from one of the site's own pages."""
        origin = self.house.origin()
        return self._send("POST", path, {**self.NAVIGATION, "Origin": origin, "Sec-Fetch-Site": "same-origin"}, form)

    def login(self, user: str, path: str = "/authgate/login") -> httpx.Response:
        """Fill in the login form that `path` shows."""
        form = hidden_fields(self.get(path).text)
        answer = self.post("/authgate/login", {**form, "username": user, "password": password(user)})
        assert answer.status_code == 303, answer.text
        return answer

    def logout(self) -> httpx.Response:
        """Press the button of the page that says who one is."""
        return self.post("/authgate/logout", hidden_fields(self.get("/authgate/whoami").text))

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> httpx.Response:
        sent = {**headers, "Host": f"{HTTP_HOST}:{self.house.http_port}"}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = f"http://127.0.0.1:{self.house.http_port}{path}"
        answer = httpx.request(method, url, headers=sent, data=form, verify=NO_TLS, trust_env=False)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "max-age=0" in line.lower():
                del self.cookies[name]
        return answer


def hidden_fields(page: str) -> dict[str, str]:
    """Return a form's hidden fields."""
    return {
        name: unescape(value) for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    }


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes to a port of this machine and return everything that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=servers.DEADLINE) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer; 0 when there is none (HTTP/0.9)."""
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)
    return int(found[1]) if found else 0


def body_of(answer: bytes) -> bytes:
    """Return the body of a raw answer that was not sent in chunks."""
    return answer.partition(b"\r\n\r\n")[2]


@contextmanager
def inhabited(house: House, more: str = "") -> Iterator[Running]:
    """Run authgate and nginx for a house that is built."""
    with (
        servers.authgate(house.config) as authgate,
        servers.nginx(house.folder, house.http_block(more), house.http_port) as nginx,
    ):
        yield Running(house, authgate, nginx)


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not certificate.exists():
        command = [
            *(servers.require("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={TLS_HOST}"),
            *(
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-keyout",
                str(key),
                "-out",
                str(certificate),
            ),
            *("-addext", f"subjectAltName=DNS:{TLS_HOST},DNS:*.example.com"),
        ]
        subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    return certificate, key

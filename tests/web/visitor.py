"""The web application over real users and a real store, asked the way a web server asks it."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import httpx
from starlette.types import ASGIApp

from authgate import config
from authgate.config import Settings
from authgate.credentials import Credentials, hashes
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.brakes import Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.logins import Logins
from authgate.credentials.passwords import Passwords
from authgate.credentials.people import People
from authgate.credentials.session import SessionData, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.observe.audit import Audit
from authgate.stores import Clock, Store
from authgate.stores.cache import CachedRecords
from authgate.stores.sqlite import SqliteStore
from authgate.web import create_web
from tests.clock import MovableClock

T = TypeVar("T")

SECURE = "https://files.example.com"
SHARED = "https://a.shared.example"
SHARED_TOO = "https://b.shared.example"
PLAIN = "http://127.0.0.1:8080"

# Headers as a test gives them: a list where one of them is sent twice.
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


def sha_line(password: str) -> str:
    """Write an htpasswd line that costs nothing to verify."""
    return "{SHA}" + base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()


def parse_settings(folder: Path, plain: str = PLAIN) -> Settings:
    """Write users and groups into `folder` and return settings with one site of each kind."""
    users = {name: sha_line(f"{name}-secret") for name in ("alice", "bob", "<i>eve")}
    (folder / "users").write_text("".join(f"{name}:{line}\n" for name, line in users.items()))
    (folder / "groups").write_text("staff: alice\nfinance: alice bob\n")
    return config.parse(
        {
            "store": "sqlite:web.db",
            "realm": "the archive",
            "workers": 1,
            "sites": [
                {"origin": SECURE},
                {"origin": SHARED, "cookie_domain": "shared.example"},
                {"origin": SHARED_TOO, "cookie_domain": "shared.example"},
                {"origin": plain},
            ],
            "users": {"htpasswd": "users", "groups": "groups"},
        },
        folder / "authgate.toml",
    )


@dataclass
class Visitor:
    """A browser reduced to what a test wants to see: it keeps cookies by site and shows every header."""

    app: ASGIApp
    store: Store
    clock: MovableClock
    folder: Path
    runner: asyncio.Runner
    site: str = SECURE
    client: str = "192.0.2.7"
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, awaitable: Awaitable[T]) -> T:
        """Drive one coroutine on this visitor's loop."""

        async def main() -> T:
            return await awaitable

        return self.runner.run(main())

    def request(
        self, method: str, target: str, headers: Headers = (), *, content: bytes | None = None, bare: bool = False
    ) -> httpx.Response:
        """Send one request; `bare` leaves out what the web server and the cookie jar would add."""
        return self.run(self.send(method, target, headers, content=content, bare=bare))

    async def send(
        self, method: str, target: str, headers: Headers = (), *, content: bytes | None = None, bare: bool = False
    ) -> httpx.Response:
        """Send one request from within the loop."""
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        scheme, _, host = self.site.partition("://")
        jar = self.cookies.setdefault(self.site, {})
        if not bare:
            given += [("x-authgate-host", host), ("x-authgate-scheme", scheme), ("x-authgate-client", self.client)]
            if jar and "cookie" not in dict(given):
                given.append(("cookie", "; ".join(f"{name}={value}" for name, value in jar.items())))
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://authgate.invalid") as client:
            # httpx's own headers and jar stay out of it.
            client.headers.clear()
            response = await client.request(method, target, headers=given, content=content)
        self._keep(response, jar)
        return response

    def _keep(self, response: httpx.Response, jar: dict[str, str]) -> None:
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                jar.pop(name, None)
            else:
                jar[name] = value

    def get(self, target: str, headers: Headers = ()) -> httpx.Response:
        """Ask for a page as a browser does."""
        return self.request("GET", target, [("accept", "text/html,*/*;q=0.8"), *_pairs(headers)])

    def post(self, target: str, form: Mapping[str, str], headers: Headers = ()) -> httpx.Response:
        """Send a form as a browser does."""
        return self.request("POST", target, [*self.form_headers(), *_pairs(headers)], content=urlencode(form).encode())

    def form_headers(self) -> list[tuple[str, str]]:
        """Return what a browser sends with a form of this site."""
        return [
            ("accept", "text/html,*/*;q=0.8"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", self.site),
            ("sec-fetch-site", "same-origin"),
        ]

    def token(self, target: str = "/authgate/login?again=1") -> str:
        """Open a page and return the token in its form."""
        found = re.search(r'name="token" value="([^"]+)"', self.get(target).text)
        assert found
        return found[1]

    def log_in(self, name: str = "alice", **fields: str) -> httpx.Response:
        """Open the login page, fill the form and send it."""
        return self.post(
            "/authgate/login", {"token": self.token(), "username": name, "password": f"{name}-secret"} | fields
        )

    def whoami(self, headers: Headers = ()) -> dict[str, object]:
        """Return the JSON document about who is logged in."""
        document: dict[str, object] = self.get("/authgate/whoami?format=json", headers).json()
        return document


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


def build(
    settings: Settings,
    store: Store,
    clock: Clock,
    verify: Callable[[str, bytes], bool] = hashes.verify,
    directory: Directory | None = None,
    audit: Audit | None = None,
) -> tuple[ASGIApp, Passwords]:
    """Build the application as a worker does."""
    directory = directory or Directory()
    users = LocalUsers(settings.htpasswd, settings.groups)
    users.load()
    records: CachedRecords[SessionData] = CachedRecords(store, "session", decode, 1000)
    sessions = Sessions(
        records, store, users, settings.idle_timeout, settings.lifetime, clock, People(directory, clock)
    )
    passwords = Passwords(users, verify)
    logins = Logins(users, passwords, directory, Brakes(store, clock))
    credentials = Credentials(sessions, BasicVerifier(users, logins, clock))
    return create_web(settings, credentials, sessions, logins, clock, audit), passwords


@contextmanager
def visiting(folder: Path, clock: MovableClock) -> Iterator[Visitor]:
    """Build the application over files in `folder` and return somebody who visits it."""
    settings = parse_settings(folder)
    with asyncio.Runner() as runner:
        store = SqliteStore(folder / "web.db", clock)
        app, passwords = build(settings, store, clock)
        yield Visitor(app, store, clock, folder, runner)
        passwords.close()
        runner.run(store.aclose())

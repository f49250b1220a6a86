"""The demonstration's people get through Apache what they get through nginx, in each of the three ways."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from authgate.cli.sample import lay_out
from tests import servers
from tests.delivery.site import apache as bare_apache
from tests.deploy.house import NO_TLS, hidden_fields, password
from tests.deploy.test_demo import MAY, PEOPLE
from tests.deploy_apache.house import SECRET_OF_FASTCGI, SHIPPED, ApacheHouse, apache

HOST = "127.0.0.1"
OTHERS = ("/", "/index.html", "/page/demo.css", "/nothing", "/media/nothing", "/home/dave/notes.txt")
PATHS = [*MAY, *OTHERS]

PROGRAM: Mapping[str, str] = {"Accept": "*/*"}
BROWSER: Mapping[str, str] = {
    "Accept": "text/html,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


class Outcome(NamedTuple):
    """What somebody gets."""

    status: int
    content: bytes
    location: str
    kept: str
    part: str


class Front:
    """A web server, whoever it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.client = httpx.Client(base_url=f"http://{HOST}:{port}", verify=NO_TLS, trust_env=False, timeout=30)
        self.client.headers.clear()

    def ask(self, path: str, headers: Mapping[str, str], user: str | None = None) -> Outcome:
        auth = (user, password(user)) if user else None
        answer = self.client.get(path, headers={**headers, "Range": "bytes=0-99"}, auth=auth)
        good = answer.status_code in {200, 206}
        return Outcome(
            answer.status_code,
            answer.content if good else b"",
            answer.headers.get("location", ""),
            answer.headers.get("cache-control", "") if answer.status_code != 404 else "",
            answer.headers.get("content-range", ""),
        )


class DemoHouse(ApacheHouse):
    """An example of deploy/apache in front of the demonstration's files."""

    @property
    def files(self) -> Path:
        return self.folder / "site"

    def placed(self, text: str) -> str:
        text = re.sub(r"(<VirtualHost \*:443>\n    ServerName) files\.example\.com", r"\1 other.example.com", text)
        return super().placed(text).replace("intranet.example.com", HOST)


class Town:
    """One authgate, and four web servers that ask it."""

    def __init__(self, fronts: Mapping[str, Front], folder: Path, origin: str) -> None:
        self.fronts = fronts
        self.folder = folder
        self.origin = origin

    def log_in(self, user: str) -> str:
        """Return the session cookie of somebody who logs in through nginx's pages; it holds everywhere."""
        client = self.fronts["nginx"].client
        shown = client.get("/authgate/login", headers=dict(BROWSER))
        form = {**hidden_fields(shown.text), "username": user, "password": password(user)}
        headers = {**BROWSER, "Origin": self.origin, "Sec-Fetch-Site": "same-origin", "Cookie": _cookie(shown)}
        answer = client.post("/authgate/login", data=form, headers=headers)
        assert answer.status_code == 303, answer.text
        client.cookies.clear()
        return _cookie(answer)


def _cookie(answer: httpx.Response) -> str:
    pairs = (line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
    return "; ".join(pair for pair in pairs if not pair.endswith("="))


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with servers.open_folder() as folder, ExitStack() as stack:
        ports = {name: servers.free_port() for name in ("nginx", "fastcgi", "rewritemap", "deliver", "authorizer")}
        lay_out(folder, ports["nginx"], nginx=True)
        secret = folder / "fastcgi.secret"
        secret.touch(0o600)
        secret.write_text(SECRET_OF_FASTCGI)
        config = folder / "authgate.toml"
        config.write_text(with_listeners(config.read_text(), folder, ports["authorizer"]))
        stack.enter_context(servers.authgate(config))
        command = [servers.require("nginx"), "-p", f"{folder}/", "-e", "logs/error.log", "-c", "nginx.conf"]
        nginx = stack.enter_context(servers.child(command, folder / "nginx.log"))
        servers.eventually(lambda: servers.listens(ports["nginx"]), "nginx listens", nginx)
        for wiring in ("fastcgi", "rewritemap"):
            # A folder for each: their own files have the same names.
            own = folder / wiring
            own.mkdir()
            house = DemoHouse(
                own,
                http_port=ports[wiring],
                tls_port=servers.free_port(),
                wiring=wiring,
                fastcgi_port=ports["authorizer"],
            )
            for name in ("site", "run", "state", "authgate.toml", "users.htpasswd", "groups", "fastcgi.secret"):
                (own / name).symlink_to(folder / name)
            stack.enter_context(apache(house))
        deliver = (SHIPPED / "authgate-deliver.conf").read_text()
        for written, real in (
            ("*:80", f"{HOST}:{ports['deliver']}"),
            ("files.example.com", HOST),
            ("/run/authgate", str(folder / "run")),
            ("${APACHE_LOG_DIR}", str(folder)),
            ("/srv/files", str(folder / "site")),
        ):
            deliver = deliver.replace(written, real)
        stack.enter_context(bare_apache(folder, deliver, ports["deliver"]))
        fronts = {name: Front(ports[name]) for name in ("nginx", "fastcgi", "rewritemap", "deliver")}
        for front in fronts.values():
            stack.enter_context(front.client)
        yield Town(fronts, folder, f"http://{HOST}:{ports['nginx']}")


def with_listeners(text: str, folder: Path, port: int) -> str:
    """Add what Apache asks to the demonstration's configuration."""
    more = f'fastcgi = "127.0.0.1:{port}"\nfastcgi_secret_file = "fastcgi.secret"\ndeliver = "unix:run/deliver.sock"\n'
    text = text.replace("[listen]\n", f"[listen]\n{more}")
    return re.sub(r"^(allow = .*)$", rf'\1\ndeliver = {{ root = "{folder}/site" }}', text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def sessions(town: Town) -> Mapping[str | None, str]:
    return {None: "", **{user: town.log_in(user) for user in PEOPLE}}


@pytest.mark.parametrize("wiring", ["fastcgi", "rewritemap", "deliver"])
@pytest.mark.parametrize("user", [None, *PEOPLE])
def test_with_a_session_everybody_gets_the_same(
    town: Town, sessions: Mapping[str | None, str], wiring: str, user: str | None
) -> None:
    for path in PATHS:
        for kind in (PROGRAM, BROWSER):
            headers = {**kind, "Cookie": sessions[user]} if user else kind

            expected = town.fronts["nginx"].ask(path, headers)
            found = town.fronts[wiring].ask(path, headers)

            assert found == expected, (path, kind)
            assert (expected.status in {200, 206}) is (path in OTHERS[:3] or user in MAY.get(path, ()))


@pytest.mark.parametrize("wiring", ["fastcgi", "deliver"])
@pytest.mark.parametrize("user", PEOPLE)
def test_with_a_password_everybody_gets_the_same(town: Town, wiring: str, user: str) -> None:
    for path in PATHS:
        expected = town.fronts["nginx"].ask(path, PROGRAM, user)

        assert town.fronts[wiring].ask(path, PROGRAM, user) == expected, path
        assert (expected.status in {200, 206}) is (path in OTHERS[:3] or user in MAY.get(path, ()))


def test_a_folder_without_an_index_page_shows_nothing(town: Town, sessions: Mapping[str | None, str]) -> None:
    """The one difference: X-Sendfile says that there is nothing."""
    found = {name: front.ask("/staff/", {"Cookie": sessions["alice"]}).status for name, front in town.fronts.items()}

    assert found == {"nginx": 403, "fastcgi": 403, "rewritemap": 403, "deliver": 404}


@pytest.mark.parametrize("wiring", ["nginx", "fastcgi", "deliver"])
def test_a_wrong_password_is_a_login_everywhere(town: Town, wiring: str) -> None:
    client = town.fronts[wiring].client

    answer = client.get("/staff/handbook.txt", auth=("alice", "wrong"))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Basic realm="Authgate demo"')

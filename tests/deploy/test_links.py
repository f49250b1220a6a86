"""Signed links through nginx: in the query and in the path, counted, revoked, and shown to nobody."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from authgate.keys import Key
from tests.deploy import linking
from tests.deploy.house import NO_TLS, OPEN, SECRET, House, Running, body_of, inhabited, status_of
from tests.deploy.linking import FILES, PLAYLIST, SEGMENTS, link
from tests.deploy.recorder import Recorder, recording
from tests.servers import eventually, open_folder

HOST = "links.example.com"
SECRETS_OF_APPLICATION = ("ag=", "authgate-link")

RULES = f"""
{linking.SECTION}
[[rules]]
name = "application"
hosts = ["{HOST}"]
paths = ["/videos/app/**", "/videos/both/**"]
allow = ["link", "group:staff"]

[[rules]]
name = "everything"
hosts = ["{HOST}"]
paths = ["/_files/**", "/kept/**", "/videos/kept/**", "/authgate/**", "/authgate-link/**"]
allow = ["anyone"]
{linking.RULES}
"""


@dataclass(frozen=True, slots=True)
class Cinema:
    """A site with videos, running."""

    running: Running
    key: Key
    application: Recorder

    def ask(
        self, target: str, host: str = HOST, *, method: str = "GET", source: str = "127.0.0.1", **headers: str
    ) -> httpx.Response:
        """Ask once, from one of this machine's addresses."""
        port = self.running.house.http_port
        transport = httpx.HTTPTransport(local_address=source, verify=NO_TLS)
        with httpx.Client(transport=transport, trust_env=False) as client:
            sent = {"Host": f"{host}:{port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
            return client.request(method, f"http://127.0.0.1:{port}{target}", headers=sent)

    def raw(self, target: str, host: str = HOST) -> bytes:
        """Ask for a target as it is written, and return everything that comes back."""
        head = f"GET {target} HTTP/1.1\r\nHost: {host}:{self.running.house.http_port}\r\nConnection: close\r\n\r\n"
        return self.running.raw(head.encode("latin-1"))

    def link(self, path: str = "/videos/42/**", **claims: object) -> str:
        """Return a link to something of this site."""
        return link(self.key, path, HOST, **claims)  # type: ignore[arg-type] # claims by name


def blocks(house: House) -> str:
    return f"""
    server {{
        set $ag_link_folders "/music/ /videos/ /shared/";
        include authgate/authgate-server.conf;
        listen 127.0.0.1:{house.http_port};
        server_name {HOST};
        access_log {house.log} authgate;
        access_log {house.log}.combined authgate_combined;
        location ^~ / {{
            root {house.files};
            include authgate/authgate-protect.conf;
        }}
        location ^~ /videos/app/ {{
            try_files $uri @app;
            proxy_pass http://unix:{house.folder}/run/app.sock;
            include authgate/authgate-protect-app.conf;
        }}
        location @app {{
            proxy_pass http://unix:{house.folder}/run/app.sock;
            include authgate/authgate-protect-app.conf;
        }}
        location ^~ /videos/both/ {{
            root {house.files};
            try_files $uri @app;
            include authgate/authgate-protect.conf;
        }}
        location ^~ /_files/ {{ internal; alias {house.files}/denied/; }}
        location ^~ /kept/ {{ internal; alias {house.files}/denied/; }}
    }}
    """


@pytest.fixture(scope="module")
def cinema() -> Iterator[Cinema]:
    with open_folder() as folder:
        house = House(folder, sites=(HOST,), rules=RULES, workers=2)
        house.build()
        key = linking.furnish(folder, house.files)
        with recording(folder / "run" / "app.sock") as application, inhabited(house, blocks(house)) as running:
            yield Cinema(running, key, application)


def in_path(value: str, path: str) -> str:
    return f"/authgate-link/{value}{path}"


def test_link_admits_where_it_says_and_nobody_else_is_sent_to_a_login(cinema: Cinema) -> None:
    value = cinema.link()

    assert cinema.ask(f"/videos/42/film.bin?ag={value}").content == FILES["videos/42/film.bin"]
    for refused in ("/videos/42/film.bin", f"/videos/43/other.ts?ag={value}", f"/videos/42/film.bin?ag={value[:-1]}"):
        answer = cinema.ask(refused, accept="text/html")
        assert (answer.status_code, SECRET in answer.content) == (403, False), refused


def test_person_without_a_good_link_gets_the_login_where_people_may_log_in(cinema: Cinema) -> None:
    value = cinema.link("/shared/plan.txt")

    assert cinema.ask(f"/shared/plan.txt?ag={value}").content == SECRET
    for target in (
        "/shared/plan.txt?a=1",
        f"/shared/plan.txt?a=1&ag={value}x",
        in_path(f"{value}x", "/shared/plan.txt?a=1"),
    ):
        answer = cinema.ask(target, accept="text/html")
        assert answer.status_code == 302, target
        location = answer.headers["location"]
        assert location.endswith("/authgate/login?next=/shared/plan.txt%3Fa%3D1"), location


def test_playlist_and_its_segments_open_by_one_link_in_the_path(cinema: Cinema) -> None:
    value = cinema.link(uses=1_000)
    base = in_path(value, "/videos/42/")

    playlist = cinema.ask(f"{base}index.m3u8")
    pieces = [line for line in playlist.text.splitlines() if not line.startswith("#")]

    assert playlist.content == PLAYLIST
    assert tuple(pieces) == SEGMENTS
    for piece in pieces:
        answer = cinema.ask(f"{base}{piece}")
        assert (answer.status_code, answer.content) == (200, FILES[f"videos/42/{piece}"])
        assert "set-cookie" not in answer.headers


def test_link_in_the_query_opens_the_playlist_and_not_its_segments(cinema: Cinema) -> None:
    value = cinema.link()

    assert cinema.ask(f"/videos/42/index.m3u8?ag={value}").content == PLAYLIST
    assert [cinema.ask(f"/videos/42/{piece}").status_code for piece in SEGMENTS] == [403] * 3


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/authgate-link/{}/videos/43/other.ts", 403),
        ("/authgate-link/{}/videos/42/../43/other.ts", 403),
        ("/authgate-link/{}/videos/42/%2e%2e/43/other.ts", 403),
        ("/authgate-link/{}/videos/42/..%2f43/other.ts", 403),
        ("/authgate-link/{}/denied/secret.txt", 404),
        ("/authgate-link/{}/videos/../denied/secret.txt", 404),
        ("/authgate-link/{}/videos/..%2fdenied/secret.txt", 404),
        ("/authgate-link/{}/../../denied/secret.txt", 403),
        ("/authgate-link/{}/%2e%2e/%2e%2e/denied/secret.txt", 403),
        # A client's own link beside it: there are two.
        ("/authgate-link/{}/videos/42/film.bin?ag=x", 403),
        ("/authgate-link/{}/videos/42/film.bin?ag={}", 403),
        ("/authgate-link/{}/videos/42/film.bin?a=1&ag=", 403),
        ("/authgate-link/{}/videos/42/film.bin?a=1&ag", 403),
        # And in the query alone.
        ("/videos/42/film.bin?ag={}&ag={}", 403),
        ("/videos/42/film.bin?ag=x&ag={}", 403),
        ("/videos/42/film.bin?ag={}&ag=x", 403),
        ("/videos/42/film.bin?ag={}&a=1&ag", 403),
        ("/videos/42/film.bin?ag={}x", 403),
        ("/videos/42/film.bin?ag={}.x", 403),
        ("/videos/42/film.bin?ag=%20{}", 403),
        ("/videos/42/film.bin?AG={}", 403),
        ("/videos/42/film.bin?%61g={}", 403),
        ("/videos/42/film.bin#?ag={}", 403),
        ("/videos/42/film.bin?a=1;ag={}", 403),
        # Stripped twice.
        ("/authgate-link/{}/authgate-link/{}/videos/42/film.bin", 404),
        ("/authgate-link/x/authgate-link/{}/videos/42/film.bin", 404),
        ("/authgate-link/{}/authgate-link/x/videos/42/film.bin", 404),
        # Not that form.
        ("/authgate-link/{}", 404),
        ("/authgate-link/{}/", 404),
        ("/authgate-link//{}/videos/42/film.bin", 404),
        ("/authgate-link/{}%00/videos/42/film.bin", 400),
        ("/authgate-link/{}/videos/42/film.bin%0d%0aX-Authgate-Path:%20/videos/42/film.bin", 400),
        ("/authgate-link/{}%0a/videos/42/film.bin", 400),
        ("/authgate-link/{}/videos/42/film.bin%7f", 400),
        ("/authgate-link/{}%20x/videos/42/film.bin", 404),
        ("/%61uthgate-link/{}/videos/42/film.bin", 404),
        ("/authgate-lin%6b/{}/videos/42/film.bin", 404),
        ("//authgate-link/{}/videos/42/film.bin", 404),
        ("/x/../authgate-link/{}/videos/42/film.bin", 404),
        ("/AUTHGATE-LINK/{}/videos/42/film.bin", 403),
        # The list of folders cannot be written by a client.
        ("/authgate-link/{}/kept/|/kept/secret.txt", 404),
        ("/authgate-link/{}/kept/%20/kept/|/kept/secret.txt", 404),
        ("/authgate-link/{}/kept/%20|/authgate-link/x/videos/secret.txt", 404),
        ("/authgate-link/{}/videos", 404),
        # What nginx keeps for itself stays so, and the pages of authgate.
        ("/authgate-link/{}/_files/secret.txt", 404),
        ("/authgate-link/{}/kept/secret.txt", 404),
        ("/authgate-link/{}/videos/../_files/secret.txt", 404),
        ("/authgate-link/{}/_authgate", 404),
        ("/authgate-link/{}/authgate/refused", 404),
        ("/authgate-link/{}/authgate/login", 404),
        # Decoded once.
        ("/authgate-link/{}/videos/42/%2566ilm.bin", 404),
        ("/authgate-link/{}/videos/42/film.bin%3fx", 404),
        ("/authgate-link/{}/videos/42/film.bin%23x", 404),
    ],
)
def test_no_way_around(cinema: Cinema, target: str, status: int) -> None:
    written = target.replace("{}", cinema.link())
    answer = cinema.raw(written)

    assert SECRET not in answer, answer
    assert status_of(answer) == status, answer


@pytest.mark.parametrize(
    "target",
    [
        "/authgate-link/{}/videos/42/film.bin",
        "/authgate-link/{}/videos/42/film.bin?a=1",
        "/authgate-link/{}/videos/42/%66ilm.bin",
        "/authgate-link/{}/videos/42/./film.bin",
        "/authgate-link/{}/videos//42/film.bin",
        "/authgate-link/{}/videos%2f42%2ffilm.bin",
        "/authgate-link/{}/videos/43/../42/film.bin",
        "/authgate-link/x/../{}/videos/42/film.bin",
        "http://links.example.com/authgate-link/{}/videos/42/film.bin",
        "/videos/42/film.bin?a=1&ag={}",
        "/videos/42/film.bin?ag={}&a=1&b",
        "/videos/42/film.bin?a=1&ag={}&&b",
        "/videos/42/film.bin?agx=1&xag=2&ag={}",
    ],
)
def test_what_means_the_file_opens_it(cinema: Cinema, target: str) -> None:
    answer = cinema.raw(target.replace("{}", cinema.link()))

    assert (status_of(answer), body_of(answer)) == (200, FILES["videos/42/film.bin"])


def test_index_page_of_a_folder_is_opened_by_its_link(cinema: Cinema) -> None:
    value = cinema.link()

    assert cinema.ask(f"/videos/42/page/?ag={value}").content == OPEN
    assert cinema.ask(in_path(value, "/videos/42/page/")).content == OPEN
    # nginx itself sends on to the folder with its final slash, and does not know the link.
    moved = cinema.ask(f"/videos/42/page?ag={value}")
    assert (moved.status_code, moved.headers["location"].endswith("/videos/42/page/")) == (301, True)


@pytest.mark.parametrize("path", ["/videos/app/x", "/videos/app/a%20b%5b?x=%41&&y", "/videos/app/"])
def test_application_never_sees_the_link(cinema: Cinema, path: str) -> None:
    value = cinema.link("/videos/app/**")
    plain, mark, arguments = path.partition("?")
    referer = f"http://{HOST}/videos/app/?ag={value}"

    cinema.application.take()
    for target in (
        in_path(value, path),
        f"{plain}?ag={value}&{arguments}" if mark else f"{plain}?ag={value}",
        f"{path}{'&' if mark else '?'}ag={value}",
    ):
        assert cinema.ask(target, referer=referer).status_code == 200, target
        (arrived,) = cinema.application.take()
        said = json.dumps([arrived.line, arrived.headers])
        assert not any(secret in said for secret in (value[:20], "authgate-link")), said
        assert arrived.line == f"GET {path.replace('%5b', '[')} HTTP/1.1"


@pytest.mark.parametrize("folder", ["app", "both"])
def test_link_holds_when_nginx_goes_on_to_another_location(cinema: Cinema, folder: str) -> None:
    value = cinema.link("/videos/**", uses=1)
    cinema.application.take()

    for target in (f"/videos/{folder}/nothing?a=1&ag={value}", in_path(value, f"/videos/{folder}/nothing?a=1")):
        assert cinema.ask(target).status_code == 200
    assert cinema.ask(f"/videos/{folder}/nothing?a=1&ag={value}&ag={value}").status_code == 401
    lines = [arrived.line for arrived in cinema.application.take()]
    assert lines == [f"GET /videos/{folder}/nothing?a=1 HTTP/1.1"] * 2


def test_application_keeps_an_argument_of_that_name_that_is_no_link(cinema: Cinema) -> None:
    cinema.application.take()
    with cinema.running.client(HOST, "alice") as client:
        for query in ("ag=5", "ag=report.pdf", "ag=1&ag=2", "x=1&ag"):
            assert client.get(f"/videos/app/x?{query}").status_code == 200
            (arrived,) = cinema.application.take()
            assert arrived.line == f"GET /videos/app/x?{query} HTTP/1.1"


@pytest.mark.parametrize("form", ["query", "path"])
def test_pages_tell_no_other_site_their_link(cinema: Cinema, form: str) -> None:
    value = cinema.link()
    for path in ("/videos/42/page/", "/videos/42/film.bin"):
        target = f"{path}?ag={value}" if form == "query" else in_path(value, path)
        assert cinema.ask(target).headers.get_list("referrer-policy") == ["no-referrer"]


def test_pages_without_a_link_keep_the_policy_that_they_have(cinema: Cinema) -> None:
    with cinema.running.client() as client:
        assert "referrer-policy" not in client.get("/public/hello.txt").headers


def test_log_holds_no_link_in_any_spelling(cinema: Cinema) -> None:
    value = cinema.link(uses=3)
    log, combined = cinema.running.house.log, cinema.running.house.log.with_name("access.log.combined")
    for target in (
        f"/videos/42/film.bin?ag={value}",
        f"/videos/42/film.bin?x=1&%61g={value}",
        f"/videos/42/film.bin?A%47={value}",
        f"/videos/42/film.bin?other={value}",
        in_path(value, "/videos/42/film.bin"),
        f"/Authgate-Link/{value}/videos/42/film.bin",
        f"/%61uthgate-link/{value}/videos/42/film.bin",
        f"/authgate-link/{value}",
        f"//authgate-link/{value}/videos",
        f"/authgate-link/{value}/authgate-link/{value}/videos",
    ):
        cinema.raw(target)
    referer = f"http://{HOST}/authgate-link/{value}/videos/42/page/"
    cinema.ask("/videos/42/film.bin", referer=referer)
    cinema.ask("/videos/42/marker", referer=f"http://{HOST}/?ag={value}")
    eventually(lambda: b"marker" in combined.read_bytes(), "the last line in the log")

    for text in (log.read_text(), combined.read_text()):
        assert value not in text
        assert value[-43:] not in text
        assert "/videos/42/film.bin" in text
    assert re.search(r'"GET /videos/42/film\.bin\?ag=\*\*\* HTTP/1\.1" 200 ', combined.read_text())

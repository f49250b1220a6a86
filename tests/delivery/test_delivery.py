"""The listener ``deliver``: what is read of a request, and what the web server is told."""

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authgate.app import Worker, create_worker
from authgate.config import parse
from tests.credentials.people import sha
from tests.servers import make_file, open_folder

ALICE = "Basic " + b64encode(b"alice:secret").decode()
HOST = "files.example.com"
USUAL = {"X-Authgate-Host": HOST, "X-Authgate-Scheme": "https", "X-Authgate-Client": "192.0.2.1"}
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def file(self) -> str | None:
        """The file that the web server will send."""
        return self.headers.get("x-sendfile") or self.headers.get("x-accel-redirect")


class Door:
    """The application, asked as a web server asks it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "files"
        for name in (
            *(
                "public/a.txt",
                "public/ä?#%41 b.txt",
                "public/trailing ",
                "public/docs/index.html",
                "public/closed-a.txt",
            ),
            *("public/secret-index/index.html", "public/other-index/index.html", "staff/a.txt", "nginx/a b.txt"),
            *("named/ä.csv", "undelivered/a.txt", "public/index-folder/index.html/x"),
        ):
            make_file(f"{self.root}/{name}".encode(), b"x")
        (self.root / "public" / "empty").mkdir()
        (self.root / "public" / "out.txt").symlink_to("/etc/hostname")
        (folder / "users").write_text(f"alice:{sha('secret')}\nbob:{sha('secret')}\n")
        (folder / "groups").write_text("staff: alice\n")
        here, gone = {"root": str(self.root)}, {"root": str(folder / "gone")}
        rules: list[dict[str, object]] = [
            {"name": "closed", "paths": ["/public/closed*", "/public/secret-index/index.html"], "deny": ["anyone"]},
            {"name": "other", "paths": ["/public/other-index/index.html"], "allow": ["anyone"]},
            {"name": "public", "paths": ["/public/**"], "allow": ["anyone"], "deliver": here, "cache": "max-age=60"},
            {"name": "staff", "paths": ["/staff/**"], "allow": ["group:staff"], "deliver": here},
            {"name": "office", "paths": ["/office/**"], "allow": ["ip:192.0.2.0/24"], "deliver": here},
            {
                "name": "nginx",
                "paths": ["/nginx/**"],
                "allow": ["anyone"],
                "deliver": {**here, "internal": "/_files/", "limit_rate": "1k"},
            },
            {
                "name": "named",
                "paths": ["/named/**"],
                "allow": ["anyone"],
                "deliver": {**here, "disposition": "attachment"},
            },
            {"name": "undelivered", "paths": ["/undelivered/**"], "allow": ["anyone"]},
            {"name": "gone", "paths": ["/gone/**"], "allow": ["anyone"], "deliver": gone},
            {"name": "cors", "paths": ["/cors/**"], "allow": ["anyone"], "deliver": here, "preflight": True},
        ]
        document: dict[str, object] = {
            "store": "memory:",
            "workers": 1,
            "sites": [{"origin": f"https://{HOST}"}],
            "users": {"htpasswd": "users", "groups": "groups"},
            "audit": {"file": "audit.log"},
            "rules": rules,
        }
        self.audited = folder / "audit.log"
        self.worker: Worker = create_worker(parse(document, folder / "authgate.toml"))

    def ask(
        self,
        target: str = "/public/a.txt",
        fields: Mapping[str, str | None] = {},
        *,
        method: str = "GET",
        more: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """Ask for a target, with the usual fields, some changed or (None) left out, and `more` appended."""
        merged = {**USUAL, **fields}
        headers = [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in (*merged.items(), *more)
            if value is not None
        ]
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": headers,
        }
        return asyncio.run(self._ask(scope))

    async def _ask(self, scope: MutableMapping[str, Any]) -> Reply:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self.worker.applications["deliver"](scope, receive, send)
        start, body = sent
        names = [name.decode() for name, _ in start["headers"]]
        assert len(names) == len(set(names))
        assert not any(name.startswith("remote-") for name in names)
        headers = {n.decode(): v.decode("utf-8", "surrogateescape") for n, v in start["headers"]}
        return Reply(start["status"], headers, body["body"])


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_folder() as folder:
        door = Door(folder)
        yield door
        asyncio.run(door.worker.aclose())


def test_an_allowed_file_is_named_to_apache(door: Door) -> None:
    reply = door.ask()

    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers == {
        "x-sendfile": f"{door.root}/public/a.txt",
        "cache-control": "max-age=60",
        "content-length": "0",
        "x-authgate-decision": reply.headers["x-authgate-decision"],
    }


def test_an_allowed_file_is_named_to_nginx(door: Door) -> None:
    reply = door.ask("/nginx/a%20b.txt")

    assert reply.status == 200
    assert reply.headers["x-accel-redirect"] == "/_files/nginx/a%20b.txt"
    assert reply.headers["x-accel-limit-rate"] == "1024"
    assert reply.headers["cache-control"] == "private, no-cache"
    assert "x-sendfile" not in reply.headers


def test_who_asked_is_told_for_the_log(door: Door) -> None:
    reply = door.ask("/staff/a.txt", {"Authorization": ALICE})

    assert reply.file == f"{door.root}/staff/a.txt"
    assert reply.headers["x-authgate-user"] == "alice"


def test_head_is_answered_as_get(door: Door) -> None:
    assert door.ask(method="HEAD").file == door.ask().file


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_get_no_file(door: Door, method: str) -> None:
    reply = door.ask(method=method)

    assert (reply.status, reply.file, reply.headers["allow"]) == (405, None, "GET, HEAD")


def test_a_preflight_gets_no_file(door: Door) -> None:
    fields = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}

    assert door.ask("/cors/a.txt", fields, method="OPTIONS").status == 405


def test_the_path_is_decoded_once(door: Door) -> None:
    reply = door.ask("/public/%C3%A4%3F%23%2541%20b.txt")

    assert reply.file == f"{door.root}/public/ä?#%41 b.txt"


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/public/../staff/a.txt",
            "/public/%2e%2e/staff/a.txt",
            "//public/a.txt",
            "/public/a%2ftxt",
            "/public/a%5ctxt",
        ),
        *("/public/a%252ftxt", "/public/a;x", "/public/a%0d%0atxt", "/public/a%00.txt", "/public/%ff", "public/a.txt"),
        *("/public/./a.txt", "/public//a.txt", "/public/a\\b", "*"),
    ],
)
def test_a_target_with_two_readings_is_refused(door: Door, target: str) -> None:
    reply = door.ask(target, {"Authorization": ALICE})

    assert (reply.status, reply.file) == (403, None)
    assert "more than one way" in reply.body.decode()


def test_who_tries_a_target_with_two_readings_is_in_the_audit() -> None:
    with open_folder() as folder:
        door = Door(folder)
        door.ask("/public/a%2f..%2fstaff")
        door.worker.audit.close()

        (line,) = map(json.loads, door.audited.read_text().splitlines())

    assert (line["reason"], line["path"], line["address"]) == ("ambiguous_path", "/public/a/../staff", "192.0.2.1")


def test_an_empty_target_is_refused(door: Door) -> None:
    assert door.ask("").status == 403


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"X-Authgate-Path": "/public/a.txt"}, 401),
        ({"X-Authgate-Method": "HEAD"}, 401),
        ({"X-Authgate-Target": "/public/a.txt"}, 401),
        ({"X-Authgate-Self": "/staff/a.txt"}, 401),
        ({"X-Authgate-Uri": "https://evil.example/"}, 401),
        ({"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "10.0.0.1"}, 401),
    ],
)
def test_what_a_client_writes_into_our_fields_names_no_file(door: Door, more: Mapping[str, str], status: int) -> None:
    reply = door.ask("/staff/a.txt", more)

    assert (reply.status, reply.file) == (status, None)


def test_a_clients_uri_is_no_place_to_return_to(door: Door) -> None:
    reply = door.ask("/staff/a.txt?x=1", {**NAVIGATION, "X-Authgate-Uri": "/evil"})

    assert reply.headers["location"] == f"https://{HOST}/authgate/login?next=/staff/a.txt%3Fx%3D1"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"X-Authgate-Host": None}, 421),
        ({"X-Authgate-Host": "evil.example"}, 421),
        ({"X-Authgate-Host": "x" * 4000}, 403),
        ({"X-Authgate-Scheme": None}, 403),
        ({"X-Authgate-Scheme": "gopher"}, 403),
        # Apache leaves out what the client's Connection names; without an address all such clients would be one.
        ({"X-Authgate-Client": None}, 403),
    ],
)
def test_host_scheme_and_client_come_from_the_web_server(
    door: Door, fields: Mapping[str, str | None], status: int
) -> None:
    reply = door.ask("/public/a.txt", {**fields, "Host": HOST})

    assert (reply.status, reply.file) == (status, None)


@pytest.mark.parametrize("name", [*USUAL, "Cookie", "Authorization", "X-Authgate-User"])
def test_a_field_sent_twice_is_refused(door: Door, name: str) -> None:
    value = USUAL.get(name, "x")

    reply = door.ask("/public/a.txt", {name: value}, more=[(name, value)])

    assert (reply.status, reply.file) == (403, None)


def test_the_servers_own_login_counts_only_where_it_is_configured(door: Door) -> None:
    assert door.ask("/staff/a.txt", {"X-Authgate-User": "alice"}).status == 401


def test_a_navigation_is_led_to_the_login(door: Door) -> None:
    reply = door.ask("/staff/a.txt", NAVIGATION)

    assert (reply.status, reply.file) == (302, None)
    assert reply.headers["location"].startswith(f"https://{HOST}/authgate/login?next=/staff/a.txt")
    assert reply.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in reply.headers


def test_a_program_is_asked_for_a_password(door: Door) -> None:
    reply = door.ask("/staff/a.txt")

    assert (reply.status, reply.file) == (401, None)
    assert reply.headers["www-authenticate"].startswith('Basic realm="')
    assert reply.headers["x-authgate-decision"] in reply.body.decode()


def test_a_script_is_not_asked_for_a_password(door: Door) -> None:
    reply = door.ask("/staff/a.txt", {"Sec-Fetch-Mode": "cors"})

    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Authgate")


def test_a_refusal_is_a_page_with_its_decision(door: Door) -> None:
    reply = door.ask("/public/closed-a.txt", NAVIGATION)

    assert (reply.status, reply.file) == (403, None)
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["x-authgate-decision"] in reply.body.decode()
    assert "rule" not in str(reply.headers)


def test_a_client_cannot_forge_what_a_refusal_says(door: Door) -> None:
    forged = {"X-Authgate-Decision": "aaaa-000000000000", "X-Authgate-Reason": "busy"}

    reply = door.ask("/public/closed-a.txt", {**NAVIGATION, **forged})

    assert reply.status == 403
    assert "aaaa-000000000000" not in reply.body.decode() + str(reply.headers)


@pytest.mark.parametrize("path", ["/public/closed-a.txt", "/public/closed-b.txt"])
def test_nobody_learns_what_is_there_who_may_not_have_it(door: Door, path: str) -> None:
    assert door.ask(path).status == 403


@pytest.mark.parametrize("path", ["/staff/a.txt", "/staff/nothing.txt", "/staff/", "/staff"])
def test_a_stranger_gets_the_same_whatever_is_there(door: Door, path: str) -> None:
    assert door.ask(path).status == 401


@pytest.mark.parametrize(
    "path", ["/public/nothing", "/public/a.txt/", "/public/a.txt/x", "/public/out.txt", "/public/empty"]
)
def test_what_is_not_there_is_404_for_those_who_may_have_it(door: Door, path: str) -> None:
    reply = door.ask(path, NAVIGATION)

    assert (reply.status, reply.file) == (404, None)
    assert reply.headers["cache-control"] == "no-store"


def test_a_name_that_no_header_can_hold_is_not_sent(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    reply = door.ask("/public/trailing%20")

    assert (reply.status, reply.file) == (404, None)
    assert "no header can hold" in caplog.text


def test_a_folder_is_its_index_page(door: Door) -> None:
    reply = door.ask("/public/docs/")

    assert reply.file == f"{door.root}/public/docs/index.html"
    # The address has no name from which Apache could tell.
    assert reply.headers["content-type"] == "text/html"


def test_a_folder_without_its_slash_is_moved_to_the_one_with(door: Door) -> None:
    reply = door.ask("/public/docs?x=%20\xe9")

    assert (reply.status, reply.file) == (301, None)
    assert reply.headers["location"] == f"https://{HOST}/public/docs/?x=%20%E9"


@pytest.mark.parametrize("path", ["/public/empty/", "/public/index-folder/", "/public/"])
def test_a_folder_without_a_page_is_not_there(door: Door, path: str) -> None:
    assert door.ask(path).status == 404


def test_an_index_page_is_decided_about_by_its_own_name(door: Door) -> None:
    refused, undelivered = door.ask("/public/secret-index/"), door.ask("/public/other-index/")

    assert (refused.status, refused.file) == (403, None)
    assert (undelivered.status, undelivered.file) == (403, None)


def test_a_rule_without_deliver_sends_nothing_and_says_so_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        replies = [door.ask("/undelivered/a.txt", {"Accept": "application/json"}) for _ in range(2)]

    assert [(reply.status, reply.file) for reply in replies] == [(403, None)] * 2
    assert b'"reason":"allowed"' in replies[0].body
    assert [record.getMessage().partition("\n")[0] for record in caplog.records] == [
        'rule "undelivered" admits, and there is nothing to send'
    ]


def test_files_that_are_away_are_503(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    reply = door.ask("/gone/a.txt")

    assert (reply.status, reply.file) == (503, None)
    assert reply.headers["retry-after"]
    assert "gone cannot be looked at: no such file or directory" in caplog.text


def test_a_download_has_its_name(door: Door) -> None:
    reply = door.ask("/named/%C3%A4.csv")

    assert reply.headers["content-disposition"] == "attachment; filename=\"_.csv\"; filename*=UTF-8''%C3%A4.csv"


def test_the_address_counts_that_the_web_server_names(door: Door) -> None:
    assert door.ask("/office/a.txt").status == 404
    assert door.ask("/office/a.txt", {"X-Authgate-Client": "198.51.100.1"}).status == 403

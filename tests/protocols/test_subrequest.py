"""``/check``: what is read of the subrequest, and what is answered."""

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import KIND, Sessions, decode
from authgate.model import Subject, user
from authgate.pdp import Pdp
from authgate.protocols.subrequest import ClientFields, create_check, identity_headers, read_fields
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import cheap, logins, users
from tests.policies import SITES, compiled

ALICE = "Basic YWxpY2U6c2VjcmV0"
RULES = (
    {"paths": ["/public/**"], "allow": ["anyone"]},
    {"paths": ["/office/**"], "allow": ["ip:office"]},
    {"paths": ["/put/**"], "methods": ["PUT"], "allow": ["anyone"]},
    {"paths": ["/staff/**"], "allow": ["group:staff"], "name": "staff only"},
    {"paths": ["/bob/**"], "allow": ["user:bob"]},
    {"paths": ["/cors/**"], "allow": ["user:bob"], "preflight": True},
)
USUAL = {
    "X-Authgate-Self": "/_authgate",
    "X-Authgate-Method": "GET",
    "X-Authgate-Host": "files.example.com",
    "X-Authgate-Scheme": "https",
    "X-Authgate-Client": "192.0.2.1",
    "X-Authgate-Uri": "/public/x",
}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        return self.headers["x-authgate-reason"]


class Door:
    """The application, asked as nginx asks it."""

    def __init__(self, folder: Path) -> None:
        clock = MovableClock()
        people = users(folder, f"alice:{cheap('secret')}\n", "staff: alice\nsecret: alice\n")
        store = MemoryStore(clock)
        sessions = Sessions(CachedRecords(store, KIND, decode, 10), store, people, 60, 600, clock)
        pdp = Pdp(
            compiled(*RULES),
            SITES,
            Credentials(sessions, BasicVerifier(people, logins(people, Passwords(people)), clock)),
        )
        self.app = create_check(pdp, "files", clock, "0123456789ab")

    def ask(
        self,
        target: str | bytes | None = "/public/x",
        fields: Mapping[str, str | None] = {},
        *,
        more: Sequence[tuple[str, str]] = (),
        at: str = "/check",
    ) -> Reply:
        """Ask about a path, with the usual fields, some changed or (None) left out, and `more` appended."""
        merged = {**USUAL, "X-Authgate-Path": target, **fields}
        headers = [
            (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in (*merged.items(), *more)
            if value is not None
        ]
        return asyncio.run(self._ask(at, headers))

    async def _ask(self, path: str, headers: list[tuple[bytes, bytes]]) -> Reply:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            raise AssertionError("the body of a subrequest is not read")

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self.app({"type": "http", "path": path, "headers": headers}, receive, send)
        start, body = sent
        names = [name.decode() for name, _ in start["headers"]]
        assert len(names) == len(set(names))
        return Reply(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, body["body"])


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_an_allowed_request_is_200_with_an_empty_body(door: Door) -> None:
    reply = door.ask()

    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-authgate-cache"] == "private, no-cache"
    assert reply.headers["x-authgate-rule"] == "r0"
    assert reply.headers["x-authgate-credential"] == "none"
    assert "set-cookie" not in reply.headers


def test_identity_is_sent_on_allow_all_four_always(door: Door) -> None:
    public = door.ask("/public/x").headers
    staff = door.ask("/staff/x", {"Authorization": ALICE}).headers

    assert [public[f"remote-{what}"] for what in ("user", "groups", "name", "email")] == [""] * 4
    assert staff["remote-user"] == "alice"
    # Alice is in `secret` too, which no rule names.
    assert staff["remote-groups"] == "staff"
    assert (staff["remote-name"], staff["remote-email"]) == ("", "")
    assert (staff["x-authgate-rule"], staff["x-authgate-credential"]) == ("staff only", "basic")


@pytest.mark.parametrize("path", ["/bob/x", "/nothing", None])
def test_every_answer_that_does_not_allow_names_the_policy(door: Door, path: str | None) -> None:
    assert door.ask(path).headers["x-authgate-policy"] == "0123456789ab"


def test_no_identity_is_sent_on_refusal(door: Door) -> None:
    reply = door.ask("/bob/x", {"Authorization": ALICE})

    assert reply.status == 403
    assert not [name for name in reply.headers if name.startswith("remote-")]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"X-Authgate-Path": None}, "missing_path"),
        ({"X-Authgate-Path": ""}, "missing_path"),
        ({"X-Authgate-Path": "/_authgate"}, "ambiguous_path"),
        ({"X-Authgate-Path": "/public/../staff/x"}, "ambiguous_path"),
        ({"X-Authgate-Path": "public/x"}, "ambiguous_path"),
        ({"X-Authgate-Host": None}, "unknown_host"),
        ({"X-Authgate-Host": ""}, "unknown_host"),
        ({"X-Authgate-Host": "evil.example"}, "unknown_host"),
        ({"X-Authgate-Host": "files.example.com, evil.example"}, "unknown_host"),
        ({"X-Authgate-Host": "a" * 301}, "conflicting_headers"),
        ({"X-Authgate-Method": None}, "conflicting_headers"),
        ({"X-Authgate-Method": ""}, "conflicting_headers"),
        ({"X-Authgate-Method": "get"}, "conflicting_headers"),
        ({"X-Authgate-Method": "G" * 33}, "conflicting_headers"),
        ({"X-Authgate-Method": "GET, PUT", "X-Authgate-Path": "/put/x"}, "conflicting_headers"),
        ({"X-Authgate-Scheme": None}, "conflicting_headers"),
        ({"X-Authgate-Scheme": "ftp"}, "conflicting_headers"),
        ({"X-Authgate-Scheme": "HTTPS"}, "conflicting_headers"),
    ],
)
def test_a_request_that_is_not_named_exactly_is_refused(door: Door, fields: dict[str, str | None], reason: str) -> None:
    reply = door.ask(fields=fields)

    assert (reply.status, reply.reason) == (403, reason)


@pytest.mark.parametrize(
    "name",
    [*USUAL, "X-Authgate-Path", "Cookie", "Authorization", "Accept", "Sec-Fetch-Mode", "X-Requested-With"],
)
def test_a_field_sent_twice_is_refused(door: Door, name: str) -> None:
    value = USUAL.get(name, "/public/x")

    reply = door.ask(fields={name: value}, more=[(name, value)])

    assert door.ask(fields={name: value}).status == 200
    assert (reply.status, reply.reason) == (403, "conflicting_headers")


def test_bytes_that_are_not_utf8_are_refused(door: Door) -> None:
    reply = door.ask(b"/public/\xff")

    assert (reply.status, reply.reason) == (403, "ambiguous_path")


def test_the_host_may_have_capitals_a_final_dot_and_a_port(door: Door) -> None:
    assert door.ask(fields={"X-Authgate-Host": "FILES.example.com.:8443"}).status == 200


@pytest.mark.parametrize("client", [None, "", "unix:", "10.0.0.1, 10.0.0.2"])
def test_an_address_that_is_missing_or_unreadable_is_unknown_not_refused(door: Door, client: str | None) -> None:
    assert door.ask("/public/x", {"X-Authgate-Client": client}).status == 200
    assert door.ask("/office/x", {"X-Authgate-Client": client}).status == 403
    assert door.ask("/office/x", {"X-Authgate-Client": "10.0.0.1"}).status == 200


@pytest.mark.parametrize("at", ["/", "/check/", "/forward", "/check/x", "/metrics", "/authgate/login"])
def test_nothing_else_is_answered_here(door: Door, at: str) -> None:
    assert door.ask(at=at).status == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Mode": "navigate"},
        {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    ],
)
def test_a_navigation_is_told_where_to_log_in(door: Door, fields: dict[str, str]) -> None:
    reply = door.ask("/staff/a b", {"X-Authgate-Uri": "/staff/a%20b?x=1", **fields})

    assert (reply.status, reply.reason) == (401, "login_required")
    assert reply.headers["location"] == "https://files.example.com/authgate/login?next=/staff/a%2520b%3Fx%3D1"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Accept": "*/*"},
        {"Accept": "application/json"},
        {"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"},
        {"Accept": "text/html", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Accept": "text/html", "X-Authgate-Method": "POST"},
    ],
)
def test_what_nobody_would_see_as_a_page_is_not_sent_to_the_login(door: Door, fields: dict[str, str]) -> None:
    reply = door.ask("/staff/x", fields)

    assert reply.status == 401
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    "uri", [None, "", "//evil.example/", "/\\evil.example", "/a\u00e4", "/" + "a" * 1024, "http://evil/"]
)
def test_a_return_address_that_is_no_plain_path_is_dropped(door: Door, uri: str | None) -> None:
    reply = door.ask("/staff/x", {"Accept": "text/html", "X-Authgate-Uri": uri})

    assert reply.headers["location"] == "https://files.example.com/authgate/login"


def test_programs_get_a_basic_challenge_and_scripts_do_not(door: Door) -> None:
    program = door.ask("/staff/x")
    scripts = [
        door.ask("/staff/x", {name: value})
        for name, value in (("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-origin"), ("X-Requested-With", "x"))
    ]

    assert program.headers["www-authenticate"] == 'Basic realm="files", charset="UTF-8"'
    assert {script.headers["www-authenticate"] for script in scripts} == {"Authgate"}


def test_a_refusal_has_no_challenge_and_no_address(door: Door) -> None:
    reply = door.ask("/bob/x", {"Authorization": ALICE, "Accept": "text/html"})

    assert reply.status == 403
    assert not reply.headers.keys() & {"www-authenticate", "location"}


def test_bytes_outside_the_safe_class_are_percent_encoded() -> None:
    subject = Subject("partner", "a,b%ü\n", frozenset({"x,y"}))

    headers = dict(identity_headers(subject, frozenset({"partner/x,y"})))

    assert headers[b"remote-user"] == b"partner/a%2Cb%25%C3%BC%0A"
    assert headers[b"remote-groups"] == b"partner/x%2Cy"


def test_groups_over_a_kibibyte_are_left_out_and_said_so() -> None:
    groups = frozenset(f"group-{number:04}" for number in range(200))

    headers = dict(identity_headers(Subject("", "alice", groups), groups))

    assert headers[b"remote-groups"] == b""
    assert headers[b"x-authgate-groups"] == b"overflow"


def test_a_raw_target_that_an_application_may_read_otherwise_is_refused(door: Door) -> None:
    plain = door.ask("/public/x", {"X-Authgate-Target": "/public/x?a=%2f.."})
    other = door.ask("/public/x", {"X-Authgate-Target": "/staff%2f..%2fpublic/x"})

    assert plain.status == 200
    assert (other.status, other.reason) == (403, "ambiguous_path")


def test_an_application_is_told_who_asks_where_no_rule_looks(door: Door) -> None:
    fields = {"Authorization": ALICE}

    static = door.ask("/public/x", fields)
    proxied = door.ask("/public/x", {**fields, "X-Authgate-Target": "/public/x"})
    nobody = door.ask("/public/x", {"X-Authgate-Target": "/public/x"})
    wrong = door.ask("/public/x", {"Authorization": "Basic YWxpY2U6d3Jvbmc=", "X-Authgate-Target": "/public/x"})

    assert (static.headers["remote-user"], static.headers["x-authgate-credential"]) == ("", "none")
    assert (proxied.headers["remote-user"], proxied.headers["x-authgate-credential"]) == ("alice", "basic")
    assert (nobody.status, nobody.headers["remote-user"]) == (200, "")
    assert (wrong.status, wrong.headers["remote-user"]) == (200, "")


def test_a_refusal_names_who_was_refused_for_the_log_and_not_as_remote_user(door: Door) -> None:
    reply = door.ask("/bob/x", {"Authorization": ALICE})

    assert (reply.status, reply.headers["x-authgate-user"]) == (403, "alice")
    assert "remote-user" not in reply.headers


def test_the_web_servers_own_login_proves_nothing_where_it_is_not_enabled(door: Door) -> None:
    assert door.ask("/staff/x", {"X-Authgate-User": "alice"}).reason == "login_required"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}, 200),
        ({"Origin": "https://app.example.com"}, 401),
        ({"Access-Control-Request-Method": "PUT"}, 401),
        (
            {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT", "X-Authgate-Method": "PUT"},
            401,
        ),
    ],
)
def test_a_preflight_is_an_options_request_with_both_of_its_fields(
    door: Door, fields: dict[str, str], status: int
) -> None:
    assert door.ask("/cors/x", {"X-Authgate-Method": "OPTIONS", **fields}).status == status


def test_name_and_address_of_a_person_are_told_to_the_application_when_there_is_one_of_each() -> None:
    one = user("alice", claims={"name": "Alice Ä.", "email": "alice@example.com"})
    two = Subject("", "bob", claims=frozenset({("email", "a@example.com"), ("email", "b@example.com")}))

    told, unsure = (dict(identity_headers(subject, frozenset())) for subject in (one, two))

    assert (told[b"remote-name"], told[b"remote-email"]) == (b"Alice %C3%84.", b"alice@example.com")
    assert (unsure[b"remote-name"], unsure[b"remote-email"]) == (b"", b"")


def test_handlers_find_none_of_the_web_servers_own_fields() -> None:
    fields = read_fields([(b"x-authgate-user", b"root"), (b"x-secret", b"s"), (b"cookie", b"a=b")])
    seen = ClientFields(fields)

    assert dict(seen) == {"cookie": "a=b"}
    assert [name for name in ("x-authgate-user", "x-secret", "cookie") if name in seen] == ["cookie"]
    assert seen.get("x-authgate-user") is None

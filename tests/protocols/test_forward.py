"""``/forward``: what is read of Caddy's and Traefik's question, and what is answered."""

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import KIND, Sessions, decode
from authgate.networks import NetworkSet, parse_network
from authgate.pdp import Pdp
from authgate.protocols.forward import create_forward
from authgate.protocols.peers import Peers, guarded_check, guarded_web
from authgate.protocols.subrequest import create_check
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import cheap, logins, users
from tests.policies import SITES, compiled
from tests.protocols.test_subrequest import ALICE, Reply

RULES = (
    {"paths": ["/public/**"], "allow": ["anyone"]},
    {"paths": ["/office/**"], "allow": ["ip:office"]},
    {"paths": ["/put/**"], "methods": ["PUT"], "allow": ["anyone"]},
    {"paths": ["/staff/**"], "allow": ["group:staff"], "name": "staff only"},
    {"paths": ["/bob/**"], "allow": ["user:bob"]},
    {"paths": ["/cors/**"], "allow": ["user:bob"], "preflight": True},
    {"paths": ["/a b/é"], "allow": ["anyone"]},
)
SECRET = "s" * 32
PROXY, STRANGER = ("198.51.100.1", 40000), ("198.51.100.2", 40000)
TRUSTED = NetworkSet([parse_network("198.51.100.1"), parse_network("203.0.113.0/24")])
OVER_UNIX_SOCKET = Peers(trusted=TRUSTED)
# What Caddy 2.6 sends (forward_auth), and Traefik 3 (ForwardAuth).
CADDY = {
    "Host": "files.example.com",
    "User-Agent": "curl/7.88.1",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "files.example.com",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Original-Uri": "/public/x",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Uri": "/public/x",
}
TRAEFIK = {
    "Host": "127.0.0.1:9091",
    "User-Agent": "curl/7.88.1",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "files.example.com",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Server": "gateway",
    "X-Forwarded-Uri": "/public/x",
    "X-Real-Ip": "192.0.2.1",
}
BROWSER = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


class Door:
    """The applications of both listeners, asked as a web server asks them."""

    def __init__(self, folder: Path, peers: Peers = OVER_UNIX_SOCKET) -> None:
        clock = MovableClock()
        people = users(folder, f"alice:{cheap('secret')}\n", "staff: alice\nsecret: alice\n")
        store = MemoryStore(clock)
        sessions = Sessions(CachedRecords(store, KIND, decode, 10), store, people, 60, 600, clock)
        basic = BasicVerifier(people, logins(people, Passwords(people)), clock)
        self.pdp = Pdp(compiled(*RULES), SITES, Credentials(sessions, basic))
        check = create_check(self.pdp, "files", clock, "v", create_forward(self.pdp, "files", clock, peers))
        self.app = guarded_check(check, peers, self.pdp) if peers.on_port else check
        self.told: list[tuple[bytes, bytes]] = []
        self.web = guarded_web(self._page, peers, self.pdp)

    async def _page(self, scope: MutableMapping[str, Any], _: object, send: Any) -> None:
        self.told = scope["headers"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(
        self,
        target: str | None = "/public/x",
        fields: Mapping[str, str | None] = {},
        *,
        more: Sequence[tuple[str, str]] = (),
        usual: Mapping[str, str] = TRAEFIK,
        peer: tuple[str, int] | None = None,
        at: str = "/forward",
    ) -> Reply:
        """Ask about a target, with the usual fields, some changed or (None) left out, and `more` appended."""
        named = {name: target for name in usual if name in {"X-Forwarded-Uri", "X-Forwarded-Original-Uri"}}
        merged = {**usual, **named, **fields}
        headers = [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in (*merged.items(), *more)
            if value is not None
        ]
        return asyncio.run(self._ask(self.web if at.startswith("/authgate/") else self.app, at, headers, peer))

    @staticmethod
    async def _ask(app: Any, path: str, headers: list[tuple[bytes, bytes]], peer: tuple[str, int] | None) -> Reply:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            raise AssertionError("the body of a question is not read")

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        # The question's own method says nothing.
        scope = {"type": "http", "method": "DELETE", "path": path, "headers": headers, "client": peer}
        await app(scope, receive, send)
        start, body = sent
        names = [name.decode() for name, _ in start["headers"]]
        assert len(names) == len(set(names))
        return Reply(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, body["body"])


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.mark.parametrize("usual", [CADDY, TRAEFIK], ids=["caddy", "traefik"])
def test_the_question_of_each_server_is_understood(door: Door, usual: Mapping[str, str]) -> None:
    allowed = door.ask(usual=usual)
    alice = door.ask("/staff/x?y=1", {"Authorization": ALICE}, usual=usual)
    refused = door.ask("/nothing", usual=usual)

    assert (allowed.status, allowed.body, allowed.headers["cache-control"]) == (200, b"", "no-store")
    assert (allowed.headers["remote-user"], alice.headers["remote-user"]) == ("", "alice")
    assert alice.headers["remote-groups"] == "staff"
    assert (refused.status, refused.body, refused.reason) == (403, b"", "no_rule")


def test_who_asks_is_told_of_an_open_path_too(door: Door) -> None:
    assert door.ask("/public/x", {"Authorization": ALICE}).headers["remote-user"] == "alice"


def test_a_refusal_tells_the_client_no_rule(door: Door) -> None:
    for reply in (door.ask("/nothing"), door.ask("/staff/x"), door.ask("/bob/x", {"Authorization": ALICE})):
        assert reply.status in {401, 403}
        assert not reply.headers.keys() & {"x-authgate-rule", "x-authgate-user", "x-authgate-policy", "remote-user"}


def test_a_navigation_is_sent_to_the_login_and_a_program_is_told(door: Door) -> None:
    sent = door.ask("/staff/x?y=%20", BROWSER)
    script = door.ask("/staff/x", {"Sec-Fetch-Mode": "cors"})
    program = door.ask("/staff/x")
    post = door.ask("/staff/x", {**BROWSER, "X-Forwarded-Method": "POST"})

    assert (sent.status, sent.body) == (302, b"")
    assert sent.headers["location"] == "https://files.example.com/authgate/login?next=/staff/x%3Fy%3D%2520"
    assert "www-authenticate" not in sent.headers
    assert (script.status, script.headers["www-authenticate"]) == (401, "Authgate")
    assert (program.status, program.headers["www-authenticate"]) == (401, 'Basic realm="files", charset="UTF-8"')
    assert (post.status, "location" in post.headers) == (401, False)


def test_the_path_is_decoded_once(door: Door) -> None:
    assert door.ask("/a%20b/%C3%A9").status == 200
    assert door.ask("/%70ublic/x").status == 200
    assert door.ask("/public/%25").status == 200
    assert door.ask("/%2570ublic/x").status == 403


AMBIGUOUS = [
    "/public/../staff/x", "/public/%2e%2e/staff/x", "/public//x", "/public/x%2fy", "/public/x%5Cy", "/public\\x",
    "/public;x/y", "/public/x#y", "/public/%252e%252e/x", "/public/%252fx", "/public/%zz", "/public/%", "/public/%4",
    "/public/x%00", "/public/%c0%ae", "/public/%ff", "public/x", "*", "http://files.example.com/public/x", "?/public/x",
]  # fmt: skip


@pytest.mark.parametrize("target", AMBIGUOUS)
def test_a_target_with_two_readings_is_refused(door: Door, target: str) -> None:
    reply = door.ask(target)

    assert (reply.status, reply.reason) == (403, "ambiguous_path")


def test_the_query_is_no_path(door: Door) -> None:
    assert door.ask("/public/x?/../..//%2f;y").status == 200
    assert door.ask("/staff/x?/public/x").status == 401
    assert door.ask("/staff/x%3f/public/x").status == 401


@pytest.mark.parametrize("name", ["X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Uri"])
def test_each_field_that_names_the_request_is_there_once(door: Door, name: str) -> None:
    missing, empty = door.ask(fields={name: None}), door.ask(fields={name: ""})
    twice, conflicting = door.ask(more=[(name, TRAEFIK[name])]), door.ask(more=[(name, "x")])

    assert {missing.status, empty.status, twice.status, conflicting.status} == {403}
    assert {twice.reason, conflicting.reason} == {"conflicting_headers"}
    wanted = {"X-Forwarded-Uri": "missing_path", "X-Forwarded-Host": "unknown_host"}
    assert {missing.reason, empty.reason} == {wanted.get(name, "conflicting_headers")}


@pytest.mark.parametrize("name", ["Cookie", "Authorization", "Accept", "Origin"])
def test_a_field_of_the_client_that_is_sent_twice_is_refused(door: Door, name: str) -> None:
    assert door.ask(fields={name: "a"}, more=[(name, "b")]).reason == "conflicting_headers"


@pytest.mark.parametrize(
    "name", ["Path", "Method", "Host", "Uri", "Target", "User", "Client", "Self", "Query", "Anything"]
)
def test_the_other_family_is_never_heard_beside_this_one(door: Door, name: str) -> None:
    # tinyauth, pull request 1089: with both, the client chooses which of two requests is decided.
    reply = door.ask("/public/x", {f"X-Authgate-{name}": "/public/x"})

    assert (reply.status, reply.reason) == (403, "conflicting_headers")


def test_this_family_is_not_heard_at_check(door: Door) -> None:
    assert door.ask(at="/check").reason == "missing_path"


@pytest.mark.parametrize(
    "forged",
    [
        {"X-Original-URL": "/public/x", "X-Rewrite-URL": "/public/x"},
        {"X-Forwarded-Prefix": "/public"},
        {"X-HTTP-Method-Override": "PUT"},
        {"X_Forwarded_Uri": "/public/x"},
        {"Remote-User": "bob", "X-Forwarded-User": "bob"},
    ],
)
def test_nothing_else_names_the_request(door: Door, forged: Mapping[str, str]) -> None:
    assert door.ask("/bob/x", forged).status == 401


def test_a_path_that_was_rewritten_before_the_question_is_refused(door: Door) -> None:
    rewritten = door.ask("/public/x", {"X-Forwarded-Original-Uri": "/staff/public/x"})
    added = door.ask("/public/x?a", {"X-Forwarded-Original-Uri": "/public/x?b"})
    escaped = door.ask("/a%20b/%C3%A9", {"X-Forwarded-Original-Uri": "/a%20b/\xc3\xa9"})

    assert (rewritten.status, rewritten.reason) == (403, "ambiguous_path")
    assert (added.status, escaped.status) == (200, 200)


def test_the_method_is_the_clients(door: Door) -> None:
    assert door.ask("/put/x", {"X-Forwarded-Method": "PUT"}).status == 200
    assert door.ask("/put/x").status == 403
    for method in ("get", "G" * 33, "GÉT"):
        assert door.ask(fields={"X-Forwarded-Method": method}).reason == "conflicting_headers"


def test_a_preflight_is_known(door: Door) -> None:
    asked = {"X-Forwarded-Method": "OPTIONS", "Origin": "https://x", "Access-Control-Request-Method": "PUT"}

    assert door.ask("/cors/x", asked).status == 200
    assert door.ask("/cors/x", {**asked, "Origin": None}).status == 401


@pytest.mark.parametrize(
    ("host", "reason"),
    [("FILES.example.com.", "allowed"), ("files.example.com:8443", "allowed"), ("evil.example", "unknown_host"),
     ("files.example.com" + "x" * 300, "conflicting_headers"), ("", "unknown_host")],
)  # fmt: skip
def test_the_host_is_the_clients(door: Door, host: str, reason: str) -> None:
    assert door.ask(fields={"X-Forwarded-Host": host}).reason == reason


@pytest.mark.parametrize(
    ("scheme", "status"), [("https", 200), ("wss", 200), ("HTTPS", 403), ("ftp", 403), ("a,b", 403)]
)
def test_a_websocket_is_opened_over_http(door: Door, scheme: str, status: int) -> None:
    assert door.ask(fields={"X-Forwarded-Proto": scheme}).status == status


@pytest.mark.parametrize(
    ("hops", "status"),
    [
        (["10.0.0.1"], 200),
        (["10.0.0.1", "203.0.113.7"], 200),
        (["10.0.0.1, 203.0.113.7"], 200),
        (["192.0.2.1"], 403),
        # The right-most that is not trusted counts, whatever a client wrote before it.
        (["10.0.0.1, 192.0.2.1"], 403),
        (["10.0.0.1, 192.0.2.1", "203.0.113.7"], 403),
        (["10.0.0.1, nonsense"], 403),
        ([], 403),
        ([""], 403),
    ],
)
def test_the_client_stands_behind_the_trusted_proxies(door: Door, hops: list[str], status: int) -> None:
    more = [("X-Forwarded-For", hop) for hop in hops]

    assert door.ask("/office/x", {"X-Forwarded-For": None}, more=more).status == status


# On a port


@pytest.mark.parametrize(
    ("secret", "sent", "peer", "status"),
    [
        ("", None, PROXY, 200),
        ("", None, STRANGER, 403),
        ("", None, None, 403),
        ("", "", PROXY, 200),
        (SECRET, SECRET, PROXY, 200),
        (SECRET, None, PROXY, 403),
        (SECRET, SECRET[:-1], PROXY, 403),
        (SECRET, f"{SECRET}s", PROXY, 403),
        (SECRET, SECRET, STRANGER, 403),
    ],
)
def test_on_a_port_only_trusted_proxies_are_heard(
    tmp_path: Path, secret: str, sent: str | None, peer: tuple[str, int] | None, status: int
) -> None:
    reply = Door(tmp_path, Peers(True, secret.encode(), TRUSTED)).ask(fields={"X-Authgate-Secret": sent}, peer=peer)

    assert reply.status == status
    assert status == 200 or reply.reason == "untrusted_peer"


NGINX = {
    "X-Authgate-Path": "/public/x",
    "X-Authgate-Method": "GET",
    "X-Authgate-Host": "files.example.com",
    "X-Authgate-Scheme": "https",
    "X-Authgate-Client": "192.0.2.1",
    "X-Authgate-Secret": SECRET,
}


@pytest.mark.parametrize("sent", [None, "", "x", SECRET[:-1], f"{SECRET} "])
def test_on_a_port_check_needs_the_secret(tmp_path: Path, sent: str | None) -> None:
    door = Door(tmp_path, Peers(True, SECRET.encode(), TRUSTED))
    wrong = door.ask(fields={"X-Authgate-Secret": sent}, usual=NGINX, peer=PROXY, at="/check")

    assert (wrong.status, wrong.reason, wrong.body) == (403, "untrusted_peer", b"")
    assert door.ask(usual=NGINX, peer=STRANGER, at="/check").status == 200
    twice = door.ask(usual=NGINX, more=[("X-Authgate-Secret", SECRET)], peer=PROXY, at="/check")
    assert twice.reason == "untrusted_peer"


def test_on_a_port_without_a_secret_check_answers_nobody(tmp_path: Path) -> None:
    door = Door(tmp_path, Peers(True, b"", TRUSTED))

    for sent in (None, "", SECRET):
        reply = door.ask(fields={"X-Authgate-Secret": sent}, usual=NGINX, peer=PROXY, at="/check")
        assert reply.reason == "untrusted_peer"


def page_fields(door: Door) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in door.told if name.startswith((b"x-a", b"x-f"))}


def test_on_a_port_the_pages_believe_a_trusted_proxy(tmp_path: Path) -> None:
    door = Door(tmp_path, Peers(True, b"", TRUSTED))
    forwarded = {"X-Forwarded-For": "10.9.9.9, 192.0.2.1"}

    assert door.ask(fields=forwarded, peer=PROXY, at="/authgate/login").status == 200
    assert page_fields(door) == {
        "x-authgate-host": "files.example.com",
        "x-authgate-scheme": "https",
        "x-authgate-client": "192.0.2.1",
    }
    assert door.ask(peer=STRANGER, at="/authgate/login").reason == "untrusted_peer"
    assert door.ask(fields={"X-Authgate-Host": "x"}, peer=PROXY, at="/authgate/login").reason == "untrusted_peer"


def test_on_a_port_the_pages_believe_who_knows_the_secret(tmp_path: Path) -> None:
    door = Door(tmp_path, Peers(True, SECRET.encode(), TRUSTED))

    assert door.ask(usual=NGINX, peer=STRANGER, at="/authgate/login").status == 200
    assert page_fields(door)["x-authgate-client"] == "192.0.2.1"
    for changed in (
        {"X-Authgate-Secret": None},
        {"X-Authgate-Secret": "x"},
        {"X-Forwarded-Host": "files.example.com"},
    ):
        assert door.ask(fields=changed, usual=NGINX, peer=PROXY, at="/authgate/login").reason == "untrusted_peer"
    assert door.ask(peer=PROXY, at="/authgate/login").reason == "untrusted_peer"
    assert door.ask(fields={"X-Authgate-Secret": SECRET}, peer=PROXY, at="/authgate/login").status == 200

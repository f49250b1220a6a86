"""What is read of Apache's parameters, and what Apache is answered."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.directory import Directory
from authgate.credentials.passwords import Passwords
from authgate.credentials.people import People
from authgate.credentials.server import ServerLogin
from authgate.credentials.session import KIND, Sessions, decode
from authgate.errors import StoreUnavailable
from authgate.handlers import Handlers
from authgate.model import AccessRequest, Decision, Reason, Subject, allow
from authgate.pdp import Answer, Pdp
from authgate.protocols.authorizer import Authorizer
from authgate.protocols.fastcgi import Asked
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests import fastcgi
from tests.clock import MovableClock
from tests.credentials.people import cheap, logins, settle, users, write
from tests.fastcgi import Reply
from tests.policies import SITES, compiled

SECRET = "0123456789abcdef0123456789abcdef"
ALICE = "Basic YWxpY2U6c2VjcmV0"
WRONG = "Basic YWxpY2U6d3Jvbmc="
SESSION = "__Host-authgate"
RULES = (
    {"paths": ["/public/**"], "allow": ["anyone"], "name": "open to all"},
    {"paths": ["/office/**"], "allow": ["ip:office"]},
    {"paths": ["/put/**"], "methods": ["PUT"], "allow": ["anyone"]},
    {"paths": ["/cached/**"], "allow": ["anyone"], "cache": "public, max-age=60"},
    {"paths": ["/handler/**"], "allow": ["handler:site::asked"]},
    {"paths": ["/staff/**"], "allow": ["group:staff"], "deny": ["group:secret & via:basic"]},
    {"paths": ["/bob/**"], "allow": ["user:bob"]},
    {"paths": ["/any/**"], "allow": ["authenticated"]},
    {"paths": ["/plain/**"], "hosts": ["localhost"], "allow": ["anyone"]},
)
# What Apache 2.4.71 sends for `curl http://127.0.0.1/public/x`, but for paths of its own machine.
USUAL: Mapping[str, str] = {
    "SCRIPT_URL": "/public/x",
    "AG_PATH": "/public/x",
    "AG_SECRET": SECRET,
    "HTTP_HOST": "evil.example.com",
    "HTTP_USER_AGENT": "curl/7.88.1",
    "HTTP_ACCEPT": "*/*",
    "PATH": "/usr/bin:/bin",
    "SERVER_SIGNATURE": "",
    "SERVER_NAME": "files.example.com",
    "SERVER_ADDR": "127.0.0.1",
    "SERVER_PORT": "443",
    "REMOTE_ADDR": "192.0.2.1",
    "REQUEST_SCHEME": "https",
    "SCRIPT_FILENAME": "/srv/public/x",
    "REMOTE_PORT": "52620",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REQUEST_METHOD": "GET",
    "QUERY_STRING": "",
    "REQUEST_URI": "/public/x",
    "FCGI_ROLE": "AUTHORIZER",
    "FCGI_APACHE_ROLE": "AUTHENTICATOR",
    "HTTP_CONNECTION": "close",
}
BROWSER = {"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document", "HTTP_ACCEPT": "text/html"}
BEHIND_A_LOGIN = {"FCGI_APACHE_ROLE": "AUTHORIZER", "REMOTE_USER": "alice"}


class AwayStore(MemoryStore):
    """A store that cannot be read."""

    async def get(self, kind: str, key: str) -> None:
        raise StoreUnavailable("away")


class NotingPdp(Pdp):
    """Knows why it refused what was no request."""

    reasons: list[str]

    def refuse(self, reason: Reason, request: AccessRequest | None = None) -> Answer:
        self.reasons.append(reason)
        return super().refuse(reason)


class Door:
    """The authorizer, asked as Apache asks it."""

    def __init__(self, folder: Path, *, server_login: bool = False, secret: str = SECRET, away: bool = False) -> None:
        clock = MovableClock()
        self.people = people = users(
            folder, f"alice:{cheap('secret')}\n", "staff: alice\nsecret: alice\nhidden: alice\n"
        )
        self.store = AwayStore(clock) if away else MemoryStore(clock)
        self.seen: list[AccessRequest] = []
        self.say: Callable[[], Decision | None] = allow

        def asked(request: AccessRequest) -> Decision | None:
            self.seen.append(request)
            return self.say()

        self.sessions = Sessions(CachedRecords(self.store, KIND, decode, 10), self.store, people, 60, 600, clock)
        self.basic = BasicVerifier(people, logins(people, Passwords(people)), clock)
        server = ServerLogin(people, People(Directory(), clock)) if server_login else None
        credentials = Credentials(self.sessions, self.basic, server)
        self.pdp = NotingPdp(compiled(*RULES), SITES, credentials, Handlers({"site::asked": asked}), node="ab1")
        self.pdp.reasons = []
        self.authorizer = Authorizer(self.pdp, "files", clock, secret.encode())

    def ask(
        self,
        path: str | bytes | None = "/public/x",
        parameters: Mapping[str, str | bytes | None] = {},
        *,
        more: Iterable[tuple[str, str]] = (),
    ) -> Reply:
        """Ask about a path, with the usual parameters, some changed or (None) left out, and `more` appended."""
        merged = {**USUAL, "AG_PATH": path, **parameters}
        pairs = [(name, value) for name, value in (*merged.items(), *more) if value is not None]
        return self.ask_raw(fastcgi.encoded(pairs))

    def ask_raw(self, content: bytes | None) -> Reply:
        """Ask with these parameters."""

        async def answered() -> bytes:
            said = self.authorizer.ask(Asked(content))
            return said if isinstance(said, bytes) else await said

        return fastcgi.headers(asyncio.run(answered()))

    def log_in(self) -> str:
        """Return a cookie of alice's."""
        return f"{SESSION}={asyncio.run(self.sessions.begin(Subject('', 'alice'), SITES[0]))}"


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def refused(reply: Reply) -> int:
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.status


def test_allowing_answer_holds_status_and_variables_and_nothing_else(door: Door) -> None:
    reply = door.ask()

    assert reply.status == 200
    assert {name for name in reply.headers if not name.startswith("Variable-")} == set()
    assert reply.headers["Variable-AUTHGATE_RULE"] == "open to all"
    assert reply.headers["Variable-AUTHGATE_CREDENTIAL"] == "none"
    assert reply.headers["Variable-AUTHGATE_CACHE"] == "private, no-cache"
    assert reply.headers["Variable-AUTHGATE_DECISION"].startswith("ab1-")
    # Apache's DefaultUser stands for nobody.
    assert "Variable-AUTH_USER" not in reply.headers


def test_secret_is_taken_out_of_the_environment_of_what_is_behind(door: Door) -> None:
    assert door.ask().headers["Variable-AG_SECRET"] == ""


def test_identity_is_told_to_applications_behind(door: Door) -> None:
    reply = door.ask("/any/x", {"HTTP_AUTHORIZATION": ALICE})

    assert reply.headers["Variable-AUTH_USER"] == "alice"
    # Those that rules name.
    assert reply.headers["Variable-REMOTE_GROUPS"] == "secret,staff"
    assert reply.headers["Variable-AUTHGATE_CREDENTIAL"] == "basic"


def test_groups_that_are_too_many_are_said_to_be(door: Door, tmp_path: Path) -> None:
    names = [f"{'g' * 60}{n}" for n in range(20)]
    door.pdp.policy = compiled({"paths": ["/**"], "allow": [f"group:{name}" for name in names]})
    write(tmp_path / "groups", "".join(f"{name}: alice\n" for name in names))
    settle(door.people, MovableClock())

    reply = door.ask("/x", {"HTTP_AUTHORIZATION": ALICE})

    assert reply.headers["Variable-AUTHGATE_GROUPS"] == "overflow"
    assert "Variable-REMOTE_GROUPS" not in reply.headers


def test_identity_is_told_where_no_rule_asks_for_it(door: Door) -> None:
    assert door.ask("/public/x", {"HTTP_AUTHORIZATION": ALICE}).headers["Variable-AUTH_USER"] == "alice"
    assert "Variable-AUTH_USER" not in door.ask("/public/x", {"HTTP_AUTHORIZATION": WRONG}).headers


def test_cache_of_the_rule_is_told(door: Door) -> None:
    assert door.ask("/cached/x").headers["Variable-AUTHGATE_CACHE"] == "public, max-age=60"


@pytest.mark.parametrize(
    "changed",
    [
        {"AG_SECRET": None},
        {"AG_SECRET": ""},
        {"AG_SECRET": SECRET[:-1]},
        {"AG_SECRET": SECRET + "x"},
        {"AG_SECRET": SECRET.upper()},
        {"AG_SECRET": "\u00e9" * 16},
        {"AG_SECRET": None, "HTTP_AG_SECRET": SECRET},
        {"AG_SECRET": None, "AG_PATH": None, "SERVER_NAME": "unknown.example.com"},
    ],
)
def test_wrong_secret_is_refused_without_a_look_at_anything_else(door: Door, changed: Mapping[str, str | None]) -> None:
    assert refused(door.ask("/public/x", changed)) == 403
    assert door.pdp.reasons == ["untrusted_peer"]


def test_secret_sent_twice_is_wrong(door: Door) -> None:
    assert refused(door.ask(more=[("AG_SECRET", SECRET)])) == 403


@pytest.mark.parametrize("sent", ["", None])
def test_without_a_secret_nobody_is_believed(tmp_path: Path, sent: str | None) -> None:
    assert refused(Door(tmp_path, secret="").ask("/public/x", {"AG_SECRET": sent})) == 403


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "conflicting_headers"),
        (b"", "untrusted_peer"),
        (b"\x05", "untrusted_peer"),
        (fastcgi.encoded(USUAL) + b"\x01", "untrusted_peer"),
        (fastcgi.encoded(USUAL)[:-1], "untrusted_peer"),
        (fastcgi.encoded({**USUAL, "AG_PATH": ""}), "missing_path"),
        (fastcgi.encoded([*USUAL.items(), ("AG_PATH", "/public/x")]), "conflicting_headers"),
        (fastcgi.encoded([*USUAL.items(), ("REQUEST_METHOD", "GET")]), "conflicting_headers"),
        (fastcgi.encoded([*USUAL.items(), ("HTTP_COOKIE", ""), ("HTTP_COOKIE", "")]), "conflicting_headers"),
        (fastcgi.encoded({**USUAL, "REQUEST_METHOD": "get"}), "conflicting_headers"),
        (fastcgi.encoded({**USUAL, "REQUEST_SCHEME": "ftp"}), "conflicting_headers"),
        (fastcgi.encoded({**USUAL, "SERVER_NAME": ""}), "unknown_host"),
        (fastcgi.encoded({**USUAL, "SERVER_NAME": "a" * 9999}), "conflicting_headers"),
    ],
)
def test_what_names_no_request_is_refused_with_its_reason(door: Door, content: bytes | None, why: str) -> None:
    reply = door.ask_raw(content)

    assert (reply.status, door.pdp.reasons) == (403, [why])
    assert set(reply.headers) == {"Cache-Control", "X-Authgate-Decision"}


def test_parameters_that_do_not_count_may_come_twice(door: Door) -> None:
    assert door.ask(more=[("HTTP_HOST", "x"), ("PATH", "/")]).status == 200


def test_path_is_missing_in_a_virtual_host_without_the_rule(door: Door) -> None:
    assert door.ask(None).status == 403


@pytest.mark.parametrize(
    "path",
    ["/public//x", "/public/../staff/x", "/public/./x", "public/x", "/public/\n", "/public/\x7f", b"/public/\xff", "*"],
)
def test_path_with_two_readings_is_refused(door: Door, path: str | bytes) -> None:
    assert door.ask(path).status == 403


@pytest.mark.parametrize("path", ["/public/\u00fc", "/public/a b", "/public/%2f", "/public/a;x?y#z", "/public/x: y"])
def test_path_is_taken_as_apache_has_decoded_it(door: Door, path: str) -> None:
    assert door.ask(path).status == 200


def test_request_uri_names_no_path(door: Door) -> None:
    assert door.ask("/staff/x", {"REQUEST_URI": "/public/x"}).status == 401
    assert door.ask("/public/x", {"REQUEST_URI": "/staff/x"}).status == 200


@pytest.mark.parametrize(
    ("name", "status"),
    [("LOCALHOST.", 200), ("localhost:8080", 200), ("files.example.com", 403), ("evil.example.com", 403)],
)
def test_site_is_the_servers_name_and_not_what_the_client_calls_it(door: Door, name: str, status: int) -> None:
    assert door.ask("/plain/x", {"SERVER_NAME": name, "HTTP_HOST": "localhost"}).status == status


def test_method_and_address_are_those_of_the_client(door: Door) -> None:
    assert door.ask("/put/x", {"REQUEST_METHOD": "PUT", "HTTP_X_HTTP_METHOD_OVERRIDE": "GET"}).status == 200
    assert door.ask("/put/x", {"HTTP_X_HTTP_METHOD_OVERRIDE": "PUT"}).status == 403
    assert door.ask("/office/x", {"REMOTE_ADDR": "10.1.2.3", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}).status == 200
    assert door.ask("/office/x", {"HTTP_X_FORWARDED_FOR": "10.1.2.3", "HTTP_X_REAL_IP": "10.1.2.3"}).status == 403


def test_handlers_see_the_fields_that_are_read_and_no_others(door: Door) -> None:
    parameters = {
        "QUERY_STRING": "a=1&b",
        "HTTP_COOKIE": "x=1",
        "HTTP_X_SECRET": "x",
        "HTTP_SEC_FETCH_SITE": "none",
        "HTTP_X_AUTHGATE_USER": "root",
        "REMOTE_USER": "root",
    }

    assert door.ask("/handler/x", parameters).status == 200

    (request,) = door.seen
    assert request.query == "a=1&b"
    assert dict(request.headers) == {"accept": "*/*", "cookie": "x=1", "sec-fetch-site": "none"}


def test_handler_that_fails_refuses(door: Door) -> None:
    door.say = lambda: 1 / 0  # type: ignore[assignment, return-value] # what handlers do

    assert refused(door.ask("/handler/x")) == 403


# Who asks


@pytest.mark.parametrize("form", ["{}", "a=1; {}", "{}, a=1", "{};a=1", "a=b,c; {}, d=e"])
def test_session_cookie_is_found_in_one_field_and_in_two(door: Door, form: str) -> None:
    assert door.ask("/staff/x", {"HTTP_COOKIE": form.format(door.log_in())}).status == 200


@pytest.mark.parametrize(
    "form",
    [
        "{0}; {0}",
        "{0}, {0}",
        "{0}; a=1, {0}",
        f"{{0}}, {SESSION}=other",
        f"{SESSION}=, {{0}}",
        "a=1, {0}",
        "a=b,c, {0}; d=e",
    ],
)
def test_session_cookie_sent_twice_or_perhaps_by_a_neighbouring_host_is_bad(door: Door, form: str) -> None:
    assert door.ask("/staff/x", {"HTTP_COOKIE": form.format(door.log_in())}).status == 401


@pytest.mark.parametrize("form", ["a={}", "x{}", "a=1,{}", "a=1 {}"])
def test_session_cookie_within_another_is_none(door: Door, form: str) -> None:
    assert door.ask("/staff/x", {"HTTP_COOKIE": form.format(door.log_in())}).status == 401


@pytest.mark.parametrize("role", ["AUTHENTICATOR", "", None, "authorizer", "RESPONDER"])
def test_user_that_apache_has_not_verified_is_not_believed(tmp_path: Path, role: str | None) -> None:
    door = Door(tmp_path, server_login=True)

    assert door.ask("/any/x", {"REMOTE_USER": "alice", "FCGI_APACHE_ROLE": role}).status == 401


def test_user_of_apaches_own_login_is_believed_behind_it(tmp_path: Path) -> None:
    reply = Door(tmp_path, server_login=True).ask("/staff/x", BEHIND_A_LOGIN)

    assert reply.status == 200
    assert reply.headers["Variable-AUTH_USER"] == "alice"
    assert reply.headers["Variable-AUTHGATE_CREDENTIAL"] == "server"


def test_user_of_apaches_own_login_is_not_believed_where_it_is_off(door: Door) -> None:
    assert refused(door.ask("/staff/x", BEHIND_A_LOGIN)) == 403


def test_default_user_of_the_other_form_is_nobody(tmp_path: Path) -> None:
    assert refused(Door(tmp_path, server_login=True).ask("/any/x", {**BEHIND_A_LOGIN, "REMOTE_USER": "-"})) == 403


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/bob/x", {}),
        ("/staff/x", {"REMOTE_USER": "mallory"}),
        ("/any/x", {"REMOTE_USER": b"\xff"}),
        ("/no/x", BROWSER),
    ],
)
def test_behind_apaches_own_login_authgate_leads_to_none(
    tmp_path: Path, path: str, parameters: Mapping[str, str | bytes]
) -> None:
    reply = Door(tmp_path, server_login=True).ask(path, {**BEHIND_A_LOGIN, **parameters})

    assert reply.status == 403
    assert set(reply.headers) == {"Cache-Control", "X-Authgate-Decision"}


# Refusals


def test_refusal_holds_its_decision_and_is_not_kept(door: Door) -> None:
    reply = door.ask("/no/rule")

    assert reply.status == 403
    assert set(reply.headers) == {"Cache-Control", "X-Authgate-Decision"}
    assert reply.headers["X-Authgate-Decision"].startswith("ab1-")


def test_login_of_a_navigation_is_a_redirect(door: Door) -> None:
    reply = door.ask("/staff/x", {**BROWSER, "REQUEST_URI": "/staff/x?a=%20"})

    assert reply.status == 302
    assert set(reply.headers) == {"Location", "Cache-Control", "X-Authgate-Decision"}
    assert reply.headers["Location"] == "https://files.example.com/authgate/login?next=/staff/x%3Fa%3D%2520"


@pytest.mark.parametrize(
    ("target", "end"),
    [
        ("http://evil:99/staff/x?y", "/login?next=/staff/x%3Fy"),
        ("http://evil", "/login"),
        ("http://evil//evil", "/login"),
        ("//evil/x", "/login"),
        ("*", "/login"),
        ("", "/login"),
        (None, "/login"),
        ("/" + "x" * 2000, "/login"),
        (b"/\xff\r\nX: y", "/login"),
    ],
)
def test_return_address_is_a_path_of_the_site(door: Door, target: str | bytes | None, end: str) -> None:
    reply = door.ask("/staff/x", {**BROWSER, "REQUEST_URI": target})

    assert reply.headers["Location"] == f"https://files.example.com/authgate{end}"


@pytest.mark.parametrize(
    ("parameters", "challenge"),
    [
        ({}, 'Basic realm="files", charset="UTF-8"'),
        ({**BROWSER, "REQUEST_METHOD": "POST"}, "Authgate"),
        ({"HTTP_SEC_FETCH_MODE": "cors"}, "Authgate"),
        ({"HTTP_X_REQUESTED_WITH": "XMLHttpRequest", "HTTP_ACCEPT": "text/html"}, "Authgate"),
    ],
)
def test_login_of_others_is_a_challenge(door: Door, parameters: Mapping[str, str], challenge: str) -> None:
    reply = door.ask("/staff/x", parameters)

    assert reply.status == 401
    assert set(reply.headers) == {"WWW-Authenticate", "Cache-Control", "X-Authgate-Decision"}
    assert reply.headers["WWW-Authenticate"] == challenge


def test_store_that_is_away_is_503(tmp_path: Path) -> None:
    reply = Door(tmp_path, away=True).ask("/staff/x", {**BROWSER, "HTTP_COOKIE": f"{SESSION}={'x' * 43}"})

    assert reply.status == 503
    assert set(reply.headers) == {"Cache-Control", "X-Authgate-Decision", "Retry-After"}
    assert reply.headers["Retry-After"] == "5"


def test_public_path_stays_public_while_the_store_is_away(tmp_path: Path) -> None:
    assert Door(tmp_path, away=True).ask("/public/x", {"HTTP_COOKIE": f"{SESSION}={'x' * 43}"}).status == 200


def test_store_that_is_away_asks_for_no_password_behind_a_login(tmp_path: Path) -> None:
    """Apache makes 401 of all but 500, and a browser would throw away the right password."""
    cookie = {"HTTP_COOKIE": f"{SESSION}={'x' * 43}", "FCGI_APACHE_ROLE": "AUTHORIZER"}

    reply = Door(tmp_path, away=True).ask("/staff/x", cookie)

    assert reply.status == 500
    assert set(reply.headers) == {"Cache-Control", "X-Authgate-Decision"}

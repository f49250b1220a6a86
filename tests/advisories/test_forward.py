"""Published bypasses of the doors that are told the request in ``X-Forwarded-*``, asked without a web server between.

Through Caddy the tests beside this one send what a client can send.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from authgate.app import create_worker
from authgate.config import parse
from authgate.errors import ConfigError

USUAL = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "files.example.com",
    "X-Forwarded-For": "192.0.2.1",
}
PROXY = "10.9.8.7"
SECRET = "s3" * 24
PORT = "127.0.0.1:9091"


class Door:
    """The listener `check` of a worker that is configured so."""

    def __init__(self, folder: Path, listen: Mapping[str, str], trusted: Sequence[str]) -> None:
        rules = [
            {"name": "public", "paths": ["/public/**"], "allow": ["anyone"]},
            {"name": "office", "paths": ["/office/**"], "allow": ["ip:office"]},
            {"name": "staff", "paths": ["/staff/**"], "allow": ["group:staff"]},
        ]
        secret = folder / "check.secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        (folder / "users.htpasswd").touch()
        (folder / "groups").touch()
        document: dict[str, object] = {
            "store": "memory:",
            "workers": 1,
            "trusted_proxies": list(trusted),
            "sites": [{"origin": "https://files.example.com"}],
            "listen": dict(listen),
            "users": {"htpasswd": "users.htpasswd", "groups": "groups"},
            "networks": {"office": ["10.0.0.0/16"]},
            "audit": {"file": "audit.log"},
            "rules": rules,
        }
        self.worker = create_worker(parse(document, folder / "authgate.toml"))

    def ask(
        self,
        uri: str,
        fields: Mapping[str, str | None] = {},
        *,
        more: Sequence[tuple[str, str]] = (),
        peer: str = PROXY,
        at: str = "/forward",
    ) -> tuple[int, str]:
        """Ask about a target and return status and reason."""
        named = {**USUAL, "X-Forwarded-Uri": uri, **fields}
        headers = [(name, value) for name, value in named.items() if value is not None] + list(more)
        scope = {
            "type": "http",
            "path": at,
            "method": "GET",
            "client": (peer, 40000),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        }
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.disconnect"}

        async def once() -> None:
            await self.worker.applications["check"](scope, receive, send)

        asyncio.run(once())
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answered.get("x-authgate-reason", "")


Build = Callable[..., Door]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Build]:
    """Give what makes a listener of the lines about it, on a port if none are given."""
    with ExitStack() as stack:

        def build(*trusted: str, listen: Mapping[str, str] | None = None) -> Door:
            made = Door(tmp_path, {"check": PORT} if listen is None else listen, trusted)
            stack.callback(lambda: asyncio.run(made.worker.aclose()))
            return made

        yield build


@pytest.fixture
def trusting(door: Build) -> Door:
    return door(PROXY)


WITH_SECRET = {"check": PORT, "check_secret_file": "check.secret"}
OPEN, CLOSED = "/public/hello.txt", "/staff/handbook.txt"


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.9.8.8", "::1", "::ffff:127.0.0.1", "", "unix:"])
def test_cve_2026_40575_nobody_but_a_trusted_proxy_is_believed(trusting: Door, peer: str) -> None:
    """GHSA-7x63-xv5r-3p2x: whoever reached the port could say which path was asked for."""
    assert trusting.ask(OPEN, peer=peer) == (403, "untrusted_peer")
    # Neither can he say where he comes from.
    for name in ("X-Forwarded-For", "X-Real-Ip", "Forwarded"):
        assert trusting.ask(OPEN, more=[(name, PROXY)], peer=peer) == (403, "untrusted_peer")

    assert trusting.ask(OPEN) == (200, "allowed")
    assert trusting.ask(OPEN, peer=f"::ffff:{PROXY}") == (200, "allowed")


def test_oauth2_proxy_3506_nobody_is_trusted_until_somebody_is_named(door: Build) -> None:
    """Issue 3506: after the fix everybody was still trusted as long as nobody was named."""
    with pytest.raises(ConfigError):
        door()
    told = door(listen=WITH_SECRET)
    for peer in ("127.0.0.1", PROXY, "::1"):
        # The secret is that of /check.
        for more in ([], [("X-Authgate-Secret", SECRET)]):
            assert told.ask(OPEN, more=more, peer=peer) == (403, "untrusted_peer")


def test_oauth2_proxy_3506_where_there_is_a_secret_the_address_is_not_enough(door: Build) -> None:
    both = door(PROXY, listen=WITH_SECRET)
    known = ("X-Authgate-Secret", SECRET)
    for wrong in ([], [("X-Authgate-Secret", "x")], [known, known], [known, ("X-Authgate-Secret", "x")]):
        assert both.ask(OPEN, more=wrong)[0] == 403
    assert both.ask(OPEN, more=[known], peer="10.9.8.8") == (403, "untrusted_peer")

    assert both.ask(OPEN, more=[known]) == (200, "allowed")


def test_cve_2026_40575_secret_of_the_check_is_asked_for_on_a_port(door: Build) -> None:
    facts = {"Path": OPEN, "Self": "/_authgate", "Method": "GET", "Host": "files.example.com", "Scheme": "https"}
    asked = [(f"X-Authgate-{name}", value) for name, value in facts.items()]
    none: dict[str, str | None] = dict.fromkeys((*USUAL, "X-Forwarded-Uri"))
    both = door(PROXY, listen=WITH_SECRET)

    assert both.ask("", none, more=asked, at="/check") == (403, "untrusted_peer")
    assert both.ask("", none, more=[*asked, ("X-Authgate-Secret", SECRET)], at="/check") == (200, "allowed")


@pytest.mark.parametrize(
    "name", ["X-Authgate-Path", "X-Authgate-Uri", "X-Authgate-Host", "X-Authgate-User", "X-Authgate-Method"]
)
def test_tinyauth_1089_both_families_of_fields_are_refused(trusting: Door, name: str) -> None:
    """Pull request 1089: the client chose by which family its request was named."""
    for uri in (OPEN, CLOSED):
        assert trusting.ask(uri, more=[(name, OPEN)]) == (403, "conflicting_headers")

    assert trusting.ask(OPEN, more=[("X-Original-Url", CLOSED)]) == (200, "allowed")
    assert trusting.ask(CLOSED, more=[("X-Original-Url", OPEN)]) == (401, "login_required")


@pytest.mark.parametrize("name", ["X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Proto"])
def test_tinyauth_1089_field_that_is_there_twice_is_refused(trusting: Door, name: str) -> None:
    for value in (OPEN, CLOSED, USUAL.get(name, OPEN)):
        assert trusting.ask(CLOSED, more=[(name, value)]) == (403, "conflicting_headers")


@pytest.mark.parametrize("name", ["X_Forwarded_Uri", "X.Forwarded.Uri", "X-Forwarded_Uri", "X-Forwarded-Uri "])
def test_cve_2026_39858_alias_of_the_field_is_not_read(trusting: Door, name: str) -> None:
    assert trusting.ask(CLOSED, more=[(name, OPEN)]) == (401, "login_required")
    assert trusting.ask("", {"X-Forwarded-Uri": None}, more=[(name, OPEN)]) == (403, "missing_path")


def test_cve_2026_35051_prefix_is_not_read(trusting: Door) -> None:
    for prefix in ("/public", "/public/..", "/"):
        assert trusting.ask(CLOSED, {"X-Forwarded-Prefix": prefix}) == (401, "login_required")
        assert trusting.ask(OPEN, {"X-Forwarded-Prefix": prefix}) == (200, "allowed")


AMBIGUOUS = [
    *("/public/../staff/handbook.txt", "/public/%2e%2e/staff/handbook.txt", "/public/..%2fstaff/handbook.txt"),
    *("/public//../staff/handbook.txt", "//staff/handbook.txt", "/public/..;/staff/handbook.txt"),
    *("/public\\..\\staff/handbook.txt", "/public/%252e%252e/staff/x", "/public/x#/../../staff/x", "/public/%5c"),
    *(
        "/public/%",
        "/public/%zz",
        "/public/%00",
        "/public/%0a",
        "/public/%ff",
        "http://files.example.com/public/x",
        "*",
    ),
]


@pytest.mark.parametrize("uri", AMBIGUOUS)
def test_ghsa_p224_6x5r_fjpm_target_with_two_readings_is_refused(trusting: Door, uri: str) -> None:
    assert trusting.ask(uri) == (403, "ambiguous_path")


@pytest.mark.parametrize("uri", ["/staff/x?path=/public/hello.txt", "/staff/x?/public/", "/%73taff/x?a#b"])
def test_cve_2025_54576_query_of_a_forwarded_target_is_no_path(trusting: Door, uri: str) -> None:
    assert trusting.ask(uri)[1] in {"login_required", "ambiguous_path"}
    assert trusting.ask("/public/x?path=/staff/x") == (200, "allowed")


def test_ghsa_vhr5_ggp3_qq85_scheme_and_address_come_from_the_proxy(trusting: Door) -> None:
    # The hop that the proxy added is the last one; those before it are what the client wrote.
    assert trusting.ask("/office/x", {"X-Forwarded-For": "10.0.0.1, 192.0.2.1"}) == (403, "not_admitted")
    assert trusting.ask("/office/x", {"X-Forwarded-For": "192.0.2.1, 10.0.0.1"}) == (200, "allowed")
    assert trusting.ask(OPEN, {"X-Forwarded-Proto": "gopher"}) == (403, "conflicting_headers")


def test_cve_2026_77560_unknown_forwarded_host_is_for_nobody(trusting: Door) -> None:
    for host in ("evil.example", "files.example.com.evil.example", ""):
        assert trusting.ask(OPEN, {"X-Forwarded-Host": host}) == (403, "unknown_host"), host
    for host in ("FILES.example.COM", "files.example.com:8443", "files.example.com."):
        assert trusting.ask(OPEN, {"X-Forwarded-Host": host}) == (200, "allowed"), host
        assert trusting.ask(CLOSED, {"X-Forwarded-Host": host}) == (401, "login_required"), host


def test_cve_2021_32637_question_that_lacks_a_part_is_refused(door: Build) -> None:
    """GHSA-68wm-pfjf-wqp6: what could not be read was answered 200."""
    socket = door(listen={})
    for name in ("X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"):
        for value in (None, ""):
            assert socket.ask(OPEN, {name: value})[0] == 403, name

    assert socket.ask(OPEN) == (200, "allowed")


def test_cve_2026_34457_no_address_of_the_listener_but_the_questions_says_yes(trusting: Door) -> None:
    """GHSA-5hvv-m4w4-gf6v: a health check's User-Agent was a yes, on the address of the question too."""
    probe = [("User-Agent", "kube-probe/1.29")]
    assert trusting.ask(CLOSED, more=probe) == (401, "login_required")
    for at in ("/", "/forward/", "/forward/x", "/healthz", "/ping", "/FORWARD"):
        assert trusting.ask(OPEN, more=probe, at=at)[0] == 404, at

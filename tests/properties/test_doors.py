"""Doors: whatever arrives, they answer in their own form, and allow only what the reference allows for what arrived."""

import asyncio
import re
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import accumulate
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from authgate.credentials import Credentials
from authgate.credentials.session import KIND, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.model import ANONYMOUS, NOBODY, AccessRequest, CredentialKind, Identity, Outcome, Reason
from authgate.pdp import Pdp
from authgate.protocols.authorizer import Authorizer
from authgate.protocols.fastcgi import (
    MAX_PARAMETERS,
    MAX_REQUEST,
    Asked,
    Broken,
    Ended,
    Incoming,
    Refused,
    Reply,
    answer,
)
from authgate.protocols.rewritemap import MAX_LINE, Lines, RewriteMap
from authgate.protocols.subrequest import create_check
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests import fastcgi
from tests.clock import MovableClock
from tests.policies import SITES, compiled
from tests.properties.amounts import tried
from tests.properties.reference import Case
from tests.properties.worlds import HOSTS, OFFICE, Choices, choices

RULES: Sequence[Mapping[str, Any]] = [
    {"name": "r0", "paths": ["/public/**"], "allow": ["anyone"]},
    {"name": "r1", "paths": ["/office/**"], "allow": ["ip:office"]},
    {"name": "r2", "paths": ["/put/**"], "methods": ["PUT"], "allow": ["anyone"]},
    {"name": "r3", "paths": ["/cors/**"], "allow": ["user:alice"], "preflight": True},
    {"name": "r4", "paths": ["/guarded/**"], "deny": ["user:mallory"], "allow": ["anyone"]},
    {"name": "r5", "paths": ["/plain/**"], "hosts": ["localhost"], "allow": ["anyone"]},
    {"name": "r6", "paths": ["/**"], "methods": ["GET"], "allow": ["authenticated"]},
]
SECRET = "0123456789abcdef0123456789abcdef"
CLOCK = MovableClock()


def _pdp() -> Pdp:
    store = MemoryStore(CLOCK)
    sessions = Sessions(CachedRecords(store, KIND, decode, 10), store, LocalUsers(None, None), 60, 600, CLOCK)
    return Pdp(compiled(*RULES), SITES, Credentials(sessions, None), node="n1")


PDP = _pdp()

# What fields may hold; what is sound stands first.
METHODS = [b"GET", b"HEAD", b"PUT", b"OPTIONS", b"get", b"", b"P\xdcT", b"1", b"A" * 33]
NAMED_HOSTS = [
    b"files.example.com",
    b"FILES.example.com.:443",
    b"localhost:8080",
    b"localhost",
    b"evil.example",
    b"",
    b"files.example.com\0",
    b"files.example.com..",
    b"\xfffiles.example.com",
    b"a@files.example.com",
]
SCHEMES = [b"https", b"http", b"HTTPS", b"", b"wss"]
CLIENTS = [
    b"192.0.2.1",
    b"10.1.2.3",
    b"::ffff:10.1.2.3",
    b"2001:db8::1",
    b"",
    b"10.1.2.3, 10.1.2.4",
    b"010.1.2.3",
    b"10.1.2.3:80",
    b"unix:",
    b"fe80::1%eth0",
    b"\xff",
]
PATHS = [b"/public/x", b"/office/x", b"/put/x", b"/cors/x", b"/guarded/x", b"/plain/x", b"/other/x", b"/public", b"/"]
# Of a path, so that it is another one, or none.
CHANGES = [
    b"",
    b"",
    b"",
    b"/",
    b"//",
    b"/..",
    b"/../office/x",
    b"/.",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xc3\xa9",
    b"%2e%2e/x",
    b" ",
    b"?a",
    b"#a",
    b";a",
    b"\\a",
]
COOKIES = [b"", b"a=b", b"__Host-authgate=" + b"A" * 43, b"__Host-authgate=x; __Host-authgate=y", b"\xff=\xff"]
NO_SESSION = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.BAD_CREDENTIAL)
NO_BASIC = Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL)


def _fields(chosen: Choices) -> dict[str, bytes]:
    """Choose the fields that name a request, most of them sound."""

    def one(options: Sequence[bytes], sound: int) -> bytes:
        return chosen.of(options if chosen.yes(8) else options[:sound])

    path = one(PATHS, len(PATHS)) + one(CHANGES, 1)
    cookie = one(COOKIES, 2) if chosen.yes(3) else b""
    return {
        "path": path,
        "method": one(METHODS, 4),
        "host": one(NAMED_HOSTS, 4),
        "scheme": one(SCHEMES, 2),
        "client": one(CLIENTS, 4),
        "cookie": cookie,
    }


def _outcome(fields: Mapping[str, bytes], *, preflight: bool = False, basic: bool = False) -> Outcome:
    """Return what the reference says of a request with these fields."""
    method, scheme, host = (fields[name].decode("latin-1") for name in ("method", "scheme", "host"))
    if not re.fullmatch("[A-Z][A-Z0-9_-]{0,31}", method) or len(host) > 300:
        return Outcome.REFUSE
    if scheme not in {"http", "https"} or not fields["path"]:
        return Outcome.REFUSE
    host = re.sub(r"(:[^\]]*)?$", "", host.lower(), flags=re.DOTALL).removesuffix(".")
    path = fields["path"].decode("utf-8", "surrogateescape")
    asked = AccessRequest(method, host, path, scheme, _address(fields["client"].decode("latin-1")), CLOCK())
    who = NO_BASIC if basic else NO_SESSION if _shows_session(fields["cookie"], host) else NOBODY
    asked = asked._replace(preflight=preflight and method == "OPTIONS")
    return Case(HOSTS, OFFICE, asked, who, lambda _: None).decide(RULES).outcome


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if "%" in text else address.ipv4_mapped or address


def _shows_session(cookie: bytes, host: str) -> bool:
    return b"__Host-authgate=" in cookie and host != "localhost"


# /check


async def _check(headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing more is read")

    async def send(message: Any) -> None:
        sent.append(message)

    await create_check(PDP, "files", CLOCK)({"type": "http", "path": "/check", "headers": headers}, receive, send)
    start, body = sent
    return int(start["status"]), list(start["headers"]), body["body"]


def _checked(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Ask; fail when the answer is none that nginx understands."""
    status, given, body = asyncio.run(_check(headers))
    assert status in {200, 401, 403}
    assert body == b""
    assert (b"content-length", b"0") in given
    assert (b"cache-control", b"no-store") in given
    assert len({name for name, _ in given}) == len(given)
    assert not any(re.search(rb"[\0-\x1f\x7f-\xff]", name + value) for name, value in given)
    assert b"set-cookie" not in dict(given)
    return status


TARGETS: Mapping[bytes, bool] = {
    b"/public/x": True,
    b"/a?b=//": True,
    b"/a%20b": True,
    b"//a": False,
    b"/a/..;/b": False,
    b"/%2e%2e/a": False,
    b"/a%2fb": False,
    b"/a\\b": False,
    b"/%252e/a": False,
    b"": False,
    b"http://a/": False,
    b"\xff": False,
    b"/\xff": True,
}


@tried(400)
@given(choices())
def test_check_answers_as_the_reference_says_of_what_the_fields_name(chosen: Choices) -> None:
    fields = _fields(chosen)
    headers = [
        (b"x-authgate-%b" % name.encode(), fields[name]) for name in ("path", "method", "host", "scheme", "client")
    ]
    headers += [(b"cookie", fields["cookie"])] if fields["cookie"] else []
    preflight, basic = chosen.yes(4), chosen.yes(6)
    headers += [(b"origin", b"https://a"), (b"access-control-request-method", b"PUT")] if preflight else []
    headers += [(b"authorization", chosen.of([b"Basic YTpi", b"\xff", b"Bearer x"]))] if basic else []
    wanted = _outcome(fields, preflight=preflight, basic=basic)
    if chosen.yes(4):
        target = chosen.of(list(TARGETS))
        headers.append((b"x-authgate-target", target))
        wanted = wanted if TARGETS[target] else Outcome.REFUSE
    if chosen.yes(6):
        headers.append((b"x-authgate-self", chosen.of([fields["path"], b"/_authgate"])))
        wanted = Outcome.REFUSE if headers[-1][1] == fields["path"] else wanted
    if chosen.yes(4):
        headers.append(
            chosen.of([(b"host", b"files.example.com"), (b"x-forwarded-uri", b"/public/x"), (b"x", b"\xff")])
        )
    if chosen.yes(5):
        twice = chosen.of(headers)
        headers.insert(chosen.of(range(len(headers))), (twice[0], chosen.of([twice[1], b"/public/y"])))
        known = twice[0] not in {b"host", b"x-forwarded-uri", b"x"}
        wanted = Outcome.REFUSE if known else wanted

    assert _checked(headers) == wanted


NAMES = [
    b"path",
    b"self",
    b"method",
    b"host",
    b"scheme",
    b"client",
    b"uri",
    b"query",
    b"target",
    b"user",
    b"groups",
    b"",
]


@tried(200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"x-authgate-" + name for name in NAMES] + [b"cookie", b"authorization", b"accept", b"origin", b"host"]
            ),
            st.binary(max_size=12) | st.sampled_from([b"/other/x", b"GET", b"https", *NAMED_HOSTS]),
        ),
        max_size=10,
    )
)
@example([])
def test_check_answers_any_fields_and_allows_none_of_them(headers: list[tuple[bytes, bytes]]) -> None:
    assert _checked(headers) != 200


# FastCGI


def _authorizer_requests(stream: bytes, ends: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:  # noqa: C901 - one branch for each kind
    """Read the requests of a stream to their end: ids, and parameters or None for too many (FastCGI 1.0).

    Args:
        ends: where each piece that arrives ends; a request is answered when the piece that completes it was read.
    """
    active, kept, at, answered = 0, b"", 0, len(ends)
    while len(stream) - at >= 8:
        version, kind, number, length, padding, _ = struct.unpack(">BBHHBB", stream[at : at + 8])
        content = stream[at + 8 : at + 8 + length]
        at += 8 + length + padding
        if version != 1 or at > len(stream):
            return
        if bisect_left(ends, at) > answered:
            active, answered = 0, len(ends)
        if kind == fastcgi.BEGIN and number:
            if length != 8 or number == active:
                return
            if not active and content[:2] == b"\0\2":
                active, kept = number, b""
        elif kind == fastcgi.PARAMS and number and number == active:
            if answered < len(ends):
                return
            kept += content
            if len(kept) > MAX_REQUEST:
                return
            if not content:
                yield active, kept if len(kept) <= MAX_PARAMETERS else None
                answered = bisect_left(ends, at)
        elif kind == fastcgi.ABORT and number:
            if number == active and answered == len(ends):
                answered = bisect_left(ends, at)
        elif kind in {fastcgi.PARAMS, fastcgi.STDIN, fastcgi.DATA} and number:
            pass
        elif kind == fastcgi.GET_VALUES and not number:
            if _parameters(content) is None:
                return
        elif kind in range(1, 12):
            return


def _parameters(content: bytes) -> list[tuple[bytes, bytes]] | None:
    """Read names and values (section 3.4); None when they do not add up."""
    found = []
    while content:
        lengths = []
        for _ in range(2):
            size = 4 if content[:1] >= b"\x80" else 1
            if len(content) < size:
                return None
            lengths.append(int.from_bytes(content[:size], "big") & (0x7FFFFFFF if size == 4 else 0xFF))
            content = content[size:]
        name, value = lengths
        if len(content) < name + value:
            return None
        found.append((content[:name], content[name : name + value]))
        content = content[name + value :]
    return found


_CGI = {
    "path": b"AG_PATH",
    "method": b"REQUEST_METHOD",
    "host": b"SERVER_NAME",
    "scheme": b"REQUEST_SCHEME",
    "client": b"REMOTE_ADDR",
    "cookie": b"HTTP_COOKIE",
}


def _may_be_allowed(content: bytes | None) -> bool:
    pairs = _parameters(content) if content is not None else None
    if pairs is None or [value for name, value in pairs if name == b"AG_SECRET"] != [SECRET.encode()]:
        return False
    looked_at = [name for name, _ in pairs if name in {*_CGI.values(), b"FCGI_APACHE_ROLE", b"REMOTE_USER"}]
    if len(looked_at) != len(set(looked_at)):
        return False
    given = dict(pairs)
    fields = {name: given.get(parameter, b"") for name, parameter in _CGI.items()}
    return _outcome(fields) is Outcome.ALLOW


def _question(chosen: Choices, number: int) -> bytes:
    fields = _fields(chosen)
    pairs = [(_CGI[name].decode(), value) for name, value in fields.items() if value or name != "cookie"]
    secrets = [SECRET] * 4 + ["", SECRET[:-1], SECRET + "0"]
    pairs.append(("AG_SECRET", chosen.of(secrets).encode()))
    pairs.append(("OTHER", b"x" * chosen.of([0, 1, 200, 300, 300, MAX_PARAMETERS])))
    if chosen.yes(8):
        pairs.append(chosen.of(pairs))
    written = fastcgi.question(pairs, number, keep=chosen.yes(), size=chosen.of([16384, 7000, 100]))
    if chosen.yes(6):
        at = chosen.of(range(256)) * len(written) // 256
        written = written[:at] + bytes([chosen.of(range(256))]) + written[at + chosen.of([0, 1, 2]) :]
    return written


def _between(chosen: Choices) -> bytes:
    return chosen.of(
        [
            b"",
            b"",
            b"",
            b"",
            fastcgi.record(fastcgi.STDIN, 1, b"x"),
            fastcgi.record(99, 0, b"x"),
            fastcgi.record(fastcgi.ABORT, 1),
            fastcgi.record(fastcgi.GET_VALUES, 0, b"\x0fFCGI_MPXS_CONNS\0"[:1] + b"\0FCGI_MPXS_CONNS"),
            fastcgi.begin(2, role=1),
            fastcgi.begin(3),
            b"\1",
            fastcgi.record(fastcgi.PARAMS, 1, b"x", padding=255),
        ]
    )


def _answers(pieces: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Ask the authorizer what arrives on one connection; check what is kept of it."""
    authorizer, incoming = Authorizer(PDP, "files", CLOCK, SECRET.encode()), Incoming()
    given = []
    for piece in pieces:
        for event in incoming.receive(piece):
            assert isinstance(event, Asked | Ended | Reply | Refused | Broken)
            if isinstance(event, Asked):
                said = authorizer.ask(event)
                text = said if isinstance(said, bytes) else asyncio.run(_awaited(said))
                fastcgi.reply(answer(incoming.active, text), incoming.active)
                given.append((incoming.active, text))
                incoming.finish()
            elif isinstance(event, Ended):
                incoming.finish()
        kept = len(incoming._buffer) + sum(map(len, incoming._parameters))
        assert kept <= 8 + 65535 + 255 + MAX_PARAMETERS
    return given


def _cut(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces, at = list[bytes](), 0
    while at < len(stream):
        pieces.append(stream[at : at + sizes[len(pieces) % len(sizes)]])
        at += len(pieces[-1])
    return pieces


async def _awaited(said: Any) -> bytes:
    text = await said
    assert isinstance(text, bytes)
    return text


@tried(250)
@given(choices())
def test_the_authorizer_allows_only_a_well_formed_request_with_the_secret(chosen: Choices) -> None:
    pieces: list[bytes] = []
    for _ in chosen.times(1, 3):
        # The end of a question is the end of a piece: a web server waits for the answer.
        pieces += _cut(_between(chosen), [5])
        pieces += _cut(_question(chosen, chosen.of([1, 1, 2])), [chosen.of([1 << 20, 11, 1000, 1 << 14])])
    requests = list(_authorizer_requests(b"".join(pieces), list(accumulate(map(len, pieces)))))

    given = _answers(pieces)

    assert [number for number, _ in given] == [number for number, _ in requests]
    assert [text.startswith(b"Status: 200") for _, text in given] == [
        _may_be_allowed(content) for _, content in requests
    ]


@tried(200)
@given(
    st.lists(
        st.sampled_from([b"\1", b"\0\1", b"\4", b"\0", b"\1\1\0\1\0\x08\0\0", fastcgi.begin()]) | st.binary(max_size=9)
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
)
def test_no_bytes_make_the_authorizer_fail_or_allow(parts: list[bytes], sizes: list[int]) -> None:
    assert not any(text.startswith(b"Status: 200") for _, text in _answers(_cut(b"".join(parts), sizes)))


# rewritemap

MAP = RewriteMap(PDP, CLOCK)
NONCE = "awB2X4RGl-v9hfs8FHGXFgAAAEE"
WELL_FORMED = re.compile(
    rb"(-|[A-Za-z0-9@_-]{1,64}) "
    rb"(OK [!-~]+ n1-[0-9a-f]{12} [!-~]+|DENY (401|403|503) n1-[0-9a-f]{12}"
    rb"|LOGIN https?://[!-~]+ [!-~]+ n1-[0-9a-f]{12})\n"
)


def _said(line: bytes) -> bytes:
    said = MAP.answer_at_once(line) or asyncio.run(MAP.answer(line))
    assert WELL_FORMED.fullmatch(said)
    return said


def _line(chosen: Choices, fields: Mapping[str, bytes]) -> bytes:
    names = ["method", "client", "scheme", "host", "path", "query", "cookie", "accept", "mode"]
    more = {"query": chosen.of([b"", b"a=b&c=%2f"]), "accept": chosen.of([b"*/*", b"text/html"]), "mode": b""}
    return " ".join([NONCE, *(quote({**fields, **more}[name], "$-_.+!*'(),:;@&=/~") for name in names)]).encode()


def _map_may_allow(line: bytes) -> bool:
    nonce, *written = line.split(b" ")
    if len(written) != 9 or not re.fullmatch(rb"[A-Za-z0-9@_-]{1,64}", nonce):
        return False
    if any(re.sub(rb"%[0-9A-Fa-f]{2}|[A-Za-z0-9$_.+!*'(),:;@&=/~-]", b"", field) for field in written):
        return False
    values = [unquote_to_bytes(field) for field in written]
    fields = dict(zip(["method", "client", "scheme", "host", "path", "query", "cookie"], values, strict=False))
    return _outcome(fields) is Outcome.ALLOW


@tried(400)
@given(choices())
def test_the_map_answers_each_line_by_one_and_allows_only_a_well_formed_question(chosen: Choices) -> None:
    line = _line(chosen, _fields(chosen))
    if chosen.yes(3):
        at = chosen.of(range(256)) * len(line) // 256
        line = (
            line[:at]
            + chosen.of([b" ", b"%", b"%0a", b"\r", b"\0", b"\xff", b"+", b"/", b"%2f", b"", b"a"])
            + line[at + chosen.of([0, 1]) :]
        )

    said = _said(line)

    assert (b" OK " in said) == _map_may_allow(line)
    assert said.startswith(NONCE.encode() + b" ") or not line.startswith(NONCE.encode() + b" ")


@tried(200)
@given(
    st.lists(st.sampled_from([b"\n", b"a ", b" ", b"\r", b"\0", b"x" * 100]) | st.binary(max_size=6)),
    st.integers(1, 50),
)
def test_lines_are_the_same_however_they_arrive_and_each_has_its_answer(parts: list[bytes], size: int) -> None:
    data, lines, found = b"".join(parts), Lines(), []
    for at in range(0, len(data), size):
        found += lines.feed(data[at : at + size])
        assert len(lines._begun) <= MAX_LINE + 1

    assert found == data.split(b"\n")[:-1]
    assert all(b" OK " not in _said(line) for line in found)

"""``RewriteMap prg:``: what is read of a line, and which line answers it."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.credentials import Credentials
from authgate.credentials.session import KIND, Sessions, decode
from authgate.errors import StoreUnavailable
from authgate.model import Subject
from authgate.pdp import Pdp
from authgate.protocols.rewritemap import MAX_LINE, Lines, RewriteMap
from authgate.stores import Record
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import sha, users
from tests.policies import SITES, compiled

NONCE = "awB2X4RGl-v9hfs8FHGXFgAAAEE"
RULES = (
    {"paths": ["/public/**"], "allow": ["anyone"]},
    {"paths": ["/cached/**"], "allow": ["anyone"], "cache": "public, max-age=60"},
    {"paths": ["/staff/**"], "allow": ["group:staff"]},
    {"paths": ["/home/{owner}/**"], "allow": ["user:{owner}"]},
    {"paths": ["/office/**"], "allow": ["ip:office"]},
    {"paths": ["/put/**"], "methods": ["PUT"], "allow": ["anyone"]},
    {"paths": ["/caf\N{LATIN SMALL LETTER E WITH ACUTE} 100%/**"], "allow": ["anyone"]},
)
USUAL = {
    "method": "GET",
    "address": "192.0.2.1",
    "scheme": "https",
    "host": "files.example.com",
    "path": "/public/x",
    "query": "",
    "cookie": "",
    "accept": "*/*",
    "mode": "",
}
ID = r"(?:[a-z0-9]+-)?[0-9a-f]{12}"
LOGIN = rf"LOGIN https?://\S+/authgate/login \S+ {ID}"
WELL_FORMED = re.compile(rf"(?:-|[A-Za-z0-9@_-]{{1,64}}) (?:OK \S+ {ID} \S+|DENY (?:401|403|503) {ID}|{LOGIN})\n")


def escape(text: str | bytes) -> str:
    """Write a field as Apache's int:escape does (ap_os_escape_path)."""
    return quote(text, "$-_.+!*'(),:;@&=/~")


class SlowStore(MemoryStore):
    """A store whose reads hang, or fail."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.away = False
        self.hangs = False

    async def get(self, kind: str, key: str) -> Record | None:
        if self.away:
            raise StoreUnavailable("away")
        if self.hangs:
            await asyncio.Event().wait()
        return await super().get(kind, key)


class Map:
    """A map, asked as Apache asks it, and the people who may ask."""

    def __init__(self, folder: Path, deadline: float = 5.0) -> None:
        self.clock = MovableClock()
        lines = "".join(
            f"{name}:{sha(name)}\n" for name in ("alice", "bob", "-", "jos\N{LATIN SMALL LETTER E WITH ACUTE} x")
        )
        people = users(folder, lines, "staff: alice -\n")
        self.store = SlowStore(self.clock)
        records = CachedRecords(self.store, KIND, decode, 10)
        self.sessions = Sessions(records, self.store, people, 60, 600, self.clock)
        pdp = Pdp(compiled(*RULES), SITES, Credentials(self.sessions, None), node="n1", deadline=deadline)
        self.map = RewriteMap(pdp, self.clock)

    async def log_in(self, name: str) -> str:
        return f"__Host-authgate={await self.sessions.begin(Subject('', name), SITES[0])}"

    def ask(
        self, fields: Mapping[str, str | bytes] = {}, *, user: str = "", nonce: str = NONCE, **more: str | bytes
    ) -> str:
        """Ask with the usual fields, some changed; the answer without its nonce and decision."""

        async def asked() -> str:
            cookie = {"cookie": await self.log_in(user)} if user else {}
            return await self.said(line({**cookie, **fields, **more}, nonce))

        said = asyncio.run(asked())
        assert said.startswith(f"{nonce} ")
        return re.sub(rf" {ID}", "", said.removeprefix(f"{nonce} ").removesuffix("\n"), count=1)

    def raw(self, question: bytes) -> str:
        return asyncio.run(self.said(question))

    async def said(self, question: bytes) -> str:
        said = self.map.answer_at_once(question) or await self.map.answer(question)
        assert WELL_FORMED.fullmatch(said.decode("ascii")), said
        return said.decode("ascii")


def line(fields: Mapping[str, str | bytes] = {}, nonce: str = NONCE) -> bytes:
    return " ".join([nonce, *(escape(value) for value in {**USUAL, **fields}.values())]).encode()


@pytest.fixture
def asked(tmp_path: Path) -> Map:
    return Map(tmp_path)


def test_what_anybody_may_see_is_ok_without_a_name(asked: Map) -> None:
    assert asked.ask() == "OK - -"


def test_an_answer_begins_with_the_nonce_and_names_the_decision(asked: Map) -> None:
    assert re.fullmatch(rf"{NONCE} OK - n1-[0-9a-f]{{12}} -\n", asked.raw(line()))


def test_a_session_opens_what_its_user_may_see(asked: Map) -> None:
    assert asked.ask(user="alice", path="/staff/x") == "OK alice -"
    assert asked.ask(user="bob", path="/home/bob/x") == "OK bob -"
    assert asked.ask(user="bob", path="/staff/x") == "DENY 403"


def test_the_user_is_named_where_anybody_may_see_it(asked: Map) -> None:
    assert asked.ask(user="alice") == "OK alice -"


def test_a_name_is_one_field_whatever_is_in_it(asked: Map) -> None:
    assert asked.ask(user="jos\N{LATIN SMALL LETTER E WITH ACUTE} x") == "OK jos%C3%A9%20x -"
    assert asked.ask(user="-") == "OK %2D -"


def test_the_caching_a_rule_wants_is_one_field(asked: Map) -> None:
    assert asked.ask(path="/cached/x") == "OK - public,%20max-age=60"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accept": "text/html,*/*"}, "LOGIN https://files.example.com/authgate/login /staff/x"),
        ({"mode": "navigate"}, "LOGIN https://files.example.com/authgate/login /staff/x"),
        ({"mode": "cors", "accept": "text/html"}, "DENY 401"),
        ({}, "DENY 401"),
        ({"accept": ""}, "DENY 401"),
        ({"accept": "text/html", "method": "POST"}, "DENY 401"),
    ],
)
def test_who_navigates_is_sent_to_the_login_and_others_are_told(
    asked: Map, fields: dict[str, str | bytes], said: str
) -> None:
    assert asked.ask(fields, path="/staff/x") == said


@pytest.mark.parametrize(
    ("path", "query", "back"),
    [
        ("/staff/a?b", "", "/staff/a%253Fb"),
        ("/staff/a b%", "x=1&y=%20+", "/staff/a%2520b%2525%3Fx%3D1%26y%3D%2520%2B"),
        ("/staff/\N{LATIN SMALL LETTER E WITH ACUTE}", "", "/staff/%25C3%25A9"),
        ("/staff/" + 1200 * "x", "", "/"),
        ("/staff/x", "next=http://evil.example/", "/"),
    ],
)
def test_the_way_back_is_one_field_or_the_start_page(asked: Map, path: str, query: str, back: str) -> None:
    assert asked.ask(path=path, query=query, mode="navigate").split() == [
        "LOGIN",
        "https://files.example.com/authgate/login",
        back,
    ]


def test_each_field_is_decoded_once(asked: Map) -> None:
    assert asked.ask(path="/caf\N{LATIN SMALL LETTER E WITH ACUTE} 100%/x") == "OK - -"
    assert asked.ask(path="/publi%63/x") == "DENY 403"
    assert asked.ask(path=b"/public/%2e%2e/staff") == "OK - -"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": "elsewhere.example"}, "DENY 403"),
        ({"host": ""}, "DENY 403"),
        ({"host": "FILES.example.com.:443"}, "OK - -"),
        ({"path": ""}, "DENY 403"),
        ({"path": "/public/../staff/x"}, "DENY 403"),
        ({"path": "//public/x"}, "DENY 403"),
        ({"path": "/public/x\n"}, "DENY 403"),
        ({"path": "/public/\0"}, "DENY 403"),
        ({"path": b"/public/\xff"}, "DENY 403"),
        ({"scheme": "ftp"}, "DENY 403"),
        ({"scheme": ""}, "DENY 403"),
        ({"method": ""}, "DENY 403"),
        ({"method": "get"}, "DENY 403"),
        ({"method": "PUT", "path": "/put/x"}, "OK - -"),
        ({"method": "GET", "path": "/put/x"}, "DENY 403"),
        ({"address": "10.1.2.3", "path": "/office/x"}, "OK - -"),
        ({"address": "::ffff:10.1.2.3", "path": "/office/x"}, "OK - -"),
        ({"address": "10.1.2.3, 192.0.2.1", "path": "/office/x"}, "DENY 403"),
        ({"address": "", "path": "/office/x"}, "DENY 403"),
    ],
)
def test_a_request_is_what_its_fields_say(asked: Map, fields: dict[str, str | bytes], said: str) -> None:
    assert asked.ask(fields) == said


def test_a_cookie_of_nobody_is_a_login_that_went_wrong(asked: Map) -> None:
    assert asked.ask(path="/staff/x", cookie="__Host-authgate=" + 43 * "A") == "DENY 401"
    assert asked.ask(path="/staff/x", cookie="__Host-authgate=\N{LATIN SMALL LETTER E WITH ACUTE}") == "DENY 401"


def test_cookies_of_two_fields_are_all_read_and_a_doubled_session_is_nobodys(asked: Map) -> None:
    async def said(form: str) -> str:
        question = line({"path": "/staff/x", "cookie": form.format(await asked.log_in("alice"))})
        return (await asked.said(question)).split()[1]

    assert asyncio.run(said("{}, a=1; b=2")) == "OK"
    # Perhaps a neighbouring host's: see `authgate.cookies.split_joined`.
    assert asyncio.run(said("a=1, {}")) == "DENY"
    assert asyncio.run(said("{0}, {0}")) == "DENY"


@pytest.mark.parametrize("away", [True, False])
def test_a_store_that_does_not_answer_in_time_is_503_and_no_later_answer_is_shifted(tmp_path: Path, away: bool) -> None:
    asked = Map(tmp_path, deadline=0.02)

    async def said() -> list[str]:
        cookie = await asked.log_in("alice")
        asked.store.away, asked.store.hangs = away, not away
        first = await asked.said(line({"path": "/staff/x", "cookie": cookie}, "first"))
        second = await asked.said(line({"path": "/public/x"}, "second"))
        third = await asked.said(line({"path": "/public/x", "cookie": cookie}, "third"))
        return [" ".join(answer.split()[:3]) for answer in (first, second, third)]

    assert asyncio.run(asyncio.wait_for(said(), 5)) == ["first DENY 503", "second OK -", "third OK -"]


BROKEN = [
    (b"", "-"),
    (b" ", "-"),
    (b"\r", "-"),
    (b"\0", "-"),
    (NONCE.encode(), NONCE),
    (line() + b"\r", NONCE),
    (line() + b" ", NONCE),
    (line().rpartition(b" ")[0], NONCE),
    (line() + b" OK", NONCE),
    (line().replace(b" GET", b"  GET"), NONCE),
    (line().replace(b"/public/x", b"/public/x/%"), NONCE),
    (line().replace(b"/public/x", b"/public/x/%4"), NONCE),
    (line().replace(b"/public/x", b"/public/\xc3\xa9"), NONCE),
    (line().replace(b"/public/x", b"/public/?"), NONCE),
    (line().replace(b"/public/x", b"/public/\t"), NONCE),
    (line().replace(b"/public/x", b"/public/\0"), NONCE),
    (b" " + line(), "-"),
    (line(nonce=""), "-"),
    (line(nonce="a b"), "a"),
    (line(nonce="a>b"), "-"),
    (line(nonce="a\rb"), "-"),
    (line(nonce="a\0b"), "-"),
    (line(nonce="x" * 65), "-"),
    (line(nonce="\N{LATIN SMALL LETTER E WITH ACUTE}"), "-"),
    (line({"cookie": "x" * MAX_LINE}), NONCE),
    (b"x" * 2**20, "-"),
    (NONCE.encode() + b" " + b"x" * 2**20, NONCE),
]


@pytest.mark.parametrize(("question", "nonce"), BROKEN, ids=range(len(BROKEN)))
def test_a_line_that_is_no_question_is_refused_under_its_own_nonce(asked: Map, question: bytes, nonce: str) -> None:
    assert re.fullmatch(rf"{nonce} DENY 403 n1-[0-9a-f]{{12}}\n", asked.raw(question))


@settings(max_examples=100, deadline=None)
@given(question=st.binary(max_size=300).map(lambda raw: raw.replace(b"\n", b"")))
def test_any_line_gets_one_well_formed_line_and_never_ok(
    question: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert " OK " not in _one(tmp_path_factory).raw(question)


@settings(max_examples=100, deadline=None)
@given(fields=st.lists(st.binary(max_size=40), min_size=9, max_size=9))
def test_what_visitors_write_stays_in_its_field(fields: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    fields[3] = b"files.example.com"
    fields[4] = b"/staff/" + fields[4]
    question = " ".join([NONCE, *map(escape, fields)]).encode()

    assert _one(tmp_path_factory).raw(question).split()[:2] in ([NONCE, "DENY"], [NONCE, "LOGIN"])


_MAPS: list[Map] = []


def _one(factory: pytest.TempPathFactory) -> Map:
    if not _MAPS:
        _MAPS.append(Map(factory.mktemp("map")))
    return _MAPS[0]


def test_lines_are_the_same_however_they_arrive() -> None:
    sent = b"one\n\ntwo three\r\n\xff\0\nrest"
    whole = [b"one", b"", b"two three\r", b"\xff\0"]

    assert Lines().feed(sent) == whole
    for size in (1, 2, 5):
        lines = Lines()
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
        assert [found for piece in pieces for found in lines.feed(piece)] == whole


def test_a_line_that_never_ends_is_not_kept_and_ends_as_one_line() -> None:
    lines = Lines()
    for _ in range(64):
        assert lines.feed(b"x" * 2**16) == []
        assert len(lines._begun) <= MAX_LINE + 1

    too_long, good = lines.feed(b"end\ngood\n")

    assert len(too_long) > MAX_LINE
    assert good == b"good"


def test_a_question_that_is_too_long_is_refused_where_its_beginning_is_one(tmp_path: Path) -> None:
    begun = " ".join([NONCE, *map(escape, USUAL.values())]).encode()
    lines = Lines()

    # The last field goes on for one byte more than a line may have; its end comes by itself.
    assert lines.feed(begun + b"x" * (MAX_LINE - len(begun) + 1)) == []
    (line,) = lines.feed(b"\n")

    assert Map(tmp_path).raw(begun + b"x" * (MAX_LINE - len(begun))).split()[1] == "OK"
    assert Map(tmp_path).raw(line).split()[1] == "DENY"

"""A signed link says something about one request, and nothing about who asks."""

import asyncio
import json
import logging
import tomllib
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.app import examine
from authgate.config import load
from authgate.credentials import Credentials, Presented
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.compact import parse_token
from authgate.credentials.link_format import LAST, MAX_LINK, TYPE, make_id, open_link, parse_claims, sign_link
from authgate.credentials.links import FREE, Links, counter_key, find_value, revocation
from authgate.credentials.passwords import Passwords
from authgate.credentials.revocations import GRACE, KIND, Revocations
from authgate.credentials.session import KIND as SESSION
from authgate.credentials.session import Sessions, decode
from authgate.errors import ConfigError, StoreUnavailable
from authgate.handlers import Handlers
from authgate.keys import COOKIE, LINK, Key, State, parse_key_set
from authgate.keys.jwk import parse_jwk
from authgate.keys.ring import Ring
from authgate.model import NOBODY, AccessRequest, Decision, Link, Outcome, Reason, Use
from authgate.networks import parse_address
from authgate.pdp import Pdp
from authgate.policy import Policy
from authgate.rehearsal import Asking, rehearse
from authgate.stores import NOTHING_COUNTED, Store
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from authgate.stores.sqlite import SqliteStore
from tests.clock import MovableClock
from tests.credentials.linked import at_once, carrying, following, made, settle, signer
from tests.credentials.people import cheap, logins, users
from tests.credentials.tokens import by_hand
from tests.policies import SITES, compiled, local, request
from tests.stores.following import until

VECTORS: Mapping[str, Any] = tomllib.loads((Path(__file__).parents[1] / "vectors" / "links.toml").read_text())
NOW: float = VECTORS["now"]
HEADER: str = VECTORS["header"]
SECRET = urlsafe_b64decode(json.loads(VECTORS["key"])["k"] + "=")

Scenario = Callable[[Links, Store, MovableClock], Awaitable[None]]


def key_of_vectors() -> Key:
    key = parse_jwk(json.loads(VECTORS["key"]))
    assert isinstance(key, Key)
    return key


KEY = key_of_vectors()
KEYS = {KEY.id: KEY}


def by_vector(claims: str, header: str = HEADER, secret: bytes = SECRET) -> str:
    return by_hand(header.encode(errors="surrogatepass"), claims.encode(errors="surrogatepass"), secret)


GOOD = by_vector(VECTORS["looks"][0]["claims"])


def asked(line: str, link: str) -> AccessRequest:
    """Return the request of a line of the vectors."""
    method, target, *rest = line.split(" ")
    host, _, path = target.partition("/")
    address = {"": "192.0.2.1", "-": ""}.get("".join(rest), "".join(rest))
    return AccessRequest(method, host, f"/{path}", "https", parse_address(address), NOW, f"ag={link}")


class OwnStore(MemoryStore):
    """A memory store that can be away."""

    away = False

    async def take(self, key: str, unit: str, limit: int, expires: float, free_for: float) -> float | None:
        self._check()
        return await super().take(key, unit, limit, expires, free_for)

    async def is_left(self, key: str, unit: str, limit: int, free_for: float) -> bool:
        self._check()
        return await super().is_left(key, unit, limit, free_for)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


def run(folder: Path, scenario: Callable[..., Awaitable[None]], **limits: int) -> None:
    """Run a scenario with links, a function that signs some, the store and the clock."""

    async def main() -> None:
        clock = MovableClock()
        store = OwnStore(clock)
        signing = signer(folder)
        async with following(signing, clock, store, **limits) as links:
            await scenario(links, signing.sign, store, clock)

    asyncio.run(main())


Sign = Callable[..., str]


# Vectors


@pytest.mark.parametrize("row", VECTORS["signed"], ids=[row["claims"] for row in VECTORS["signed"]])
def test_link_has_these_bytes(row: Mapping[str, str]) -> None:
    claims = json.loads(row["claims"])

    assert sign_link(KEY, claims) == row["link"]
    read, meant = open_link(row["link"], KEYS), parse_claims(claims)
    assert read
    assert [str(network) for network in read.scope.networks or ()] == claims.get("networks", [])
    assert replace(read, scope=replace(read.scope, networks=meant.scope.networks)) == meant


@pytest.mark.parametrize("row", VECTORS["looks"], ids=[row["claims"] for row in VECTORS["looks"]])
def test_link_says_about_a_request(tmp_path: Path, row: Mapping[str, Sequence[str]]) -> None:
    link = by_vector(str(row["claims"]))
    signing = signer(tmp_path)
    signing.file.write_text(json.dumps({"keys": [json.loads(VECTORS["key"])]}))

    async def main() -> None:
        async with following(signing, MovableClock(NOW)) as links:
            for expected, lines in (
                (None, row.get("covers", ())),
                (Reason.SCOPE_EXCEEDED, row.get("scope_exceeded", ())),
                (Reason.EXPIRED, row.get("expired", ())),
            ):
                for line in lines:
                    assert links.look(asked(line, link)) == Link("a", expected), line

    asyncio.run(main())


@pytest.mark.parametrize("header", VECTORS["refused"]["headers"])
def test_header_that_is_refused(header: str) -> None:
    assert open_link(GOOD, KEYS)
    assert open_link(by_vector(VECTORS["looks"][0]["claims"], header), KEYS) is None


@pytest.mark.parametrize("claims", VECTORS["refused"]["claims"])
def test_claims_that_are_refused(claims: str) -> None:
    assert open_link(by_vector(claims), KEYS) is None


@pytest.mark.parametrize("claims", VECTORS["refused"]["claims"])
def test_claims_that_are_refused_are_not_signed(claims: str) -> None:
    try:
        found = json.loads(claims)
    except ValueError:
        return
    if isinstance(found, dict) and json.dumps(found, ensure_ascii=False, separators=(",", ":")) == claims:
        with pytest.raises(ValueError, match=r".+"):
            sign_link(KEY, found)


@pytest.mark.parametrize("kind", ["link", "none", "bad"])
def test_query_that_has_a_link(tmp_path: Path, kind: str) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        expected = {"link": Link("a"), "none": None, "bad": Link("", Reason.BAD_CREDENTIAL)}[kind]
        for query in VECTORS["queries"][kind]:
            found = links.look(request("/pub/a")._replace(query=query.replace("LINK", sign("/pub/a"))))
            assert found == expected, query

    run(tmp_path, scenario)


# What somebody else makes of a link


def covers(links: Links, value: str) -> bool:
    link = links.look(carrying(value))
    assert link
    assert link.failure in {None, Reason.BAD_CREDENTIAL}
    return link.failure is None


def test_parts_of_links_are_worth_nothing_elsewhere(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        one, other = sign("/pub/a", id="one"), sign("/pub/**", id="other")
        parts = [*one.split("."), *other.split(".")]
        good = {one, other}
        for count in (1, 2, 3, 4):
            for chosen in product(parts, repeat=count):
                value = ".".join(chosen)
                assert covers(links, value) is (value in good), value
        for value in (one + other, f"{one}.{other}", one * 2, one.replace(".", ".."), f".{one}", f"{one}."):
            assert not covers(links, value)

    run(tmp_path, scenario)


def test_every_other_character_spoils_it(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        good = sign("/pub/a")
        assert covers(links, good)
        for at, character in enumerate(good):
            assert not covers(links, good[:at]), at
            assert not covers(links, good[:at] + good[at + 1 :]), at
            assert not covers(links, good[:at] + character + good[at:]), at
            for instead in {character.swapcase(), "A", "-", ".", "="} - {character}:
                assert not covers(links, good[:at] + instead + good[at + 1 :]), at
        assert not covers(links, good.upper())
        assert not covers(links, good.lower())

    run(tmp_path, scenario)


def test_link_of_another_key_is_bad() -> None:
    claims = VECTORS["looks"][0]["claims"]

    assert open_link(by_vector(claims, secret=bytes(32)), KEYS) is None
    assert open_link(by_vector(claims, secret=b""), KEYS) is None
    assert open_link(GOOD, {}) is None
    # The id alone says nothing.
    assert open_link(GOOD, {"k1": made(State.CURRENT).key}) is None


def test_link_of_a_key_for_something_else_is_bad() -> None:
    members = json.loads(VECTORS["key"])
    for purpose in (COOKIE, ""):
        key = parse_jwk({**members, "purpose": purpose})
        assert isinstance(key, Key)
        assert open_link(GOOD, {"k1": key}) is None
        with pytest.raises(ValueError, match="not for links"):
            sign_link(key, json.loads(VECTORS["looks"][0]["claims"]))


def test_link_is_no_token_and_a_token_no_link() -> None:
    claims = VECTORS["looks"][0]["claims"]

    assert parse_token(GOOD) is None
    for header in ('{"alg":"HS256","kid":"k1"}', '{"alg":"HS256","kid":"k1","typ":"JWT"}'):
        token = by_vector(claims, header)
        assert parse_token(token) is not None
        assert parse_token(token, TYPE) is None
        assert open_link(token, KEYS) is None
    # Nor are the keys of links any for tokens.
    with pytest.raises(ConfigError, match="another purpose"):
        parse_key_set(json.dumps({"keys": [json.loads(VECTORS["key"])]}).encode(), "set", "", COOKIE, secret=True)


def test_size_of_a_link_is_bounded() -> None:
    def of(size: int) -> str:
        path = "/" + "x" * size
        return by_vector(json.dumps({"id": "a", "host": "h", "path": path, "exp": NOW + 1}))

    fits = max(size for size in range(1200, 1600) if len(of(size)) <= MAX_LINK)
    assert open_link(of(fits), KEYS)
    assert open_link(of(fits + 3), KEYS) is None
    with pytest.raises(ValueError, match="characters"):
        sign_link(KEY, {"id": "a", "host": "h", "path": "/" + "x" * (fits + 20), "exp": NOW + 1})


def test_number_of_many_digits_is_no_moment() -> None:
    """What overflows a float must not become an exception."""
    claims = '{"id":"a","host":"h","path":"/a","exp":' + "9" * 1200 + "}"

    assert open_link(by_vector(claims), KEYS) is None
    assert open_link(by_vector(claims.replace("exp", "nbf")), KEYS) is None


@given(st.text(max_size=60), st.text(alphabet="ag&=.-_AeyJ", max_size=40))
def test_no_query_raises(one: str, other: str) -> None:
    for query in (one, other, f"ag={one}", f"{one}&ag={other}", f"ag={other}&{one}", f"ag={GOOD}{one}"):
        value = find_value(query)
        assert value is None or open_link(value, KEYS) is None or value == GOOD


@pytest.mark.parametrize("query", ["ag=" + "a" * 100_000, "&" * 100_000, "ag=\ud800", "ag=" + "." * 2048, "ag&" * 9999])
def test_odd_queries_are_refused(tmp_path: Path, query: str) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        found = links.look(request("/pub/a")._replace(query=query))
        assert found is None or found == Link("", Reason.BAD_CREDENTIAL)
        assert links.remembered == 0

    run(tmp_path, scenario)


def test_ids_are_made_to_be_written_on_a_command_line() -> None:
    made_ids = {make_id() for _ in range(100)}

    assert len(made_ids) == 100
    assert all(name.isalnum() and name.isascii() for name in made_ids)


# Time, keys, revocations


def test_link_counts_from_its_beginning_to_before_its_end(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        link = carrying(sign("/pub/a", nbf=clock.now + 10, exp=clock.now + 20))
        found = []
        for seconds in (0, 9.5, 0.5, 9.5, 0.5):
            clock.advance(seconds)
            looked = links.look(link)
            found.append(looked and looked.failure)
        assert found == [Reason.EXPIRED, Reason.EXPIRED, None, None, Reason.EXPIRED]

    run(tmp_path, scenario)


@pytest.mark.parametrize("state", State)
def test_every_key_of_the_ring_verifies(tmp_path: Path, state: State) -> None:
    async def main() -> None:
        clock = MovableClock()
        signing = signer(tmp_path, *(made(one) for one in State))
        async with following(signing, clock) as links:
            assert links.look(carrying(signing.sign("/pub/a", state))) == Link("a")

    asyncio.run(main())


def test_retired_key_ends_its_links_also_those_that_were_seen(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        old, current = made(State.OLD), made(State.CURRENT)
        signing = signer(tmp_path, old, current)
        by_old, by_current = (carrying(signing.sign("/pub/a", one, exp=LAST)) for one in (State.OLD, State.CURRENT))
        async with following(signing, clock) as links:
            assert [links.look(by_old), links.look(by_current), links.remembered] == [Link("a"), Link("a"), 2]
            signer(tmp_path, current)
            settle(links, clock)
            assert links.remembered == 0
            assert links.look(by_old) == Link("", Reason.BAD_CREDENTIAL)
            assert links.look(by_current) == Link("a")

    asyncio.run(main())


def test_broken_ring_leaves_the_keys_that_were_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        clock = MovableClock()
        signing = signer(tmp_path)
        link = carrying(signing.sign("/pub/a"))
        async with following(signing, clock) as links:
            for content in (b"{}", b"", None):
                if content is None:
                    signing.file.unlink()
                else:
                    signing.file.write_bytes(content)
                settle(links, clock)
                assert links.look(link) == Link("a")

    asyncio.run(main())
    assert "what was read before stays in force" in caplog.text


@pytest.mark.parametrize(
    ("ring", "mode", "said"),
    [
        (Ring((made(State.CURRENT, COOKIE),)), 0o600, "is for cookie with HS256, not for links"),
        (Ring((made(State.CURRENT, LINK, "ES256"),)), 0o600, "is for link with ES256, not for links"),
        (Ring((made(State.CURRENT),)), 0o640, "open to others than its owner"),
        (Ring((made(State.OLD),)), 0o600, "one current key"),
    ],
    ids=["cookie", "ES256", "open", "none signs"],
)
def test_ring_that_is_refused(tmp_path: Path, ring: Ring, mode: int, said: str) -> None:
    clock = MovableClock()
    signing = signer(tmp_path, *ring.entries, mode=mode)
    store = MemoryStore(clock)

    with pytest.raises(ConfigError, match=said):
        Links(signing.file, store, Revocations(store, clock), clock).load()


def test_wrong_ring_is_said_before_the_start(tmp_path: Path) -> None:
    signer(tmp_path, made(State.CURRENT, COOKIE))
    config = tmp_path / "authgate.toml"
    config.write_text(
        '[[sites]]\norigin = "https://files.example.com"\n[links]\nkeys = "links.jwks"\n'
        '[[rules]]\nname = "a"\npaths = ["/**"]\nallow = ["link"]\n'
    )

    with pytest.raises(ConfigError, match="not for links"):
        examine(load(config))
    signer(tmp_path)
    examine(load(config))


def test_missing_ring_is_refused(tmp_path: Path) -> None:
    store = MemoryStore(MovableClock())

    with pytest.raises(ConfigError, match="cannot be read"):
        Links(tmp_path / "no", store, Revocations(store, MovableClock()), MovableClock()).load()


def test_revoked_link_is_refused_until_the_revocation_is_taken_back(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        link, other = carrying(sign("/pub/a")), carrying(sign("/pub/a", id="b"))
        assert links.look(link) == Link("a")
        await store.announce(KIND, revocation("a").record(LAST))
        await until(lambda: links.look(link) == Link("a", Reason.REVOKED))
        assert links.look(other) == Link("b")
        await store.delete(KIND, revocation("a").key)
        await until(lambda: links.look(link) == Link("a"))

    run(tmp_path, scenario)


def test_while_revocations_are_unknown_nobody_can_say_whether_a_link_counts(tmp_path: Path) -> None:
    clock = MovableClock()
    store = MemoryStore(clock)
    signing = signer(tmp_path)
    links = Links(signing.file, store, Revocations(store, clock), clock)
    links.load()

    assert links.look(carrying(signing.sign("/pub/a", uses=3))) == Link("a", Reason.STORE_UNAVAILABLE, 3)
    # What is known is said.
    assert links.look(carrying(signing.sign("/pub/b"))) == Link("a", Reason.SCOPE_EXCEEDED)
    assert links.look(carrying(signing.sign("/pub/a", exp=clock.now))) == Link("a", Reason.EXPIRED)
    assert links.look(carrying("x")) == Link("", Reason.BAD_CREDENTIAL)


def test_revocations_that_were_known_count_for_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        signing = signer(tmp_path)
        link = carrying(signing.sign("/pub/a"))
        async with following(signing, clock) as links:
            assert links.look(link) == Link("a")
        # Nobody follows any more.
        assert links.look(link) == Link("a")
        clock.advance(GRACE)
        assert links.look(link) == Link("a", Reason.STORE_UNAVAILABLE)

    asyncio.run(main())


def test_links_that_were_verified_are_remembered_in_bounds(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        for number in range(5):
            assert links.look(carrying(sign("/pub/a", id=str(number)))) == Link(str(number))
        links.look(carrying("a.b.c"))
        assert links.remembered == 3

    run(tmp_path, scenario, capacity=3)


def test_nothing_shows_a_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        value = sign("/pub/a", uses=1)
        link = links.look(carrying(value))
        assert link
        await links.use(link, carrying(value))
        signature = value.rpartition(".")[2]
        shown = f"{link!r} {links!r} {open_link(value, {})!r} {vars(links)!r}"
        assert signature not in shown
        assert signature not in caplog.text

    with caplog.at_level(logging.DEBUG):
        run(tmp_path, scenario)


# Uses


async def used(links: Links, asked: AccessRequest) -> Use:
    link = links.look(asked)
    assert link
    assert link.uses
    return await links.use(link, asked)


def test_three_uses_are_three_units(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        link = sign("/pub/**", uses=3)
        units = [
            carrying(link, "/pub/a", ip="192.0.2.1"),
            carrying(link, "/pub/b", ip="192.0.2.1"),
            carrying(link, "/pub/a", ip="2001:db8::1"),
        ]
        for _ in range(3):
            assert [await used(links, unit) for unit in units] == [Use.GRANTED] * 3
        assert (await store.counted(counter_key("a"))).number == 3
        # The whole address: a network of IPv6 has many people.
        others = [carrying(link, "/pub/a", ip="2001:db8::2"), carrying(link, "/pub/c"), carrying(link, "/pub/A")]
        assert [await used(links, other) for other in others] == [Use.USED_UP] * 3
        assert (await store.counted(counter_key("a"))).number == 3

    run(tmp_path, scenario)


def test_links_are_counted_each_by_its_id(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        one, other, again = (
            sign("/pub/a", uses=1, id=name, label=text) for name, text in (("1", "x"), ("2", "x"), ("1", "y"))
        )
        assert [await used(links, carrying(link)) for link in (one, other, again)] == [Use.GRANTED] * 3
        elsewhere = [carrying(link, ip="192.0.2.2") for link in (one, other, again)]
        assert [await used(links, request) for request in elsewhere] == [Use.USED_UP] * 3

    run(tmp_path, scenario)


def test_more_requests_of_a_unit_ask_no_store_for_a_day(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        asked = carrying(sign("/pub/a", uses=2, exp=clock.now + 10 * FREE))
        assert await used(links, asked) is Use.GRANTED
        before = store.operations
        clock.advance(FREE - 1)
        for method in ("GET", "HEAD", "GET"):
            assert await used(links, asked._replace(method=method)) is Use.GRANTED
        assert store.operations == before
        clock.advance(1)
        assert await used(links, asked) is Use.GRANTED
        assert (await store.counted(counter_key("a"))).number == 2
        clock.advance(FREE)
        assert await used(links, asked) is Use.USED_UP

    run(tmp_path, scenario)


def test_unit_that_another_worker_granted_ends_when_it_does_there(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        store = MemoryStore(clock)
        signing = signer(tmp_path)
        asked = carrying(signing.sign("/pub/a", uses=1, exp=clock.now + 10 * FREE))
        async with following(signing, clock, store) as one, following(signing, clock, store) as other:
            assert await used(one, asked) is Use.GRANTED
            clock.advance(FREE - 10)
            assert await used(other, asked) is Use.GRANTED
            clock.advance(10)
            assert [await used(one, asked), await used(other, asked)] == [Use.USED_UP] * 2

    asyncio.run(main())


def test_clock_that_is_set_back_makes_no_unit_stand_longer(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        asked = carrying(sign("/pub/a", uses=1))
        assert await used(links, asked) is Use.GRANTED
        clock.advance(-FREE)
        assert await used(links, asked) is Use.USED_UP

    run(tmp_path, scenario)


def test_head_uses_nothing_up(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        link = sign("/pub/a", uses=1)
        head = carrying(link, method="HEAD")
        assert [await used(links, head) for _ in range(3)] == [Use.GRANTED] * 3
        assert await store.counted(counter_key("a")) == NOTHING_COUNTED
        # What HEAD was granted is no unit.
        assert await used(links, carrying(link, ip="192.0.2.9")) is Use.GRANTED
        assert await used(links, head) is Use.USED_UP
        assert await used(links, carrying(link)) is Use.USED_UP
        assert await used(links, carrying(link, method="HEAD", ip="192.0.2.9")) is Use.GRANTED

    run(tmp_path, scenario)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_an_address_there_is_no_unit(tmp_path: Path, method: str) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        assert await used(links, carrying(sign("/pub/a", uses=1), method=method, ip=None)) is Use.UNKNOWN
        assert await store.counted(counter_key("a")) == NOTHING_COUNTED

    run(tmp_path, scenario)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_while_the_store_is_away_only_units_that_are_remembered_go_on(tmp_path: Path, method: str) -> None:
    async def scenario(links: Links, sign: Sign, store: OwnStore, clock: MovableClock) -> None:
        link = sign("/pub/a", uses=2)
        assert await used(links, carrying(link)) is Use.GRANTED
        store.away = True
        assert await used(links, carrying(link, method=method)) is Use.GRANTED
        assert await used(links, carrying(link, method=method, ip="192.0.2.2")) is Use.UNKNOWN
        store.away = False
        assert await used(links, carrying(link, method=method, ip="192.0.2.2")) is Use.GRANTED

    run(tmp_path, scenario)


def test_units_are_remembered_in_bounds(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        link = sign("/pub/a", uses=3)
        requests = [carrying(link, ip=f"192.0.2.{number}") for number in range(3)]
        for asked in requests:
            assert await used(links, asked) is Use.GRANTED
        asked_store = []
        for asked in reversed(requests):
            before = store.operations
            assert await used(links, asked) is Use.GRANTED
            asked_store.append(store.operations - before)
        assert asked_store == [0, 0, 1]

    run(tmp_path, scenario, units=2)


def test_link_that_is_no_longer_verified_is_not_used(tmp_path: Path) -> None:
    async def scenario(links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        counted, uncounted = sign("/pub/a", uses=1), sign("/pub/a")
        assert await links.use(Link("b", uses=1), carrying(counted)) is Use.UNKNOWN
        assert await links.use(Link("a"), carrying(uncounted)) is Use.UNKNOWN
        assert await links.use(Link("a", uses=1), carrying("x")) is Use.UNKNOWN
        assert await links.use(Link("a", uses=1), request("/pub/a")) is Use.UNKNOWN
        assert await store.counted(counter_key("a")) == NOTHING_COUNTED

    run(tmp_path, scenario)


def test_fifty_clients_at_once_on_three_uses_are_three(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        stores = [SqliteStore(tmp_path / "authgate.db", clock) for _ in range(2)]
        signing = signer(tmp_path)
        link = signing.sign("/pub/a", uses=3)
        clients = [carrying(link, ip=f"192.0.2.{number}") for number in range(50)]
        async with following(signing, clock, stores[0]) as one, following(signing, clock, stores[1]) as other:
            granted = await at_once(*clients, workers=[one, other])
            assert sorted(granted) == ["GRANTED"] * 3 + ["USED_UP"] * 47
            # One player that opens several connections is one.
            assert set(await at_once(*[clients[granted.index("GRANTED")]] * 20, workers=[one, other])) == {"GRANTED"}
            assert (await stores[0].counted(counter_key("a"))).number == 3
        for store in stores:
            await store.aclose()

    asyncio.run(main())


# Rules


class House:
    """A decision point with people, links and a store, all real."""

    def __init__(self, folder: Path, links: Links, sign: Sign, store: Store, clock: MovableClock) -> None:
        people = users(folder, f"alice:{cheap('secret')}\nbob:{cheap('secret')}\n", "staff: alice\n")
        sessions = Sessions(CachedRecords(store, SESSION, decode, 10), store, people, 60, 600, clock)
        self._known = Credentials(sessions, BasicVerifier(people, logins(people, Passwords(people)), clock))
        self._links = links
        self._store = store
        self.sign = sign

    async def decide(self, policy: Policy, asked: AccessRequest, name: str = "") -> Decision:
        header = f"Basic {b64encode(f'{name}:secret'.encode()).decode()}" if name else ""
        pdp = Pdp(policy, SITES, self._known, links=self._links)
        at_once = pdp.evaluate_at_once(asked, Presented("", header))
        return (at_once or await pdp.evaluate(asked, Presented("", header))).decision

    async def taken(self, name: str = "a") -> int:
        return (await self._store.counted(counter_key(name))).number


def decided(folder: Path, scenario: Callable[[House, OwnStore, MovableClock], Awaitable[None]]) -> None:
    async def with_house(links: Links, sign: Sign, store: OwnStore, clock: MovableClock) -> None:
        await scenario(House(folder, links, sign, store, clock), store, clock)

    run(folder, with_house)


ALLOW_LINK = compiled({"paths": ["/**"], "allow": ["link"]})
LINK_OR_STAFF = compiled({"paths": ["/**"], "allow": ["link", "group:staff"]})


def said(decision: Decision) -> tuple[str, str]:
    return decision.outcome.name, decision.reason.value


def test_rule_admits_by_link_alone(tmp_path: Path) -> None:
    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        sign = house.sign
        await store.announce(KIND, revocation("revoked").record(LAST))
        await until(lambda: house._links._revocations.count == 1)
        once = sign("/pub/a", id="once", uses=1)
        await house.decide(ALLOW_LINK, carrying(once, ip="192.0.2.9"))
        cases = [
            (carrying(sign("/pub/a")), ("ALLOW", "allowed")),
            (carrying(sign("/pub/a", uses=1)), ("ALLOW", "allowed")),
            (request("/pub/a"), ("REFUSE", "not_admitted")),
            (carrying("junk"), ("REFUSE", "bad_credential")),
            (carrying(sign("/pub/ab")), ("REFUSE", "scope_exceeded")),
            (carrying(sign("/pub/a"), method="DELETE"), ("REFUSE", "scope_exceeded")),
            (carrying(sign("/pub/a", exp=clock.now)), ("REFUSE", "expired")),
            (carrying(sign("/pub/a", id="revoked")), ("REFUSE", "revoked")),
            (carrying(once), ("REFUSE", "limit_reached")),
            (carrying(sign("/pub/a", uses=1), ip=None), ("REFUSE", "store_unavailable")),
            (carrying(sign("/pub/**"), "/pub/a/../../admin"), ("REFUSE", "ambiguous_path")),
        ]
        for asked, expected in cases:
            assert said(await house.decide(ALLOW_LINK, asked)) == expected, asked
        store.away = True
        asked = carrying(sign("/pub/a", uses=1), ip="192.0.2.3")
        assert said(await house.decide(ALLOW_LINK, asked)) == ("REFUSE", "store_unavailable")

    decided(tmp_path, scenario)


def test_link_is_used_only_when_nobody_is_admitted_otherwise(tmp_path: Path) -> None:
    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        link = carrying(house.sign("/pub/a", uses=1))
        assert said(await house.decide(LINK_OR_STAFF, link, "alice")) == ("ALLOW", "allowed")
        assert await house.taken() == 0
        assert said(await house.decide(LINK_OR_STAFF, link)) == ("ALLOW", "allowed")
        assert await house.taken() == 1
        # Used up: staff still come in, strangers may log in.
        other = link._replace(address=parse_address("192.0.2.2"))
        assert said(await house.decide(LINK_OR_STAFF, other, "alice")) == ("ALLOW", "allowed")
        assert said(await house.decide(LINK_OR_STAFF, other)) == ("LOGIN", "login_required")
        assert said(await house.decide(LINK_OR_STAFF, other, "bob")) == ("REFUSE", "limit_reached")
        for without in (request("/pub/a"), carrying("junk")):
            assert said(await house.decide(LINK_OR_STAFF, without)) == ("LOGIN", "login_required")

    decided(tmp_path, scenario)


def test_link_with_a_condition_is_used_when_the_condition_holds(tmp_path: Path) -> None:
    policy = compiled({"paths": ["/**"], "allow": ["link & ip:office"]})

    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        link = house.sign("/pub/a", uses=1)
        assert said(await house.decide(policy, carrying(link))) == ("REFUSE", "not_admitted")
        assert await house.taken() == 0
        assert said(await house.decide(policy, carrying(link, ip="10.0.0.1"))) == ("ALLOW", "allowed")
        assert await house.taken() == 1
        assert said(await house.decide(policy, carrying(link, ip="10.0.0.2"))) == ("REFUSE", "limit_reached")

    decided(tmp_path, scenario)


def test_guards_hold_for_links_too_and_use_none_up(tmp_path: Path) -> None:
    everybody = {"paths": ["/**"], "allow": ["link"]}
    guarded = compiled({"paths": ["/**"], "deny": ["ip:office"]}, everybody)
    denied = compiled({"paths": ["/**"], "deny": ["link"], "allow": ["anyone"]})
    wanted = compiled({"paths": ["/**"], "deny": ["!link"], "allow": ["anyone"]})

    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        link = house.sign("/pub/a", uses=1)
        for policy, asked, expected in (
            (guarded, carrying(link, ip="10.0.0.1"), ("REFUSE", "denied_by_rule")),
            (denied, carrying(link), ("REFUSE", "denied_by_rule")),
            (denied, request("/pub/a"), ("ALLOW", "allowed")),
            (denied, carrying("junk"), ("ALLOW", "allowed")),
            (wanted, carrying(link), ("ALLOW", "allowed")),
            (wanted, request("/pub/a"), ("REFUSE", "denied_by_rule")),
            (wanted, carrying("junk"), ("REFUSE", "denied_by_rule")),
        ):
            assert said(await house.decide(policy, asked)) == expected
            assert await house.taken() == 0
        assert said(await house.decide(guarded, carrying(link))) == ("ALLOW", "allowed")
        assert await house.taken() == 1

    decided(tmp_path, scenario)


def test_term_without_link_uses_none_up(tmp_path: Path) -> None:
    policy = compiled({"paths": ["/**"], "allow": ["!link & group:staff", "link & user:bob"]})

    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        link = carrying(house.sign("/pub/a", uses=1))
        assert said(await house.decide(policy, link, "alice")) == ("REFUSE", "not_admitted")
        assert said(await house.decide(policy, request("/pub/a"), "alice")) == ("ALLOW", "allowed")
        assert said(await house.decide(policy, link)) == ("LOGIN", "login_required")
        assert await house.taken() == 0
        assert said(await house.decide(policy, link, "bob")) == ("ALLOW", "allowed")
        assert await house.taken() == 1

    decided(tmp_path, scenario)


def test_link_is_used_last_and_once_in_a_decision(tmp_path: Path) -> None:
    policy = compiled({"paths": ["/**"], "allow": ["link & user:carol", "link & user:bob", "link & authenticated"]})

    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        before = store.operations
        link = carrying(house.sign("/pub/a", uses=5))
        assert said(await house.decide(policy, link, "bob")) == ("ALLOW", "allowed")
        assert await house.taken() == 1
        # The use, and this test's own look at it.
        assert store.operations - before == 2

    decided(tmp_path, scenario)


@pytest.mark.parametrize("name", ["", "alice"])
def test_question_about_a_request_uses_none_up(tmp_path: Path, name: str) -> None:
    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        asked = carrying(house.sign("/pub/a", uses=1))
        asking = Asking(asked, local(name, "staff") if name else NOBODY, house._links.look(asked))
        handlers = Handlers({})
        for policy in (ALLOW_LINK, LINK_OR_STAFF):
            decision = (await rehearse(policy, handlers, asking)).decision
            assert decision.allowed is (policy is LINK_OR_STAFF and bool(name))
        await handlers.close()
        assert await house.taken() == 0
        assert decision.outcome in {Outcome.ALLOW, Outcome.LOGIN}

    decided(tmp_path, scenario)


def test_policy_that_asks_for_no_link_looks_at_none(tmp_path: Path) -> None:
    async def scenario(house: House, store: OwnStore, clock: MovableClock) -> None:
        policy = compiled({"paths": ["/**"], "allow": ["anyone"]})
        assert said(await house.decide(policy, carrying(house.sign("/pub/a", uses=1)))) == ("ALLOW", "allowed")
        assert house._links.remembered == 0

    decided(tmp_path, scenario)

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from authgate.credentials import Credentials, Presented, access_token
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.brakes import BY_CLIENT_AND_NAME, MINUTES, Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.passwords import Passwords
from authgate.credentials.people import FRESH, USABLE, People
from authgate.credentials.session import KIND as SESSION_KIND
from authgate.credentials.session import Sessions
from authgate.credentials.session import decode as decode_session
from authgate.credentials.token_record import KIND, Token, decode, generate
from authgate.credentials.tokens import (
    BAD,
    BRAKED,
    EXPIRED,
    FAILED,
    NOTED_EVERY,
    REVOKED,
    UNKNOWN,
    Tokens,
)
from authgate.credentials.users import LocalUsers
from authgate.errors import StoreUnavailable
from authgate.model import ANONYMOUS, CredentialKind, Identity, Outcome, Reason, Subject, user
from authgate.networks import Address
from authgate.pdp import Pdp
from authgate.stores import Count, Record
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from authgate.stores.sqlite import SqliteStore
from tests.clock import MovableClock
from tests.credentials.people import HOME, SITE, address, logins, settle, sha, users, write
from tests.policies import compiled, request
from tests.stores.following import until

ELSEWHERE = address("198.51.100.9")
ALICE = Subject("", "alice", frozenset({"staff"}))


class Flaky(MemoryStore):
    """A store that can be away, or be read only."""

    away = False
    read_only = False

    def _check(self, *, writes: bool) -> None:
        if self.away or (self.read_only and writes):
            raise StoreUnavailable("away")

    async def get(self, kind: str, key: str) -> Record | None:
        self._check(writes=False)
        return await MemoryStore.get(self, kind, key)

    async def touch(self, kind: str, record: Record) -> bool:
        self._check(writes=True)
        return await MemoryStore.touch(self, kind, record)

    async def add(self, key: str, seconds: float) -> Count:
        self._check(writes=True)
        return await MemoryStore.add(self, key, seconds)

    async def counted(self, key: str) -> Count:
        self._check(writes=False)
        return await MemoryStore.counted(self, key)

    async def clear(self, key: str) -> None:
        self._check(writes=True)
        await MemoryStore.clear(self, key)


@dataclass
class Site:
    """A worker's tokens, and what they depend on; `known` is what `lookup` says."""

    folder: Path
    clock: MovableClock
    store: Flaky
    loaded: LocalUsers
    tokens: Tokens
    known: dict[str, Subject | Exception]

    async def make(self, **parts: object) -> str:
        """Store a token and return it."""
        text, token = self.made(**parts)
        await self.store.put(KIND, token.record())
        return text

    def made(self, **parts: object) -> tuple[str, Token]:
        text, name, digest = generate()
        said: dict[str, object] = {
            "id": name,
            "source": "",
            "name": "alice",
            "local": True,
            "label": "",
            "paths": (),
            "methods": (),
            "networks": (),
            "hosts": (),
            "files": True,
            "api": (),
            "created": self.clock(),
            "expires": self.clock() + 86400,
            "used": None,
            "digest": digest,
        }
        return text, Token(**(said | parts))  # type: ignore[arg-type] # named as the fields are

    async def verify(self, text: str, client: Address | None = HOME) -> Identity:
        """Answer as the order of credentials does: memory first."""
        return self.tokens.peek(text, client) or await self.tokens.verify(text, client)

    async def stored(self, text: str) -> Token:
        record = await self.store.get(KIND, text.split("_")[1])
        assert record
        token = decode(record)
        assert token
        return token

    def credentials(self) -> Credentials:
        records = CachedRecords(self.store, SESSION_KIND, decode_session, 10)
        sessions = Sessions(records, self.store, self.loaded, 1800, 43200, self.clock)
        login = logins(self.loaded, Passwords(self.loaded), self.clock)
        basic = BasicVerifier(self.loaded, login, self.clock, tokens=self.tokens)
        return Credentials(sessions, basic, tokens=self.tokens)


Run = Callable[[Callable[[Site], Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a scenario while the tokens follow their store."""

    def run(scenario: Callable[[Site], Awaitable[None]], *, lookup: bool = True) -> None:
        async def main() -> None:
            clock = MovableClock()
            known: dict[str, Subject | Exception] = {}

            def look(name: str) -> Subject | None:
                found = known.get(name)
                if isinstance(found, Exception):
                    raise found
                return found

            store = Flaky(clock)
            loaded = users(tmp_path, f"alice:{sha('a')}\nbob:{sha('b')}\n", "staff: alice\nsite: dora\n")
            directory = Directory(None, look if lookup else None)
            tokens = Tokens(store, loaded, People(directory, clock), Brakes(store, clock), clock)
            following = asyncio.create_task(tokens.run())
            await until(lambda: store.up)
            try:
                await scenario(Site(tmp_path, clock, store, loaded, tokens, known))
            finally:
                following.cancel()
                await asyncio.wait([following])
                directory.close()

        asyncio.run(main())

    return run


def basic(token: str, name: str = "whoever") -> str:
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


def wrong_secret(text: str) -> str:
    return text[:-1] + ("a" if text[-1] != "a" else "b")


def test_a_token_proves_its_owner_with_the_groups_of_now(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()

        assert site.tokens.peek(text, HOME) is None
        identity = await site.tokens.verify(text, HOME)
        assert (identity.subject, identity.credential, identity.failure) == (ALICE, CredentialKind.TOKEN, None)
        assert site.tokens.peek(text, HOME) == identity
        write(site.folder / "groups", "finance: alice\n")
        settle(site.loaded, site.clock)
        now = site.tokens.peek(text, HOME)
        assert now
        assert now.subject == Subject("", "alice", frozenset({"finance"}))

    run(scenario)


def test_a_changed_password_ends_no_token_and_a_removed_owner_does(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        assert (await site.verify(text)).failure is None

        write(site.folder / "users.htpasswd", f"alice:{sha('new')}\n")
        settle(site.loaded, site.clock)
        assert (await site.verify(text)).failure is None
        write(site.folder / "users.htpasswd", f"bob:{sha('b')}\n")
        settle(site.loaded, site.clock)
        assert await site.verify(text) == REVOKED

    run(scenario)


@pytest.mark.parametrize("shown", [True, False], ids=["warm", "cold"])
def test_an_expired_token_is_expired_to_the_second(run: Run, shown: bool) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make(expires=site.clock() + 60.0)
        if shown:
            assert (await site.verify(text)).failure is None

        site.clock.advance(59.9)
        assert (await site.verify(text)).failure is None
        site.clock.advance(0.1)
        assert await site.verify(text) == EXPIRED
        # Whoever does not know the secret learns nothing of it.
        assert await site.verify(wrong_secret(text)) == BAD

    run(scenario)


def test_malformed_tokens_are_bad_and_ask_nobody(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        before = site.store.operations
        for wrong in (
            text[:-1], text + "x", text * 2, text.swapcase()[:-1], text + "\0", text[:-1] + "\0", "agt_", "agt__",
            "agt_" + "x" * 8192, text.replace("_", "-"), text + " ", "agt_" + "\xff" * (len(text) - 4),
            text[:-1] + "\ud800",
        ):  # fmt: skip
            assert site.tokens.peek(wrong, HOME) == BAD, wrong
            assert await site.tokens.verify(wrong, HOME) == BAD
        assert site.store.operations == before
        assert (await site.verify(text)).failure is None

    run(scenario)


def test_other_letters_other_secrets_and_unknown_ids_are_bad(run: Run) -> None:
    async def scenario(site: Site) -> None:
        one, other = await site.make(), await site.make()
        _, name, secret = one.split("_")
        await site.verify(one)
        for wrong in (
            f"agt_{name}_{other.split('_')[2]}",
            f"agt_{name.swapcase()}_{secret}",
            f"agt_{name}_{secret.swapcase()}",
            f"agt_{secret[:14]}_{secret}",
            wrong_secret(one),
            generate()[0],
        ):
            assert await site.verify(wrong) == BAD
        assert (await site.verify(one)).failure is None
        assert Identity(ANONYMOUS, CredentialKind.TOKEN, Reason.BAD_CREDENTIAL) == BAD

    run(scenario)


def test_an_unknown_id_and_a_wrong_secret_ask_the_store_the_same(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        await site.verify(text)
        await until(lambda: not site.tokens._notes)
        costs = []
        for wrong in (wrong_secret(text), generate()[0]):
            before = site.store.operations
            assert await site.verify(wrong) == BAD
            costs.append(site.store.operations - before)
        assert costs[0] == costs[1] > 0

    run(scenario)


def test_guesses_at_one_id_are_braked_for_their_client_alone(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text, other = await site.make(), await site.make()
        for _ in range(BY_CLIENT_AND_NAME):
            assert await site.verify(wrong_secret(text), ELSEWHERE) == BAD
        assert await site.verify(wrong_secret(text), ELSEWHERE) == BRAKED
        before = site.store.operations
        assert await site.verify(wrong_secret(text), ELSEWHERE) == BRAKED
        assert site.tokens.peek(text, ELSEWHERE) == BRAKED
        assert site.store.operations == before
        # Somebody whose user name looks like the id goes on to log in.
        assert site.tokens._brakes.remaining(ELSEWHERE, text.split("_")[1]) == 0.0
        # The owner, who is elsewhere, and the client's other tokens are not.
        assert (await site.verify(text, HOME)).failure is None
        assert (await site.verify(other, ELSEWHERE)).failure is None
        site.clock.advance(MINUTES * 60 + 1)
        assert (await site.verify(text, ELSEWHERE)).failure is None

    run(scenario)


def test_who_was_right_before_is_not_braked_behind_the_same_address(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        assert (await site.verify(text)).failure is None
        for _ in range(BY_CLIENT_AND_NAME + 1):
            last = await site.verify(wrong_secret(text))
        assert last == BRAKED
        assert (await site.verify(text)).failure is None

    run(scenario)


def test_right_tokens_are_never_counted(run: Run) -> None:
    async def scenario(site: Site) -> None:
        for _ in range(BY_CLIENT_AND_NAME * 2):
            text = await site.make()
            assert (await site.verify(text)).failure is None
        text = await site.make()
        # As many at once as a program with connections in parallel sends, none of which was seen before.
        answers = await asyncio.gather(*[site.verify(text) for _ in range(200)])
        assert {answer.failure for answer in answers} == {None}

    run(scenario)


def test_a_revoked_token_is_refused_and_its_secret_is_no_guess(run: Run) -> None:
    async def scenario(site: Site) -> None:
        warm, cold = await site.make(), await site.make()
        await site.verify(warm)
        for text in (warm, cold):
            assert await site.store.delete(KIND, text.split("_")[1])
        for _ in range(BY_CLIENT_AND_NAME + 2):
            assert await site.verify(warm) == REVOKED
        assert await site.verify(cold) == BAD

    run(scenario)


def test_another_secret_under_the_same_id_ends_the_first(run: Run) -> None:
    async def scenario(site: Site) -> None:
        first, token = site.made()
        await site.store.put(KIND, token.record())
        await site.verify(first)
        await until(lambda: not site.tokens._notes)
        other, changed = site.made(id=token.id)
        second = f"agt_{token.id}_{other.split('_')[2]}"
        await site.store.announce(KIND, changed.record())
        assert await site.verify(first) == REVOKED
        assert (await site.verify(second)).failure is None
        # With the new one in memory.
        assert site.tokens.peek(second, HOME)
        assert await site.verify(first) == REVOKED

    run(scenario)


def test_a_token_that_is_revoked_while_it_is_verified_is_refused(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make(name="dora", local=False)
        site.known["dora"] = user("dora")
        await site.verify(text)
        site.clock.advance(FRESH + 1)
        asked = asyncio.create_task(site.tokens.verify(text, HOME))
        await asyncio.sleep(0)
        assert await site.store.delete(KIND, text.split("_")[1])
        assert await asked == REVOKED

    run(scenario)


def test_a_revocation_reaches_another_process_within_100_ms(tmp_path: Path) -> None:
    async def main() -> None:
        clock = time.time
        loaded = users(tmp_path, f"alice:{sha('a')}\n")
        here, there = (SqliteStore(tmp_path / "authgate.db", clock) for _ in range(2))
        tokens = [Tokens(s, loaded, People(Directory(), clock), Brakes(s, clock), clock) for s in (here, there)]
        following = [asyncio.create_task(one.run()) for one in tokens]
        await until(lambda: here.up and there.up)
        made = Site(tmp_path, MovableClock(clock()), Flaky(clock), loaded, tokens[0], {})
        took = []
        for _ in range(3):
            text, token = made.made()
            await here.put(KIND, token.record())
            for one in tokens:
                assert (await one.verify(text, HOME)).failure is None
                assert one.peek(text, HOME)
            began = time.monotonic()
            await here.delete(KIND, token.id)
            await until(lambda: all(one.peek(text, HOME) is None for one in tokens))  # noqa: B023 - asked at once
            took.append(time.monotonic() - began)
            assert [await one.verify(text, HOME) for one in tokens] == [REVOKED, REVOKED]
        # The machine may be busy with something else for once.
        assert min(took) < 0.1
        for task in following:
            task.cancel()
        await asyncio.wait(following)
        await here.aclose()
        await there.aclose()

    asyncio.run(main())


def test_while_the_store_is_away_a_token_is_unknown_and_not_bad(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        site.store.away = True
        assert await site.verify(text) == UNKNOWN
        assert await site.verify(wrong_secret(text)) == UNKNOWN
        site.store.away = False
        assert (await site.verify(text)).failure is None
        # A wrong one could not be counted.
        site.store.read_only = True
        assert await site.verify(wrong_secret(text)) == UNKNOWN
        assert (await site.verify(await site.make())).failure is None

    run(scenario)


def test_last_use_is_noted_every_ten_minutes_and_by_nobody_who_is_refused(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        await site.verify(wrong_secret(text))
        assert (await site.stored(text)).used is None
        first = site.clock()
        for _ in range(50):
            await site.verify(text)
        await until(lambda: not site.tokens._notes)
        assert (await site.stored(text)).used == first
        before = site.store.operations
        site.clock.advance(NOTED_EVERY - 1)
        await site.verify(text)
        await asyncio.sleep(0)
        assert site.store.operations == before
        site.clock.advance(1)
        await site.verify(text)
        await until(lambda: not site.tokens._notes)
        assert (await site.stored(text)).used == site.clock()
        # One that cannot be written refuses nobody, and is not tried each time.
        site.store.read_only = True
        site.clock.advance(NOTED_EVERY)
        for _ in range(5):
            assert (await site.verify(text)).failure is None
            await until(lambda: not site.tokens._notes)
        assert [record.message for record in caplog.records] == ["the use of tokens cannot be noted: away"]

    with caplog.at_level(logging.WARNING, "authgate"):
        run(scenario)


def test_noting_a_use_brings_no_revoked_token_back(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        await site.verify(text)
        await until(lambda: not site.tokens._notes)
        site.clock.advance(NOTED_EVERY)
        assert (await site.verify(text)).failure is None
        await site.store.delete(KIND, text.split("_")[1])
        await until(lambda: not site.tokens._notes)
        assert await site.verify(text) == REVOKED

    run(scenario)


def test_people_of_the_site_are_who_lookup_says_they_are_now(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make(name="dora", local=False)
        assert await site.verify(text) == REVOKED
        site.clock.advance(FRESH + 1)
        site.known["dora"] = user("dora", ["editors"])
        assert (await site.verify(text)).subject == Subject("", "dora", frozenset({"editors"}))
        site.clock.advance(FRESH + 1)
        site.known["dora"] = user("dora")
        # The group file's, as the site says nothing of groups.
        assert (await site.verify(text)).subject == Subject("", "dora", frozenset({"site"}))
        site.clock.advance(USABLE + 1)
        site.known["dora"] = OSError("no directory")
        assert await site.verify(text) == FAILED
        site.clock.advance(FRESH)
        del site.known["dora"]
        assert await site.verify(text) == REVOKED

    run(scenario)


def test_a_name_that_changed_hands_between_file_and_site_has_no_token(run: Run) -> None:
    async def scenario(site: Site) -> None:
        site.known["alice"] = user("alice")
        site.known["zoe"] = user("bob")
        site.known["gone"] = user("gone")
        site.known["bob"] = user("dora")
        assert await site.verify(await site.make(name="bob", local=False)) == REVOKED
        assert await site.verify(await site.make(local=False)) == REVOKED
        assert await site.verify(await site.make(name="zoe", local=False)) == REVOKED
        assert await site.verify(await site.make(name="gone", local=True)) == REVOKED
        assert await site.verify(await site.make(source="partner")) == REVOKED

    run(scenario)


def test_without_lookup_people_of_the_site_have_no_tokens(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        store = Flaky(clock)
        loaded = users(tmp_path, f"alice:{sha('a')}\n")
        tokens = Tokens(store, loaded, People(Directory(), clock), Brakes(store, clock), clock)
        site = Site(tmp_path, clock, store, loaded, tokens, {})
        assert await site.verify(await site.make(name="dora", local=False)) == REVOKED

    asyncio.run(main())


def test_memory_is_bounded(run: Run) -> None:
    async def scenario(site: Site) -> None:
        people = People(Directory(), site.clock)
        tokens = Tokens(site.store, site.loaded, people, Brakes(site.store, site.clock), site.clock, capacity=3)
        for _ in range(10):
            assert (await tokens.verify(await site.make(), HOME)).failure is None
        assert tokens.remembered == 3
        for _ in range(5):
            await tokens.verify(generate()[0], HOME)
        assert tokens.remembered == 3

    run(scenario)


# In the order of credentials


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Basic"])
def test_a_token_comes_as_bearer_or_as_the_password_of_basic(run: Run, scheme: str) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        credentials = site.credentials()
        header = basic(text) if scheme == "Basic" else f"{scheme} {text}"
        presented = Presented("", header, "", HOME)

        assert credentials.peek(presented, SITE) is None
        identity = await credentials.verify(presented, SITE)
        assert (identity.subject, identity.credential) == (ALICE, CredentialKind.TOKEN)
        # Twice, from two memories.
        assert credentials.peek(presented, SITE) == identity
        assert credentials.peek(presented, SITE) == identity
        assert access_token(header) == text
        for other in ("bob", "root", "x" * 300):
            assert (await credentials.verify(Presented("", basic(text, other), "", HOME), SITE)).subject == ALICE
        await site.store.delete(KIND, text.split("_")[1])
        assert credentials.peek(presented, SITE) is None
        assert await credentials.verify(presented, SITE) == REVOKED

    run(scenario)


def test_headers_with_tokens_are_remembered_and_not_too_many(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        verifier = BasicVerifier(
            site.loaded, logins(site.loaded, Passwords(site.loaded)), site.clock, capacity=2, tokens=site.tokens
        )
        for name in ("a", "b", "c", "d"):
            assert (await verifier.verify(basic(text, name), HOME)).failure is None
            assert verifier.peek(basic(text, name), HOME)
            assert 0 < len(verifier._proofs) <= 2

    run(scenario)


def test_a_password_that_begins_as_a_token_never_gets_to_a_hash(run: Run, tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        write(tmp_path / "users.htpasswd", f"alice:{sha('agt_truncated')}\n")
        settle(site.loaded, site.clock)
        presented = Presented("", basic("agt_truncated", "alice"), "", HOME)
        assert site.credentials().peek(presented, SITE) == BAD
        assert await site.credentials().verify(presented, SITE) == BAD

    run(scenario)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x.y.z", "Negotiate YII=", basic("secret"), "Basic !", "\0"])
def test_other_headers_hold_no_access_token(header: str) -> None:
    assert access_token(header) is None


def test_without_tokens_none_is_good(tmp_path: Path) -> None:
    clock = MovableClock()
    store = MemoryStore(clock)
    loaded = users(tmp_path, f"alice:{sha('a')}\n")
    records = CachedRecords(store, SESSION_KIND, decode_session, 10)
    sessions = Sessions(records, store, loaded, 1800, 43200, clock)
    credentials = Credentials(sessions, BasicVerifier(loaded, logins(loaded, Passwords(loaded)), clock))
    for header in (f"Bearer {generate()[0]}", basic(generate()[0])):
        presented = Presented("", header, "", HOME)
        assert credentials.peek(presented, SITE) == BAD
        assert asyncio.run(credentials.verify(presented, SITE)) == BAD


def test_two_tokens_or_one_twice_are_none(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text = await site.make()
        await site.verify(text)
        for header in (f"Bearer {text}, Bearer {text}", f"{basic(text)}, {basic(text)}", f"Bearer {text} {text}"):
            identity = await site.credentials().verify(Presented("", header, "", HOME), SITE)
            assert identity.failure is Reason.BAD_CREDENTIAL

    run(scenario)


# Through the decision


def test_outside_of_its_scope_a_token_is_refused_and_within_it_is_its_owner(run: Run) -> None:
    rules = compiled(
        {"paths": ["/open"], "allow": ["anyone"]},
        {"paths": ["/x/**"], "allow": ["group:staff & via:token"]},
        {"paths": ["/y/**"], "allow": ["user:bob"]},
    )

    async def scenario(site: Site) -> None:
        pdp = Pdp(rules, (SITE,), site.credentials())

        async def outcome(text: str, asked: str, **more: str | None) -> tuple[Outcome, Reason]:
            presented = Presented("", f"Bearer {text}", "", HOME)
            both = []
            for _ in range(2):
                answer = pdp.evaluate_at_once(request(asked, **more), presented)  # type: ignore[arg-type]
                answer = answer or await pdp.evaluate(request(asked, **more), presented)  # type: ignore[arg-type]
                both.append((answer.decision.outcome, answer.decision.reason))
            # Cold and warm alike.
            assert both[0] == both[1]
            return both[0]

        exceeded = (Outcome.REFUSE, Reason.SCOPE_EXCEEDED)
        one = await site.make(
            paths=("/x/a/**", "/y/**"), methods=("GET",), networks=("10.0.0.0/8",), hosts=(SITE.host,)
        )
        assert await outcome(one, "/x/a/b", ip="10.0.0.9") == (Outcome.ALLOW, Reason.ALLOWED)
        assert await outcome(one, "/x/a/b", ip="10.0.0.9", method="HEAD") == (Outcome.ALLOW, Reason.ALLOWED)
        assert await outcome(one, "/x/ab", ip="10.0.0.9") == exceeded
        assert await outcome(one, "/x/a/b", ip="192.0.2.1") == exceeded
        assert await outcome(one, "/x/a/b", ip=None) == exceeded
        assert await outcome(one, "/x/a/b", ip="10.0.0.9", method="PUT") == exceeded
        # Within its scope it is no more than its owner.
        assert (await outcome(one, "/y/a", ip="10.0.0.9"))[0] is not Outcome.ALLOW
        # What is open to anybody stays open.
        assert await outcome(one, "/open", ip="192.0.2.1") == (Outcome.ALLOW, Reason.ALLOWED)
        only_api = await site.make(files=False, api=("metrics",))
        assert await outcome(only_api, "/x/a/b") == exceeded
        free = await site.make()
        assert await outcome(free, "/x/a/b", ip=None) == (Outcome.ALLOW, Reason.ALLOWED)
        assert await outcome(wrong_secret(free), "/x/a/b") == (Outcome.LOGIN, Reason.BAD_CREDENTIAL)
        assert (await outcome(free, "/x/../etc", ip=None))[1] is Reason.AMBIGUOUS_PATH

    run(scenario)


def test_a_guard_holds_for_a_token_and_a_wrong_one_is_as_good_as_none(run: Run) -> None:
    rules = compiled(
        {"paths": ["/x/**"], "deny": ["user:alice"]},
        {"paths": ["/**"], "allow": ["anyone"]},
    )

    async def scenario(site: Site) -> None:
        pdp = Pdp(rules, (SITE,), site.credentials())
        text = await site.make()
        for token, path, allowed in (
            (text, "/x/y", False),
            (text, "/public/a", True),
            (wrong_secret(text), "/public/a", True),
        ):
            answer = await pdp.evaluate(request(path), Presented("", f"Bearer {token}", "", HOME))
            assert answer.decision.allowed is allowed, path

    run(scenario)


def test_no_secret_is_in_what_is_shown(run: Run) -> None:
    async def scenario(site: Site) -> None:
        text, token = site.made()
        await site.store.put(KIND, token.record())
        identity = await site.verify(text)
        secret = text.split("_")[2]
        proof = site.tokens.recall(text)
        shown = f"{identity!r} {token!r} {proof!r} {site.tokens!r} {site.tokens._proofs!r}"
        assert secret not in shown
        assert token.digest not in shown
        assert proof
        assert replace(proof) == proof

    run(scenario)

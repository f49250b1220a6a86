import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from authgate.credentials import Credentials, Presented
from authgate.credentials.basic import BAD as BAD_BASIC
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.directory import Directory
from authgate.credentials.passwords import Passwords
from authgate.credentials.people import People
from authgate.credentials.server import ServerLogin
from authgate.credentials.session import KIND, SessionData, Sessions, decode
from authgate.model import ANONYMOUS, NOBODY, CredentialKind, Identity, Reason, Site, Subject
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import SITE, logins, sha, users

ALICE, BOB = Subject("", "alice", None), Subject("", "bob", None)
AS_BOB = "Basic " + base64.b64encode(b"bob:builder").decode()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Credentials, str], Awaitable[None]]], None]:
    """Run a scenario with credentials and the cookie of a session of alice."""

    def run(scenario: Callable[[Credentials, str], Awaitable[None]]) -> None:
        async def main() -> None:
            clock = MovableClock()
            store = MemoryStore(clock)
            loaded = users(tmp_path, f"alice:{sha('a')}\nbob:{sha('builder')}\n")
            records: CachedRecords[SessionData] = CachedRecords(store, KIND, decode, 100)
            sessions = Sessions(records, store, loaded, 1800, 43200, clock)
            passwords = Passwords(loaded)
            await scenario(
                Credentials(sessions, BasicVerifier(loaded, logins(loaded, passwords), clock)),
                await sessions.begin(ALICE, SITE),
            )
            passwords.close()

        asyncio.run(main())

    return run


Run = Callable[[Callable[[Credentials, str], Awaitable[None]]], None]


def test_nothing_sent_is_nobody(run: Run) -> None:
    async def scenario(credentials: Credentials, value: str) -> None:
        for cookie in ("", "other=1", f"authgate={value}", f"__Secure-authgate={value}", "__Host-authgate"):
            assert credentials.peek(Presented(cookie, ""), SITE) == NOBODY
            assert await credentials.verify(Presented(cookie, ""), SITE) == NOBODY

    run(scenario)


def test_session_cookie_proves_its_subject(run: Run) -> None:
    async def scenario(credentials: Credentials, value: str) -> None:
        presented = Presented(f"a=b; __Host-authgate={value}; c=d", "")

        assert credentials.peek(presented, SITE) is None
        assert await credentials.verify(presented, SITE) == Identity(ALICE, CredentialKind.SESSION)

    run(scenario)


def test_cookie_has_the_name_of_its_kind_of_site(run: Run) -> None:
    plain = Site("http", SITE.host)

    async def scenario(credentials: Credentials, value: str) -> None:
        identity = await credentials.verify(Presented(f"authgate={value}", ""), plain)

        assert identity == Identity(ALICE, CredentialKind.SESSION)
        assert await credentials.verify(Presented(f"__Host-authgate={value}", ""), plain) == NOBODY

    run(scenario)


@pytest.mark.parametrize(
    "cookie",
    [
        "__Host-authgate={value}; __Host-authgate={value}",
        "__Host-authgate={value}; a=b; __Host-authgate=",
        "__Host-authgate=; __Host-authgate={value}",
        "__Host-authgate=",
        '__Host-authgate="{value}"',
        "__Host-authgate={value}, z=1",
        "__Host-authgate=\xff",
        "__Host-authgate=" + "x" * 8000,
    ],
)
def test_doubled_or_malformed_cookie_is_bad(run: Run, cookie: str) -> None:
    async def scenario(credentials: Credentials, value: str) -> None:
        presented = Presented(cookie.format(value=value), "")

        for identity in (credentials.peek(presented, SITE), await credentials.verify(presented, SITE)):
            assert identity is not None
            assert identity.failure is Reason.BAD_CREDENTIAL
            assert identity.credential is CredentialKind.SESSION
            assert identity.subject is not None
            assert identity.subject.is_anonymous

    run(scenario)


def test_authorization_goes_before_the_cookie(run: Run) -> None:
    async def scenario(credentials: Credentials, value: str) -> None:
        presented = Presented(f"__Host-authgate={value}", AS_BOB)

        assert credentials.peek(presented, SITE) is None
        assert await credentials.verify(presented, SITE) == Identity(BOB, CredentialKind.BASIC)
        assert credentials.peek(presented, SITE) == Identity(BOB, CredentialKind.BASIC)

    run(scenario)


@pytest.mark.parametrize("authorization", [AS_BOB[:-1], "Bearer abc", "Digest x", "\xff", " ", "Basic"])
def test_bad_authorization_hides_a_good_cookie(run: Run, authorization: str) -> None:
    async def scenario(credentials: Credentials, value: str) -> None:
        presented = Presented(f"__Host-authgate={value}", authorization)

        for identity in (credentials.peek(presented, SITE), await credentials.verify(presented, SITE)):
            assert identity is not None
            assert identity.failure is Reason.BAD_CREDENTIAL
            bearer = authorization.startswith("Bearer")
            assert identity.credential is (CredentialKind.JWT if bearer else CredentialKind.BASIC)

    run(scenario)


def test_the_web_servers_own_login_comes_before_everything_else_where_it_is_believed(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        loaded = users(tmp_path, f"alice:{sha('a')}\nbob:{sha('builder')}\n")
        records: CachedRecords[SessionData] = CachedRecords(MemoryStore(clock), KIND, decode, 100)
        sessions = Sessions(records, MemoryStore(clock), loaded, 1800, 43200, clock)
        passwords = Passwords(loaded)
        basic = BasicVerifier(loaded, logins(loaded, passwords), clock)
        believing = Credentials(sessions, basic, ServerLogin(loaded, People(Directory(), clock)))
        presented = Presented("", AS_BOB, user="alice")

        assert believing.peek(presented, SITE) == Identity(ALICE, CredentialKind.SERVER)
        assert await believing.verify(presented, SITE) == Identity(ALICE, CredentialKind.SERVER)
        assert await believing.verify(presented._replace(user="a/b"), SITE) == Identity(
            ANONYMOUS, CredentialKind.SERVER, Reason.BAD_CREDENTIAL
        )
        assert await believing.verify(presented._replace(user=""), SITE) == Identity(BOB, CredentialKind.BASIC)
        assert await Credentials(sessions, basic).verify(presented, SITE) == Identity(BOB, CredentialKind.BASIC)
        passwords.close()

    asyncio.run(scenario())


def test_a_password_where_none_is_looked_at_is_bad_and_hides_a_good_cookie(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        store = MemoryStore(clock)
        loaded = users(tmp_path, f"alice:{sha('a')}\n")
        sessions = Sessions(CachedRecords(store, KIND, decode, 100), store, loaded, 1800, 43200, clock)
        credentials = Credentials(sessions, basic=None)
        sent = Presented(f"{SITE.session_cookie}={await sessions.begin(ALICE, SITE)}", AS_BOB)

        assert credentials.peek(sent, SITE) == BAD_BASIC
        assert await credentials.verify(sent, SITE) == BAD_BASIC

    asyncio.run(main())

"""``authgate cookie revoke``, ``revoked`` and ``unrevoke``."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner, Result

from authgate.cli.cookie import cookie
from authgate.credentials import revocations
from authgate.credentials.revocations import KIND, LONGEST, Revocation, decode
from authgate.stores import Record, Store
from authgate.stores.sqlite import SqliteStore
from tests.credentials.tokens import ONE, key_set
from tests.stores.following import Follower, until

T = TypeVar("T")

CONFIG = """
store = "sqlite:authgate.db"
[[sites]]
origin = "https://files.example.com"
[[issuers]]
source = "partner"
issuer = "https://partner.example.com"
audience = "files"
keys = [{ jwks = "keys.json" }]
[[issuers]]
source = "shop"
issuer = "https://shop.example.com"
audience = "files"
max_age = "1h"
leeway = "10s"
keys = [{ jwks = "keys.json" }]
"""


@dataclass
class Site:
    """A folder with a configuration and a store."""

    folder: Path

    def run(self, *arguments: str) -> Result:
        result = CliRunner().invoke(cookie, [*arguments, "--config", str(self.folder / "authgate.toml")])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        async def main() -> T:
            store = SqliteStore(self.folder / "authgate.db", time.time)
            try:
                return await question(store)
            finally:
                await store.aclose()

        return asyncio.run(main())

    def records(self) -> list[Record]:
        return self.ask(lambda store: store.scan(KIND))

    def revocation(self) -> tuple[Revocation | None, float]:
        (record,) = self.records()
        return decode(record), record.expires


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "authgate.toml").write_text(CONFIG)
    (tmp_path / "keys.json").write_bytes(key_set(ONE))
    made = Site(tmp_path)
    made.records()
    return made


def test_one_token_is_revoked(site: Site) -> None:
    result = site.run("revoke", "--issuer", "partner", "--jti", "t1")
    assert result.exit_code == 0
    said, expires = site.revocation()
    assert said == Revocation("partner", jti="t1")
    assert result.stdout == f"revoked: {said.key[:12]}\n"
    assert abs(expires - time.time() - LONGEST) < 60


def test_somebodys_tokens_are_revoked_that_were_issued_until_now(site: Site) -> None:
    assert site.run("revoke", "--issuer", "shop", "--subject", "sales/alice").exit_code == 0
    said, expires = site.revocation()
    assert said
    assert said.before
    # Its clock may be ahead by the leeway, and such a token counts for its age and the leeway once more.
    assert said == Revocation("shop", name="sales/alice", before=said.before)
    assert abs(said.before - time.time() - 10) < 60
    assert expires == pytest.approx(said.before + 3600 + 10)


def test_all_that_were_issued_before_are_revoked(site: Site) -> None:
    assert site.run("revoke", "--issuer", "partner", "--issued-before", "now").exit_code == 0
    first, _ = site.revocation()
    assert first
    assert first.before
    assert abs(first.before - time.time()) < 60
    until_then = "2999-01-01T00:00:00Z"
    result = site.run("revoke", "--issuer", "partner", "--issued-before", "2020-01-01T00:00:00Z", "--until", until_then)
    assert result.exit_code == 0
    # One does not take the place of the other: an earlier moment would let in what a later one refuses.
    assert len(site.records()) == 2
    assert "2999-01-01T00:00:00Z" in site.run("revoked").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say which tokens"),
        (("--jti", "a", "--subject", "b"), "say which tokens"),
        (("--jti", ""), "no token has such an id"),
        (("--subject", ""), "nobody has such a name"),
        (("--subject", "a\nb"), "nobody has such a name"),
        (("--subject", "partner/alice"), "hint: --subject alice"),
        (("--issued-before", "2999-01-01T00:00:00Z"), "in the future"),
        (("--issued-before", "2026-11-20T19:30:00"), "with its zone"),
        (("--issued-before", "yesterday"), "no moment"),
        (("--jti", "a", "--until", "soon"), "no moment"),
    ],
)
def test_what_cannot_be_meant_is_said(site: Site, arguments: tuple[str, ...], message: str) -> None:
    result = site.run("revoke", "--issuer", "partner", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert site.records() == []


def test_an_issuer_that_is_not_there(site: Site) -> None:
    result = site.run("revoke", "--issuer", "shops", "--jti", "a")
    assert (result.exit_code, result.stderr) == (
        2,
        'authgate: there is no issuer "shops"\nhint: there is partner, shop\n',
    )


def test_what_has_ended_by_itself_needs_no_revocation(site: Site) -> None:
    for arguments in (
        ("--issuer", "shop", "--issued-before", "2020-01-01T00:00:00Z"),
        ("--issuer", "partner", "--jti", "a", "--until", "2020-01-01T00:00:00Z"),
    ):
        result = site.run("revoke", *arguments)
        assert result.exit_code == 1
        assert "have ended by themselves" in result.stderr
    assert site.records() == []


def test_without_a_store_nothing_is_made(site: Site) -> None:
    for file in site.folder.glob("authgate.db*"):
        file.unlink()
    result = site.run("revoke", "--issuer", "partner", "--jti", "a")
    assert (result.exit_code, result.stderr) == (1, "authgate: there is no store yet\nhint: start the service first\n")
    assert site.run("revoked").stderr == "authgate: nothing is revoked\n"
    assert not (site.folder / "authgate.db").exists()


def test_revocations_are_listed(site: Site) -> None:
    site.run("revoke", "--issuer", "partner", "--jti", "t\x1b1")
    site.run("revoke", "--issuer", "shop", "--subject", "alice")
    lines = site.run("revoked").stdout.splitlines()
    assert lines[0].split() == ["ID", "ISSUER", "JTI", "SUBJECT", "ISSUED", "BEFORE", "UNTIL"]
    assert len(lines) == 3
    # A token's id may be anything, and a terminal obeys.
    assert "t\\x1b1" in lines[2]
    (listed,) = json.loads(site.run("revoked", "--json", "--issuer", "shop").stdout)
    assert listed.keys() == {"id", "issuer", "jti", "subject", "issued_before", "until"}
    assert (listed["issuer"], listed["jti"], listed["subject"]) == ("shop", "", "alice")


def test_a_revocation_is_taken_back(site: Site) -> None:
    site.run("revoke", "--issuer", "partner", "--jti", "t1")
    site.run("revoke", "--issuer", "partner", "--jti", "t2")
    key = Revocation("partner", jti="t1").key
    assert site.run("unrevoke", key[:12]).exit_code == 0
    said, _ = site.revocation()
    assert said == Revocation("partner", jti="t2")
    for name in (key[:12], "xyz", ""):
        result = site.run("unrevoke", name)
        assert result.exit_code == 1
        assert "there is no revocation" in result.stderr


def test_a_running_service_hears_of_it(site: Site) -> None:
    async def main() -> None:
        store = SqliteStore(site.folder / "authgate.db", time.time)
        async with Follower(store) as follower:
            await asyncio.to_thread(site.run, "revoke", "--issuer", "partner", "--jti", "t1")
            key = Revocation("partner", jti="t1").key
            await until(lambda: follower.deleted == [(KIND, key)])
            await asyncio.to_thread(site.run, "unrevoke", key[:12])
            await until(lambda: follower.deleted == [(KIND, key)] * 2)
        await store.aclose()

    asyncio.run(main())


def test_there_are_not_more_than_workers_keep_in_mind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.cli.revoking.MAX_REVOCATIONS", 1)
    assert revocations.MAX_REVOCATIONS == 100_000
    site.run("revoke", "--issuer", "partner", "--jti", "t1")
    result = site.run("revoke", "--issuer", "partner", "--jti", "t2")
    assert result.exit_code == 1
    assert "1 are revoked already" in result.stderr

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner, Result

from authgate.cli.token import token
from authgate.credentials.token_record import KEPT, KIND, Token, decode, digest_of, parse
from authgate.stores import Record, Store
from authgate.stores.sqlite import SqliteStore
from tests.credentials.people import sha
from tests.stores.following import Follower, until

T = TypeVar("T")

CONFIG = """\
store = "sqlite:authgate.db"
[[sites]]
origin = "https://files.example.com"
[users]
htpasswd = "users.htpasswd"
{users}
[networks]
office = ["10.0.0.0/8", "2001:db8::/32"]
[[issuers]]
source = "partner"
issuer = "https://partner.example.com"
audience = "files"
keys = [{{ jwks = "partner.jwks" }}]
"""
LOOKUP = """
from authgate import user
def lookup(username):
    return {"dora": user("dora"), "root": user("alice")}.get(username)
def verify(username, password):
    return None
def broken(username):
    raise OSError("no directory")
"""


@dataclass
class Site:
    """A folder with a configuration, people and a store, and the command run in it."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "authgate.db"

    def configure(self, users: str = "") -> None:
        (self.folder / "authgate.toml").write_text(CONFIG.format(users=users))

    def run(self, *arguments: str) -> Result:
        result = CliRunner().invoke(token, [*arguments, "--config", str(self.folder / "authgate.toml")])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def create(self, *arguments: str, owner: str = "alice") -> str:
        result = self.run("create", "--owner", owner, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.removesuffix("\n")

    def refused(self, *arguments: str, owner: str = "alice") -> tuple[int, str]:
        result = self.run("create", "--owner", owner, *arguments)
        assert result.stdout == ""
        assert self.records() == []
        return result.exit_code, result.stderr

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        async def main() -> T:
            store = SqliteStore(self.path, time.time)
            try:
                return await question(store)
            finally:
                await store.aclose()

        return asyncio.run(main())

    def records(self) -> list[Record]:
        return self.ask(lambda store: store.scan(KIND))

    def stored(self) -> Token:
        [record] = self.records()
        found = decode(record)
        assert found
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.configure()
    (tmp_path / "users.htpasswd").write_text(f"alice:{sha('a')}\nbob:{sha('b')}\n")
    # As a service that has run once.
    made.records()
    return made


def test_create_prints_the_token_once_and_stores_no_secret(site: Site) -> None:
    result = site.run("create", "--owner", "alice")

    text = result.stdout.removesuffix("\n")
    parsed = parse(text)
    assert parsed
    name, secret = parsed
    stored = site.stored()
    assert (stored.id, stored.digest) == (name, digest_of(secret))
    assert (stored.name, stored.source, stored.local, stored.used) == ("alice", "", True, None)
    assert stored.expires == stored.created + 365 * 86400
    assert abs(stored.created - time.time()) < 60
    assert secret.encode() not in b"".join(path.read_bytes() for path in site.folder.iterdir())
    assert re.fullmatch(
        f"authgate: made {name} of alice, until [0-9TZ:-]+\nhint: keep it now: it is not shown again\n", result.stderr
    )
    for arguments in (("list",), ("list", "--json")):
        assert secret not in site.run(*arguments).output


def test_create_says_all_that_it_is_told(site: Site) -> None:
    site.create(
        *("--path", "/reports/**", "--path", "/q3.csv", "--path", "/q3.csv", "--method", "GET", "--method", "PUT"),
        *("--network", "office", "--network", "192.0.2.7", "--host", "files.example.com"),
        *("--expires", "90d", "--label", "nightly copy"),
    )

    stored = site.stored()
    assert stored.paths == ("/reports/**", "/q3.csv")
    assert stored.methods == ("GET", "PUT")
    assert stored.networks == ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32")
    assert stored.hosts == ("files.example.com",)
    assert (stored.files, stored.api, stored.label) == (True, (), "nightly copy")
    assert stored.expires == stored.created + 90 * 86400


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ((), True),
        (("--api", "metrics"), False),
        (("--api", "metrics", "--path", "/**"), True),
        (("--api", "policy", "--api", "manage", "--method", "GET"), True),
    ],
)
def test_a_token_that_is_for_the_api_opens_files_only_when_it_says_so(
    site: Site, arguments: tuple[str, ...], files: bool
) -> None:
    site.create(*arguments)

    assert site.stored().files is files
    assert site.stored().api == tuple(dict.fromkeys(one for one in arguments if one in {"metrics", "policy", "manage"}))


def test_create_as_json(site: Site) -> None:
    result = site.run("create", "--owner", "alice", "--path", "/x/**", "--json")

    document = json.loads(result.stdout)
    assert result.stderr == ""
    parsed = parse(document.pop("token"))
    assert parsed
    [listed] = json.loads(site.run("list", "--json").stdout)
    assert document == listed
    assert document["id"] == parsed[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--path", "reports/**"), '"reports/**" cannot be the path of a token: a path starts with /'),
        (("--path", "/x/../y"), '"/x/../y" cannot be the path of a token'),
        (("--path", "/*.pdf"), '"/*.pdf" cannot be the path of a token'),
        (("--path", ""), '"" cannot be the path of a token'),
        (("--method", "get"), '"get" is no method\nhint: did you mean "GET"?'),
        (("--network", "home"), '"home" is no network\nhint: write 10.0.0.0/8, or one of office'),
        (("--network", "10.0.0.1/8"), '"10.0.0.1/8" is no network'),
        (("--host", "other.example.com"), 'there is no site "other.example.com"\nhint: there is files.example.com'),
        (("--expires", "1y"), '"1y" is no duration'),
        (("--expires", "0d"), '"0d" is no duration'),
        (("--expires", "3651d"), '"3651d" is over ten years'),
        (("--expires", "9999999d"), '"9999999d" is over ten years'),
        (("--label", "a\nb"), "this label cannot be used"),
        (("--label", "x" * 101), "this label cannot be used"),
        (("--api", "metrics", "--network", "office"), "--api and --network exclude each other"),
        (tuple(part for n in range(101) for part in ("--path", f"/{n}")), "over 100 of one kind"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_create_refuses_what_means_nothing(site: Site, arguments: tuple[str, ...], message: str) -> None:
    code, said = site.refused(*arguments)

    assert code == 2
    assert f"authgate: {message}" in said or message in said
    assert "\nhint: " in said


def test_create_refuses_an_unknown_scope_of_the_api(site: Site) -> None:
    assert site.refused("--api", "root")[0] == 2


def test_nobody_owns_no_token(site: Site) -> None:
    code, said = site.refused(owner="carol")
    assert (code, said.splitlines()[0]) == (1, 'authgate: there is no user "carol"')
    assert "users.lookup" in said
    for odd in ("", " alice", "Alice", "\udcff", "alice\n"):
        assert site.refused(owner=odd)[0] == 1, odd


def test_people_of_other_sources_own_no_token(site: Site) -> None:
    code, said = site.refused(owner="partner/alice")

    assert code == 2
    assert 'nobody can be asked whether "partner/alice" is still there' in said


def test_people_of_the_site_own_tokens_where_lookup_knows_them(site: Site) -> None:
    (site.folder / "tokens_site.py").write_text(LOOKUP)
    site.configure('verify = "tokens_site::verify"\nlookup = "tokens_site::lookup"')

    for unknown in ("carol", ""):
        assert site.refused(owner=unknown) == (1, f'authgate: there is no user "{unknown}"\n')
    code, said = site.refused(owner="root")
    assert (code, said.splitlines()[0]) == (
        1,
        'authgate: for users.lookup "root" is alice, who is in the htpasswd file',
    )
    site.create(owner="dora")
    assert (site.stored().name, site.stored().local) == ("dora", False)


def test_a_lookup_that_fails_makes_no_token(site: Site) -> None:
    (site.folder / "tokens_site_away.py").write_text(LOOKUP)
    site.configure('verify = "tokens_site_away::verify"\nlookup = "tokens_site_away::broken"')
    code, said = site.refused(owner="dora")
    assert (code, said.splitlines()[0].partition(":")[0]) == (1, "authgate")
    assert "users.lookup" in said
    site.configure('verify = "tokens_site_away::verify"\nlookup = "no_such_module::lookup"')
    assert site.refused(owner="dora")[0] == 2


def test_list_shows_everything_but_secrets(site: Site) -> None:
    text = site.create("--path", "/reports/**", "--method", "GET", "--network", "10.0.0.0/8", "--label", "copy")
    other = site.create("--api", "metrics", "--expires", "1d", owner="bob")
    used = replace(next(t for r in site.records() if (t := decode(r)) and t.name == "bob"), used=1_700_000_060.0)
    site.ask(lambda store: store.put(KIND, used.record()))

    result = site.run("list")

    assert result.exit_code == 0
    head, first, second = (re.split(r"  +", line) for line in result.stdout.splitlines())
    assert head == ["ID", "OWNER", "LABEL", "SCOPE", "CREATED", "LAST USE", "EXPIRES"]
    assert first[:3] == [other.split("_")[1], "bob", "api:metrics"]
    assert first[4] == "2023-11-14T22:14:20Z"
    assert second[:4] == [text.split("_")[1], "alice", "copy", "GET /reports/** from 10.0.0.0/8"]
    assert second[5] == "never"
    assert text.split("_")[2] not in result.output
    assert site.run("list", "--owner", "bob").stdout.count("\n") == 2


def test_list_as_json(site: Site) -> None:
    text = site.create("--path", "/x/**", "--label", "ü")

    [row] = json.loads(site.run("list", "--json").stdout)

    assert row.pop("created") > "2025"
    assert row.pop("expires") > "2026"
    assert row == {
        "id": text.split("_")[1],
        "owner": "alice",
        "label": "ü",
        "files": True,
        "paths": ["/x/**"],
        "methods": [],
        "networks": [],
        "hosts": [],
        "api": [],
        "last_use": None,
        "expired": False,
    }


def test_an_expired_token_is_listed_as_long_as_the_store_keeps_it(site: Site) -> None:
    site.create()
    old = replace(site.stored(), created=time.time() - 90, expires=time.time() - 60)
    site.ask(lambda store: store.put(KIND, old.record()))

    assert json.loads(site.run("list", "--json").stdout)[0]["expired"] is True
    site.ask(lambda store: store.purge(time.time(), 10))
    assert len(site.records()) == 1
    site.ask(lambda store: store.purge(time.time() + KEPT, 10))
    assert site.records() == []


def test_list_of_nobody(site: Site) -> None:
    assert site.run("list").stderr == "authgate: there are no tokens\n"
    assert site.run("list", "--owner", "bob").stderr == 'authgate: "bob" has no tokens\n'
    assert site.run("list", "--json").stdout == "[]\n"


def test_unreadable_record_is_listed_and_can_be_revoked(site: Site) -> None:
    record = Record("a" * 14, b"\xff", "alice", time.time() + 600)
    site.ask(lambda store: store.put(KIND, record))

    assert "cannot be read" in site.run("list").stdout
    assert site.run("revoke", "a" * 14).exit_code == 0
    assert site.records() == []


def test_revoke_by_id_or_by_the_token_itself(site: Site) -> None:
    texts = [site.create() for _ in range(4)]
    ids = [text.split("_")[1] for text in texts]

    result = site.run("revoke", ids[0], texts[1], f"agt_{ids[2]}")

    assert (result.exit_code, result.stdout) == (0, "".join(f"revoked {name}\n" for name in ids[:3]))
    assert [record.key for record in site.records()] == ids[3:]


def test_revoke_of_what_is_no_id_fails_without_saying_it_again(site: Site) -> None:
    text = site.create()
    secret = text.split("_")[2]

    for wrong in ("", "x", text.split("_")[1][:-1], secret, text + "!", "%" * 14, "\udcff" * 14):
        result = site.run("revoke", wrong)
        assert result.exit_code == 1
        assert result.stderr == (
            "authgate: one of these is no token's ID\nhint: see them with: authgate token list\n"
        ), wrong
    unknown = site.run("revoke", "0" * 14, text)
    assert (unknown.exit_code, unknown.stdout) == (1, f"revoked {text.split('_')[1]}\n")
    assert unknown.stderr.splitlines()[0] == f'authgate: there is no token "{"0" * 14}"'
    assert site.records() == []


def test_revoke_by_owner(site: Site) -> None:
    site.create()
    site.create()
    bob = site.create(owner="bob")

    assert site.run("revoke", "--owner", "").stdout == "revoked 0 tokens\n"
    assert site.run("revoke", "--owner", "alice").stdout == "revoked 2 tokens\n"
    assert [record.key for record in site.records()] == [bob.split("_")[1]]
    assert site.run("revoke", "--owner", "bob").stdout == "revoked 1 token\n"


@pytest.mark.parametrize("arguments", [(), ("0" * 14, "--owner", "alice")])
def test_revoke_must_say_which_and_in_one_way(site: Site, arguments: tuple[str, ...]) -> None:
    site.create()

    assert site.run("revoke", *arguments).exit_code == 2
    assert len(site.records()) == 1


def test_running_worker_learns_of_a_revocation(site: Site) -> None:
    name = site.create().split("_")[1]

    async def main() -> None:
        store = SqliteStore(site.path, time.time)
        async with Follower(store) as follower:
            result = await asyncio.to_thread(site.run, "revoke", name)
            assert result.exit_code == 0
            await until(lambda: follower.deleted == [(KIND, name)])
        await store.aclose()

    asyncio.run(main())


def test_store_that_does_not_exist_is_not_made(site: Site) -> None:
    """Made here, it would belong to root, and the service could not write it."""
    site.path.unlink()

    assert site.run("create", "--owner", "alice").exit_code == 1
    assert site.run("list").exit_code == 0
    assert site.run("revoke", "--owner", "alice").stdout == "revoked 0 tokens\n"
    assert site.run("revoke", "0" * 14).exit_code == 1
    assert not site.path.exists()


def test_memory_store_cannot_be_reached(site: Site) -> None:
    config = site.folder / "authgate.toml"
    config.write_text("workers = 1\n" + config.read_text().replace("sqlite:authgate.db", "memory:"))

    for arguments in (("create", "--owner", "alice"), ("list",), ("revoke", "0" * 14)):
        result = site.run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "live inside the running service" in result.stderr

"""``authgate link``: what it signs counts, what it lists is so, and what it revokes is refused."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from authgate.cli.key import key as key_command
from authgate.cli.link import link
from authgate.cli.link_records import KIND, decode
from authgate.credentials import revocations
from authgate.credentials.keyring import read_ring
from authgate.credentials.link_format import LAST, LinkTerms, make_id, open_link, sign_link
from authgate.credentials.links import SOURCE, counter_key, find_value, revocation
from authgate.keys import Key, State
from authgate.stores import Record, Store
from authgate.stores.sqlite import SqliteStore
from tests.stores.following import Follower, until

T = TypeVar("T")

CONFIG = """
store = "sqlite:authgate.db"
[[sites]]
origin = "https://files.example.com"
[links]
keys = "links.jwks"
[networks]
office = ["10.0.0.0/8", "2001:db8::/32"]
[[rules]]
name = "closed"
paths = ["/videos/secret/**"]
deny = ["anyone"]
[[rules]]
name = "videos"
paths = ["/videos/**"]
methods = ["GET"]
allow = ["link & ip:0.0.0.0/0", "user:root"]
[[rules]]
name = "others"
paths = ["/**"]
allow = ["authenticated"]
"""

SECOND_SITE = '[[sites]]\norigin = "http://intranet.example.com:8080"\n'
USAGE = 2


@dataclass
class Site:
    """A folder with a configuration, a ring and a store, and the command run in it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    @property
    def path(self) -> Path:
        return self.folder / "authgate.db"

    def run(self, *arguments: str, stdin: str = "") -> Result:
        result = CliRunner().invoke(link, [*arguments, "--config", str(self.config)], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        async def main() -> T:
            store = SqliteStore(self.path, time.time)
            try:
                return await question(store)
            finally:
                await store.aclose()

        return asyncio.run(main())

    def keys(self) -> dict[str, Key]:
        return {entry.key.id: entry.key for entry in read_ring(self.folder / "links.jwks").entries}

    def made(self, *arguments: str) -> str:
        """Make a link and return its address."""
        result = self.run("create", *arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout.removesuffix("\n")

    def read(self, address: str) -> LinkTerms:
        """Return what the link in an address says to whoever verifies it."""
        terms = open_link(find_value(urlsplit(address).query) or "", self.keys())
        assert terms is not None
        return terms

    def revoked(self, name: str) -> Record | None:
        return self.ask(lambda store: store.get(revocations.KIND, revocation(name).key))

    def signed_elsewhere(self, **claims: object) -> str:
        """Return a link that an application has signed with the ring's current key."""
        current = next(key for key in self.keys().values() if key.state is State.CURRENT)
        usual = {"id": make_id(), "host": "files.example.com", "path": "/videos/**", "exp": int(time.time()) + 60}
        return sign_link(current, {**usual, **claims})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.config.write_text(CONFIG)
    assert CliRunner().invoke(key_command, ["new", str(tmp_path / "links.jwks"), "--purpose", "link"]).exit_code == 0
    made.ask(lambda store: store.scan(KIND))
    return made


def test_create_prints_an_address_that_counts(site: Site) -> None:
    before = int(time.time())
    address = site.made("/videos/42/film.mp4", "--expires", "2h")

    assert address.startswith("https://files.example.com/videos/42/film.mp4?ag=")
    terms = site.read(address)
    assert [reach.path for reach in terms.scope.paths] == ["/videos/42/film.mp4"]
    assert (set(terms.scope.hosts), set(terms.scope.methods)) == ({"files.example.com"}, {"GET"})
    assert (terms.uses, terms.label, terms.begins, terms.scope.networks) == (None, "", 0.0, None)
    assert before + 7200 <= terms.ends <= time.time() + 7200


def test_create_says_all_that_was_asked_for(site: Site) -> None:
    address = site.made(
        *("/videos/42/**", "--expires", "7d", "--uses", "3", "--host", "FILES.example.com", "--label", "for Jane"),
        *("--network", "office", "--network", "192.0.2.7", "--not-before", "2026-01-01T00:00:00+01:00"),
    )

    assert address.startswith("https://files.example.com/videos/42/?ag=")
    terms = site.read(address)
    assert terms.scope.paths[0].below
    assert (terms.uses, terms.label, terms.begins) == (3, "for Jane", 1767222000.0)
    networks = terms.scope.networks
    assert networks is not None
    assert sorted(map(str, networks)) == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]


def test_create_puts_the_link_in_front_of_the_path_for_players(site: Site) -> None:
    address = site.made("/videos/42/**", "--expires", "2h", "--path-form")

    prefix, _, rest = address.partition("/authgate-link/")
    value, _, path = rest.partition("/")
    assert (prefix, path) == ("https://files.example.com", "videos/42/")
    assert open_link(value, site.keys()) is not None


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/videos/a b?#%é+;.mp4", "/videos/a%20b%3F%23%25%C3%A9%2B%3B.mp4"),
        ("/videos/**", "/videos/"),
    ],
)
def test_address_is_written_as_an_address(site: Site, path: str, written: str) -> None:
    assert urlsplit(site.made(path, "--expires", "2h")).path == written


def test_host_is_named_where_there_are_several(site: Site) -> None:
    site.config.write_text(CONFIG.replace("[links]", f"{SECOND_SITE}[links]"))

    unnamed = site.run("create", "/videos/42", "--expires", "2h")
    address = site.made("/videos/42", "--expires", "2h", "--host", "intranet.example.com")

    assert unnamed.exit_code == USAGE
    assert "files.example.com, intranet.example.com" in unnamed.stderr
    assert address.startswith("http://intranet.example.com:8080/videos/42?ag=")


def test_create_as_json(site: Site) -> None:
    said = json.loads(site.run("create", "/videos/42", "--expires", "2h", "--uses", "3", "--json").stdout)

    assert said.keys() == {"id", "address", "expires", "uses"}
    assert site.read(said["address"]).id == said["id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/videos", "--expires", "2"], '"2" is no duration'),
        (["/videos", "--expires", "-2h"], '"-2h" is no duration'),
        (["videos", "--expires", "2h"], '"videos" is no path'),
        (["/videos/*.mp4", "--expires", "2h"], "is no path"),
        (["/videos/../x", "--expires", "2h"], "is no path"),
        (["/videos", "--expires", "2h", "--host", "evil.example"], 'there is no site "evil.example"'),
        (["/videos", "--expires", "2h", "--network", "home"], 'there is no network "home"'),
        (["/videos", "--expires", "2h", "--network", "10.0.0.1/8"], "there is no network"),
        (["/videos", "--expires", "2h", "--method", "get"], '"get" is no method'),
        (["/videos", "--expires", "2h", "--not-before", "tomorrow"], '"tomorrow" is no moment'),
        (["/videos", "--expires", "2h", "--not-before", "2026-11-20T19:30:00"], "is no moment"),
        (["/videos", "--expires", "2h", "--not-before", "2999-01-01T00:00:00Z"], "before it begins"),
        (["/videos", "--expires", "2h", "--label", "a\x1b[2Jb"], "printable"),
        (["/videos", "--expires", "2h", "--label", "x" * 101], "100 printable"),
        (["/videos", "--expires", "2h", "--uses", "0"], "--uses"),
        (["/videos", "--expires", "99999999999d"], "is no duration"),
        (["/" + "x" * 2000, "--expires", "2h"], "no such link can be made"),
        (["/videos"], "--expires"),
    ],
)
def test_what_cannot_be_meant_is_refused(site: Site, arguments: list[str], message: str) -> None:
    result = site.run("create", *arguments)

    assert (result.exit_code, result.stdout) == (USAGE, "")
    assert message in result.stderr
    assert site.ask(lambda store: store.scan(KIND)) == []


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (["/videos/42"], False),
        (["/videos/**"], False),
        (["/**"], False),
        (["/video/**"], True),
        (["/reports/**"], True),
        (["/reports/q3.csv"], True),
        (["/videos/42", "--method", "PUT"], True),
        (["/videos/42", "--method", "GET", "--method", "PUT"], True),
    ],
)
def test_create_warns_when_no_rule_admits_by_link_there(site: Site, arguments: list[str], warned: bool) -> None:
    result = site.run("create", *arguments, "--expires", "2h")

    assert result.exit_code == 0
    assert ("no rule with the atom link" in result.stderr) == warned


def test_create_without_keys_says_how_to_make_them(site: Site) -> None:
    site.config.write_text('store = "sqlite:authgate.db"\n[[sites]]\norigin = "https://files.example.com"\n')
    result = site.run("create", "/videos/42", "--expires", "2h")

    assert result.exit_code == USAGE
    assert "authgate key new links.jwks --purpose link" in result.stderr


def test_create_without_a_store_prints_nothing(site: Site) -> None:
    site.path.unlink()
    result = site.run("create", "/videos/42", "--expires", "2h")

    assert (result.exit_code, result.stdout) == (1, "")
    assert not site.path.exists()


def test_list_shows_links_and_how_often_they_were_used(site: Site) -> None:
    first = site.read(site.made("/videos/42/**", "--expires", "2h", "--uses", "3", "--label", "Jane"))
    second = site.read(site.made("/videos/43", "--expires", "1h"))
    site.ask(lambda store: store.take(counter_key(first.id), "unit", 3, first.ends, 60.0))

    header, *rows = site.run("list").stdout.splitlines()
    assert header.split() == ["ID", "HOST", "PATH", "STATE", "USES", "EXPIRES", "LABEL"]
    assert rows[0].split()[:4] == [second.id, "files.example.com", "/videos/43", "valid"]
    assert rows[1].split()[:7] == [first.id, "files.example.com", "/videos/42/**", "valid", "1", "of", "3"]
    assert rows[1].endswith("Jane")
    described = json.loads(site.run("list", "--json").stdout)
    assert [(row["id"], row["uses"], row["taken"]) for row in described] == [(second.id, None, None), (first.id, 3, 1)]


def test_list_without_links_says_so(site: Site) -> None:
    result = site.run("list")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "authgate: there are no links\n")


def test_store_and_lists_hold_no_link(site: Site) -> None:
    value = find_value(urlsplit(site.made("/videos/42", "--expires", "2h")).query)
    assert value
    (record,) = site.ask(lambda store: store.scan(KIND))

    shown = [site.run("list").output, site.run("list", "--json").output, site.run("show", record.key).output]
    assert not any(value.rpartition(".")[2] in text for text in (record.value.decode(), *shown))
    assert record.expires == site.read(f"?ag={value}").ends


@pytest.mark.parametrize("form", ["id", "address", "path form", "link", "stdin"])
def test_show_takes_every_form(site: Site, form: str) -> None:
    address = site.made("/videos/42/**", "--expires", "2h", "--uses", "3")
    terms, value = site.read(address), find_value(urlsplit(address).query) or ""
    forms = {
        "id": terms.id,
        "address": address,
        "path form": f"https://files.example.com/authgate-link/{value}/videos/42/x.ts",
        "link": value,
        "stdin": "-",
    }

    said = json.loads(site.run("show", forms[form], "--json", stdin=f"{address}\n").stdout)

    assert (said["id"], said["state"], said["path"], said["uses"], said["taken"]) == (
        *(terms.id, "valid", "/videos/42/**"),
        *(3, 0),
    )
    assert said["created"] is not None


def test_show_says_why_a_link_does_not_count(site: Site) -> None:
    used = site.read(site.made("/videos/1", "--expires", "2h", "--uses", "1"))
    site.ask(lambda store: store.take(counter_key(used.id), "unit", 1, used.ends, 60.0))
    gone = site.read(site.made("/videos/2", "--expires", "2h"))
    site.run("revoke", gone.id)
    now = time.time()

    def state(which: str) -> object:
        return json.loads(site.run("show", which, "--json").stdout)["state"]

    assert [state(used.id), state(gone.id)] == ["used up", "revoked"]
    assert state(site.signed_elsewhere(exp=now - 1)) == "expired"
    assert state(site.signed_elsewhere(nbf=now + 30)) == "not yet"
    assert "state    revoked" in site.run("show", gone.id).stdout


@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("unknown", 1),
        ("a.b.c", 1),
        ("https://files.example.com/videos/42?ag=a.b.c", 1),
        ("https://files.example.com/videos/42", USAGE),
        ("https://[/?ag=a.b.c", USAGE),
        ("a b", USAGE),
        ("", USAGE),
        ("x" * 65, USAGE),
        ("../../etc/passwd", USAGE),
    ],
)
def test_what_is_no_link_is_not_shown(site: Site, which: str, code: int) -> None:
    result = site.run("show", which)

    assert (result.exit_code, result.stdout) == (code, "")
    assert "a.b.c" not in result.stderr


def test_link_with_another_signature_is_not_shown(site: Site) -> None:
    value = site.signed_elsewhere()
    changed = value[:-2] + ("AA" if value[-2:] != "AA" else "BA")

    result = site.run("show", changed)
    assert (result.exit_code, changed in result.output) == (1, False)


def test_revocation_lasts_as_long_as_the_link(site: Site) -> None:
    terms = site.read(site.made("/videos/42", "--expires", "2h"))
    assert site.run("revoke", terms.id).stdout == f"revoked {terms.id}\n"

    found = site.revoked(terms.id)
    assert found is not None
    assert found.expires == terms.ends
    assert (said := revocations.decode(found)) is not None
    assert (said.source, said.jti) == (SOURCE, terms.id)


def test_link_of_an_application_is_revoked_by_its_address_or_its_id(site: Site) -> None:
    first, second = site.signed_elsewhere(id="shop-1"), site.signed_elsewhere(id="shop-2")

    by_address = site.run("revoke", f"https://files.example.com/videos/?x=1&ag={first}")
    by_id = site.run("revoke", "shop-2")

    assert (by_address.exit_code, by_address.stderr) == (0, "")
    assert by_id.exit_code == 0
    assert 'no link "shop-2" was made here' in by_id.stderr
    one, other = site.revoked("shop-1"), site.revoked("shop-2")
    assert one is not None
    assert other is not None
    assert one.expires <= time.time() + 60
    assert other.expires == LAST
    assert json.loads(site.run("show", second, "--json").stdout)["state"] == "revoked"


def test_ended_link_needs_no_revocation(site: Site) -> None:
    result = site.run("revoke", site.signed_elsewhere(exp=time.time() - 1, id="gone"))

    assert (result.exit_code, result.stdout) == (1, "")
    assert site.revoked("gone") is None


def test_revocation_is_heard_at_once_by_whoever_follows_the_store(site: Site) -> None:
    terms = site.read(site.made("/videos/42", "--expires", "2h"))

    async def main() -> None:
        store = SqliteStore(site.path, time.time)
        async with Follower(store) as follower:
            await asyncio.to_thread(site.run, "revoke", terms.id)
            await until(lambda: (revocations.KIND, revocation(terms.id).key) in follower.deleted)
        await store.aclose()

    asyncio.run(main())


def test_record_that_is_none_is_passed_over(site: Site) -> None:
    for number, value in enumerate([b"", b"{}", b"[]", b"null", b'{"version":2}', b'{"version":1,"claims":[]}']):
        record = Record(f"id-{number}", value, "", time.time() + 60)
        assert decode(record) is None
        site.ask(lambda store, record=record: store.put(KIND, record))  # type: ignore[misc] # bound at once

    assert site.run("list").stderr == "authgate: there are no links\n"
    assert site.run("show", "id-0").exit_code == 1

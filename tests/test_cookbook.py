"""Every recipe of the cookbook is a configuration that can be run, and its own tests pass."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from authgate.config import Settings, load
from authgate.credentials.directory import Directory, wanted
from authgate.errors import SiteFunctionFailed
from authgate.handlers import load_functions, load_handlers
from authgate.model import AccessRequest, CredentialKind, Identity, Subject, user
from authgate.rehearsal import Asking, Tried, outcome_name, prepare, rehearse, run_tests, untested

COOKBOOK = Path(__file__).parent.parent / "docs" / "cookbook.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Recipe(NamedTuple):
    """One section that shows a configuration."""

    title: str
    blocks: list[tuple[str, str]]

    def serve(self, folder: Path) -> Settings:
        """Write the files into `folder` and return the configuration."""
        for language, text in self.blocks:
            name = "authgate.toml" if language == "toml" else text.partition("\n")[0].lstrip("#- ")
            if language == "sql":
                connection = sqlite3.connect(folder / name)
                connection.executescript(text)
                connection.close()
            else:
                (folder / name).write_text(text)
        return load(folder / "authgate.toml")


def recipes() -> list[Recipe]:
    sections = COOKBOOK.read_text().split("\n## ")[1:]
    found = [Recipe(section.partition("\n")[0], _BLOCK.findall(section)) for section in sections]
    return [recipe for recipe in found if any(language == "toml" for language, _ in recipe.blocks)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of a configuration; what is imported from it is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def tried(settings: Settings) -> tuple[Tried, ...]:
    """Run the tests of a configuration as a worker would decide."""

    async def run() -> tuple[Tried, ...]:
        handlers = load_handlers(settings.policy.handlers, settings.path.parent)
        await handlers.setup()
        try:
            return await run_tests(settings.policy, handlers, prepare(settings, None, 0.0))
        finally:
            await handlers.close()

    return asyncio.run(run())


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_recipe(recipe: Recipe, folder: Path) -> None:
    settings = recipe.serve(folder)

    results = tried(settings)

    assert [(one.test.place, outcome_name(one.rehearsed.decision)) for one in results if not one.passed] == []
    assert untested(settings.policy, results) == []
    assert {rule.name for rule in settings.policy.rules if rule.allow is not None} == {
        one.rehearsed.decision.rule for one in results if one.rehearsed.decision.rule
    }


def test_there_is_a_recipe_for_what_people_asked_for() -> None:
    assert {recipe.title for recipe in recipes()} >= {
        "Only some kinds of files",
        "One folder for each user",
        "The office network without login",
        "School hours",
        "Rights on each image, from a database",
        "Images by the application's session, and a right on each",
    }


@pytest.mark.parametrize(
    ("session", "seen"),
    [
        ({"albums": {"sea": 1}}, ["harbour.jpg"]),
        ({"albums": {"sea": 2, "mountains": 0}}, ["harbour.jpg", "storm.jpg"]),
        ({"albums": {"mountains": 1}}, ["summit.jpg"]),
        ({"albums": {}}, []),
        ({}, []),
    ],
)
def test_images_are_seen_by_what_the_session_of_the_application_holds(
    session: dict[str, object], seen: list[str], folder: Path
) -> None:
    settings = _recipe("Images by the application's session, and a right on each").serve(folder)
    customer = Identity(Subject("shop", "7", frozenset()), CredentialKind.APPLICATION, session=session)

    async def run(identity: Identity) -> list[str]:
        handlers = load_handlers(settings.policy.handlers, settings.path.parent)
        await handlers.setup()
        found = []
        for image in ("harbour.jpg", "storm.jpg", "summit.jpg", "unknown.jpg"):
            request = AccessRequest("GET", "shop.example.com", f"/images/{image}", "https", None, 0.0)
            if (await rehearse(settings.policy, handlers, Asking(request, identity))).decision.allowed:
                found.append(image)
        await handlers.close()
        return found

    assert asyncio.run(run(customer)) == seen
    # Nobody brings a session along by another way.
    assert asyncio.run(run(customer._replace(credential=CredentialKind.SESSION))) == []


def test_maintenance_closes_for_all_but_the_office(folder: Path) -> None:
    (recipe,) = (recipe for recipe in recipes() if recipe.title.startswith("Closed for maintenance"))
    settings = recipe.serve(folder)
    (folder / "closed").touch()

    away, office = (one.rehearsed.decision for one in tried(settings))

    assert (away.reason, away.rule, away.detail) == ("denied_by_rule", "maintenance", "closed for maintenance")
    assert office.allowed


def _recipe(title: str) -> Recipe:
    (found,) = (recipe for recipe in recipes() if recipe.title == title)
    return found


def _directory(settings: Settings) -> Directory:
    code = load_functions(wanted(settings.verify, settings.lookup), settings.path.parent)
    return Directory(*(code.functions[reference] for reference in (settings.verify, settings.lookup) if reference))


def _code_lines(recipe: Recipe) -> int:
    (text,) = (text for language, text in recipe.blocks if language == "python")
    _, _, code = text.rpartition("import Subject, user")
    lines = [line for line in code.splitlines()[1:] if line.strip() and not line.lstrip().startswith(("#", "from "))]
    return len(lines)


@pytest.mark.parametrize("title", ["Accounts in an LDAP directory", "Accounts in a database"])
def test_a_login_of_the_sites_own_takes_at_most_twenty_lines(title: str) -> None:
    assert _code_lines(_recipe(title)) <= 20


def test_accounts_in_a_database(folder: Path) -> None:
    settings = _recipe("Accounts in a database").serve(folder)

    async def scenario() -> None:
        people = _directory(settings)
        alice = user("alice", ["staff", "editors"])
        assert await people.verify("alice", "wonderland") == alice
        assert await people.lookup("alice") == alice
        for name, password in (("alice", "x"), ("alice", ""), ("bob", "wonderland"), ("eve", "wonderland")):
            assert await people.verify(name, password) is None
        for name in ("bob", "eve", "' OR '1'='1", "alice' --"):
            assert await people.lookup(name) is None
            assert await people.verify(name, "wonderland") is None
        people.close()

    asyncio.run(scenario())


STAFF = "cn=staff,ou=groups,dc=example,dc=com"
ENTRIES = {
    "cn=authgate,dc=example,dc=com": {"objectClass": "person", "sn": "authgate", "userPassword": "reading"},
    "uid=alice,ou=people,dc=example,dc=com": {
        "objectClass": "inetOrgPerson",
        "sn": "Liddell",
        "userPassword": "wonderland",
    },
    "uid=bob,ou=people,dc=example,dc=com": {"objectClass": "inetOrgPerson", "sn": "Builder", "userPassword": "builder"},
    STAFF: {"objectClass": "groupOfNames", "member": "uid=alice,ou=people,dc=example,dc=com"},
}


def test_accounts_in_an_ldap_directory(folder: Path) -> None:
    """The server is the one that ldap3 has for tests: it holds entries, filters and binds, but is no network."""
    ldap3 = pytest.importorskip("ldap3")
    settings = _recipe("Accounts in an LDAP directory").serve(folder)
    (folder / "ldap.password").write_text("reading\n")

    async def scenario() -> None:
        people = _directory(settings)
        module = sys.modules["ldap_people"]
        vars(module)["SERVER"] = server = ldap3.Server("ldap", get_info=ldap3.OFFLINE_SLAPD_2_4)
        made = ldap3.Connection
        vars(module)["Connection"] = partial(made, client_strategy=ldap3.MOCK_SYNC)
        filling = made(server, client_strategy=ldap3.MOCK_SYNC).strategy
        for dn, entry in ENTRIES.items():
            filling.add_entry(dn, entry)

        alice = user("alice", ["staff"])
        assert await people.verify("Alice", "wonderland") == alice
        assert await people.lookup("alice") == alice
        assert await people.lookup("bob") == user("bob", [])
        for name, password in (("alice", "x"), ("alice", "builder"), ("alice", ""), ("eve", "wonderland")):
            assert await people.verify(name, password) is None
        for name in ("*", "ali*", "alice)(uid=*", "alice)(|(uid=*)", "\\2a", "eve", "staff"):
            assert await people.lookup(name) is None
            assert await people.verify(name, "wonderland") is None
        (folder / "ldap.password").write_text("wrong\n")
        with pytest.raises(SiteFunctionFailed):
            await people.lookup("alice")
        people.close()

    asyncio.run(scenario())

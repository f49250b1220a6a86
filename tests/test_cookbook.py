"""Every recipe of the cookbook is a configuration that can be run, and its own tests pass."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from authgate.config import Settings, load
from authgate.handlers import load_handlers
from authgate.rehearsal import Tried, outcome_name, prepare, run_tests, untested

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
    }


def test_maintenance_closes_for_all_but_the_office(folder: Path) -> None:
    (recipe,) = (recipe for recipe in recipes() if recipe.title.startswith("Closed for maintenance"))
    settings = recipe.serve(folder)
    (folder / "closed").touch()

    away, office = (one.rehearsed.decision for one in tried(settings))

    assert (away.reason, away.rule, away.detail) == ("denied_by_rule", "maintenance", "closed for maintenance")
    assert office.allowed

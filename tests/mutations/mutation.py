"""What a planted mistake is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Moved(Exception):
    """The code that a mutation changes is not there exactly once: it has to be planted anew."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake in one file.

    Args:
        name: what it gets wrong.
        file: below the package.
        find: occurs exactly once.
        targets: the tests that are to notice, for pytest; the fastest of those that are meant to.
    """

    name: str
    file: str
    find: str
    replace: str
    targets: tuple[str, ...]

    @property
    def place(self) -> Path:
        """The file, relative to the root of the project."""
        return Path("authgate", self.file)

    def apply(self, text: str) -> str:
        """Return the file's text with the mistake in it.

        Raises:
            Moved: there is no single place for it.
        """
        found = text.count(self.find)
        if found != 1:
            raise Moved(f'{self.place}: "{self.name}" is to replace what occurs {found} times:\n{self.find}')
        return text.replace(self.find, self.replace)


def plant(file: str, targets: str, mistakes: Mapping[str, tuple[str, str]]) -> tuple[Mutation, ...]:
    """Return the mutations of one file that the same tests are to notice.

    Args:
        targets: below ``tests/``, separated by white space.
        mistakes: by name, what is there and what takes its place.
    """
    paths = tuple(f"tests/{target}" for target in targets.split())
    return tuple(Mutation(name, file, find, replace, paths) for name, (find, replace) in mistakes.items())

"""docs/advisories.md names each id that has a test, beside the test."""

import re
from pathlib import Path

from tests.servers import PACKAGE_ROOT

ID = re.compile(r"test_(cve_\d+_\d+|ghsa(?:_[0-9a-z]{4}){3}|vouch_[abc]|traefik_dot|[a-z0-9_]+?_\d{4})_")
INNOCENT = "test_innocent_twins_of_the_paths_are_served"


def test_each_row_names_its_own_test_and_no_test_is_without_a_row() -> None:
    text = (PACKAGE_ROOT / "docs" / "advisories.md").read_text()
    rows = re.findall(r"^\| (.+?) \|.*\| `(test_\w+)` \|$", text, re.MULTILINE)
    documented = {}
    for published, test in rows:
        name = id_of(test)
        words = set(re.split(r"[^0-9a-z]+", published.lower()))
        assert set(name.split("_")) <= words, published
        documented[name] = test
    code = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    tests = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE)) - {INNOCENT}

    assert len(documented) == len(rows)
    assert {id_of(test) for test in tests} == documented.keys()


def id_of(test: str) -> str:
    """Return the published id in a test's name."""
    found = ID.match(test)
    assert found, test
    return found[1]

"""docs/apache.md says what is shipped, and what was measured."""

import re

import pytest

from tests.deploy_apache.house import SHIPPED
from tests.deploy_apache.losses import LOSSES
from tests.servers import PACKAGE_ROOT

DOCUMENT = PACKAGE_ROOT / "docs" / "apache.md"


@pytest.mark.parametrize("name", ["example-fastcgi.conf", "example-rewritemap.conf", "authgate-deliver.conf"])
def test_configuration_is_shown_as_it_is_shipped(name: str) -> None:
    bare = re.sub(r"^ *#.*\n", "", (SHIPPED / name).read_text(), flags=re.MULTILINE)

    shown = re.findall(r"^```apache\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)

    assert re.sub(r"\n{2,}", "\n\n", bare).strip() in [block.strip() for block in shown]


def test_every_file_is_documented() -> None:
    text = DOCUMENT.read_text()

    assert not [path.name for path in SHIPPED.iterdir() if f"**`{path.name}`**" not in text]


def test_every_loss_is_documented() -> None:
    rows = re.search(r"^\| Construct \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE)
    assert rows

    assert [row.split("|")[1].strip() for row in rows[1].splitlines()] == list(LOSSES)

"""What docs/links.md shows for signing, signs links that count here."""

import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from authgate.credentials.link_format import open_link
from authgate.credentials.links import find_value
from tests import servers
from tests.deploy import linking

DOCUMENT = servers.PACKAGE_ROOT / "docs" / "links.md"
_PROGRAM = re.compile(
    r"^```(?:python|js|php)\n((?:# |// |<\?php // )(sign_link\.\w+)\n.*?)^```$", re.MULTILINE | re.DOTALL
)
PROGRAMS = {name: text for text, name in _PROGRAM.findall(DOCUMENT.read_text())}
RUNS = {".py": sys.executable, ".js": "node", ".php": "php"}


@pytest.mark.parametrize("path", ["/videos/42/**", "/videos/a b?#%é/film.mp4"])
@pytest.mark.parametrize("name", ["sign_link.py", "sign_link.js", "sign_link.php"])
def test_program_signs_a_link_that_counts(tmp_path: Path, name: str, path: str) -> None:
    key = linking.furnish(tmp_path, tmp_path)
    (tmp_path / name).write_text(PROGRAMS[name])
    program = servers.require(RUNS[Path(name).suffix])

    now = time.time()
    command = [program, name, path]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    address = urlsplit(printed.strip())
    assert (address.netloc, unquote(address.path)) == ("files.example.com", path.removesuffix("**"))
    terms = open_link(find_value(address.query) or "", {key.id: key})
    assert terms is not None
    (reach,) = terms.scope.paths
    assert path == reach.path + ("/**" if reach.below else "")
    assert (set(terms.scope.hosts), terms.uses) == ({"files.example.com"}, 3)
    assert now + 7198 < terms.ends < now + 7230

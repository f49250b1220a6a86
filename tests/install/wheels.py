"""Wheels of this checkout: as it is, and as the version after it."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import authgate
from tests.servers import PACKAGE_ROOT

# What a wheel is made from.
_SOURCES = ("authgate", "deploy", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True, slots=True)
class Wheels:
    """Folders with one wheel each, and the versions in them."""

    present: Path
    next: Path
    version: str
    next_version: str


def build_wheels(folder: Path) -> Wheels:
    """Build both below `folder`."""
    version = authgate.__version__
    following = f"{version}.post1"
    for name, wanted in (("present", version), ("next", following)):
        copy = folder / "sources" / name
        copy_sources(copy)
        init = copy / "authgate/__init__.py"
        text = init.read_text()
        init.write_text(re.sub(r'^__version__ = ".*"$', f'__version__ = "{wanted}"', text, flags=re.MULTILINE))
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
        subprocess.run([*command, str(folder / name), str(copy)], check=True)
    return Wheels(folder / "present", folder / "next", version, following)


def copy_sources(target: Path) -> None:
    """Copy what the package is made from, without what was left by running it."""
    target.mkdir(parents=True)
    for name in _SOURCES:
        source = PACKAGE_ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)

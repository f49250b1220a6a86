"""Reading the configuration file and those that it includes."""

import tomllib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from authgate.errors import ConfigError, Problem

# Tables that are read one by one, from the file itself and from those it includes.
LISTS = ("rules", "tests")
_MAX_FILE = 64 << 20
_MAX_INCLUDED = 1000
# What a file holds, as it stands there and parsed.
Content = tuple[bytes, Mapping[str, Any]]


def read(path: Path, name: str) -> Content:
    """Read a file that problems call `name`.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ConfigError([Problem(str(path), "the file is over 64 MiB")])
        content = path.read_bytes()
        if content.startswith(BOM_UTF8):
            raise ConfigError([Problem(name, "begins with a byte order mark", "save the file as UTF-8 without it")])
        return content, tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, f"byte {error.start} is not UTF-8", "save the file as UTF-8")]) from None
    except ValueError as error:  # tomllib.TOMLDecodeError, or that of `int` for a number of thousands of digits
        raise ConfigError([Problem(name, f"not TOML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(name, "not TOML: nested too deeply")]) from None
    except OSError as error:
        problem = Problem(str(path), (error.strerror or "cannot be read").lower(), "name the file with --config FILE")
        raise ConfigError([problem]) from None


def read_included(patterns: Iterable[str], path: Path, problems: list[Problem]) -> Mapping[str, Content]:
    """Return the included files by name, in the order of the patterns as written, the files of each by name."""
    names: dict[str, None] = {}
    for index, pattern in enumerate(patterns):
        place = f"{path.name}: include[{index}]"
        # Not Path.glob: it finds hidden files too, such as an editor's.
        found = sorted(glob(pattern, root_dir=path.parent))  # noqa: PTH207
        if not found and not has_magic(pattern):
            problems.append(Problem(place, f'there is no file "{pattern}"', "names are relative to this file"))
        names |= dict.fromkeys(found)
    if len(names) > _MAX_INCLUDED:
        problems.append(Problem(f"{path.name}: include", f"over {_MAX_INCLUDED} files"))
        return {}
    files: dict[str, Content] = {}
    for name in names:
        try:
            files[name] = read(path.parent / name, name)
        except ConfigError as error:
            problems += error.problems
            continue
        for key in sorted(files[name][1].keys() - set(LISTS)):
            problems.append(
                Problem(f"{name}: {key}", "an included file holds rules and tests only", f"move it to {path.name}")
            )
    return files


def tables_of(
    files: Mapping[str, Mapping[str, object]], key: str, problems: list[Problem]
) -> Iterator[tuple[str, object]]:
    """Yield each table of a list of tables (`key`: one of `LISTS`) with the place where it stands."""
    for name, document in files.items():
        tables = document.get(key, [])
        if isinstance(tables, list):
            yield from ((f"{name}: {key}[{index}]", table) for index, table in enumerate(tables))
        else:
            problems.append(Problem(f"{name}: {key}", "not a list of tables", f"write [[{key}]], in double brackets"))

"""Importing a site's own functions, and saying what is wrong with them."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from authgate.errors import ConfigError, Problem
from authgate.handlers.asking import ENDS, Handlers

_NUMBERS = {1: "one argument", 2: "two arguments"}


class Wanted(NamedTuple):
    """A function that the configuration names.

    Args:
        place: as problems name it, ``handler:package.module::function``.
        reference: ``package.module::function``.
        arguments: what it will be given, in words.
    """

    place: str
    reference: str
    arguments: tuple[str, ...]


class SiteCode(NamedTuple):
    """What was imported.

    Args:
        functions: by reference.
        modules: each once, whichever functions came out of it.
    """

    functions: Mapping[str, Callable[..., object]]
    modules: tuple[ModuleType, ...]


def wanted_handlers(references: Iterable[str]) -> list[Wanted]:
    """Return what has to be imported for these handlers."""
    return [Wanted(f"handler:{reference}", reference, ("request",)) for reference in sorted(references)]


def load_handlers(references: Iterable[str], folder: Path) -> Handlers:
    """Import the modules of all handlers.

    Args:
        folder: of the configuration file; modules beside it are found.

    Raises:
        ConfigError: with every handler that cannot be had.
    """
    return Handlers(*load_functions(wanted_handlers(references), folder))


def load_functions(wanted: Iterable[Wanted], folder: Path) -> SiteCode:
    """Import the modules of all these functions.

    Args:
        folder: of the configuration file; modules beside it are found.

    Raises:
        ConfigError: with every function that cannot be had.
    """
    ordered = list(wanted)
    # At the end: a file beside the configuration shall not become, say, the `secrets` of something imported later.
    if ordered and str(folder) not in sys.path:
        sys.path.append(str(folder))
    functions: dict[str, Callable[..., object]] = {}
    modules: dict[str, ModuleType | None] = {}
    problems: list[Problem] = []
    for one in ordered:
        name, _, attribute = one.reference.partition("::")
        if name not in modules:
            modules[name] = _import(one.place, name, folder, problems)
        module = modules[name]
        function = getattr(module, attribute, None)
        if module is None:
            continue
        if not callable(function):
            problems.append(Problem(one.place, f"{name} has no function {attribute}"))
        elif not _takes(function, len(one.arguments)):
            words = " and ".join(one.arguments)
            what = f"does not take {_NUMBERS[len(one.arguments)]}, the {words}"
            problems.append(Problem(one.place, what, f"write def {attribute}({', '.join(one.arguments)})"))
        else:
            functions[one.reference] = function
    if problems:
        raise ConfigError(problems)
    return SiteCode(functions, tuple(module for module in modules.values() if module))


def _import(place: str, name: str, folder: Path, problems: list[Problem]) -> ModuleType | None:
    """Import one module; add what is wrong to `problems` and return None when anything is."""
    other = _hidden_by(name, folder)
    if other:
        what = f"{name} beside the configuration file is hidden by {other}"
        problems.append(Problem(place, what, "give it a name that no installed module has"))
        return None
    # What is compiled is remembered by size and second: a file changed twice within one would be the old one again.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(name)
    except ENDS as error:
        problems.append(_import_problem(place, name, error))
        return None
    finally:
        sys.dont_write_bytecode = before


def _hidden_by(name: str, folder: Path) -> str | None:
    """Return what would be imported instead of the file beside the configuration; None when there is no such file."""
    beside = folder.joinpath(*name.split("."))
    if not beside.with_suffix(".py").is_file() and not (beside / "__init__.py").is_file():
        return None
    try:
        spec = find_spec(name.partition(".")[0])
    except ValueError:
        spec = None
    if spec is None:
        return None
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    found = any(place and Path(place).resolve().is_relative_to(folder.resolve()) for place in places)
    return None if found else f"the module {spec.name} ({spec.origin})"


def _import_problem(place: str, name: str, error: BaseException) -> Problem:
    if isinstance(error, ModuleNotFoundError) and error.name is not None and f"{name}.".startswith(f"{error.name}."):
        return Problem(place, f"there is no module {error.name}", "put it beside the configuration file, or install it")
    # The first frame is the one above, and the import system's say nothing.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    within = [frame for frame in frames if "importlib" not in frame.filename]
    where = f" ({within[-1].filename}, line {within[-1].lineno})" if within else ""
    return Problem(place, f"{name} cannot be imported: {type(error).__name__}: {error}{where}")


def _takes(function: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:
        # Some that are written in C do not say what they take.
        return True
    return True

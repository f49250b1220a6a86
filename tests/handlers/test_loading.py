"""A handler is had or refused at start, and the report tells a missing module from a broken one."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.errors import ConfigError
from authgate.handlers import load_functions, load_handlers, wanted_handlers
from authgate.handlers.loading import Wanted
from authgate.model import HandlerCall, Need
from tests.policies import request


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of a configuration; what is imported from it is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def report(folder: Path, *references: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_handlers(references, folder)
    return [str(problem).replace(str(folder), "FOLDER") for problem in caught.value.problems]


def detail(folder: Path, reference: str) -> str:
    """Return what the handler answers."""

    async def run() -> str:
        handlers = load_handlers([reference], folder)
        said = await handlers.ask(Need(HandlerCall(reference, "r")), request())
        await handlers.close()
        return said.detail if said else "nothing"

    return asyncio.run(run())


def test_module_beside_the_configuration_is_found(folder: Path) -> None:
    write(folder, "site_rights.py", "from authgate import deny\ndef f(request):\n    return deny('beside')\n")

    assert detail(folder, "site_rights::f") == "beside"


def test_module_of_a_package_may_import_its_neighbour(folder: Path) -> None:
    write(folder, "site_package/__init__.py", "")
    write(folder, "site_package/words.py", "WORD = 'neighbour'\n")
    write(
        folder,
        "site_package/rights.py",
        "from authgate import deny\nfrom site_package.words import WORD\ndef f(request):\n    return deny(WORD)\n",
    )

    assert detail(folder, "site_package.rights::f") == "neighbour"


def test_the_folder_is_added_once_and_behind_all_others(folder: Path) -> None:
    write(folder, "site_rights.py", "def f(request): ...\ndef g(request): ...\n")

    load_handlers(["site_rights::f"], folder)
    load_handlers(["site_rights::f", "site_rights::g"], folder)

    assert sys.path.count(str(folder)) == 1
    assert sys.path[-1] == str(folder)


def test_without_handlers_nothing_is_added(folder: Path) -> None:
    load_handlers([], folder)

    assert str(folder) not in sys.path


def test_nothing_is_written_beside_the_configuration(folder: Path) -> None:
    write(folder, "site_rights.py", "def f(request): ...\n")

    load_handlers(["site_rights::f"], folder)

    assert [path.name for path in folder.iterdir()] == ["site_rights.py"]


MODULES = {
    "site_rights.py": "COUNT = 3\ndef two(request, more): ...\ndef none(): ...\ndef good(request, more=1): ...\n",
    "site_raises.py": "import json\n\njson.loads('{')\n",
    "site_needs.py": "import site_missing\n",
    "site_syntax.py": "def f(request:\n",
    "site_exits.py": "import sys\nsys.exit('bye')\n",
    "site_package/__init__.py": "",
    "json.py": "def f(request): ...\n",
    "email/__init__.py": "def f(request): ...\n",
}
HIDDEN = "give it a name that no installed module has"
REPORTS = [
    ("site_none::f", r"there is no module site_none; put it beside the configuration file, or install it"),
    ("site_none.rights::f", r"there is no module site_none; put it beside .*"),
    ("site_package.none::f", r"there is no module site_package.none; put it beside .*"),
    ("site_rights.sub::f", r"there is no module site_rights.sub; put it beside .*"),
    ("site_rights::f", r"site_rights has no function f"),
    ("site_rights::COUNT", r"site_rights has no function COUNT"),
    ("site_rights::two", r"does not take one argument, the request; write def two\(request\)"),
    ("site_rights::none", r"does not take one argument, the request; write def none\(request\)"),
    ("site_raises::f", r"site_raises cannot be imported: JSONDecodeError: .* \(.*decoder.py, line \d+\)"),
    ("site_needs::f", r"site_needs cannot be imported: ModuleNotFoundError: .* \(FOLDER/site_needs.py, line 1\)"),
    ("site_syntax::f", r"site_syntax cannot be imported: SyntaxError: .* \(site_syntax.py, line 1\)"),
    ("site_exits::f", r"site_exits cannot be imported: SystemExit: bye \(FOLDER/site_exits.py, line 2\)"),
    ("json::f", rf"json beside the configuration file is hidden by the module json \(.*__init__.py\); {HIDDEN}"),
    ("email::f", rf"email beside the configuration file is hidden by the module email \(.*__init__.py\); {HIDDEN}"),
]


@pytest.mark.parametrize(("reference", "wanted"), REPORTS, ids=[reference for reference, _ in REPORTS])
def test_report(folder: Path, reference: str, wanted: str) -> None:
    for name, text in MODULES.items():
        write(folder, name, text)

    (problem,) = report(folder, reference)

    assert re.fullmatch(f"handler:{reference}: {wanted}", problem)


def test_everything_wrong_is_in_one_report_and_a_broken_module_is_in_it_once(folder: Path) -> None:
    for name, text in MODULES.items():
        write(folder, name, text)

    problems = report(folder, "site_raises::g", "site_raises::f", "site_rights::good", "site_rights::f", "site_none::f")

    assert [problem.split(": ")[0] for problem in problems] == [
        "handler:site_none::f", "handler:site_raises::f", "handler:site_rights::f",
    ]  # fmt: skip


def test_an_installed_module_does_not_need_to_be_beside_the_configuration(folder: Path) -> None:
    assert detail(folder, "tests.handlers.site_installed::f") == "installed"


def test_one_that_does_not_say_what_it_takes_is_taken(folder: Path) -> None:
    write(folder, "site_builtin.py", "f = min\n")

    load_handlers(["site_builtin::f"], folder)


def test_functions_of_two_kinds_are_in_one_report_and_their_module_is_imported_once(folder: Path) -> None:
    write(
        folder,
        "site_people.py",
        "def verify(username, password): ...\ndef lookup(username): ...\ndef f(request): ...\n",
    )
    wants = [
        *wanted_handlers(["site_people::f"]),
        Wanted("users.verify: site_people::verify", "site_people::verify", ("username", "password")),
        Wanted("users.lookup: site_people::lookup", "site_people::lookup", ("username",)),
    ]

    code = load_functions(wants, folder)

    assert set(code.functions) == {"site_people::f", "site_people::verify", "site_people::lookup"}
    assert [module.__name__ for module in code.modules] == ["site_people"]
    wrong = [want._replace(arguments=("username",) * (3 - len(want.arguments))) for want in wants[1:]]
    with pytest.raises(ConfigError) as caught:
        load_functions([*wanted_handlers(["site_none::f"]), *wrong], folder)
    assert [problem.place for problem in caught.value.problems] == [
        "handler:site_none::f", "users.verify: site_people::verify", "users.lookup: site_people::lookup",
    ]  # fmt: skip


def test_function_that_takes_something_else_is_told_what_it_will_be_given(folder: Path) -> None:
    write(folder, "site_people.py", "def verify(credentials): ...\n")
    want = Wanted("users.verify: site_people::verify", "site_people::verify", ("username", "password"))

    with pytest.raises(ConfigError) as caught:
        load_functions([want], folder)

    (problem,) = caught.value.problems
    assert str(problem) == (
        "users.verify: site_people::verify: does not take two arguments, the username and password; "
        "write def verify(username, password)"
    )

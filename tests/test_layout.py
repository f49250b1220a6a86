"""Imports point one way, and the part that decides touches nothing outside itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import authgate

PACKAGE = Path(authgate.__file__).parent

# Each row may import from itself and from the rows above it.
ROWS = [
    ["errors", "model"],
    ["paths", "patterns", "networks", "cookies", "redirects", "keys", "scopes"],
    ["policy"],
    ["engine"],
    ["config"],
    ["stores"],
    ["credentials", "handlers"],
    ["observe"],
    ["pdp", "rehearsal", "explaining"],
    ["protocols", "web", "delivery"],
    ["app", "server"],
    ["cli", "__main__"],
]
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
PURE = {name for names in ROWS[:4] for name in names}
# What the pure rows may use of other people's code: nothing that reads a clock, a file or a network, or that logs.
ALLOWED_IN_PURE = {
    "__future__", "abc", "base64", "collections", "cryptography", "dataclasses", "datetime", "difflib", "enum",
    "functools", "ipaddress", "json", "jwt", "re", "re2", "types", "typing", "urllib.parse", "zoneinfo",
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if name != "__init__":
            yield name, path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                submodule = PACKAGE.parent / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = submodule.is_dir() or submodule.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module or ""


def test_every_module_has_its_row() -> None:
    assert {name for name, _ in modules()} <= ROW_OF.keys()


def test_imports_point_up_the_rows() -> None:
    wrong = []
    for name, path in modules():
        for imported in imports(path):
            top, _, rest = imported.partition(".")
            target = rest.partition(".")[0]
            if top == "authgate" and target in ROW_OF and ROW_OF[target] > ROW_OF[name]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {imported}")
    assert not wrong


def test_the_pure_rows_import_no_clock_file_network_logging_or_framework() -> None:
    wrong = []
    for name, path in modules():
        for imported in imports(path) if name in PURE else ():
            allowed = imported.startswith("authgate.") or any(
                imported == known or imported.startswith(f"{known}.") for known in ALLOWED_IN_PURE
            )
            if not allowed:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {imported}")
    assert not wrong


def test_no_import_cycle_within_a_row() -> None:
    edges: dict[str, set[str]] = {}
    files = {".".join(("authgate", *path.relative_to(PACKAGE).with_suffix("").parts)): path for _, path in modules()}
    names = {name.removesuffix(".__init__"): path for name, path in files.items()}
    for name, path in names.items():
        edges[name] = {imported for imported in imports(path) if imported in names and imported != name}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"cycle: {' -> '.join((*above, name))}"
        if name not in done:
            for target in edges[name]:
                visit(target, (*above, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_the_package_asserts_nothing_and_hides_no_error() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.ExceptHandler) and node.type is None)
    ]
    assert not wrong


def test_only_one_line_allows() -> None:
    lines = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Decision"
        and any(isinstance(part, ast.Attribute) and part.attr == "ALLOW" for part in ast.walk(node))
    ]
    # What a handler says is no decision yet: its atom holds, and that is all.
    assert [line.partition(":")[0] for line in lines] == ["engine.py", "model.py"]

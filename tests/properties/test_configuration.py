"""A configuration is settings, or refused with everything that is wrong in it; nothing else comes out."""

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import authgate
from authgate.config import Settings, load, parse
from authgate.errors import ConfigError
from tests.properties.amounts import tried
from tests.properties.worlds import Choices, choices

SAMPLE = (Path(authgate.__file__).parent / "cli/sample/authgate.toml").read_bytes()
FULL: Mapping[str, Any] = {
    **tomllib.loads(SAMPLE.decode()),
    "networks": {"office": ["10.0.0.0/8", "2001:db8::/32"]},
    "include": ["rules.d/*.toml"],
    "workers": 2,
    "node": "n1",
    "session": {"idle_timeout": "30m", "lifetime": "12h"},
    "tests": [
        {
            "as": "carol",
            "groups": ["finance"],
            "ip": "10.1.2.3",
            "request": "GET http://localhost:8080/reports/a",
            "expect": "allow",
            "rule": "reports",
            "claims": {"a": "b"},
            "via": "basic",
            "mfa": True,
            "at": datetime(2026, 5, 4, tzinfo=UTC),
        },
    ],
}
RULE: Mapping[str, Any] = {
    "name": "more",
    "paths": ["/more/{a}/**", "re:/(?P<a>x)"],
    "hosts": ["localhost"],
    "methods": ["GET"],
    "deny": ["user:{a} & ip:office"],
    "allow": ["group:staff", "handler:site::f"],
    "cache": "private",
    "options": {"a": 1},
    "preflight": True,
    "deliver": {"root": "/srv/files", "internal": "/_files/", "disposition": "inline", "limit_rate": "1m"},
}

# Everything that TOML can say; texts without surrogates.
TEXTS = st.sampled_from(
    [
        "",
        "\0",
        "unix:",
        "unix:run/check.sock",
        "memory:",
        "127.0.0.1:950",
        "[::1]:1",
        "..",
        "/",
        "a::b",
        "30m",
        "https://a.example:x",
        "https://[::1",
        "https://a]b",
        "10.0.0.0/8",
        "handler:a::b",
        "{",
        "re:(",
        "*",
        "a" * 300,
        "\u2028",
        "GET https://localhost/",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LEAVES = st.one_of(
    TEXTS,
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.sampled_from([0, -1, 1, 65536, 1e400, -0.0, float("nan")]),
    st.sampled_from(
        [
            datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None),
            datetime(1, 1, 1, tzinfo=UTC),
            date(2026, 1, 1),
            time(1, 1),
        ]
    ),
)
KEYS = st.sampled_from([*FULL, *RULE, "origin", "check", "web", "verify", "file", "group", "office", "", "a"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=4
)


def _places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in _places(item, (*at, key)))]


def _with(value: Any, at: tuple[Any, ...], new: object) -> Any:
    if not at:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[at[0]] = _with(value[at[0]], at[1:], new)
    return changed


def _without(value: Any, at: tuple[Any, ...]) -> Any:
    if len(at) == 1:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if key != at[0]}
        return [item for index, item in enumerate(value) if index != at[0]]
    return _with(value, at[:1], _without(value[at[0]], at[1:]))


def _refused(error: ConfigError) -> None:
    assert error.problems
    assert all(problem.place and problem.message for problem in error.problems)


def outcome(document: Mapping[str, Any], folder: Path) -> Settings | None:
    """Read a document; None when it is refused. Fail when anything else happens."""
    try:
        settings = parse(document, folder / "authgate.toml")
    except ConfigError as error:
        _refused(error)
        return None
    assert isinstance(settings, Settings)
    return settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration")


DOCUMENT: Mapping[str, Any] = {**FULL, "rules": [*FULL["rules"], RULE]}
PLACES = _places(DOCUMENT)[1:]


def test_the_document_that_is_changed_is_sound(folder: Path) -> None:
    assert outcome(DOCUMENT, folder) is not None


@tried(500)
@given(st.sampled_from(PLACES), VALUES, st.sampled_from(PLACES), st.booleans())
def test_a_document_with_any_value_in_it_is_read_or_refused(
    folder: Path, place: tuple[Any, ...], value: object, other: tuple[Any, ...], less: bool
) -> None:
    # What is included is somebody's file; here nobody's.
    value = value if "include" not in place or not isinstance(value, str) else value.replace("/", "")
    document = (
        _without(DOCUMENT, other)
        if less and other[: len(place)] != place and place[: len(other) - 1] != other[:-1]
        else DOCUMENT
    )

    outcome(_with(document, place, value) if place in _places(document) else document, folder)


@tried(100)
@given(st.dictionaries(KEYS.filter(lambda key: key != "include"), VALUES, max_size=5))
def test_any_document_is_read_or_refused(folder: Path, document: dict[str, Any]) -> None:
    outcome(document, folder)


@tried(200)
@given(choices(), st.binary(max_size=3))
def test_a_file_with_any_bytes_in_it_is_read_or_refused(chosen: Choices, junk: bytes) -> None:
    at = (chosen.of(range(256)) * 256 + chosen.of(range(256))) % len(SAMPLE)
    pieces = [
        b'"',
        b"[",
        b"]",
        b"\n",
        b"=",
        b"'''",
        b"\\",
        b"\\ud800",
        b"\xff",
        b"\0",
        b"{",
        b"[[",
        b"#",
        b"\xef\xbb\xbf",
        junk,
    ]
    content = SAMPLE[:at] + chosen.of(pieces) + SAMPLE[at + chosen.of([0, 1, 20]) :]

    _load(content)


_FILES: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def _file(folder: Path) -> None:
    _FILES[:] = [folder / "authgate.toml"]


def _load(content: bytes) -> Settings | None:
    _FILES[0].write_bytes(content)
    try:
        return load(_FILES[0])
    except ConfigError as error:
        _refused(error)
        return None


@tried(100)
@given(st.binary(max_size=60))
@example(b"a = " + b"[" * 5000)
@example(b"a = " + b"{a=" * 3000)
@example(b"[" + b"a." * 2000 + b"a]")
@example(b"workers = 1" + b"0" * 10_000)
@example(b"workers = 1e999999999")
@example(b"[[tests]]\nat = 0001-01-01T00:00:00+23:59")
@example(b'[[sites]]\norigin = "https://\xe2\x84\xa1.example"')
@example(b'[[sites]]\norigin = "https://[v1.a]"')
@example(b'[[sites]]\norigin = "https://a.example:\xd9\xa1"')
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    _load(content)

"""The configuration file, read once into frozen values. Everything wrong in it is reported together."""

import gc
import hashlib
import os
import re
import tomllib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from authgate.errors import ConfigError, Problem
from authgate.model import CredentialKind, Site
from authgate.networks import NetworkSet, parse_address, parse_network
from authgate.policy import Policy, compile_policy

# sun_path is 108 bytes (unix(7)); what is left is room for a temporary name beside it.
MAX_SOCKET_PATH = 100
_MAX_FILE = 64 << 20
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NETWORK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class PolicyTest(BaseModel):
    """One ``[[tests]]`` table: who asks for what, and what has to come out.

    Args:
        place: where it stands.
        subject: written ``as``; empty for anonymous.
        request: method and address, ``GET https://files.example.com/x``.
        rule: the rule that has to decide; None when any may.
        at: the moment of the request; None: now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str
    subject: Annotated[str, Field(strict=True, alias="as", max_length=256)] = ""
    groups: tuple[str, ...] | None = None
    claims: dict[str, str] = {}
    via: CredentialKind = CredentialKind.SESSION
    mfa: Annotated[bool, Field(strict=True)] = False
    ip: str | None = None
    request: Annotated[str, Field(strict=True)]
    expect: Literal["allow", "refuse", "login"]
    rule: str | None = None
    at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that can be run.

    Args:
        path: the file it was read from.
        version: names the content of this file and of those it includes; 12 hex digits.
        store: ``memory:`` or ``sqlite:`` and an absolute path.
        socket_group: group that may use the unix sockets; None leaves the process's own.
        idle_timeout: seconds.
        lifetime: seconds.
    """

    path: Path
    version: str
    store: str
    realm: str
    workers: int
    sites: tuple[Site, ...]
    check_socket: Path
    web_socket: Path
    socket_group: str | None
    htpasswd: Path | None
    groups: Path | None
    idle_timeout: float
    lifetime: float
    policy: Policy
    tests: tuple[PolicyTest, ...]

    def site(self, host: str) -> Site | None:
        """Return the site with this host (lower case, without port); None when there is none."""
        return next((site for site in self.sites if site.host == host), None)


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        ConfigError: with everything that is wrong.
    """
    with _no_collections():
        content, document = _read(path, path.name)
        return parse(document, path, content)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Hold back garbage collections: nothing of a policy is garbage, and looking is a third of the time it takes."""
    were_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if were_on:
            gc.enable()


def parse(document: Mapping[str, object], path: Path, content: bytes = b"") -> Settings:
    """Check a parsed configuration file; relative paths in it are relative to the folder of `path`.

    Args:
        content: what `document` was parsed from, for the version.

    Raises:
        ConfigError: with everything that is wrong.
    """
    problems: list[Problem] = []
    raw = _validate({key: value for key, value in document.items() if key not in _LISTS}, path, problems)
    included = _included(raw.include, path, problems)
    files = {path.name: document, **{name: parsed for name, (_, parsed) in included.items()}}
    networks = _networks(raw.networks, path, problems)
    before = len(problems)
    sites = _sites(raw.sites, path, problems)
    _check_together(raw, path, problems)
    policy = None
    try:
        policy = _policy(files, sites, networks, sites_known=len(problems) == before)
    except ConfigError as error:
        problems += error.problems
    tests = _tests(files, problems)
    if problems or policy is None:
        raise ConfigError(problems)
    folder = path.parent
    return Settings(
        path=path,
        version=_version([content, *(text for text, _ in included.values())]),
        store=raw.store if raw.store == "memory:" else f"sqlite:{folder / raw.store.removeprefix('sqlite:')}",
        realm=raw.realm,
        workers=raw.workers,
        sites=sites,
        check_socket=_socket(raw.listen.check, folder),
        web_socket=_socket(raw.listen.web, folder),
        socket_group=raw.listen.group,
        htpasswd=folder / raw.users.htpasswd if raw.users.htpasswd else None,
        groups=folder / raw.users.groups if raw.users.groups else None,
        idle_timeout=raw.session.idle_timeout,
        lifetime=raw.session.lifetime,
        policy=policy,
        tests=tests,
    )


def _seconds(value: object) -> object:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not a duration; write a number and s, m, h or d, such as 30m")
    return int(found[1]) * _UNITS[found[2]]


Duration = Annotated[int, BeforeValidator(_seconds)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+\z")]
SocketName = Annotated[str, Field(strict=True, pattern=r"^unix:[^\x00-\x1f\x7f]+\z")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Site(_Section):
    origin: Text
    cookie_domain: Text | None = None


class _Listen(_Section):
    check: SocketName = "unix:run/check.sock"
    web: SocketName = "unix:run/web.sock"
    group: Text | None = None


class _Users(_Section):
    htpasswd: Text | None = None
    groups: Text | None = None


class _Session(_Section):
    idle_timeout: Duration = 30 * 60
    lifetime: Duration = 12 * 3600


class _File(_Section):
    store: Annotated[str, Field(strict=True, pattern=r"^(?:memory:|sqlite:[^\x00-\x1f\x7f]+)\z")] = (
        "sqlite:state/authgate.db"
    )
    # Stands between double quotes in WWW-Authenticate (RFC 9110 section 11.5) and on the login page.
    realm: Annotated[str, Field(strict=True, pattern=r"^[ !#-\[\]-~]{1,64}\z")] = "files"
    workers: Annotated[int, Field(strict=True, ge=1, le=64)] = 2
    sites: list[_Site] = []
    listen: _Listen = _Listen()
    users: _Users = _Users()
    session: _Session = _Session()
    networks: dict[str, list[Text]] = {}
    include: list[Text] = []


# Tables that are read one by one, from the file itself and from those it includes.
_LISTS = ("rules", "tests")
_MAX_INCLUDED = 1000
_TEST_KEYS = [field.alias or name for name, field in PolicyTest.model_fields.items() if name != "place"]

# What pydantic's pattern errors cannot say in words.
_HINTS: Mapping[str, str] = {
    "store": 'write "memory:" or "sqlite:state/authgate.db"',
    "realm": "at most 64 printable ASCII characters, without quotes and backslashes",
    "listen.check": 'write "unix:run/check.sock"',
    "listen.web": 'write "unix:run/web.sock"',
}


# What a file holds, as it stands there and parsed.
_Content = tuple[bytes, Mapping[str, Any]]


def _read(path: Path, name: str) -> _Content:
    """Read a file that problems call `name`."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ConfigError([Problem(str(path), "the file is over 64 MiB")])
        content = path.read_bytes()
        if content.startswith(BOM_UTF8):
            raise ConfigError([Problem(name, "begins with a byte order mark", "save the file as UTF-8 without it")])
        return content, tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, f"byte {error.start} is not UTF-8", "save the file as UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(name, f"not TOML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(name, "not TOML: nested too deeply")]) from None
    except OSError as error:
        problem = Problem(str(path), (error.strerror or "cannot be read").lower(), "name the file with --config FILE")
        raise ConfigError([problem]) from None


def _validate(values: Mapping[str, object], path: Path, problems: list[Problem]) -> _File:
    """Return the settings; sections with problems are as if they were not written, so that all others are checked."""
    try:
        return _File.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    problems += [_problem(detail["type"], detail["loc"], detail["msg"], path) for detail in details]
    wrong = {detail["loc"][0] for detail in details}
    sound = {key: value for key, value in values.items() if key not in wrong}
    networks = values.get("networks")
    if "networks" in wrong and isinstance(networks, dict):
        # The names exist, whatever is wrong with what they stand for.
        sound["networks"] = {name: [] for name in networks}
    return _File.model_validate(sound)


def _problem(kind: str, loc: tuple[int | str, ...], message: str, path: Path) -> Problem:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    if kind == "extra_forbidden":
        parent, last = loc[:-1], str(loc[-1])
        known = _keys(parent)
        close = get_close_matches(last, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"the keys here are {', '.join(known)}"
        return Problem(f"{path.name}: {key}", "unknown key", hint)
    if kind == "value_error":
        what, _, hint = message.removeprefix("Value error, ").partition("; ")
        return Problem(f"{path.name}: {key}", what, hint)
    if kind == "string_pattern_mismatch":
        return Problem(f"{path.name}: {key}", "not valid", _HINTS.get(key, "control characters are not allowed"))
    return Problem(f"{path.name}: {key}", *_in_words(kind, message, key))


def _in_words(kind: str, message: str, key: str) -> tuple[str, str]:
    """Return what is wrong and a hint, where pydantic's own words are about Python."""
    if kind in {"model_type", "dict_type"}:
        return "not a section", f"write [{key}] on a line of its own, and its keys below"
    if key == "sites" and kind == "list_type":
        return "not a list of tables", "write [[sites]], in double brackets"
    if kind in {"list_type", "tuple_type"}:
        return "not a list", 'write it in brackets: ["..."]'
    if kind == "timezone_aware":
        return "a moment without its zone", "write 2026-11-20T19:30:00+01:00"
    return ("missing" if kind == "missing" else message[:1].lower() + message[1:]), ""


def _keys(parent: tuple[int | str, ...]) -> list[str]:
    sections: Mapping[str, type[BaseModel]] = {
        "sites": _Site, "listen": _Listen, "users": _Users, "session": _Session,
    }  # fmt: skip
    model = sections[str(parent[0])] if parent else _File
    return [*model.model_fields, *([] if parent else _LISTS)]


def _sites(raw: Iterable[_Site], path: Path, problems: list[Problem]) -> tuple[Site, ...]:
    sites: list[Site] = []
    for index, table in enumerate(raw):
        place = f"{path.name}: sites[{index}]"
        site = _site(table, place, problems)
        if site is None:
            continue
        if any(site.host == other.host for other in sites):
            problems.append(Problem(place, f'a second site with the host "{site.host}"', "a host is one site"))
        sites.append(site)
    return tuple(sites)


def _site(table: _Site, place: str, problems: list[Problem]) -> Site | None:
    example = 'write "https://files.example.com"'
    try:
        parts = urlsplit(table.origin)
        port = parts.port
    except ValueError:
        problems.append(Problem(place, f'"{table.origin}" is no origin', example))
        return None
    host = (parts.hostname or "").removesuffix(".")
    # What is written must be what a browser sends, with nothing before or after it.
    authority = table.origin.partition("://")[2]
    if parts.scheme not in {"http", "https"} or authority != parts.netloc or "@" in parts.netloc or not _is_host(host):
        problems.append(Problem(place, f'"{table.origin}" is no origin', f"{example}, without a path"))
        return None
    cookie_domain = (table.cookie_domain or "").lower().removeprefix(".")
    if cookie_domain:
        if parts.scheme != "https":
            problems.append(Problem(place, "cookie_domain on an http site", "a shared login needs https"))
        if "." not in cookie_domain or not (host == cookie_domain or host.endswith(f".{cookie_domain}")):
            problems.append(Problem(place, f'cookie_domain "{cookie_domain}" does not cover "{host}"'))
    default = {"http": 80, "https": 443}[parts.scheme]
    return Site(parts.scheme, host, None if port == default else port, cookie_domain)


def _is_host(host: str) -> bool:
    return len(host) <= 253 and (_HOST.fullmatch(host) is not None or (":" in host and parse_address(host) is not None))


def _networks(raw: Mapping[str, list[str]], path: Path, problems: list[Problem]) -> Mapping[str, NetworkSet]:
    networks: dict[str, NetworkSet] = {}
    for name, texts in raw.items():
        place = f"{path.name}: networks.{name}"
        if _NETWORK_NAME.fullmatch(name) is None:
            problems.append(Problem(place, "not a network name", "letters, digits, - and _, a letter first"))
        parsed = []
        for text in texts:
            try:
                parsed.append(parse_network(text))
            except ValueError as error:
                problems.append(Problem(place, str(error), "write 10.0.0.0/8 or one address"))
        networks[name] = NetworkSet(parsed)
    return networks


def _version(contents: Iterable[bytes]) -> str:
    # Of digests, so that a line that moves from one file to the next is another content.
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[:12]


def _included(patterns: Iterable[str], path: Path, problems: list[Problem]) -> Mapping[str, _Content]:
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
    files: dict[str, _Content] = {}
    for name in names:
        try:
            files[name] = _read(path.parent / name, name)
        except ConfigError as error:
            problems += error.problems
            continue
        for key in sorted(files[name][1].keys() - set(_LISTS)):
            problems.append(
                Problem(f"{name}: {key}", "an included file holds rules and tests only", f"move it to {path.name}")
            )
    return files


def _policy(
    files: Mapping[str, Mapping[str, object]],
    sites: tuple[Site, ...],
    networks: Mapping[str, NetworkSet],
    *,
    sites_known: bool,
) -> Policy:
    problems: list[Problem] = []
    tables = list(_tables(files, "rules", problems))
    if not sites_known:
        # Nothing is wrong with a rule's hosts when it is the sites that could not be read.
        tables = [(place, _without_hosts(table)) for place, table in tables]
    try:
        policy = compile_policy(tables, sites, networks)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return policy


def _tables(
    files: Mapping[str, Mapping[str, object]], key: str, problems: list[Problem]
) -> Iterator[tuple[str, object]]:
    for name, document in files.items():
        tables = document.get(key, [])
        if isinstance(tables, list):
            yield from ((f"{name}: {key}[{index}]", table) for index, table in enumerate(tables))
        else:
            problems.append(Problem(f"{name}: {key}", "not a list of tables", f"write [[{key}]], in double brackets"))


def _without_hosts(table: object) -> object:
    return {key: table[key] for key in table if key != "hosts"} if isinstance(table, dict) else table


def _tests(files: Mapping[str, Mapping[str, object]], problems: list[Problem]) -> tuple[PolicyTest, ...]:
    tests: list[PolicyTest] = []
    for place, table in _tables(files, "tests", problems):
        if not isinstance(table, dict):
            problems.append(Problem(place, "a test is a table", "write [[tests]] above its keys"))
            continue
        try:
            tests.append(PolicyTest.model_validate({**table, "place": place}))
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False, include_input=False):
                key = ".".join(map(str, detail["loc"]))
                if detail["type"] == "extra_forbidden":
                    message, hint = "unknown key", f"the keys are {', '.join(_TEST_KEYS)}"
                else:
                    message, hint = _in_words(detail["type"], detail["msg"], key)
                problems.append(Problem(f"{place}: {key}", message, hint))
    return tuple(tests)


def _check_together(raw: _File, path: Path, problems: list[Problem]) -> None:
    """Check what no key can say alone."""
    if not raw.sites and not any(problem.place.startswith(f"{path.name}: sites") for problem in problems):
        problems.append(
            Problem(f"{path.name}: sites", "there is none", 'write [[sites]] and origin = "https://files.example.com"')
        )
    if raw.store == "memory:" and raw.workers > 1:
        problems.append(
            Problem(f"{path.name}: store", "memory: is within one process", 'set workers = 1, or use "sqlite:PATH"')
        )
    if raw.session.idle_timeout > raw.session.lifetime:
        problems.append(Problem(f"{path.name}: session.idle_timeout", "longer than session.lifetime"))
    sockets = {
        key: _socket(value, path.parent) for key, value in (("check", raw.listen.check), ("web", raw.listen.web))
    }
    for key, socket in sockets.items():
        if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
            problems.append(
                Problem(
                    f"{path.name}: listen.{key}", f"the path is over {MAX_SOCKET_PATH} bytes", "choose a shorter folder"
                )
            )
    if sockets["check"] == sockets["web"]:
        # One socket for both would let what reaches the login pages reach decisions.
        problems.append(Problem(f"{path.name}: listen.web", "the same socket as listen.check"))


def _socket(name: str, folder: Path) -> Path:
    return (folder / name.removeprefix("unix:")).absolute()

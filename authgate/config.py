"""The configuration file, read once into frozen values. Everything wrong in it is reported together."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from authgate.errors import ConfigError, Problem
from authgate.model import Site
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


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that can be run.

    Args:
        path: the file it was read from.
        store: ``memory:`` or ``sqlite:`` and an absolute path.
        socket_group: group that may use the unix sockets; None leaves the process's own.
        idle_timeout: seconds.
        lifetime: seconds.
    """

    path: Path
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

    def site(self, host: str) -> Site | None:
        """Return the site with this host (lower case, without port); None when there is none."""
        return next((site for site in self.sites if site.host == host), None)


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        ConfigError: with everything that is wrong.
    """
    return parse(_read(path), path)


def parse(document: Mapping[str, object], path: Path) -> Settings:
    """Check a parsed configuration file; relative paths in it are relative to the folder of `path`.

    Raises:
        ConfigError: with everything that is wrong.
    """
    problems: list[Problem] = []
    raw = _validate({key: value for key, value in document.items() if key != "rules"}, path, problems)
    networks = _networks(raw.networks, path, problems)
    before = len(problems)
    sites = _sites(raw.sites, path, problems)
    _check_together(raw, path, problems)
    policy = None
    try:
        policy = _policy(document.get("rules", []), path, sites, networks, sites_known=len(problems) == before)
    except ConfigError as error:
        problems += error.problems
    if problems or policy is None:
        raise ConfigError(problems)
    folder = path.parent
    return Settings(
        path=path,
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


# What pydantic's pattern errors cannot say in words.
_HINTS: Mapping[str, str] = {
    "store": 'write "memory:" or "sqlite:state/authgate.db"',
    "realm": "at most 64 printable ASCII characters, without quotes and backslashes",
    "listen.check": 'write "unix:run/check.sock"',
    "listen.web": 'write "unix:run/web.sock"',
}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ConfigError([Problem(str(path), "the file is over 64 MiB")])
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(path.name, f"byte {error.start} is not UTF-8", "save the file as UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(path.name, f"not TOML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(path.name, "not TOML: nested too deeply")]) from None
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
    return Problem(f"{path.name}: {key}", message[:1].lower() + message[1:])


def _keys(parent: tuple[int | str, ...]) -> list[str]:
    sections: Mapping[str, type[BaseModel]] = {
        "sites": _Site, "listen": _Listen, "users": _Users, "session": _Session,
    }  # fmt: skip
    model = sections[str(parent[0])] if parent else _File
    return [*model.model_fields, *([] if parent else ["rules"])]


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


def _policy(
    tables: object, path: Path, sites: tuple[Site, ...], networks: Mapping[str, NetworkSet], *, sites_known: bool
) -> Policy:
    if not isinstance(tables, list):
        raise ConfigError(
            [Problem(f"{path.name}: rules", "not a list of tables", "write [[rules]], in double brackets")]
        )
    if not sites_known:
        # Nothing is wrong with a rule's hosts when it is the sites that could not be read.
        tables = [{key: table[key] for key in table if key != "hosts"} for table in tables if isinstance(table, dict)]
    return compile_policy(
        [(f"{path.name}: rules[{index}]", table) for index, table in enumerate(tables)], sites, networks
    )


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

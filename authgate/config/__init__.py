"""The configuration file, read once into frozen values. Everything wrong in it is reported together."""

import gc
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from authgate.config.files import LISTS, read, read_included, tables_of
from authgate.config.origins import read_networks, read_sites
from authgate.config.schema import File, PolicyTest, read_tests, validate
from authgate.errors import ConfigError, Problem
from authgate.model import Site
from authgate.networks import NetworkSet
from authgate.policy import Policy, compile_policy

__all__ = ["MAX_SOCKET_PATH", "PolicyTest", "Settings", "load", "parse"]

# sun_path is 108 bytes (unix(7)); what is left is room for a temporary name beside it.
MAX_SOCKET_PATH = 100


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
        content, document = read(path, path.name)
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
    raw = validate({key: value for key, value in document.items() if key not in LISTS}, path, problems)
    included = read_included(raw.include, path, problems)
    files = {path.name: document, **{name: parsed for name, (_, parsed) in included.items()}}
    networks = read_networks(raw.networks, path, problems)
    before = len(problems)
    sites = read_sites(raw.sites, path, problems)
    _check_together(raw, path, problems)
    policy = None
    try:
        policy = _policy(files, sites, networks, sites_known=len(problems) == before)
    except ConfigError as error:
        problems += error.problems
    tests = read_tests(files, problems)
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


def _version(contents: Iterable[bytes]) -> str:
    # Of digests, so that a line that moves from one file to the next is another content.
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[:12]


def _policy(
    files: Mapping[str, Mapping[str, object]],
    sites: tuple[Site, ...],
    networks: Mapping[str, NetworkSet],
    *,
    sites_known: bool,
) -> Policy:
    problems: list[Problem] = []
    tables = list(tables_of(files, "rules", problems))
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


def _without_hosts(table: object) -> object:
    return {key: table[key] for key in table if key != "hosts"} if isinstance(table, dict) else table


def _check_together(raw: File, path: Path, problems: list[Problem]) -> None:
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

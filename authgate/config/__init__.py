"""The configuration file, read once into frozen values. Everything wrong in it is reported together."""

import gc
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from authgate.config.files import LISTS, read, read_included, tables_of
from authgate.config.origins import read_networks, read_sites
from authgate.config.schema import File, PolicyTest, read_tests, validate
from authgate.config.secrets import read_secret
from authgate.errors import ConfigError, Problem
from authgate.model import Site
from authgate.networks import NetworkSet, parse_address
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
        node: names this machine at the head of every decision's id.
        api_socket: None: there is no such listener.
        fastcgi: address and port of loopback; None: there is no such listener.
        fastcgi_secret: what Apache has to send there.
        deliver_socket: None: there is no such listener.
        socket_group: group that may use the unix sockets; None leaves the process's own.
        idle_timeout: seconds.
        lifetime: seconds.
        verify: the site's function ``package.module::function`` that verifies passwords.
        lookup: the site's function that says who somebody is now.
        server_login: the web server's own login is believed.
        audit_file: None: stderr.
        audit_allows: requests that may pass are audited too.
        log_requests: each question of the web server is logged; in no file, `authgate serve --log-requests` sets it.
    """

    path: Path
    version: str
    store: str
    realm: str
    workers: int
    node: str
    sites: tuple[Site, ...]
    check_socket: Path
    web_socket: Path
    api_socket: Path | None
    fastcgi: tuple[str, int] | None
    fastcgi_secret: bytes
    deliver_socket: Path | None
    socket_group: str | None
    htpasswd: Path | None
    groups: Path | None
    verify: str | None
    lookup: str | None
    server_login: bool
    audit_file: Path | None
    audit_allows: bool
    idle_timeout: float
    lifetime: float
    policy: Policy
    tests: tuple[PolicyTest, ...]
    log_requests: bool = False

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
    fastcgi, secret = _fastcgi(raw, path, problems)
    if problems or policy is None:
        raise ConfigError(problems)
    folder = path.parent
    return Settings(
        path=path,
        version=_version([content, *(text for text, _ in included.values())]),
        store=raw.store if raw.store == "memory:" else f"sqlite:{_state(raw.store.removeprefix('sqlite:'), folder)}",
        realm=raw.realm,
        workers=raw.workers,
        node=raw.node or _node(),
        sites=sites,
        check_socket=_socket(raw.listen.check, folder),
        web_socket=_socket(raw.listen.web, folder),
        api_socket=_socket(raw.listen.api, folder) if raw.listen.api else None,
        fastcgi=fastcgi,
        fastcgi_secret=secret,
        deliver_socket=_socket(raw.listen.deliver, folder) if raw.listen.deliver else None,
        socket_group=raw.listen.group,
        htpasswd=folder / raw.users.htpasswd if raw.users.htpasswd else None,
        groups=folder / raw.users.groups if raw.users.groups else None,
        verify=raw.users.verify,
        lookup=raw.users.lookup,
        server_login=raw.users.server_login,
        audit_file=_state(raw.audit.file, folder) if raw.audit.file else None,
        audit_allows=raw.audit.allows,
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
    if raw.users.lookup and not (raw.users.verify or raw.users.server_login):
        message = "asked only about people of users.verify or users.server_login"
        problems.append(Problem(f"{path.name}: users.lookup", message))
    _check_sockets(raw, path, problems)


def _check_sockets(raw: File, path: Path, problems: list[Problem]) -> None:
    names = {"check": raw.listen.check, "web": raw.listen.web, "api": raw.listen.api, "deliver": raw.listen.deliver}
    sockets = {key: _socket(name, path.parent) for key, name in names.items() if name is not None}
    taken: dict[Path, str] = {}
    for key, where in sockets.items():
        if len(os.fsencode(where)) > MAX_SOCKET_PATH:
            problems.append(
                Problem(
                    f"{path.name}: listen.{key}", f"the path is over {MAX_SOCKET_PATH} bytes", "choose a shorter folder"
                )
            )
        other = taken.setdefault(where, key)
        if other != key:
            # One socket for two would let what reaches the login pages reach decisions.
            problems.append(Problem(f"{path.name}: listen.{key}", f"the same socket as listen.{other}"))


def _fastcgi(raw: File, path: Path, problems: list[Problem]) -> tuple[tuple[str, int] | None, bytes]:
    """Return where the FastCGI authorizer listens, and the secret that whoever asks there has to know."""
    if raw.listen.fastcgi is None:
        return None, b""
    host, _, port = raw.listen.fastcgi.rpartition(":")
    address = parse_address(host.strip("[]"))
    place = f"{path.name}: listen.fastcgi"
    if address is None or not address.is_loopback or int(port) > 65535:
        problems.append(
            Problem(place, f'"{raw.listen.fastcgi}" is no address of this machine', 'write "127.0.0.1:950"')
        )
        return None, b""
    if raw.listen.fastcgi_secret_file is None:
        hint = 'write fastcgi_secret_file = "fastcgi.secret" below it'
        problems.append(Problem(place, "every user of this machine can connect there", hint))
        return None, b""
    file = path.parent / raw.listen.fastcgi_secret_file
    return (str(address), int(port)), read_secret(file, f"{path.name}: listen.fastcgi_secret_file", problems)


def _socket(name: str, folder: Path) -> Path:
    return _beneath("run", "RUNTIME_DIRECTORY", name.removeprefix("unix:"), folder)


def _state(name: str, folder: Path) -> Path:
    return _beneath("state", "STATE_DIRECTORY", name, folder)


def _beneath(usual: str, variable: str, name: str, folder: Path) -> Path:
    """Return where a relative name is: beside the file, or in the directory that systemd made (systemd.exec(5))."""
    made = os.environ.get(variable, "").partition(":")[0]
    # systemd's directory is what the folder `run` or `state` is elsewhere.
    return (Path(made) / name.removeprefix(f"{usual}/") if made else folder / name).absolute()


def _node() -> str:
    # Not the host's name itself: visitors see it at the head of every decision's id.
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]

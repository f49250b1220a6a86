"""The configuration file, read once into frozen values. Everything wrong in it is reported together."""

import gc
import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from authgate.config.files import LISTS, read, read_included, tables_of
from authgate.config.listeners import (
    MAX_SOCKET_PATH,
    Endpoint,
    check_listeners,
    optional_socket,
    port_of,
    read_check_secret,
    read_fastcgi,
    socket_path,
    state_path,
)
from authgate.config.origins import read_networks, read_sites, read_trusted
from authgate.config.schema import File, PolicyTest, read_tests, validate
from authgate.config.sources import Sources, read_sources, source_names
from authgate.errors import ConfigError, Problem
from authgate.model import Site
from authgate.networks import NetworkSet
from authgate.policy import Policy, compile_policy

__all__ = ["MAX_SOCKET_PATH", "PolicyTest", "Settings", "load", "parse"]


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that can be run.

    Args:
        path: the file it was read from.
        version: names the content of this file and of those it includes; 12 hex digits.
        store: ``memory:`` or ``sqlite:`` and an absolute path.
        node: names this machine at the head of every decision's id.
        check_socket: on a port (`check_port`) there is none, and only the files beside it are.
        api_socket: None: there is no such listener.
        fastcgi: address and port of loopback; None: there is no such listener.
        fastcgi_secret: what Apache has to send there.
        deliver_socket: None: there is no such listener.
        socket_group: group that may use the unix sockets; None leaves the process's own.
        idle_timeout: seconds.
        lifetime: seconds.
        networks: by name.
        verify: the site's function ``package.module::function`` that verifies passwords.
        lookup: the site's function that says who somebody is now.
        server_login: the web server's own login is believed.
        links: the ring of keys that links are signed with; None: there are no links.
        sources: where people come from beside the htpasswd file and the site's functions.
        audit_file: None: stderr.
        audit_allows: requests that may pass are audited too.
        check_port: address and port of the listener `check`; None: it is the unix socket.
        web_port: the same of `web`.
        check_secret: what a web server has to say at these ports; empty: there is none.
        trusted_proxies: whose X-Forwarded-* is believed there.
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
    sources: Sources
    links: Path | None
    audit_file: Path | None
    audit_allows: bool
    idle_timeout: float
    lifetime: float
    networks: Mapping[str, NetworkSet]
    policy: Policy
    tests: tuple[PolicyTest, ...]
    check_port: Endpoint | None = None
    web_port: Endpoint | None = None
    check_secret: bytes = b""
    trusted_proxies: NetworkSet = field(default_factory=lambda: NetworkSet(()))
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
        policy = _policy(files, sites, networks, source_names(raw), sites_known=len(problems) == before)
    except ConfigError as error:
        problems += error.problems
    tests = read_tests(files, problems)
    sources = read_sources(raw, path, problems)
    if policy is not None and policy.asks_link and raw.links.keys is None:
        hint = 'write keys = "links.jwks" below [links]; authgate key new links.jwks --purpose link --algorithm HS256'
        problems.append(Problem(f"{path.name}: links.keys", "missing, and rules admit by link", hint))
    fastcgi, secret = read_fastcgi(raw, path, problems)
    check_secret = read_check_secret(raw, path, problems)
    trusted = read_trusted(raw.trusted_proxies, networks, path, problems)
    if problems or policy is None:
        raise ConfigError(problems)
    folder = path.parent
    return Settings(
        path=path,
        version=_version([content, *(text for text, _ in included.values())]),
        store=raw.store
        if raw.store == "memory:"
        else f"sqlite:{state_path(raw.store.removeprefix('sqlite:'), folder)}",
        realm=raw.realm,
        workers=raw.workers,
        node=raw.node or _node(),
        sites=sites,
        check_socket=socket_path(raw, "check", folder),
        web_socket=socket_path(raw, "web", folder),
        api_socket=optional_socket(raw.listen.api, folder),
        fastcgi=fastcgi,
        fastcgi_secret=secret,
        deliver_socket=optional_socket(raw.listen.deliver, folder),
        socket_group=raw.listen.group,
        htpasswd=folder / raw.users.htpasswd if raw.users.htpasswd else None,
        groups=folder / raw.users.groups if raw.users.groups else None,
        verify=raw.users.verify,
        lookup=raw.users.lookup,
        server_login=raw.users.server_login,
        sources=sources,
        links=folder / raw.links.keys if raw.links.keys else None,
        audit_file=state_path(raw.audit.file, folder) if raw.audit.file else None,
        audit_allows=raw.audit.allows,
        idle_timeout=raw.session.idle_timeout,
        lifetime=raw.session.lifetime,
        networks=networks,
        policy=policy,
        tests=tests,
        check_port=port_of(raw, "check"),
        web_port=port_of(raw, "web"),
        check_secret=check_secret,
        trusted_proxies=trusted,
    )


def _version(contents: Iterable[bytes]) -> str:
    # Of digests, so that a line that moves from one file to the next is another content.
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[:12]


def _policy(
    files: Mapping[str, Mapping[str, object]],
    sites: tuple[Site, ...],
    networks: Mapping[str, NetworkSet],
    sources: frozenset[str],
    *,
    sites_known: bool,
) -> Policy:
    problems: list[Problem] = []
    tables = list(tables_of(files, "rules", problems))
    if not sites_known:
        # Nothing is wrong with a rule's hosts when it is the sites that could not be read.
        tables = [(place, _without_hosts(table)) for place, table in tables]
    try:
        policy = compile_policy(tables, sites, networks, sources)
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
    check_listeners(raw, path, problems)


def _node() -> str:
    # Not the host's name itself: visitors see it at the head of every decision's id.
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]

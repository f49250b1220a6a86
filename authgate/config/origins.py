"""Sites and named networks, from text to value."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path
from urllib.parse import urlsplit

from authgate.config.schema import SiteTable
from authgate.errors import Problem
from authgate.model import Site
from authgate.networks import Network, NetworkSet, parse_address, parse_network

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NETWORK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def read_sites(raw: Iterable[SiteTable], path: Path, problems: list[Problem]) -> tuple[Site, ...]:
    """Return the sites; add what is wrong with others to `problems`."""
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


def _site(table: SiteTable, place: str, problems: list[Problem]) -> Site | None:
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


def read_networks(raw: Mapping[str, list[str]], path: Path, problems: list[Problem]) -> Mapping[str, NetworkSet]:
    """Return the named networks, also those with a problem: their names exist."""
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


def read_trusted(
    texts: Iterable[str], networks: Mapping[str, NetworkSet], path: Path, problems: list[Problem]
) -> NetworkSet:
    """Return the proxies whose X-Forwarded-* is believed; add what is wrong with others to `problems`.

    Args:
        networks: the named ones.
    """
    place = f"{path.name}: trusted_proxies"
    trusted: list[Network] = []
    for index, text in enumerate(texts):
        if text in networks:
            trusted += networks[text]
            continue
        try:
            trusted.append(parse_network(text))
        except ValueError as error:
            hint = "write 10.0.0.0/8, one address or a name of [networks]"
            problems.append(Problem(f"{place}[{index}]", str(error), hint))
    # Two halves are the whole.
    together: list[Network] = [
        *collapse_addresses(network for network in trusted if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in trusted if isinstance(network, IPv6Network)),
    ]
    everybody = [network for network in together if network.prefixlen == 0]
    if everybody:
        # CVE-2026-40575 (oauth2-proxy): whoever reaches the port would say which request is decided.
        problems.append(Problem(place, f"{everybody[0]} is everybody", "name the addresses of the proxies alone"))
    return NetworkSet(trusted)

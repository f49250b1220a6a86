"""Hosts, addresses and networks, as text to value.

An IPv4-mapped IPv6 address counts as IPv4 (RFC 4291 section 2.5.5.2); any other odd form (leading zeros, a scope,
surrounding space, a port) is unreadable, and rules that look at the address find it unknown.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """Return the address; None when `text` is not exactly one address."""
    try:
        if ":" not in text:
            return IPv4Address(text)
        address = IPv6Address(text)
    except ValueError:
        return None
    if address.scope_id is not None:
        return None
    return address.ipv4_mapped or address


def parse_host(text: str) -> str:
    """Return a host in the form of `Site.host`: lower case, without port, brackets and one final dot."""
    name, bracket, _ = text.lower().partition("]")
    return name.removeprefix("[") if bracket else name.partition(":")[0].removesuffix(".")


def parse_network(text: str) -> Network:
    """Return the network written as ``10.0.0.0/8`` or as one address.

    Raises:
        ValueError: `text` is no network, or has bits set beyond its prefix (``10.0.0.1/8``), which is a typing error
            more often than a wish.
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network):
        if network.network_address.scope_id is not None:
            raise ValueError(f"{text!r} has a scope")
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


class NetworkSet:
    """Networks to ask for membership; cost grows with the number of distinct prefix lengths, not of networks."""

    __slots__ = ("_by_length",)

    def __init__(self, networks: Iterable[Network]) -> None:
        by_length: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            by_length.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._by_length = tuple((version, shift, prefixes) for (version, shift), prefixes in by_length.items())

    def __iter__(self) -> Iterator[Network]:
        """Name the networks, in order."""
        for version, shift, prefixes in sorted(self._by_length):
            make = IPv4Network if version == 4 else IPv6Network
            length = {4: 32, 6: 128}[version] - shift
            yield from (make((prefix << shift, length)) for prefix in sorted(prefixes))

    def __contains__(self, address: Address) -> bool:
        value, of_version = int(address), address.version
        for version, shift, prefixes in self._by_length:  # noqa: SIM110 - asked at each decision; any() costs twice that
            if version == of_version and value >> shift in prefixes:
                return True
        return False


def client_address(peer: str | None, forwarded: Iterable[str], trusted: NetworkSet) -> Address | None:
    """Return the client behind trusted proxies: walk X-Forwarded-For from the right while hops are trusted.

    Args:
        peer: the address the connection came from; None: a unix socket, whose other end is trusted.
        forwarded: the values of all X-Forwarded-For fields, in order.
        trusted: proxies whose word counts.

    Returns:
        None when the first hop that counts is unreadable: a guess would let a client choose its own address.
    """
    hops = [hop.strip(" \t") for field in forwarded if field for hop in field.split(",")]
    if peer is None:
        peer = _without_port(hops.pop()) if hops else ""
    address = parse_address(peer)
    while address is not None and address in trusted and hops:
        address = parse_address(_without_port(hops.pop()))
    return address


def _without_port(hop: str) -> str:
    host, bracket, rest = hop.partition("]")
    if bracket and host.startswith("["):
        return host[1:] if not rest or (rest[0] == ":" and _is_port(rest[1:])) else hop
    host, colon, port = hop.partition(":")
    # "2001:db8::5" has more than one colon and is an address without port.
    return host if colon and _is_port(port) else hop


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5

"""Addresses, networks and hosts, from text to value."""

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from authgate.networks import NetworkSet, client_address, parse_address, parse_host, parse_network

CASES = json.loads((Path(__file__).parent / "vectors/ip/cases.json").read_text())
TRUSTED = NetworkSet(map(parse_network, CASES["trusted_proxies"]))

# Where the table leaves a choice, ours is: an unreadable hop gives no address, and rules about addresses are unknown.
NO_ADDRESS = {"reject", "127.0.0.1 or reject", "reject or peer", "policy"}


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["id"])
def test_client_address(case: dict[str, object]) -> None:
    forwarded = case["x_forwarded_for"] or []
    assert isinstance(forwarded, list)
    client = client_address(str(case["peer"]), forwarded, TRUSTED)

    wanted = case["client_ip"]
    if "needs" in case or wanted is None or wanted in NO_ADDRESS:
        assert client is None
    else:
        assert str(client) == str(wanted).removesuffix(" or 400")


@pytest.mark.parametrize("case", CASES["cidr"], ids=lambda case: f"{case['address']} in {case['network']}")
def test_network(case: dict[str, object]) -> None:
    network, wanted = str(case["network"]), str(case["contains"])
    if "config error" in wanted:
        with pytest.raises(ValueError, match=r"."):
            parse_network(network)
        return
    address = parse_address(str(case["address"]))
    contained = address is not None and address in NetworkSet([parse_network(network)])
    assert contained is wanted.startswith(("True", "true"))


@pytest.mark.parametrize(
    "text", ["", " 10.0.0.1", "10.0.0.1 ", "10.0.0.1\n", "10.0.0.01", "127.1", "1", "10.0.0.1/32", "fe80::1%eth0",
             "::1%", "[::1]", "unix:", "١٢٧.0.0.1", "10.0.0.1:80", "a" * 5000],
)  # fmt: skip
def test_text_that_is_not_exactly_one_address_is_unreadable(text: str) -> None:
    assert parse_address(text) is None


def test_an_ipv4_mapped_address_counts_as_ipv4() -> None:
    assert parse_address("::ffff:10.1.2.3") == IPv4Address("10.1.2.3")


def test_an_ipv4_mapped_network_covers_ipv4() -> None:
    assert IPv4Address("10.1.2.3") in NetworkSet([parse_network("::ffff:10.0.0.0/104")])


def test_a_network_of_one_version_does_not_cover_the_other() -> None:
    assert IPv4Address("0.0.0.1") not in NetworkSet([parse_network("::/0")])


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("files.example.com", "files.example.com"), ("FILES.example.COM", "files.example.com"),
        ("files.example.com.", "files.example.com"), ("files.example.com:8443", "files.example.com"),
        ("files.example.com.:80", "files.example.com"), ("[::1]:80", "::1"), ("[2001:DB8::1]", "2001:db8::1"),
        ("files.example.com..", "files.example.com."), ("", ""), (":80", ""),
    ],
)  # fmt: skip
def test_a_host_loses_case_port_and_one_final_dot(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("hops", "wanted"),
    [
        ([], None),
        ([""], None),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["192.0.2.9", "192.0.2.1"], "192.0.2.1"),
        (["192.0.2.9, nonsense"], None),
        ([f"192.0.2.9, {next(iter(TRUSTED)).network_address}"], "192.0.2.9"),
    ],
)
def test_behind_a_unix_socket_the_last_hop_is_who_connected(hops: list[str], wanted: str | None) -> None:
    client = client_address(None, hops, TRUSTED)

    assert client == (None if wanted is None else parse_address(wanted))

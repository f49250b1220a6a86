"""Text to value: any text is understood or refused as it should be, and what is understood means what was written."""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from posixpath import normpath
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urljoin, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from authgate.cookies import split_joined, values
from authgate.model import Site
from authgate.networks import NetworkSet, client_address, parse_address, parse_host, parse_network
from authgate.paths import from_wire, is_canonical, is_plain_target
from authgate.patterns import PathPattern, PatternError, RegexPattern, parse_pattern
from authgate.policy.parsing import TermError, parse_term
from authgate.redirects import login_location, return_path
from tests.policies import NETWORKS, SITES, compiled
from tests.properties import reference
from tests.properties.amounts import tried
from tests.properties.worlds import Choices, choices, term

# What a TOML file can hold: no surrogates.
WRITTEN = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# What a visitor can send, as a door decodes it.
SENT = st.binary(max_size=40).map(from_wire)


def mixed(pieces: Sequence[str], most: int = 12) -> st.SearchStrategy[str]:
    """Texts of pieces that mean something to the parser, and of others."""
    return st.lists(st.sampled_from(pieces) | st.text(max_size=2), max_size=most).map("".join)


# Paths


PATHS = mixed(["/", "/", "a", ".", "..", "\0", "\n", "\x7f", "\udcff", "%2e", "\\", ";", "?", "\u0085"])


@tried(300)
@given(PATHS | SENT)
def test_a_path_is_canonical_exactly_by_its_definition(path: str) -> None:
    assert is_canonical(path) == reference.is_canonical(path)


TARGETS = st.lists(
    st.sampled_from(
        [
            "/",
            "/",
            "a",
            "b",
            ".",
            "..",
            "%2e",
            "%2E",
            "%2f",
            "%5c",
            "%25",
            "%",
            "2e",
            "2f",
            "5c",
            ";",
            "\\",
            "%3b",
            "?",
            "#",
            "%00",
            "%C3%BC",
            "//",
            "x",
        ]
    ),
    max_size=10,
).map(lambda pieces: "/" + "".join(pieces))


def _once(path: str) -> str:
    return unquote(path, "latin-1")


# As applications read the path of a request's target.
DECODERS: dict[str, Callable[[str], str]] = {
    "parameters cut off": lambda path: _once(re.sub(r";[^/]*", "", path)),
    "backslashes turned": lambda path: _once(path.replace("\\", "/")),
    "backslashes turned afterwards": lambda path: _once(path).replace("\\", "/"),
    "normalised": lambda path: normpath(_once(path)) + "/" * (path.endswith("/") and path != "/"),
    "normalised before": lambda path: _once(normpath(path) + "/" * (path.endswith("/") and path != "/")),
    "joined as an address": lambda path: _once(urlsplit(urljoin("http://host/x/y", path)).path),
    "escapes in capitals": lambda path: _once(re.sub("%[0-9a-f]{2}", lambda found: found[0].upper(), path)),
    "fragment cut off": lambda path: _once(path.partition("#")[0]),
}


@tried(600)
@given(TARGETS)
def test_every_program_reads_the_path_of_a_plain_target_alike(target: str) -> None:
    if not is_plain_target(target):
        return
    path = target.partition("?")[0]
    read = _once(path)

    assert {name: decode(path) for name, decode in DECODERS.items()} == dict.fromkeys(DECODERS, read)
    # Who decodes twice may read other names, but sees the same folders.
    twice = _once(read).split("/")
    assert len(twice) == len(read.split("/"))
    assert not {".", ".."} & set(twice)


@tried(300)
@given(TARGETS | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_any_target_is_plain_or_not(target: str) -> None:
    plain = is_plain_target(target)

    path = target.partition("?")[0]
    assert not plain or (path.startswith("/") and not re.search(r"//|\\|;|%2f|%5c|#", path, re.IGNORECASE))


# Patterns


@tried(400)
@given(mixed(["/", "/", "*", "**", "{", "}", "{a}", "a", ".", "re:", "(", ")", "?", "[", "\\", "(?P<a>"], 14) | WRITTEN)
@example("re:\0")
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    try:
        pattern = parse_pattern(text)
    except PatternError:
        pass
    else:
        assert isinstance(pattern, PathPattern | RegexPattern)
        assert pattern.text == text
        assert text.startswith("/") or isinstance(pattern, RegexPattern)


LITERAL = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/*{}"), min_size=1, max_size=6
).filter(lambda text: text not in {".", ".."})


@tried(200)
@given(st.lists(LITERAL, min_size=1, max_size=4), st.lists(LITERAL, min_size=1, max_size=4))
def test_a_literal_pattern_covers_itself_and_nothing_else(segments: list[str], others: list[str]) -> None:
    path, other = "/" + "/".join(segments), "/" + "/".join(others)
    policy = compiled({"paths": [path], "allow": ["anyone"]})

    assert len(list(policy.matching("files.example.com", path, "GET"))) == 1
    assert len(list(policy.matching("files.example.com", other, "GET"))) == int(path == other)


# Terms


@tried(500)
@given(
    mixed(
        [
            "user:",
            "group:",
            "ip:",
            "time:",
            "claim:",
            "a",
            "=",
            '"',
            " ",
            "&",
            "!",
            "{",
            "}",
            "{a}",
            "via:basic",
            "mfa",
            "anyone",
            "08:00-18:00",
            "Mon-Fri",
            "UTC",
            "..",
            "Europe",
            "/",
            "10.0.0.0/8",
            "handler:a::b",
            "::",
            ":",
        ],
        8,
    )
    | WRITTEN
)
@example("time:08:00-18:00 Europe/")
@example("time:08:00-18:00 ../etc/passwd")
@example("time:08:00-18:00 /etc/localtime")
@example("time:08:00-18:00 " + "a" * 300)
@example("time:08:00-18:00 \0")
@example("time:08:00-18:00 zone.tab")
@example("ip:10.0.0.0/\u0668")
def test_any_text_is_a_term_or_refused(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    try:
        parsed = parse_term(text, NETWORKS)
    except TermError:
        return
    again = parse_term(" & ".join(part.text for part in parsed.parts), NETWORKS)
    assert [(part.text, part.negated) for part in again.parts] == [(part.text, part.negated) for part in parsed.parts]
    assert len(parsed.parts) == len(reference.atoms(text))


@tried(300)
@given(choices())
def test_a_term_has_the_atoms_that_were_written(chosen: Choices) -> None:
    text = term(chosen)
    written = sorted((atom.negated, atom.kind) for atom in reference.atoms(text))

    parts = parse_term(text, NETWORKS).parts

    assert sorted((part.negated, part.text.lstrip("!").partition(":")[0]) for part in parts) == written


# Cookies

NAMES = ["__Host-authgate", "__Secure-authgate", "authgate", "x", "X", "__host-authgate"]
HEADERS = mixed([*NAMES, "=", "=", ";", "; ", ", ", ",", " ", "\t", '"', "\xa0", "\x85", "\0"], 16)


@tried(300)
@given(HEADERS | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")), st.sampled_from(NAMES))
def test_any_cookie_header_can_be_read(header: str, name: str) -> None:
    found = values(header, name)

    assert all(";" not in value and value.strip(" \t") == value for value in found)
    pairs = [pair.split("=", 1) for pair in header.split(";") if "=" in pair]
    assert found == [value.strip(" \t") for key, value in pairs if key.strip(" \t") == name]
    assert ", " in header or split_joined(header) == header


@tried(400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "a,b", "authgate"]),
            mixed(["__Host-authgate", "=", "EVIL", ", ", ",", " ", "\t", '"', "__Secure-authgate"], 10).map(
                lambda text: re.sub(
                    r"[;\0-\x08\x0a-\x1f\x7f]", "", text.encode("latin-1", "ignore").decode("latin-1")
                ).strip(" \t")
            ),
        ),
        max_size=3,
    ),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
def test_no_neighbour_can_plant_a_session_in_a_joined_header(
    neighbours: list[tuple[str, str]], place: int, logged_in: bool, joined: bool
) -> None:
    pairs = [f"{name}={value}" for name, value in neighbours]
    if logged_in:
        pairs.insert(min(place, len(pairs)), "__Host-authgate=honest")

    found = values(split_joined((", " if joined else "; ").join(pairs)), "__Host-authgate")

    # Two are as good as none.
    assert len(found) != 1 or (logged_in and found == ["honest"])


# Addresses and networks

ADDRESSES = mixed(["10", ".", "0", "1", "255", "256", ":", "::", "ffff", "%", "[", "]", "/", "8", "\n", " ", "-"], 10)


@tried(400)
@given(ADDRESSES | SENT | st.ip_addresses().map(str))
@example("::ffff:10.1.2.3")
@example("010.1.2.3")
@example("fe80::1%eth0")
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = parse_address(text)

    if found is None:
        return
    assert parse_address(str(found)) == found
    if isinstance(found, IPv4Address):
        assert text == str(found) or IPv6Address(text).ipv4_mapped == found
    else:
        assert ip_address(text) == found
        assert (found.scope_id, found.ipv4_mapped) == (None, None)


@tried(400)
@given(ADDRESSES | WRITTEN)
def test_any_text_is_a_network_or_a_value_error(text: str) -> None:
    try:
        network = parse_network(text)
    except ValueError:
        return
    assert parse_network(str(network)) == network
    assert network.network_address in NetworkSet([network])


@tried(200)
@given(st.lists(st.ip_addresses(), max_size=4), st.ip_addresses(), st.integers(0, 32), st.booleans())
def test_a_set_of_networks_holds_what_one_of_them_holds(
    addresses: list[IPv4Address | IPv6Address], asked: IPv4Address | IPv6Address, length: int, near: bool
) -> None:
    made = []
    for address in addresses:
        shift = address.max_prefixlen - length
        made.append(parse_network(f"{type(address)(int(address) >> shift << shift)}/{length}"))
    if near and addresses:
        asked = type(addresses[0])(int(addresses[0]) ^ 1)

    assert (asked in NetworkSet(made)) == any(asked in network for network in made)
    assert set(NetworkSet(made)) == set(made)


HOPS = [
    "10.0.0.1",
    "10.0.0.2",
    "192.0.2.7",
    "2001:db8::1",
    "::ffff:10.0.0.3",
    "unknown",
    "",
    "[2001:db8::2]:80",
    "10.0.0.4:99",
    "10.0.0.5:",
    "_hidden",
    "10.0.0.6:123456",
]
READ = {hop: hop for hop in HOPS[:4]} | {
    "::ffff:10.0.0.3": "10.0.0.3",
    "[2001:db8::2]:80": "2001:db8::2",
    "10.0.0.4:99": "10.0.0.4",
}


@tried(300)
@given(st.sampled_from(HOPS[:4]), st.lists(st.lists(st.sampled_from(HOPS), min_size=1, max_size=3), max_size=3))
def test_the_client_is_the_last_hop_that_is_no_proxy_of_ours(peer: str, fields: list[list[str]]) -> None:
    hops = [hop for field in fields if field != [""] for hop in field]
    wanted: str | None = peer
    while (
        wanted is not None
        and hops
        and any(
            parse_network(n).overlaps(parse_network(wanted))
            for n in ("10.0.0.0/8", "2001:db8::/32")
            if (":" in n) == (":" in wanted)
        )
    ):
        wanted = READ.get(hops.pop())

    found = client_address(peer, [", ".join(field) for field in fields], NETWORKS["office"])

    assert found == (None if wanted is None else ip_address(wanted))


@tried(200)
@given(mixed(["files", ".", "example.com", ":", "443", "[", "]", "::1", "A", "\0", " "], 8) | SENT)
def test_any_text_is_a_host(text: str) -> None:
    host = parse_host(text)

    assert host == parse_host(text.lower()) == host.lower()
    assert ":" not in host or "]" in text


@tried(100)
@given(st.sampled_from(SITES), st.sampled_from(["", ".", ":8080", ".:443"]), st.booleans())
def test_a_host_is_read_in_any_form_that_browsers_send(site: Site, end: str, capitals: bool) -> None:
    assert parse_host((site.host.upper() if capitals else site.host) + end) == site.host


# Return addresses

ADDRESSED = mixed(
    [
        "/",
        "/",
        "\\",
        "%2f",
        "%5c",
        "%2F",
        "%25",
        "..",
        ".",
        "//",
        ":",
        "@",
        "evil.example",
        "?",
        "#",
        "\t",
        "a",
        "authgate",
        "javascript",
        "http",
        "%0a",
        "\r\n",
        "%",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ]
)


@tried(400)
@given(ADDRESSED.map("/".__add__) | ADDRESSED | SENT)
def test_where_a_login_leads_back_to_is_a_path_of_the_same_site(text: str) -> None:
    accepted = return_path(text)

    if accepted is None:
        return
    path = accepted.partition("?")[0]
    assert accepted == text
    assert reference.is_canonical(from_wire(unquote_to_bytes(path)))
    assert unquote(path).split("/")[1] != "authgate"
    for base in ("https://files.example.com/authgate/login", "https://files.example.com/"):
        for read in (accepted, unquote(accepted), accepted.replace("\\", "/")):
            assert urlsplit(urljoin(base, read.partition("?")[0]))[:2] == ("https", "files.example.com")


@tried(300)
@given(ADDRESSED.map("/".__add__) | SENT, st.sampled_from(SITES))
def test_a_login_is_at_the_site_and_knows_the_way_back_or_none(text: str, site: Site) -> None:
    location = login_location(site, text)

    page, mark, query = location.partition("?")
    assert page == f"{site.origin}/authgate/login"
    assert re.fullmatch(r"[!-~]+", location)
    assert parse_qs(query, keep_blank_values=True) == ({"next": [text]} if mark else {})

"""Policies and requests in one line, for tests."""

from collections.abc import Mapping

from authgate.engine import decide
from authgate.model import NOBODY, AccessRequest, CredentialKind, Decision, Facts, Identity, Reason, Site, Subject
from authgate.networks import NetworkSet, parse_address, parse_network
from authgate.policy import Policy, compile_policy

SITES = (Site("https", "files.example.com"), Site("https", "docs.example.com"), Site("http", "localhost", 8080))
NETWORKS = {"office": NetworkSet([parse_network("10.0.0.0/8"), parse_network("2001:db8::/32")])}

UNKNOWN = Identity(None, CredentialKind.SESSION, Reason.STORE_UNAVAILABLE)


def compiled(*rules: Mapping[str, object], networks: Mapping[str, NetworkSet] = NETWORKS) -> Policy:
    """Compile rules; a name is added where there is none."""
    tables = [(f"rules[{index}]", {"name": f"r{index}", **rule}) for index, rule in enumerate(rules)]
    return compile_policy(tables, SITES, networks, frozenset({"partner"}))


def local(name: str, *groups: str) -> Identity:
    """Return somebody of the local source, logged in by session."""
    return Identity(Subject("", name, frozenset(groups)), CredentialKind.SESSION)


def request(
    path: str = "/x", *, method: str = "GET", host: str = "files.example.com", ip: str | None = "192.0.2.1"
) -> AccessRequest:
    """Return a request to the first site."""
    return AccessRequest(method, host, path, "https", parse_address(ip) if ip else None, 0.0)


def decided(policy: Policy, asked: AccessRequest, identity: Identity = NOBODY) -> Decision:
    """Return the decision when the identity is known."""
    decision = decide(policy, asked, Facts(identity))
    assert isinstance(decision, Decision)
    return decision

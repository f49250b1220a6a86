"""What one `decide()` costs, how little that grows with the number of rules, and how long they take to load."""

import time
from collections.abc import Mapping
from typing import NamedTuple

from authgate.engine import decide
from authgate.model import AccessRequest, CredentialKind, Decision, Facts, Identity, Site, Subject
from authgate.networks import NetworkSet, parse_address, parse_network
from authgate.policy import Policy, compile_policy

SITE = Site("https", "files.example.com")
FACTS = Facts(Identity(Subject("", "alice", frozenset(f"g{n}" for n in range(50))), CredentialKind.SESSION))
NETWORKS = {"office": NetworkSet([parse_network("10.0.0.0/8"), parse_network("2001:db8::/32")])}
INSIDE = parse_address("10.1.2.3")
MONDAY_NOON = 1_767_614_400.0  # 2026-01-05 in UTC
ASKED = 1000
ROUNDS = 40

# Tried for each request, because no index can tell that they do not match.
REGEXES = [
    rf"re:/(?:archive|old{n})/(?P<year>\d{{4}})/[^/]*\.(?:bak|tmp{n})" if n % 2 else rf"re:.*/\.(?:git|hg{n})(?:/.*)?"
    for n in range(16)
]
GROUPS = "group:g{0}"
ALL_KINDS = "group:g{0} & ip:office & time:Mon-Fri 08:00-18:00 Europe/Berlin"


class Measured(NamedTuple):
    """A policy, and requests spread over all its rules, each of which it allows."""

    policy: Policy
    requests: list[AccessRequest]
    loaded: float


def prepare(rules: int, term: str, regexes: list[str] | None = None) -> Measured:
    """Compile a policy of so many rules, each about one folder of its own, below those about `regexes`."""
    tables: list[Mapping[str, object]] = [
        {"name": f"x{n}", "paths": [regex], "deny": ["anyone"]} for n, regex in enumerate(regexes or ())
    ]
    tables += [
        {"name": f"r{n}", "paths": [f"/d{n % 1000}/e{n}/**"], "allow": [term.format(n % 50), "user:root"]}
        for n in range(rules)
    ]
    started = time.perf_counter()
    policy = compile_policy([(f"rules[{n}]", table) for n, table in enumerate(tables)], [SITE], NETWORKS)
    loaded = time.perf_counter() - started
    asked = [n * rules // ASKED for n in range(ASKED)]
    requests = [
        AccessRequest("GET", SITE.host, f"/d{n % 1000}/e{n}/below/file.txt", "https", INSIDE, MONDAY_NOON)
        for n in asked
    ]
    decisions = [decide(policy, request, FACTS) for request in requests]
    if not all(isinstance(decision, Decision) and decision.allowed for decision in decisions):
        raise RuntimeError("a request was refused: the figure would be that of something else")
    return Measured(policy, requests, loaded)


def seconds(measured: Measured) -> float:
    """Return what one round of requests takes."""
    started = time.perf_counter()
    for request in measured.requests:
        decide(measured.policy, request, FACTS)
    return time.perf_counter() - started


def compare(name: str, measured: Measured, reference: Measured) -> None:
    """Print what a decision costs, and its ratio to the reference: the best rounds of both, measured in turn."""
    best = seconds(measured), seconds(reference)
    for _ in range(ROUNDS):
        best = min(best[0], seconds(measured)), min(best[1], seconds(reference))
    each = best[0] / ASKED * 1e6
    print(f"decide(), {name}: {each:.1f} us, {best[0] / best[1]:.2f} x; loaded in {measured.loaded:.2f} s")


def main() -> None:
    """Print the figures."""
    few = prepare(10, GROUPS)
    for rules in (10, 1_000, 10_000, 100_000):
        compare(f"{rules:>7,} rules, to 10 of them", prepare(rules, GROUPS), few)
    few = prepare(10, GROUPS, REGEXES)
    for rules in (10, 100_000):
        compare(
            f"{rules:>7,} rules and 16 regular expressions, to 10 and the same", prepare(rules, GROUPS, REGEXES), few
        )
    many = prepare(1_000, ALL_KINDS)
    compare("  1,000 rules with time, ip and groups, to one of them", many, prepare(1, ALL_KINDS))
    compare("  1,000 rules with time, ip and groups, to one with a group", many, prepare(1, GROUPS))


if __name__ == "__main__":
    main()

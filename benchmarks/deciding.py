"""What one `decide()` costs, and how little that grows with the number of rules."""

import time

from authgate.engine import decide
from authgate.model import AccessRequest, CredentialKind, Decision, Facts, Identity, Site, Subject
from authgate.policy import Policy, compile_policy

SITE = Site("https", "files.example.com")
FACTS = Facts(Identity(Subject("", "alice", frozenset(f"g{n}" for n in range(50))), CredentialKind.SESSION))
ASKED = 1000
ROUNDS = 20


def policy(rules: int) -> Policy:
    """Compile a policy of so many rules, each about one folder of its own."""
    tables: list[tuple[str, object]] = [
        (
            f"rules[{n}]",
            {"name": f"r{n}", "paths": [f"/d{n % 1000}/e{n}/**"], "allow": [f"group:g{n % 50}", "user:root"]},
        )
        for n in range(rules)
    ]
    return compile_policy(tables, [SITE], {})


def microseconds(compiled: Policy, rules: int) -> float:
    """Return what a decision costs: the best of some rounds over requests spread over all rules."""
    requests = []
    for n in range(ASKED):
        rule = n * rules // ASKED
        path = f"/d{rule % 1000}/e{rule}/below/file.txt"
        requests.append(AccessRequest("GET", SITE.host, path, "https", None, 0.0))
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for request in requests:
            decide(compiled, request, FACTS)
        best = min(best, time.perf_counter() - started)
    decisions = [decide(compiled, request, FACTS) for request in requests]
    if not all(isinstance(decision, Decision) and decision.allowed for decision in decisions):
        raise RuntimeError("a request was refused: the figure would be that of something else")
    return best / ASKED * 1e6


def main() -> None:
    """Print the figures."""
    few = policy(10)
    for rules in (10, 1_000, 100_000):
        started = time.perf_counter()
        compiled = policy(rules)
        loaded = time.perf_counter() - started
        # The reference is measured again beside each, because the machine's speed drifts.
        reference = microseconds(few, 10)
        each = microseconds(compiled, rules)
        ratio = each / reference
        print(f"{rules:>7,} rules: decide() {each:.1f} us, {ratio:.2f} x of 10 rules; loaded in {loaded:.2f} s")


if __name__ == "__main__":
    main()

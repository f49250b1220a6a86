"""Explanations: what each atom says, which term decided, what was near."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authgate.explaining import Explanation, explain, why_unreadable
from authgate.handlers import Handlers
from authgate.model import (
    NOBODY,
    AccessRequest,
    CredentialKind,
    Decision,
    Identity,
    Reason,
    Subject,
    Use,
    allow,
    deny,
    login,
)
from authgate.model import Link as SignedLink
from authgate.networks import NetworkSet, parse_network
from authgate.policy.parsing import ATOM_KINDS
from authgate.rehearsal import Asking, rehearse, rehearse_recorded
from tests.policies import NETWORKS, UNKNOWN, compiled, local, request

ALICE = local("alice", "staff", "admin")
EVE = Identity(
    Subject("partner", "eve", frozenset({"staff"}), frozenset({("dept", "it")})), CredentialKind.JWT, None, True
)
UNGROUPED = Identity(Subject("", "alice", None), CredentialKind.SESSION)
UNGROUPED_PARTNER = Identity(Subject("partner", "eve", None), CredentialKind.JWT)
MANY = NetworkSet([parse_network(f"10.{number}.0.0/16") for number in range(9)])
FRIDAY = datetime(2026, 11, 20, 18, 30, tzinfo=UTC).timestamp()


def says_allow(_: AccessRequest) -> Decision:
    return allow()


def says_deny(_: AccessRequest) -> Decision:
    return deny("not in rights.db")


def says_login(_: AccessRequest) -> Decision:
    return login()


def says_nothing(_: AccessRequest) -> None:
    return None


def fails(_: AccessRequest) -> None:
    raise LookupError("no such table")


FUNCTIONS = {
    f"h::{function.__name__}": function for function in (says_allow, says_deny, says_login, says_nothing, fails)
}


def explained(
    *rules: dict[str, object], asked: AccessRequest | None = None, identity: Identity = NOBODY, path: str = "/x"
) -> Explanation:
    policy = compiled(*rules, networks={**NETWORKS, "many": MANY, "none": NetworkSet([])})
    asked = asked or request(path)

    async def main() -> Explanation:
        handlers = Handlers(FUNCTIONS)
        try:
            return explain(policy, asked, await rehearse(policy, handlers, Asking(asked, identity)))
        finally:
            await handlers.close()

    return asyncio.run(main())


def atom(text: str, identity: Identity = NOBODY, asked: AccessRequest | None = None) -> tuple[str, str]:
    """Return truth and words of one atom that stands alone in ``allow``."""
    told = explained({"paths": ["/{name}", "/**"] if "{" not in text else ["/{name}"], "allow": [text]},
                     identity=identity, asked=asked)  # fmt: skip
    (seen,) = (told.rules[0].allow or ())[0].atoms
    return seen.truth, seen.why


WORDS = [
    ("anyone", NOBODY, "true", "everybody"),
    ("link", ALICE, "false", "the request carries no link"),
    ("authenticated", NOBODY, "false", "nobody is logged in"),
    ("authenticated", EVE, "true", "partner/eve is logged in"),
    ("user:alice", ALICE, "true", "it is alice"),
    ("user:bob", ALICE, "false", "alice is not bob"),
    ("user:bob", NOBODY, "false", "nobody is logged in"),
    ("user:{name}", ALICE, "false", "alice is not x"),
    ("group:finance", ALICE, "false", "alice is in admin, staff; not in finance"),
    ("group:staff", ALICE, "true", "alice is in staff"),
    ("group:staff", local("bob"), "false", "bob is in no group"),
    ("group:staff", NOBODY, "false", "nobody is logged in"),
    ("group:staff", EVE, "false", "partner/eve is no local user, and staff is a group of local users"),
    ("group:partner/staff", ALICE, "false", "alice is no user of partner, and staff is a group of partner"),
    ("group:partner/staff", EVE, "true", "partner/eve is in staff"),
    (
        "group:staff", UNGROUPED, "unknown",
        "the group file is not configured, so nobody knows whether alice is in staff",
    ),
    (
        "group:partner/staff", UNGROUPED_PARTNER, "unknown",
        "partner says nothing about groups, so nobody knows whether partner/eve is in staff",
    ),
    ("claim:dept=it", EVE, "true", "partner/eve has dept=it"),
    ("claim:dept=sales", EVE, "false", "partner/eve has dept=it; not sales"),
    ("claim:role=x", EVE, "false", "partner/eve has no claim role"),
    ("via:jwt", EVE, "true", "partner/eve came by jwt"),
    ("via:basic", EVE, "false", "partner/eve came by jwt, not by basic"),
    ("mfa", EVE, "true", "partner/eve used a second factor"),
    ("mfa", ALICE, "false", "alice used no second factor"),
    ("authenticated", UNKNOWN, "unknown", "who asks is not known (store_unavailable)"),
    ("handler:h::says_allow", UNKNOWN, "unknown", "who asks is not known (store_unavailable)"),
    ("ip:office", NOBODY, "false", "192.0.2.1 is not in office (10.0.0.0/8, 2001:db8::/32)"),
    ("ip:192.0.2.0/24", NOBODY, "true", "192.0.2.1 is in 192.0.2.0/24"),
    ("!ip:office", NOBODY, "true", "192.0.2.1 is not in office (10.0.0.0/8, 2001:db8::/32)"),
    (
        "ip:many", NOBODY, "false",
        "192.0.2.1 is not in many (10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, ...)",
    ),
    ("ip:none", NOBODY, "false", "192.0.2.1 is not in none (empty)"),
    ("time:Mon-Fri 08:00-18:00 Europe/Berlin", NOBODY, "false", "it is Fri 19:30 in Europe/Berlin"),
    ("handler:h::says_allow", NOBODY, "true", "it returned allow()"),
    ("handler:h::says_nothing", NOBODY, "false", "it returned None: no opinion"),
    ("handler:h::says_deny", NOBODY, "ends it", "it returned deny(): not in rights.db"),
    ("handler:h::says_login", NOBODY, "ends it", "it returned login()"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "identity", "truth", "why"), WORDS)
def test_words_of_an_atom(text: str, identity: Identity, truth: str, why: str) -> None:
    assert atom(text, identity, request()._replace(instant=FRIDAY)) == (truth, why)


LINKS: list[tuple[SignedLink, Use | None, str, str]] = [
    (SignedLink("l1"), None, "true", "link l1 covers it"),
    (SignedLink("l1", Reason.EXPIRED), None, "false", "link l1 does not cover it: expired"),
    (SignedLink("", Reason.BAD_CREDENTIAL), None, "false", "the link does not cover it: bad_credential"),
    (SignedLink("l1", Reason.STORE_UNAVAILABLE), None, "unknown", "link l1 does not cover it: store_unavailable"),
    (SignedLink("l1", None, 3), Use.GRANTED, "true", "link l1 covers it and has 3 uses: this is one"),
    (SignedLink("l1", None, 1), Use.USED_UP, "false", "link l1 covers it and has one use: all are used up"),
    (SignedLink("l1", None, 3), Use.UNKNOWN, "unknown",
     "link l1 covers it and has 3 uses: whether one is left is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("link", "use", "truth", "why"), LINKS)
def test_words_of_a_link(link: SignedLink, use: Use | None, truth: str, why: str) -> None:
    policy = compiled({"paths": ["/**"], "allow": ["link"]})
    asking = Asking(request(), NOBODY, link, use)
    told = explain(policy, request(), asyncio.run(rehearse_recorded(policy, asking, {})))

    (seen,) = (told.rules[0].allow or ())[0].atoms
    assert (seen.truth, seen.why) == (truth, why)


def test_every_kind_of_atom_has_words() -> None:
    assert {text.lstrip("!").partition(":")[0] for text, *_ in WORDS} == ATOM_KINDS


def test_an_address_that_is_not_known_says_so() -> None:
    assert atom("ip:office", asked=request(ip=None)) == ("unknown", "the client's address is not known")


def test_a_handler_that_fails_shows_its_traceback() -> None:
    told = explained({"paths": ["/**"], "allow": ["handler:h::fails"]})
    (seen,) = (told.rules[0].allow or ())[0].atoms

    assert seen.why.startswith("it failed:\nTraceback")
    assert seen.why.rstrip().endswith("LookupError: no such table")
    assert Path(__file__).name in seen.why
    assert told.decision.reason is Reason.HANDLER_ERROR


def results(told: Explanation) -> list[str]:
    return [f"{term.term}: {term.result}" for rule in told.rules for term in rule.terms]


def test_terms_behind_the_one_that_decided_were_not_asked() -> None:
    told = explained(
        {"paths": ["/**"], "deny": ["user:mallory"], "allow": ["user:bob", "group:staff", "user:alice"]}, identity=ALICE
    )

    assert results(told) == ["user:mallory: no", "user:bob: no", "group:staff: admits", "user:alice: not asked"]
    assert told.rules[0].verdict == "a term in allow admits"
    assert told.near_misses == ()


def test_nothing_in_allow_was_asked_when_deny_refuses() -> None:
    told = explained({"paths": ["/**"], "deny": ["group:staff"], "allow": ["user:alice"]}, identity=ALICE)

    assert results(told) == ["group:staff: refuses", "user:alice: not asked"]
    assert (told.rules[0].verdict, told.why) == ("a term in deny refuses", "a term in deny refuses")


def test_what_is_unknown_refuses_in_deny_and_is_said() -> None:
    told = explained({"paths": ["/**"], "deny": ["ip:office"], "allow": ["anyone"]}, asked=request(ip=None))

    assert told.rules[0].verdict == "a term in deny refuses: what is unknown counts against the request"


def test_a_handler_behind_an_atom_that_fails_was_not_asked() -> None:
    told = explained({"paths": ["/**"], "allow": ["user:bob & handler:h::fails"]}, identity=ALICE)
    (term,) = told.rules[0].allow or ()

    assert [(seen.atom, seen.truth) for seen in term.atoms] == [
        ("user:bob", "false"),
        ("handler:h::fails", "not asked"),
    ]
    assert term.result == "no"
    assert [miss.atom for miss in told.near_misses] == ["user:bob"]


def test_a_handler_that_refuses_ends_the_decision() -> None:
    told = explained({"paths": ["/**"], "allow": ["handler:h::says_deny", "anyone"]})

    assert results(told) == ["handler:h::says_deny: refuses", "anyone: not asked"]
    assert (told.rules[0].verdict, told.why) == ("a handler ends the decision", "a handler refuses")
    assert explained({"paths": ["/**"], "allow": ["handler:h::says_login"]}).why == "a handler asks for a login"


def test_the_trace_is_that_of_the_last_time_the_rules_were_looked_at() -> None:
    told = explained(
        {"paths": ["/**"], "deny": ["handler:h::says_nothing"]},
        {"paths": ["/**"], "allow": ["handler:h::says_nothing", "handler:h::says_allow"]},
    )

    assert [rule.rule for rule in told.rules] == ["r0", "r1"]
    assert results(told) == [
        "handler:h::says_nothing: no", "handler:h::says_nothing: no", "handler:h::says_allow: admits",
    ]  # fmt: skip
    assert told.decision.allowed


def test_a_near_miss_has_exactly_one_atom_that_fails() -> None:
    told = explained(
        {
            "paths": ["/**"],
            "allow": ["group:staff & ip:office", "group:finance & ip:office", "user:bob & !group:staff"],
        },
        identity=ALICE,
    )

    (miss,) = told.near_misses
    assert (miss.rule, miss.term, miss.atom) == ("r0", "group:staff & ip:office", "ip:office")
    assert miss.why == "192.0.2.1 is not in office (10.0.0.0/8, 2001:db8::/32)"


def test_rules_that_come_too_late_are_named() -> None:
    told = explained(
        {"paths": ["/**"], "deny": ["user:mallory"]},
        {"paths": ["/**"], "allow": ["user:bob"]},
        {"paths": ["/x"], "allow": ["anyone"]},
        {"paths": ["/y"], "allow": ["anyone"]},
    )

    assert [(later.rule, later.why) for later in told.later] == [
        ("r2", 'matches too, but "r1" comes first and decides')
    ]
    assert told.nearest == ()


def test_rules_for_the_same_path_are_near_when_nothing_matches() -> None:
    told = explained(
        {"paths": ["/x"], "methods": ["PUT"], "allow": ["anyone"]},
        {"paths": ["/**"], "hosts": ["docs.example.com"], "allow": ["anyone"]},
        {"paths": ["/y"], "allow": ["anyone"]},
    )

    assert told.rules == ()
    assert [(near.rule, near.why) for near in told.nearest] == [
        ("r0", "has this path, but is for PUT, not for GET"),
        ("r1", "has this path, but is for docs.example.com, not for files.example.com"),
    ]


def test_rules_that_begin_alike_are_near_the_most_alike_first() -> None:
    told = explained(
        {"paths": ["/{any}/y"], "allow": ["anyone"]},
        {"paths": ["/reports"], "allow": ["anyone"]},
        {"paths": ["/reports/2026/q1"], "allow": ["anyone"]},
        {"paths": ["/other/2026"], "allow": ["anyone"]},
        {"paths": ["/x/**", "/**"], "deny": ["user:mallory"]},
        path="/Reports/2026/q2",
    )

    assert [(near.rule, near.why) for near in told.nearest] == [
        ("r2", 'begins alike, but its path is "/reports/2026/q1"'),
        ("r1", 'begins alike, but its path is "/reports"'),
    ]


def test_what_is_decided_before_any_rule_has_words() -> None:
    rule: dict[str, object] = {"paths": ["/**"], "allow": ["anyone"]}

    assert explained(rule, asked=request(host="x.example")).why.startswith(
        'no [[sites]] origin has the host "x.example"'
    )
    assert "an empty segment (//)" in explained(rule, path="/a//b").why
    assert "a dot segment" in explained(rule, path="/a/../b").why
    assert "a control character" in explained(rule, path="/a\x1b").why


def test_every_reason_that_rules_give_has_words() -> None:
    seen = {
        told.decision.reason: told.why
        for told in (
            explained({"paths": ["/**"], "allow": ["anyone"]}),
            explained(),
            explained({"paths": ["/**"], "deny": ["anyone"]}),
            explained({"paths": ["/**"], "allow": ["ip:office"]}),
            explained({"paths": ["/**"], "allow": ["authenticated"]}),
            explained({"paths": ["/**"], "allow": ["mfa"]}, identity=ALICE),
            explained({"paths": ["/**"], "allow": ["handler:h::fails"]}),
        )
    }

    assert len(seen) == 7
    assert all(seen.values())


@pytest.mark.parametrize(
    "reason",
    [Reason.BAD_CREDENTIAL, Reason.EXPIRED, Reason.REVOKED, Reason.TOO_MANY_ATTEMPTS, Reason.BUSY,
     Reason.STORE_UNAVAILABLE, Reason.HANDLER_ERROR],
)  # fmt: skip
def test_credential_that_proved_nothing_has_words(reason: Reason) -> None:
    told = explained({"paths": ["/**"], "allow": ["user:alice"]}, identity=Identity(None, CredentialKind.BASIC, reason))

    assert told.decision.reason is reason
    assert told.why


def test_question_that_no_policy_was_asked_has_words() -> None:
    assert "authgate-protect*.conf" in why_unreadable(Reason.MISSING_PATH)
    assert why_unreadable(Reason.NOT_ADMITTED) == ""

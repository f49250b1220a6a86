"""What `decide` answers: outcomes, reasons, order, and what it asks for."""

from collections.abc import Sequence

import pytest

from authgate.engine import decide
from authgate.model import (
    NOBODY,
    AccessRequest,
    CredentialKind,
    Facts,
    HandlerCall,
    Identity,
    Link,
    Need,
    Outcome,
    Reason,
    Subject,
    Use,
    allow,
    deny,
)
from tests.policies import compiled, decided, local, request

ALICE = local("alice", "staff")
PARTNER = Identity(Subject("partner", "alice", frozenset({"staff"})), CredentialKind.SESSION)


def test_the_first_rule_that_matches_decides() -> None:
    policy = compiled(
        {"paths": ["/a/**"], "allow": ["user:bob"]},
        {"paths": ["/a/b"], "allow": ["anyone"]},
    )

    decision = decided(policy, request("/a/b"), ALICE)

    assert (decision.outcome, decision.rule) == (Outcome.REFUSE, "r0")


def test_a_rule_for_another_method_or_host_does_not_decide() -> None:
    policy = compiled(
        {"paths": ["/**"], "methods": ["PUT"], "allow": ["user:bob"]},
        {"paths": ["/**"], "hosts": ["docs.example.com"], "allow": ["user:bob"]},
        {"paths": ["/**"], "allow": ["anyone"]},
    )

    assert decided(policy, request()).rule == "r2"
    assert decided(policy, request(method="PUT"), ALICE).rule == "r0"
    assert decided(policy, request(host="docs.example.com"), ALICE).rule == "r1"


def test_get_covers_head_and_nothing_else() -> None:
    policy = compiled({"paths": ["/**"], "methods": ["GET"], "allow": ["anyone"]})

    assert decided(policy, request(method="HEAD")).allowed
    assert not decided(policy, request(method="POST")).allowed
    assert not decided(policy, request(method="get")).allowed


def test_a_capture_is_compared_with_the_name_as_exact_text() -> None:
    policy = compiled({"paths": ["/home/{owner}/**"], "allow": ["user:{owner}"]})

    assert decided(policy, request("/home/alice/x"), ALICE).allowed
    assert not decided(policy, request("/home/Alice/x"), ALICE).allowed
    assert not decided(policy, request("/home/alice2/x"), ALICE).allowed
    assert not decided(policy, request("/home/{owner}/x"), ALICE).allowed
    assert not decided(policy, request("/home/alice/x"), PARTNER).allowed


def test_a_capture_may_stand_within_a_name() -> None:
    policy = compiled({"paths": ["/team/{team}/**"], "allow": ['group:"team {team}"']})

    assert decided(policy, request("/team/red/x"), local("alice", "team red")).allowed
    assert not decided(policy, request("/team/blue/x"), local("alice", "team red")).allowed


def test_of_two_paths_of_a_rule_the_first_as_written_gives_the_captures() -> None:
    policy = compiled({"paths": ["/{who}/a", "/b/{who}"], "allow": ["user:{who}"]})

    decision = decided(policy, request("/b/a"), local("b"))

    assert decision.allowed
    assert decision.captures == {"who": "b"}


def test_a_guard_that_matches_by_two_paths_is_asked_once_and_passes_on() -> None:
    policy = compiled({"paths": ["/**", "/a"], "deny": ["user:mallory"]}, {"paths": ["/a"], "allow": ["anyone"]})

    assert decided(policy, request("/a"), ALICE).rule == "r1"


@pytest.mark.parametrize("path", ["/public/../x", "//x", "/a//b", "/x\n", "/\udcff", "x", ""])
def test_an_ambiguous_path_is_refused_whatever_the_rules(path: str) -> None:
    decision = decided(compiled({"paths": ["/**"], "allow": ["anyone"]}), request(path))

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.AMBIGUOUS_PATH)


@pytest.mark.parametrize("host", ["evil.example", "", "FILES.example.com", "files.example.com.", "xfiles.example.com"])
def test_a_host_that_is_no_site_is_refused(host: str) -> None:
    decision = decided(compiled({"paths": ["/**"], "allow": ["anyone"]}), request(host=host))

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.UNKNOWN_HOST)


def test_identity_is_asked_for_only_when_the_deciding_rule_looks_at_it() -> None:
    policy = compiled(
        {"paths": ["/public/**"], "allow": ["anyone"]},
        {"paths": ["/office/**"], "allow": ["ip:office"]},
        {"paths": ["/**"], "allow": ["authenticated"]},
    )

    assert decide(policy, request("/x"), Facts()) == Need()
    for path in ("/public/x", "/office/x"):
        assert decide(policy, request(path), Facts()) != Need()


def test_an_allowed_answer_carries_the_rules_cache_control() -> None:
    policy = compiled(
        {"paths": ["/a"], "allow": ["anyone"], "cache": "public, max-age=60"}, {"paths": ["/b"], "allow": ["anyone"]}
    )

    assert decided(policy, request("/a")).cache == "public, max-age=60"
    assert decided(policy, request("/b")).cache == "private, no-cache"
    assert decided(policy, request("/c")).cache == "no-store"


def test_no_path_is_allowed_on_authgates_own_account() -> None:
    for path in ("/authgate/", "/authgate/login", "/check", "/_authgate"):
        assert not decided(compiled(), request(path)).allowed


def test_a_handler_is_asked_for_each_rule_with_its_captures_and_options() -> None:
    term = "handler:site::f"
    policy = compiled(
        {"paths": ["/**"], "deny": [term], "options": {"limit": 1}},
        {"paths": ["/{owner}/**"], "allow": [f"ip:office & {term}", term], "options": {"limit": 2}},
    )
    first, second = HandlerCall("site::f", "r0"), HandlerCall("site::f", "r1")
    asked = request("/alice/x", ip="10.0.0.1")

    assert decide(policy, asked, Facts(ALICE)) == Need(first, {}, {"limit": 1})
    assert decide(policy, asked, Facts(ALICE, {first: None})) == Need(second, {"owner": "alice"}, {"limit": 2})
    # Once for both terms.
    assert not isinstance(decide(policy, asked, Facts(ALICE, {first: None, second: None})), Need)


def test_identity_is_known_before_a_handler_is_asked() -> None:
    policy = compiled({"paths": ["/**"], "allow": ["handler:site::f"]})

    assert decide(policy, request(), Facts()) == Need()


def test_an_allowed_answer_of_a_handler_has_the_cache_control_of_the_rule_and_the_subject_that_asked() -> None:
    policy = compiled({"paths": ["/{a}"], "allow": ["handler:site::f"], "cache": "private, max-age=60"})

    decision = decide(policy, request("/x"), Facts(ALICE, {HandlerCall("site::f", "r0"): allow()}))

    assert not isinstance(decision, Need)
    assert (decision.rule, decision.cache, decision.identity) == ("r0", "private, max-age=60", ALICE)


def test_what_a_handler_says_for_the_log_is_in_the_decision() -> None:
    policy = compiled({"paths": ["/**"], "allow": ["handler:site::f"]})

    decision = decide(policy, request(), Facts(ALICE, {HandlerCall("site::f", "r0"): deny("no ticket")}))

    assert not isinstance(decision, Need)
    assert decision.detail == "no ticket"


def preflight(path: str = "/x", ip: str | None = "192.0.2.1") -> AccessRequest:
    return request(path, method="OPTIONS", ip=ip)._replace(preflight=True)


def test_a_preflight_passes_a_rule_that_says_so_and_nothing_else_does() -> None:
    policy = compiled({"paths": ["/**"], "methods": ["GET"], "allow": ["user:alice"], "preflight": True})

    assert decided(policy, preflight()).allowed
    assert decided(policy, request(method="OPTIONS")).reason is Reason.NO_RULE
    assert decided(policy, request()).reason is Reason.LOGIN_REQUIRED
    assert decided(policy, request()._replace(method="DELETE")).reason is Reason.NO_RULE


def test_a_preflight_is_like_any_request_where_the_rule_does_not_say_so() -> None:
    policy = compiled({"paths": ["/**"], "allow": ["user:alice"]})

    assert decided(policy, preflight()).outcome is Outcome.LOGIN


def test_what_denies_denies_preflights_too() -> None:
    policy = compiled({"paths": ["/**"], "deny": ["!ip:office"], "allow": ["user:alice"], "preflight": True})

    assert decided(policy, preflight(ip="10.0.0.1")).allowed
    assert decided(policy, preflight()).reason is Reason.DENIED_BY_RULE
    assert decided(policy, preflight(ip=None)).reason is Reason.DENIED_BY_RULE


def test_a_guard_before_it_decides_about_preflights() -> None:
    policy = compiled(
        {"paths": ["/**"], "deny": ["ip:office"]}, {"paths": ["/**"], "allow": ["user:alice"], "preflight": True}
    )

    assert decided(policy, preflight()).allowed
    assert decided(policy, preflight(ip="10.0.0.1")).rule == "r0"


@pytest.mark.parametrize(
    "reason", [Reason.BUSY, Reason.TOO_MANY_ATTEMPTS, Reason.HANDLER_ERROR, Reason.STORE_UNAVAILABLE]
)
def test_a_login_that_could_not_be_checked_is_refused_with_its_reason_and_open_paths_stay_open(reason: Reason) -> None:
    policy = compiled({"paths": ["/open"], "allow": ["anyone"]}, {"paths": ["/**"], "allow": ["authenticated"]})
    unknown = Identity(None, CredentialKind.BASIC, reason)

    refused = decided(policy, request(), unknown)

    assert (refused.outcome, refused.reason) == (Outcome.REFUSE, reason)
    assert decided(policy, request("/open"), unknown).allowed


@pytest.mark.parametrize("identity", [NOBODY, ALICE, Identity(None, CredentialKind.SESSION, Reason.STORE_UNAVAILABLE)])
def test_a_refusal_says_what_the_path_captured(identity: Identity) -> None:
    policy = compiled({"paths": ["/home/{owner}/**"], "allow": ["user:{owner}"]})

    assert decided(policy, request("/home/bob/x"), identity).captures == {"owner": "bob"}


# Signed links

COVERS, COUNTED = Link("l"), Link("l", None, 3)
SHARED = ["link"]
SHARED_WITH_STAFF = ["link", "group:staff"]

LINKS: list[tuple[Sequence[str], Sequence[str], Identity, Link | None, Use | None, str]] = [
    (SHARED, (), NOBODY, COVERS, None, "allow allowed"),
    (SHARED, (), NOBODY, None, None, "refuse not_admitted"),
    (SHARED, (), NOBODY, Link("l", Reason.EXPIRED), None, "refuse expired"),
    (SHARED, (), NOBODY, Link("l", Reason.REVOKED, 3), None, "refuse revoked"),
    (SHARED, (), NOBODY, Link("", Reason.BAD_CREDENTIAL), None, "refuse bad_credential"),
    (SHARED, (), NOBODY, Link("l", Reason.STORE_UNAVAILABLE), None, "refuse store_unavailable"),
    (SHARED, (), NOBODY, COUNTED, None, "use"),
    (SHARED, (), NOBODY, COUNTED, Use.GRANTED, "allow allowed"),
    (SHARED, (), NOBODY, COUNTED, Use.USED_UP, "refuse limit_reached"),
    (SHARED, (), NOBODY, COUNTED, Use.UNKNOWN, "refuse store_unavailable"),
    # Nobody uses a link up who may pass without it.
    (SHARED_WITH_STAFF, (), ALICE, COUNTED, None, "allow allowed"),
    (SHARED_WITH_STAFF, (), NOBODY, COUNTED, None, "use"),
    # Who has none, or a bad one, may log in where that could help.
    (SHARED_WITH_STAFF, (), NOBODY, None, None, "login login_required"),
    (SHARED_WITH_STAFF, (), NOBODY, Link("l", Reason.EXPIRED), None, "login login_required"),
    (SHARED_WITH_STAFF, (), NOBODY, COUNTED, Use.USED_UP, "login login_required"),
    (SHARED_WITH_STAFF, (), local("bob"), Link("l", Reason.EXPIRED), None, "refuse expired"),
    # All else first.
    (["link & ip:office"], (), NOBODY, COUNTED, None, "refuse not_admitted"),
    (["link & authenticated"], (), NOBODY, COUNTED, None, "login login_required"),
    (["link & authenticated"], (), NOBODY, None, None, "refuse not_admitted"),
    (["link & group:staff"], (), ALICE, COUNTED, None, "use"),
    # What refuses looks at whether a link covers the request, used up or not, and uses none up.
    (["anyone"], ["link"], NOBODY, COUNTED, None, "refuse denied_by_rule"),
    (["anyone"], ["link"], NOBODY, None, None, "allow allowed"),
    (["link"], ["!link"], NOBODY, COUNTED, None, "use"),
    (["link"], ["!link"], NOBODY, COUNTED, Use.USED_UP, "refuse limit_reached"),
    (["link"], ["!link"], NOBODY, None, None, "refuse denied_by_rule"),
    (["anyone"], ["link"], NOBODY, Link("l", Reason.STORE_UNAVAILABLE), None, "refuse denied_by_rule"),
    # Nobody uses one up by not wanting it.
    (["!link & authenticated"], (), ALICE, COUNTED, None, "refuse not_admitted"),
    (["!link & authenticated"], (), ALICE, None, None, "allow allowed"),
]


@pytest.mark.parametrize(("allow", "deny", "who", "link", "use", "said"), LINKS)
def test_a_link_admits_as_far_as_it_goes(
    allow: Sequence[str], deny: Sequence[str], who: Identity, link: Link | None, use: Use | None, said: str
) -> None:
    policy = compiled({"paths": ["/**"], "allow": list(allow), **({"deny": list(deny)} if deny else {})})

    decision = decide(policy, request(), Facts(who, link=link, use=use))

    if isinstance(decision, Need):
        assert (decision.use, said) == (True, "use")
    else:
        assert f"{decision.outcome.name.lower()} {decision.reason}" == said


def test_a_handler_is_asked_before_a_use_is_taken_and_only_with_a_link() -> None:
    policy = compiled({"paths": ["/**"], "allow": ["link & handler:rights::may"]})
    call = HandlerCall("rights::may", "r0")

    assert not isinstance(decide(policy, request(), Facts(NOBODY)), Need)
    asked = decide(policy, request(), Facts(NOBODY, link=COUNTED))
    assert isinstance(asked, Need)
    assert (asked.call, asked.use) == (call, False)
    refused = decide(policy, request(), Facts(NOBODY, {call: deny("no")}, COUNTED))
    assert not isinstance(refused, Need)
    assert refused.reason is Reason.DENIED_BY_RULE
    then = decide(policy, request(), Facts(NOBODY, {call: allow()}, COUNTED))
    assert isinstance(then, Need)
    assert then.use

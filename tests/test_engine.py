"""What `decide` answers: outcomes, reasons, order, and what it asks for."""

import pytest

from authgate.engine import decide
from authgate.model import NOBODY, CredentialKind, Facts, Identity, Need, Outcome, Reason, Subject
from tests.policies import UNKNOWN, compiled, decided, local, outcome, request

ALICE = local("alice", "staff")
MALLORY = local("mallory", "staff")
BAD = Identity(NOBODY.subject, CredentialKind.SESSION, Reason.BAD_CREDENTIAL)
STALE = Identity(NOBODY.subject, CredentialKind.SESSION, Reason.EXPIRED)
BUSY = Identity(None, CredentialKind.BASIC, Reason.BUSY)
UNGROUPED = Identity(Subject("", "alice", None), CredentialKind.SESSION)
PARTNER = Identity(Subject("partner", "alice", frozenset({"staff"})), CredentialKind.SESSION)
OFFICE, AWAY, NOWHERE = "10.1.2.3", "192.0.2.1", None


def rule(allow: list[str] | None = None, deny: list[str] | None = None) -> dict[str, object]:
    lists = {"allow": allow, "deny": deny}
    return {"paths": ["/**"], **{key: terms for key, terms in lists.items() if terms is not None}}


OUTCOMES = [
    # allow
    ([rule(["anyone"])], NOBODY, AWAY, "allow allowed"),
    ([rule(["anyone"])], BAD, AWAY, "allow allowed"),
    ([rule(["anyone"])], UNKNOWN, AWAY, "allow allowed"),
    ([rule(["authenticated"])], ALICE, AWAY, "allow allowed"),
    ([rule(["user:alice"])], ALICE, AWAY, "allow allowed"),
    ([rule(["user:bob", "group:staff"])], ALICE, AWAY, "allow allowed"),
    ([rule(["group:staff & ip:office"])], ALICE, OFFICE, "allow allowed"),
    ([rule(["group:staff & !user:bob"])], ALICE, AWAY, "allow allowed"),
    ([rule(["ip:office"])], NOBODY, OFFICE, "allow allowed"),
    ([rule(["!ip:office"])], NOBODY, AWAY, "allow allowed"),
    ([rule(["user:partner/alice"])], PARTNER, AWAY, "allow allowed"),
    ([rule(["group:partner/staff"])], PARTNER, AWAY, "allow allowed"),
    # log in: another identity would be admitted
    ([rule(["authenticated"])], NOBODY, AWAY, "login login_required"),
    ([rule(["user:alice"])], NOBODY, AWAY, "login login_required"),
    ([rule(["ip:office", "group:staff"])], NOBODY, AWAY, "login login_required"),
    ([rule(["group:staff & ip:office"])], NOBODY, OFFICE, "login login_required"),
    ([rule(["group:staff & !group:guests"])], NOBODY, AWAY, "login login_required"),
    ([rule(deny=["!authenticated"])], NOBODY, AWAY, "login login_required"),
    ([rule(["authenticated"], ["!group:staff"])], NOBODY, AWAY, "login login_required"),
    ([rule(deny=["!group:staff & ip:office"])], NOBODY, OFFICE, "login login_required"),
    # log in: what was sent proves nothing
    ([rule(["authenticated"])], BAD, AWAY, "login bad_credential"),
    ([rule(["authenticated"])], STALE, AWAY, "login expired"),
    ([rule(["authenticated & ip:office"])], BAD, AWAY, "login bad_credential"),
    ([rule(deny=["user:mallory"])], BAD, AWAY, "login bad_credential"),
    # refuse: no login would help
    ([], NOBODY, AWAY, "refuse no_rule"),
    ([rule(deny=["user:mallory"])], ALICE, AWAY, "refuse no_rule"),
    ([rule([])], NOBODY, AWAY, "refuse not_admitted"),
    ([rule(["user:bob"])], ALICE, AWAY, "refuse not_admitted"),
    ([rule(["ip:office"])], NOBODY, AWAY, "refuse not_admitted"),
    ([rule(["group:staff & ip:office"])], NOBODY, AWAY, "refuse not_admitted"),
    ([rule(["group:staff & ip:office"])], ALICE, AWAY, "refuse not_admitted"),
    ([rule(["group:staff & !user:alice"])], ALICE, AWAY, "refuse not_admitted"),
    ([rule(["group:staff"])], PARTNER, AWAY, "refuse not_admitted"),
    ([rule(["user:alice"])], PARTNER, AWAY, "refuse not_admitted"),
    ([rule(["user:partner/alice"])], ALICE, AWAY, "refuse not_admitted"),
    ([rule(["anyone"], ["user:mallory"])], MALLORY, AWAY, "refuse denied_by_rule"),
    ([rule(["anyone"], ["ip:office"])], NOBODY, OFFICE, "refuse denied_by_rule"),
    ([rule(["authenticated"], ["ip:office"])], NOBODY, OFFICE, "refuse denied_by_rule"),
    ([rule(deny=["anyone"]), rule(["anyone"])], ALICE, AWAY, "refuse denied_by_rule"),
    # unknown: does not hold in allow, refuses in deny
    ([rule(["ip:office"])], NOBODY, NOWHERE, "refuse not_admitted"),
    ([rule(["!ip:office"])], NOBODY, NOWHERE, "refuse not_admitted"),
    ([rule(["authenticated & ip:office"])], NOBODY, NOWHERE, "refuse not_admitted"),
    ([rule(["anyone"], ["ip:office"])], NOBODY, NOWHERE, "refuse denied_by_rule"),
    ([rule(["anyone"], ["!ip:office"])], NOBODY, NOWHERE, "refuse denied_by_rule"),
    ([rule(["anyone"], ["ip:office & user:bob"])], ALICE, NOWHERE, "allow allowed"),
    ([rule(["group:staff"])], UNGROUPED, AWAY, "refuse not_admitted"),
    ([rule(["authenticated & !group:guests"])], UNGROUPED, AWAY, "refuse not_admitted"),
    ([rule(["anyone"], ["group:guests"])], UNGROUPED, AWAY, "refuse denied_by_rule"),
    ([rule(["anyone"], ["group:partner/guests"])], UNGROUPED, AWAY, "allow allowed"),
    ([rule(["authenticated"])], UNKNOWN, AWAY, "refuse store_unavailable"),
    ([rule(["anyone"], ["user:mallory"])], UNKNOWN, AWAY, "refuse store_unavailable"),
    ([rule(["authenticated"])], BUSY, AWAY, "refuse busy"),
    # guards
    ([rule(deny=["user:mallory"]), rule(["authenticated"])], ALICE, AWAY, "allow allowed"),
    ([rule(deny=["user:mallory"]), rule(["anyone"])], NOBODY, AWAY, "allow allowed"),
    ([rule(deny=["user:mallory"]), rule(["anyone"])], BAD, AWAY, "allow allowed"),
    ([rule(deny=["user:mallory"]), rule(["anyone"])], MALLORY, AWAY, "refuse denied_by_rule"),
    ([rule(deny=["ip:office"]), rule(["anyone"])], NOBODY, NOWHERE, "refuse denied_by_rule"),
]


@pytest.mark.parametrize(("rules", "identity", "ip", "wanted"), OUTCOMES)
def test_outcome(rules: list[dict[str, object]], identity: Identity, ip: str | None, wanted: str) -> None:
    assert outcome(rules, request(ip=ip), identity) == wanted


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

    assert decide(policy, request("/x"), Facts()) is Need.IDENTITY
    for path in ("/public/x", "/office/x"):
        assert decide(policy, request(path), Facts()) is not Need.IDENTITY


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

"""What these properties have found, as single cases."""

from collections.abc import Mapping

import pytest

from authgate.config import load
from authgate.credentials.htpasswd import parse_htpasswd
from authgate.errors import ConfigError
from authgate.model import NOBODY, AccessRequest, CredentialKind, Identity, Outcome, Reason, Subject
from tests.credentials.people import sha
from tests.policies import compiled, decided, local, request

TEAM = "re:/teams/(?P<team>.*)"
OWNER = "re:/home/(?P<owner>.+)"


@pytest.mark.parametrize("allow", ["anyone", "ip:192.0.2.0/24", "handler:site::f"])
def test_who_is_kept_out_only_for_being_nobody_is_told_to_log_in(allow: str) -> None:
    rule: Mapping[str, object] = {"paths": ["/**"], "deny": ["!group:staff"], "allow": [allow]}

    decision = decided(compiled(rule), request())

    assert (decision.outcome, decision.reason) == (Outcome.LOGIN, Reason.LOGIN_REQUIRED)
    assert decided(compiled({**rule, "allow": ["ip:office"]}), request()).reason is Reason.DENIED_BY_RULE


def test_a_preflight_that_is_kept_out_only_for_that_is_told_so_too() -> None:
    asked: AccessRequest = request(method="OPTIONS")._replace(preflight=True)
    policy = compiled({"paths": ["/**"], "deny": ["!authenticated"], "allow": ["ip:office"], "preflight": True})

    assert decided(policy, asked, NOBODY).reason is Reason.LOGIN_REQUIRED
    assert decided(policy, asked, local("alice")).allowed


def test_a_visitor_cannot_turn_an_unknown_group_into_one_of_another_source() -> None:
    policy = compiled({"paths": [TEAM], "deny": ["group:{team}"]}, {"paths": ["/**"], "allow": ["anyone"]})
    ungrouped = Identity(Subject("", "alice", None), CredentialKind.SESSION)

    for path in ("/teams/red", "/teams/red/x", "/teams/partner/red"):
        assert decided(policy, request(path), ungrouped).reason is Reason.DENIED_BY_RULE


@pytest.mark.parametrize("term", ["user:{owner}", "group:{owner}"])
def test_a_name_from_a_path_is_a_local_one_only(term: str) -> None:
    partner = Identity(Subject("partner", "alice", frozenset({"alice"})), CredentialKind.JWT)

    assert not decided(compiled({"paths": [OWNER], "allow": [term]}), request("/home/partner/alice"), partner).allowed


def test_a_name_from_a_path_of_a_source_that_is_written_is_one_of_that_source() -> None:
    policy = compiled({"paths": ["/home/{owner}/**"], "allow": ["user:partner/{owner}", "group:partner/{owner}"]})

    for name, group in (("alice", "x"), ("x", "alice")):
        identity = Identity(Subject("partner", name, frozenset({group})), CredentialKind.JWT)
        assert decided(policy, request("/home/alice/x"), identity).allowed
        assert not decided(policy, request("/home/bob/x"), identity).allowed


def test_a_hash_that_stands_right_behind_the_name_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_htpasswd(f"alice{sha('x')}:\n".encode(), "users")

    assert "{SHA}" not in str(caught.value)


def test_a_number_of_thousands_of_digits_is_a_mistake_in_the_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("regression") / "authgate.toml"
    file.write_text(f"workers = 1{5000 * '0'}\n")

    with pytest.raises(ConfigError, match="not TOML"):
        load(file)

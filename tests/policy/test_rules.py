"""Keys of a rule; what a rule decides stands in ``tests/vectors/outcomes.toml``."""

from collections.abc import Mapping

import pytest

from authgate.errors import ConfigError
from authgate.model import Outcome
from tests.policies import compiled, decided, request


def test_an_options_request_that_is_no_preflight_is_like_any_other() -> None:
    policy = compiled({"paths": ["/**"], "allow": ["user:alice"], "preflight": True})

    assert decided(policy, request(method="OPTIONS")._replace(preflight=True)).outcome is Outcome.ALLOW
    assert decided(policy, request(method="OPTIONS")).outcome is Outcome.LOGIN


@pytest.mark.parametrize("method", ["get", "", "GET\n", "GET,HEAD", "GET /x", "Get", "*", "G" * 33])
def test_a_method_is_one_word_of_capitals(method: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled({"paths": ["/**"], "methods": ["GET", method], "allow": ["anyone"]})

    assert "in methods is no method" in str(caught.value)


@pytest.mark.parametrize("key", ["name", "cache"])
def test_what_becomes_a_header_holds_no_line_end(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled({"paths": ["/**"], "allow": ["anyone"], key: "private\nSet-Cookie: a=b"})

    assert f"{key} is not valid" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"hosts": ["files.exmaple.com"]}, "no site has the host"),
        ({"hosts": ["docs.example.com", "files.exmaple.com"]}, "no site has the host"),
        # files.example.com has two labels more.
        ({"hosts": ["*.com"]}, "no site has the host"),
        ({"allow": ["anyone", "!group:staff"]}, "admits strangers"),
        ({"allow": ["!group:staff & ip:office"]}, "admits strangers"),
        ({"paths": ["/home/{owner}/**", "/home"], "allow": ["user:{owner}"]}, "captures no {owner}"),
        ({"paths": ["/home"], "deny": ["!user:{owner}"]}, "captures no {owner}"),
    ],
)
def test_a_rule_that_would_say_less_than_was_meant_is_refused(keys: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled({"paths": ["/**"], "allow": ["anyone"], **keys})

    assert message in str(caught.value)


def test_a_wildcard_is_every_host_with_one_label_more() -> None:
    policy = compiled({"hosts": ["*.example.com"], "paths": ["/**"], "allow": ["anyone"]})

    allowed = [
        decided(policy, request(host=host)).allowed for host in ("files.example.com", "docs.example.com", "localhost")
    ]
    assert allowed == [True, True, False]


def test_names_are_unique() -> None:
    rule = {"name": "same", "paths": ["/**"], "allow": ["anyone"]}

    with pytest.raises(ConfigError) as caught:
        compiled(rule, rule)

    assert 'the name "same" is taken' in str(caught.value)

"""``deliver``: what a rule may say about the files it opens."""

import pytest

from authgate.errors import ConfigError
from authgate.policy.delivery import Delivery
from tests.policies import compiled, decided, request

PATHS = {"paths": ["/x/**"], "allow": ["anyone"]}


def delivery(table: object) -> Delivery | None:
    (rule,) = compiled({**PATHS, "deliver": table}).rules
    return rule.deliver


def complaints(rule: dict[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        compiled(rule)
    return [(problem.message, problem.hint) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"root": "/srv/files"}, Delivery("/srv/files")),
        ({"root": "/srv/files/"}, Delivery("/srv/files")),
        ({"root": "/srv/my files é"}, Delivery("/srv/my files é")),
        ({"root": "/srv", "internal": "/_files/"}, Delivery("/srv", "/_files/")),
        ({"root": "/srv", "disposition": "inline"}, Delivery("/srv", disposition="inline")),
        ({"root": "/srv", "disposition": "attachment"}, Delivery("/srv", disposition="attachment")),
        ({"root": "/srv", "internal": "/_/", "limit_rate": "1"}, Delivery("/srv", "/_/", limit_rate=1)),
        ({"root": "/srv", "internal": "/_/", "limit_rate": "500k"}, Delivery("/srv", "/_/", limit_rate=512_000)),
        ({"root": "/srv", "internal": "/_/", "limit_rate": "2m"}, Delivery("/srv", "/_/", limit_rate=2_097_152)),
    ],
)
def test_what_a_rule_delivers(table: object, expected: Delivery) -> None:
    assert delivery(table) == expected


def test_a_rule_without_it_delivers_nothing() -> None:
    (rule,) = compiled(PATHS).rules

    assert rule.deliver is None


@pytest.mark.parametrize(
    "root", [None, 1, "", "srv", "/", "//", "/srv/../etc", "/srv/./x", "/srv//x", "/srv/\n", "~/x"]
)
def test_a_root_is_an_absolute_folder_below_the_root_of_the_machine(root: object) -> None:
    table = {} if root is None else {"root": root}

    ((message, hint),) = complaints({**PATHS, "deliver": table})

    assert message.startswith("root in deliver")
    assert "/srv/files" in hint


@pytest.mark.parametrize("internal", [1, "", "/", "_files/", "/_files", "//", "/../_files/", "/_files/\r\nX: y/"])
def test_an_internal_place_has_a_slash_at_both_ends_and_is_not_the_site_itself(internal: object) -> None:
    ((message, hint),) = complaints({**PATHS, "deliver": {"root": "/srv", "internal": internal}})

    assert message.startswith("internal in deliver")
    assert '"/_files/"' in hint


@pytest.mark.parametrize(
    "rate", [1, 0, True, "", "0", "0k", "-1", "1.5m", "1g", "1M", "1 k", "k", "1000000000", "\u0661"]
)
def test_a_rate_is_a_text_in_bytes_kibibytes_or_mebibytes(rate: object) -> None:
    ((message, _),) = complaints({**PATHS, "deliver": {"root": "/srv", "internal": "/_/", "limit_rate": rate}})

    assert message == "limit_rate in deliver is not valid"


def test_a_rate_is_for_nginx_alone() -> None:
    ((message, hint),) = complaints({**PATHS, "deliver": {"root": "/srv", "limit_rate": "1m"}})

    assert message == "limit_rate in deliver without internal"
    assert "mod_ratelimit" in hint


@pytest.mark.parametrize("disposition", [1, "", "Inline", "inline; x", ["inline"]])
def test_a_disposition_is_one_of_two(disposition: object) -> None:
    assert complaints({**PATHS, "deliver": {"root": "/srv", "disposition": disposition}}) == [
        ("disposition in deliver is not valid", 'write "inline" or "attachment"')
    ]


def test_all_that_is_wrong_is_said_together() -> None:
    table = {"rot": "/srv", "colour": 1, "limit_rate": "fast"}

    said = complaints({**PATHS, "deliver": table})

    assert [message for message, _ in said] == [
        'unknown key "colour" in deliver',
        'unknown key "rot" in deliver',
        "root in deliver is no folder below /",
        "limit_rate in deliver is not valid",
    ]
    assert [hint for _, hint in said[:2]] == [
        "the keys are disposition, internal, limit_rate, root",
        'did you mean "root"?',
    ]


@pytest.mark.parametrize("table", ["/srv", ["/srv"], True])
def test_it_is_a_table(table: object) -> None:
    ((message, _),) = complaints({**PATHS, "deliver": table})

    assert message == "deliver is not a table"


def test_a_guard_has_nothing_to_deliver() -> None:
    ((message, _),) = complaints({"paths": ["/x/**"], "deny": ["anyone"], "deliver": {"root": "/srv"}})

    assert message == "deliver in a rule without allow"


def test_it_changes_no_decision() -> None:
    with_it, without = compiled({**PATHS, "deliver": {"root": "/srv"}}), compiled(PATHS)

    for path in ("/x/a", "/y"):
        assert decided(with_it, request(path)) == decided(without, request(path))

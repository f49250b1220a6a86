"""What claims mean."""

import pytest

from authgate.credentials.claims import MAX_PAIRS, MAX_VALUE, Claims, read_claims
from authgate.model import Reason
from tests.credentials.tokens import AUDIENCE, claims, settings

NOW = 1_700_000_000.0


def read(more: dict[str, object], **changed: object) -> Claims | None:
    return read_claims(claims(NOW, **more), settings(**{"leeway": 0.0, **changed}))


def failure(more: dict[str, object], *, leeway: float = 0.0, max_age: float | None = None) -> Reason | str | None:
    found = read(more, leeway=leeway, max_age=max_age)
    return "malformed" if found is None else found.failure(NOW)


@pytest.mark.parametrize(
    ("more", "options", "expected"),
    [
        ({}, {}, None),
        ({"exp": NOW}, {}, Reason.EXPIRED),
        ({"exp": NOW + 0.5}, {}, None),
        ({"exp": NOW - 30}, {"leeway": 30.0}, Reason.EXPIRED),
        ({"exp": NOW - 29.5}, {"leeway": 30.0}, None),
        ({"exp": 253402300799}, {}, None),
        ({"exp": 253402300800}, {}, "malformed"),
        ({"exp": -1}, {}, "malformed"),
        ({"exp": True}, {}, "malformed"),
        ({"exp": str(int(NOW) + 60)}, {}, "malformed"),
        ({"exp": [NOW + 60]}, {}, "malformed"),
        ({"exp": None}, {}, "malformed"),
        ({"nbf": NOW}, {}, None),
        ({"nbf": NOW + 1}, {}, Reason.BAD_CREDENTIAL),
        ({"nbf": NOW + 30}, {"leeway": 30.0}, None),
        ({"nbf": NOW + 31}, {"leeway": 30.0}, Reason.BAD_CREDENTIAL),
        ({"nbf": "now"}, {}, "malformed"),
        ({"iat": NOW + 1}, {}, Reason.BAD_CREDENTIAL),
        ({"iat": NOW + 30}, {"leeway": 30.0}, None),
        ({"iat": None}, {}, None),
        ({"iat": False}, {}, "malformed"),
        ({"iat": None}, {"max_age": 60.0}, "malformed"),
        ({"iat": NOW - 59}, {"max_age": 60.0}, None),
        ({"iat": NOW - 60}, {"max_age": 60.0}, Reason.EXPIRED),
        ({"iat": NOW - 89}, {"max_age": 60.0, "leeway": 30.0}, None),
        ({"iat": NOW - 90}, {"max_age": 60.0, "leeway": 30.0}, Reason.EXPIRED),
        # The shorter of both.
        ({"iat": NOW, "exp": NOW}, {"max_age": 60.0}, Reason.EXPIRED),
    ],
)
def test_times(more: dict[str, object], options: dict[str, float], expected: Reason | str | None) -> None:
    assert failure(more, **options) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "https://partner.example.com/"},
        {"iss": None},
        {"iss": ["https://partner.example.com"]},
        {"aud": None},
        {"aud": []},
        {"aud": "file"},
        {"aud": "files2"},
        {"aud": [AUDIENCE, 5]},
        {"aud": {AUDIENCE: True}},
        {"sub": 5},
        {"sub": ""},
        {"sub": None},
        {"sub": "a\nb"},
        {"sub": " alice"},
        {"sub": "a" * 257},
        {"jti": 5},
        {"groups": 5},
        {"groups": ["staff", 5]},
        {"groups": {"staff": True}},
        {"groups": ["a\0b"]},
        {"groups": [""]},
        {"name": 5},
        {"email": ["a@example.com"]},
    ],
)
def test_claims_that_are_not_as_they_have_to_be(more: dict[str, object]) -> None:
    assert read(more) is None


def test_null_is_no_value() -> None:
    for name in ("groups", "name", "exp", "jti", "sub"):
        assert read_claims({**claims(NOW), name: None}, settings()) is None


def test_one_of_several_audiences_is_enough() -> None:
    assert read({"aud": ["others", AUDIENCE]})


def test_somebody_is_named_with_the_source() -> None:
    found = read({"sub": "sales/alice", "groups": ["staff", "a/b"], "jti": "t1"})
    assert found
    assert (found.subject.source, found.subject.name, found.subject.id) == (
        "partner",
        "sales/alice",
        "partner/sales/alice",
    )
    assert found.subject.groups == frozenset({"staff", "a/b"})
    assert (found.jti, found.issued) == ("t1", NOW)


@pytest.mark.parametrize(("value", "expected"), [(["a", "b"], {"a", "b"}), ("a", {"a"}), ([], set()), (None, None)])
def test_groups(value: object, expected: set[str] | None) -> None:
    found = read({"groups": value})
    assert found
    assert found.subject.groups == (None if expected is None else frozenset(expected))


def test_groups_that_are_not_configured_are_unknown() -> None:
    found = read({"groups": ["staff"]}, groups=None)
    assert found
    assert found.subject.groups is None
    assert ("groups", "staff") in found.subject.claims


def test_members_are_found_along_their_paths() -> None:
    more: dict[str, object] = {"realm_access": {"roles": ["staff"]}, "who": {"login": "al", "mail": "al@example.com"}}
    paths = {"user": ("who", "login"), "groups": ("realm_access", "roles"), "email": ("who", "mail")}
    found = read({**more, "name": "Alice"}, **paths)
    assert found
    assert (found.subject.name, found.subject.groups) == ("al", frozenset({"staff"}))
    assert {("email", "al@example.com"), ("name", "Alice")} <= found.subject.claims
    assert read({**more, "realm_access": "staff"}, **paths) is None


def test_only_the_configured_members_are_name_and_email() -> None:
    """Both are told to applications: two of one kind were one too many."""
    found = read({"name": "Mallory", "display": "Alice", "email": "m@example.com"}, name=("display",), email=("mail",))
    assert found
    assert {pair for pair in found.subject.claims if pair[0] in {"name", "email"}} == {("name", "Alice")}


def test_claims_are_pairs_of_texts() -> None:
    found = read(
        {"admin": True, "level": 3, "tags": ["a", 5, False, {}, None], "deep": {"a": "b"}, "nothing": [], "": "x"}
    )
    assert found
    assert found.subject.claims == {
        *(("iss", "https://partner.example.com"), ("aud", AUDIENCE), ("sub", "alice")),
        *(("admin", "true"), ("level", "3"), ("tags", "a"), ("tags", "5"), ("tags", "false")),
    }


def test_claims_are_bounded() -> None:
    """Left out instead, they would not be there for a rule that refuses those who have them."""
    assert read({"tags": [str(n) for n in range(MAX_PAIRS - 3)]})
    assert read({"tags": [str(n) for n in range(MAX_PAIRS - 2)]}) is None
    assert read({"tag": "x" * MAX_VALUE})
    assert read({"tag": "x" * (MAX_VALUE + 1)}) is None
    assert read({"x" * (MAX_VALUE + 1): "tag"}) is None
    assert read({"groups": [str(n) for n in range(500)]})


@pytest.mark.parametrize(
    ("methods", "expected"),
    [(["pwd", "mfa"], True), (["pwd"], False), ("mfa", False), (None, False), ([["mfa"]], False), ([{}, "mfa"], True)],
)
def test_the_second_factor(methods: object, expected: bool) -> None:
    found = read({"amr": methods})
    assert found
    assert found.second_factor is expected

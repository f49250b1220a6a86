"""Where people come from, as the configuration says it."""

from pathlib import Path

import pytest

from authgate.config import Settings, parse
from authgate.config.sources import KeySource
from authgate.errors import ConfigError

SITES = {"sites": [{"origin": "https://files.example.com"}]}
ISSUER = {"source": "partner", "issuer": "https://login.partner.example", "audience": "files"}
KEYS = {"keys": [{"jwks": "partner.jwks.json"}]}
FLASK = {"source": "shop", "kind": "flask", "secrets": ["shop.secret"], "user": "_user_id"}


def settings(**sections: object) -> Settings:
    return parse({**SITES, **sections}, Path("/etc/authgate/authgate.toml"))


def problems(**sections: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(**sections)
    return [str(problem) for problem in caught.value.problems]


def rule(*allow: str, deny: tuple[str, ...] = ()) -> list[dict[str, object]]:
    return [{"name": "r", "paths": ["/home/{owner}/**"], "allow": list(allow), "deny": list(deny)}]


def test_an_issuer_has_the_usual_claims_and_no_groups() -> None:
    (issuer,) = settings(issuers=[ISSUER | KEYS]).sources.issuers

    assert (issuer.user, issuer.name, issuer.email, issuer.groups) == (("sub",), ("name",), ("email",), None)
    assert issuer.bearer
    assert not issuer.cookie
    assert (issuer.leeway, issuer.max_age) == (30, None)


def test_key_files_are_beside_the_configuration() -> None:
    keys = [{"file": "a.pem", "algorithm": "ES256", "id": "a"}, {"jwks": "b.json"}, {"url": "https://c.example/jwks"}]
    (issuer,) = settings(issuers=[ISSUER | {"keys": keys}]).sources.issuers

    place = "authgate.toml: issuers[0].keys"
    assert issuer.keys == (
        KeySource(f"{place}[0]", Path("/etc/authgate/a.pem"), None, "", "ES256", "a"),
        KeySource(f"{place}[1]", None, Path("/etc/authgate/b.json"), "", "", ""),
        KeySource(f"{place}[2]", None, None, "https://c.example/jwks", "", ""),
    )


def test_claims_are_found_by_dots_or_by_a_list_of_names() -> None:
    paths = {"groups": "realm_access.roles", "name": ["https://partner.example/claims", "name"]}
    (issuer,) = settings(issuers=[ISSUER | KEYS | paths]).sources.issuers

    assert issuer.groups == ("realm_access", "roles")
    assert issuer.name == ("https://partner.example/claims", "name")


@pytest.mark.parametrize(
    ("kind", "cookie", "salt", "digest", "max_age", "user"),
    [
        ("flask", "session", "cookie-session", "sha1", 31 * 86400, ("id",)),
        ("starlette", "session", "", "sha1", 14 * 86400, ("id",)),
        (
            "django",
            "sessionid",
            "django.contrib.sessions.backends.signed_cookies",
            "sha256",
            14 * 86400,
            ("_auth_user_id",),
        ),
    ],
)
def test_an_application_signs_as_its_framework_does(
    kind: str, cookie: str, salt: str, digest: str, max_age: int, user: tuple[str, ...]
) -> None:
    table = {"source": "shop", "kind": kind, "secrets": ["s"]} | ({} if kind == "django" else {"user": "id"})
    (application,) = settings(applications=[table]).sources.applications

    assert (application.cookie, application.salt, application.digest) == (cookie, salt, digest)
    assert (application.max_age, application.user) == (max_age, user)


def test_certificates_name_people_by_their_common_name() -> None:
    certificates = settings(certificates={"source": "pki"}).sources.certificates

    assert certificates is not None
    assert (certificates.user, certificates.groups) == ("CN", "")


def test_rules_name_the_people_of_sources_that_exist() -> None:
    sections = {"issuers": [ISSUER | KEYS], "applications": [FLASK], "certificates": {"source": "pki"}}
    terms = ("user:partner/alice", "group:shop/staff", "user:pki/{owner}", 'group:"partner//R & D/staff"')

    assert settings(**sections, rules=rule(*terms)).policy.rules


@pytest.mark.parametrize(
    ("terms", "deny", "message"),
    [
        (("user:parnter/alice",), (), 'there is no source "parnter"; did you mean "partner"?'),
        (("anyone",), ("group:elsewhere/blocked",), 'there is no source "elsewhere"; the sources are partner'),
        (("user:{owner}/alice",), (), "the path would choose the source; write user:SOURCE/{owner}"),
    ],
)
def test_a_rule_about_nobodys_source_is_a_mistake(terms: tuple[str, ...], deny: tuple[str, ...], message: str) -> None:
    (problem,) = problems(issuers=[ISSUER | KEYS], rules=rule(*terms, deny=deny))

    assert message in problem


def test_without_sources_a_slash_in_a_name_is_explained() -> None:
    (problem,) = problems(rules=rule("user:partner/alice"))

    assert 'there is no source "partner"; local names hold no "/"' in problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": []}, "issuers[0].keys: there is none"),
        ({"keys": [{}]}, "issuers[0].keys[0]: not exactly one of file, jwks and url"),
        ({"keys": [{"jwks": "a", "url": "https://a.example/"}]}, "issuers[0].keys[0]: not exactly one of"),
        ({"keys": [{"file": "a.pem"}]}, "issuers[0].keys[0].algorithm: missing; a key has one algorithm"),
        ({"keys": [{"file": "a.pem", "algorithm": "none"}]}, "issuers[0].keys[0].algorithm: "),
        ({"keys": [{"jwks": "a.json", "id": "k"}]}, "issuers[0].keys[0].id: only for a file"),
        ({"keys": [{"url": "http://keys.example/jwks"}]}, "is no address keys could be trusted from"),
        ({"keys": [{"url": "https://user@keys.example/jwks"}]}, "is no address keys could be trusted from"),
        ({"keys": [{"url": "http://127.0.0.1.example/jwks"}]}, "is no address keys could be trusted from"),
        ({"keys": [{"jwk": "a.json"}]}, 'issuers[0].keys[0].jwk: unknown key; did you mean "jwks"?'),
        ({"bearer": False}, "issuers[0]: accepted nowhere"),
        ({"cookie": "__Host-authgate"}, 'issuers[0].cookie: "__Host-authgate" is authgate\'s own'),
        ({"cookie": "a b"}, "issuers[0].cookie: not valid; the name of a cookie"),
        ({"source": "Partner"}, "issuers[0].source: not valid; a-z, 0-9 and -, a letter first"),
        ({"source": ""}, "issuers[0].source: "),
        ({"issuer": ""}, "issuers[0].issuer: "),
        ({"groups": "a..b"}, "issuers[0].groups: not the path of a member"),
        ({"leeway": "0"}, "issuers[0].leeway: not a duration"),
        ({"audiences": ["a"]}, 'issuers[0].audiences: unknown key; did you mean "audience"?'),
    ],
)
def test_a_mistake_in_an_issuer_is_named(change: dict[str, object], message: str) -> None:
    assert any(message in problem for problem in problems(issuers=[ISSUER | KEYS | change]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "rails"}, "applications[0].kind: "),
        ({"secrets": []}, "applications[0].secrets: there is none"),
        ({"user": None}, "applications[0].user: missing"),
        ({"function": "shop::session"}, "applications[0].function: not for flask"),
        ({"kind": "starlette", "salt": "x"}, "applications[0].salt: Starlette has none"),
        ({"kind": "function", "cookie": "PHPSESSID"}, "applications[0].function: missing"),
        ({"kind": "function", "function": "shop::session"}, "applications[0].cookie: missing"),
        ({"kind": "function", "function": "shop::s", "cookie": "c"}, "applications[0].secrets: the function itself"),
        ({"cookie": "authgate"}, 'applications[0].cookie: "authgate" is authgate\'s own'),
        ({"digest": "md5"}, "applications[0].digest: "),
    ],
)
def test_a_mistake_in_an_application_is_named(change: dict[str, object], message: str) -> None:
    table = {key: value for key, value in (FLASK | change).items() if value is not None}

    assert any(message in problem for problem in problems(applications=[table]))


def test_one_issuer_and_one_cookie_are_configured_once() -> None:
    named = problems(
        issuers=[ISSUER | KEYS | {"cookie": "session"}, ISSUER | KEYS],
        applications=[FLASK],
    )

    assert any('issuers[1].issuer: "https://login.partner.example" is taken by' in problem for problem in named)
    assert any('applications[0].cookie: "session" is taken by' in problem for problem in named)


def test_a_list_of_sources_stands_in_double_brackets() -> None:
    assert any("write [[issuers]], in double brackets" in problem for problem in problems(issuers=ISSUER))

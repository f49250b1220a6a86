"""Published bypasses by a field that a client sends and somebody behind the check believes."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.advisories.fronts import OTHER_HOST, Front, basic, status_of
from tests.deploy.house import FILES, HTTP_HOST, SECRET, body_of, exchange

OPEN_PATH, HANDBOOK = "/public/hello.txt", "/staff/handbook.txt"

# What WSGI, CGI and PHP make one name of.
JOINTS = "-_."

IDENTITY = ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email")
PATHS = ("X-Forwarded-Uri", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Authgate-Path", "X-Authgate-Uri")


def spelled(names: Iterable[str], value: str) -> Iterator[str]:
    """Give a field for each name in each spelling."""
    for name, joint in itertools.product(names, JOINTS):
        yield f"{name.replace('-', joint)}: {value}"


def heard(answer: bytes) -> list[tuple[str, str]]:
    """Return what reached an application or a script, by the names that WSGI, CGI and PHP make of it."""
    assert status_of(answer) == 200, answer[:400]
    body = body_of(answer).decode("latin-1")
    if body.startswith("{"):
        described = json.loads(body)
        pairs = [(name, value) for name, value in described.get("environment") or described["headers"]]
    else:
        pairs = [(name, value) for name, _, value in (line.partition("=") for line in body.splitlines())]
    return [(re.sub(r"[^A-Z0-9]", "_", name.upper()).removeprefix("HTTP_"), value) for name, value in pairs]


def told(answer: bytes, names: Iterable[str]) -> set[tuple[str, str]]:
    """Return those fields that are not empty; "-" is what Apache calls nobody."""
    wanted = {name.upper().replace("-", "_") for name in names}
    return {(name, value) for name, value in heard(answer) if name in wanted and value not in {"", "-"}}


@pytest.mark.parametrize("path", ["/pub/x", "/php/env.php"])
def test_cve_2025_64484_no_spelling_of_an_identity_field_reaches_an_application(service: Front, path: str) -> None:
    """GHSA-vjrc-mh2v-45x6: `X_Forwarded_User` was not taken away as `X-Forwarded-User` was."""
    fields = list(spelled(IDENTITY, "carol"))

    nobody = told(service.send(path, *fields, host=OTHER_HOST), IDENTITY)
    alice = told(service.send(path, *fields, basic("alice"), host=OTHER_HOST), IDENTITY)

    assert nobody == set()
    assert alice == {("REMOTE_USER", "alice"), ("REMOTE_GROUPS", "staff")}


def test_cve_2026_54763_underscore_does_not_stand_beside_the_real_field(service: Front) -> None:
    """GHSA-x677-9fxg-v5c5, Traefik: `X_Auth_User` reached the application beside `X-Auth-User`."""
    for field in ("Remote_User: carol", "REMOTE_USER: carol", "Remote_Groups: admin", "remote_groups: admin"):
        for path in ("/pub/x", "/php/env.php"):
            answer = service.send(path, field, basic("alice"), host=OTHER_HOST)
            assert told(answer, IDENTITY) == {("REMOTE_USER", "alice"), ("REMOTE_GROUPS", "staff")}, field


def test_traefik_dot_variant_does_not_stand_beside_the_real_field(service: Front) -> None:
    """The fix of the underscore left `X.Authenticated.User`, which PHP takes for the same."""
    for field in ("Remote.User: carol", "remote.groups: admin", "Remote.Name: carol", "Remote.Email: carol@x"):
        for path in ("/pub/x", "/php/env.php"):
            answer = service.send(path, field, basic("alice"), host=OTHER_HOST)
            assert told(answer, IDENTITY) == {("REMOTE_USER", "alice"), ("REMOTE_GROUPS", "staff")}, field


FORWARDED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": HTTP_HOST,
    "X-Forwarded-Method": "OPTIONS",
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Prefix": "/public",
    "X-Forwarded-User": "carol",
    "X-Authgate-User": "carol",
    "X-Authgate-Method": "OPTIONS",
    "X-Authgate-Client": "10.0.0.1",
    "X-Authgate-Target": OPEN_PATH,
}


def test_cve_2026_39858_alias_of_a_forwarded_field_changes_no_decision(front: Front) -> None:
    """GHSA-5m6w-wvh7-57vm, Traefik: the check was told `X_Forwarded_Proto` by the client."""
    fields = [field for name, value in FORWARDED.items() for field in spelled([name], value)]
    lines = front.audited(lambda: front.refuses(HANDBOOK, *fields))

    asked = ("reason", "method", "scheme", "host", "path", "address", "user", "credential")
    assert [[line[key] for key in asked] for line in lines] == [
        ["login_required", "GET", "http", HTTP_HOST, HANDBOOK, "127.0.0.1", "", "none"]
    ]
    front.opens(OPEN_PATH, *fields)
    assert SECRET in front.opens(HANDBOOK, *fields, user="alice")


def test_cve_2026_35051_forwarded_prefix_moves_no_path(front: Front) -> None:
    """GHSA-6384-m2mw-rf54, Traefik: the check believed the client's `X-Forwarded-Prefix`."""

    def ask() -> None:
        for prefix in ("/public", "/public/", "/..", "/api/status?"):
            front.refuses(HANDBOOK, *spelled(["X-Forwarded-Prefix", "X-Script-Name", "X-Forwarded-Path"], prefix))

    assert front.reasons(ask) == ["login_required"] * 4
    front.opens(OPEN_PATH, "X-Forwarded-Prefix: /staff")


def test_ghsa_vhr5_ggp3_qq85_forwarded_scheme_is_not_believed(front: Front) -> None:
    """Oathkeeper: `X-Forwarded-Proto` counted although nobody had said that it may."""
    fields = list(spelled(["X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Url-Scheme", "X-Authgate-Scheme"], "https"))
    fields += ["Forwarded: proto=https;host=evil.example", "Front-End-Https: on", "X-Forwarded-Ssl: on"]

    page = front.send("/authgate/login", *fields)
    sent = front.refuses(HANDBOOK, *fields, "Accept: text/html")

    # The cookie of a site over https would be called __Host-authgate-form, and be Secure.
    assert status_of(page) == 200
    assert re.search(rb"(?i)\nset-cookie: authgate-form=[^\n]*\n", page)
    assert b"secure" not in page.partition(b"\r\n\r\n")[0].lower()
    assert f"\nLocation: {front.house.origin()}/authgate/login?next={HANDBOOK}\r".encode() in sent


def test_tinyauth_1089_of_two_families_of_fields_neither_counts(front: Front) -> None:
    """Pull request 1089: with `X-Original-URL` and `X-Forwarded-Uri` both there, the client chose."""
    families = (PATHS, PATHS[:1], PATHS[1:2], ("X-Authgate-Path", "X-Forwarded-Uri"))

    def ask() -> None:
        for names in families:
            front.refuses(HANDBOOK, *spelled(names, OPEN_PATH))

    asked = [(line["reason"], line["path"]) for line in front.audited(ask)]
    assert asked == [("login_required", HANDBOOK)] * len(families)
    # Nor the other way round.
    for names in families:
        front.opens(OPEN_PATH, *spelled(names, "/denied/secret.txt"))
    front.refuses(HANDBOOK, *spelled(PATHS, OPEN_PATH), *spelled(PATHS, "/"), "X-Authgate-Host: evil.example")


def test_cve_2026_40575_path_in_a_clients_field_decides_nothing(front: Front) -> None:
    """GHSA-7x63-xv5r-3p2x: a client's `X-Forwarded-Uri` said which path was asked for."""
    for name in PATHS:
        for target in (OPEN_PATH, f"http://{HTTP_HOST}{OPEN_PATH}", "/authgate/login"):
            answer = front.refuses(HANDBOOK, *spelled([name], target))
            assert status_of(answer) == 401, name

    assert FILES["staff/handbook.txt"] in front.opens(HANDBOOK, f"X-Forwarded-Uri: {OPEN_PATH}", user="alice")


def test_cve_2026_40575_application_is_not_told_another_path_than_was_decided(service: Front) -> None:
    """The same a step later: there are frameworks that take path or method from such a field."""
    paths = [*spelled(["X-Original-URL"], "/admin/x"), *(f"{name}: /admin/x" for name in PATHS[2:])]
    for field in (*paths, "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"):
        answer = service.send("/pub/x", field, host=OTHER_HOST)
        assert SECRET not in answer, field
        if "-" not in field.partition(":")[0] and status_of(answer) == 403:
            # Apache takes no field away by a pattern, so that one which passes for another is refused.
            continue
        assert status_of(answer) == 200, answer[:400]
        assert json.loads(body_of(answer))["method"] == "GET", field

    # gunicorn takes the beginning away from the path that it is told here.
    moved = service.send("/pub/x", "SCRIPT_NAME: /pub", host=OTHER_HOST)
    assert told(moved, ["Script-Name"]) == set()

    assert SECRET in service.send("/admin/x", basic("carol"), host=OTHER_HOST)
    service.refuses("/admin/x", basic("alice"), host=OTHER_HOST)


def test_ghsa_vhr5_ggp3_qq85_application_hears_scheme_and_address_of_the_web_server(service: Front) -> None:
    port = service.house.http_port
    claimed = ("X-Forwarded-Proto: https", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil.example")
    more = ("X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1;proto=https")
    names = ("X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded")
    # In Connection a client names fields that mod_proxy is not to hand on.
    for fields in ((), (*claimed, *more), (*claimed, "Connection: X-Forwarded-For, x-forwarded-proto, X-Real-IP")):
        answer = service.send("/pub/x", *fields, host=f"{OTHER_HOST}:{port}")
        said = told(answer, names)
        # Caddy sends none of its own, and the client's is taken away.
        assert said - {("X_REAL_IP", "127.0.0.1")} == {
            ("X_FORWARDED_PROTO", "http"),
            ("X_FORWARDED_FOR", "127.0.0.1"),
            ("X_FORWARDED_HOST", f"{OTHER_HOST}:{port}"),
        }


PROBES = ("GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0", "GoogleStackdriverMonitoring-UptimeChecks")


def test_cve_2026_34457_user_agent_of_a_health_check_opens_nothing(front: Front) -> None:
    """GHSA-5hvv-m4w4-gf6v: the User-Agent of a health check was answered 200 on any path."""

    def ask() -> None:
        for agent in PROBES:
            assert status_of(front.refuses(HANDBOOK, f"User-Agent: {agent}")) == 401
            front.refuses("/denied/secret.txt", f"User-Agent: {agent}")

    assert front.reasons(ask) == ["login_required", "denied_by_rule"] * len(PROBES)
    for agent in PROBES:
        front.opens(OPEN_PATH, f"User-Agent: {agent}")


def test_cve_2026_34457_addresses_of_the_check_answer_nobody(front: Front) -> None:
    for path in ("/_authgate", "/check", "/forward", "/healthz", "/readyz", "/ping", "/metrics", "/authgate/check"):
        answer = front.send(path, "User-Agent: kube-probe/1.29")
        assert status_of(answer) in {403, 404}, path


BODY = b"username=alice&password=alice-demo"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "GET", "HEAD"])
def test_ghsa_59jp_rwph_878r_refused_request_with_a_body_gets_no_file(front: Front, method: str) -> None:
    """mod_auth_openidc: the file was sent behind the answer to a POST that had to log in first."""
    fields = ("Content-Type: application/x-www-form-urlencoded",)
    for path in (HANDBOOK, "/denied/secret.txt", "/api/private/x"):
        for more in ((), ("Accept: text/html",), ("Range: bytes=0-4",)):
            answer = front.send(path, *fields, *more, method=method, body=BODY)
            assert status_of(answer) in {302, 400, 401, 403, 405}, answer[:400]
            # Nor a part of it, nor a second answer behind the first.
            assert not any(part in answer for part in (SECRET, b"handbook:", b"Content-Range")), answer
            assert len(re.findall(rb"HTTP/1\.[01] [0-9]{3} ", answer)) == 1


def test_ghsa_59jp_rwph_878r_body_goes_to_the_application_of_those_who_may(service: Front) -> None:
    before = service.behind.counted.bytes
    for fields in ((), (basic("alice"),)):
        service.refuses("/admin/x", *fields, method="POST", host=OTHER_HOST, body=BODY)
    assert service.behind.counted.bytes == before

    answer = service.send("/admin/x", basic("carol"), method="POST", host=OTHER_HOST, body=BODY)
    assert (status_of(answer), json.loads(body_of(answer))["bytes"]) == (200, len(BODY))


def test_ghsa_59jp_rwph_878r_request_in_the_body_of_a_refused_one_is_asked_about(front: Front) -> None:
    # A second request where the first one's body should be.
    hidden = f"GET {HANDBOOK} HTTP/1.1\r\nHost: {HTTP_HOST}\r\nConnection: close\r\n\r\n".encode()
    for length in (b"Content-Length: 0", b"Content-Length: %d" % len(hidden), b"Transfer-Encoding: chunked"):
        head = b"POST %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n" % (HANDBOOK.encode(), HTTP_HOST.encode(), length)
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden) if b"chunked" in length else hidden
        closing = b"" if length.endswith(b" 0") else hidden
        assert SECRET not in exchange(front.house.http_port, head + chunks + closing)

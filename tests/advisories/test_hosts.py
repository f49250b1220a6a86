"""Published bypasses by the host: upper case, hosts that nobody configured, and what holds at one host only."""

import pytest

from tests.advisories.fronts import OTHER_HOST, TEAM_HOST, UNKNOWN_HOST, Front, basic, status_of
from tests.deploy.house import HTTP_HOST, SECRET, hidden_fields, password

OPEN_PATH, HANDBOOK = "/public/hello.txt", "/staff/handbook.txt"


SPELLINGS = (TEAM_HOST, TEAM_HOST.upper(), "Red.Teams.Example.Com", "rED.teams.example.com:80")


def test_cve_2026_48794_host_pattern_holds_in_any_case(front: Front) -> None:
    """GHSA-j748-h363-wqj8: a rule for `*.example.com` did not match EXAMPLE.COM, and the next one was laxer."""

    def ask() -> None:
        for host in SPELLINGS:
            assert status_of(front.refuses(OPEN_PATH, host=host)) == 401

    lines = front.audited(ask)

    asked = [(line["reason"], line["rule"], line["host"]) for line in lines]
    assert asked == [("login_required", "teams", TEAM_HOST)] * len(SPELLINGS)
    # 421 from Caddy, to which a final dot is part of the name.
    front.refuses(OPEN_PATH, host=f"{TEAM_HOST}.")
    # At the other site the same path is open.
    front.opens(OPEN_PATH, host=f"{HTTP_HOST.upper()}:{front.house.http_port}")


def test_cve_2026_48794_captured_owner_is_compared_byte_for_byte(front: Front) -> None:
    for path in ("/home/Alice/notes.txt", "/home/ALICE/notes.txt", "/home/%61LICE/notes.txt"):
        front.refuses(path, user="bob")

    front.refuses("/home/alice/notes.txt", user="bob")
    assert SECRET in front.opens("/home/alice/notes.txt", user="alice")


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "", "[::1]", f"{HTTP_HOST}.evil.example"])
def test_cve_2026_77560_unknown_host_is_for_nobody(front: Front, host: str) -> None:
    """GHSA-328g-jx67-v94g: the rules of an unknown host were looked up and not found, so any user was let in."""
    for path in (HANDBOOK, OPEN_PATH):
        answer = front.send(path, host=host or " ", user="alice")
        assert status_of(answer) in {400, 421}, answer[:400]


def test_cve_2026_77560_host_of_the_web_server_alone_is_refused(front: Front) -> None:
    def ask() -> None:
        for path in (HANDBOOK, OPEN_PATH):
            front.refuses(path, host=UNKNOWN_HOST, user="alice")

    assert front.reasons(ask) == ["unknown_host"] * 2
    front.opens(HANDBOOK, user="alice")


@pytest.mark.parametrize("host", [HTTP_HOST.upper(), f"{HTTP_HOST}.", "Intranet.Example.COM:8080"])
def test_cve_2026_77560_rules_of_a_host_hold_in_any_case(front: Front, host: str) -> None:
    for path in ("/denied/secret.txt", HANDBOOK):
        front.refuses(path, host=host)

    if not (host.endswith(".") and front.name == "caddy"):
        assert SECRET in front.opens(HANDBOOK, host=host, user="alice")


@pytest.mark.parametrize(
    "host",
    [
        *(f"{HTTP_HOST}.evil.example", f"evil-{HTTP_HOST}", f"evil.example/{HTTP_HOST}", f"x{HTTP_HOST}"),
        *(f"evil.example#{HTTP_HOST}", f"evil.example:80@{HTTP_HOST}", f"{HTTP_HOST}@evil.example"),
        *(f"{HTTP_HOST},evil.example", f"{HTTP_HOST} evil.example", f"{HTTP_HOST}%2eevil.example", "example.com"),
    ],
)
def test_vouch_b_host_that_contains_ours_is_not_ours(front: Front, host: str) -> None:
    """The host was searched for the domain: `app.yourdomain.com.evil.tld` held it."""
    for target in (OPEN_PATH, HANDBOOK, f"http://{HTTP_HOST}.evil.example{OPEN_PATH}"):
        answer = front.send(target, host=host, user="alice")
        assert status_of(answer) in {400, 421}, answer[:400]

    front.opens(OPEN_PATH)


def login_at(front: Front, host: str, user: str) -> str:
    """Return the session cookie's value that somebody gets at a host."""
    origin = f"http://{host}:{front.house.http_port}"
    with front.client() as client:
        shown = client.get("/authgate/login", headers={"Host": origin.partition("://")[2]})
        form = {**hidden_fields(shown.text), "username": user, "password": password(user)}
        cookie = shown.headers["set-cookie"].partition(";")[0]
        headers = {"Host": origin.partition("://")[2], "Origin": origin, "Cookie": cookie}
        answer = client.post("/authgate/login", data=form, headers=headers)
    assert answer.status_code == 303, answer.text
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


def test_vouch_a_session_that_was_verified_at_one_host_is_none_at_another(front: Front) -> None:
    """A cached verification was found by the token alone, so one good host stood for all."""
    own, other = front.session("alice"), login_at(front, OTHER_HOST, "alice")
    cookies = {host: f"Cookie: authgate={value}" for host, value in ((HTTP_HOST, own), (OTHER_HOST, other))}
    for host, cookie in cookies.items():
        assert SECRET in front.opens(HANDBOOK, cookie, host=host)

    def ask() -> None:
        for host, cookie in zip(reversed(cookies), cookies.values(), strict=True):
            for _ in range(2):
                front.refuses(HANDBOOK, cookie, host=host)

    assert front.reasons(ask) == ["bad_credential"] * 4


def test_ghsa_4mq7_pvjg_xp2r_cached_password_proves_nothing_but_itself(service: Front) -> None:
    """Oathkeeper: a cached answer was found without all that it had depended on."""
    for _ in range(2):
        assert SECRET in service.opens(HANDBOOK, basic("alice"))
    wrong = (("alice", "bob-demo"), ("bob", "alice-demo"), ("Alice", "alice-demo"), ("alice", "alice-demo "))

    def ask() -> None:
        for user, secret in wrong:
            service.refuses(HANDBOOK, basic(user, secret))
        # Right, and not enough here: another rule asks for another user.
        service.refuses(HANDBOOK, basic("carol"), host=OTHER_HOST)

    assert service.reasons(ask) == [*["bad_credential"] * len(wrong), "not_admitted"]
    assert SECRET in service.opens(HANDBOOK, basic("carol"))

"""Published bypasses by a session, a cookie, a name or a group that counted where it should not."""

import json
import time
from collections.abc import Mapping

import httpx
import pytest

from tests import servers
from tests.advisories.fronts import FORGED_MAIL, MAIL, OTHER_HOST, Front, basic, status_of
from tests.deploy.house import OPEN, SECRET, Visitor, body_of, hidden_fields, password

OPEN_PATH, HANDBOOK = "/public/hello.txt", "/staff/handbook.txt"
UNKNOWN_ID = "A" * 43


def test_ghsa_c5c4_8r6x_56w3_name_with_two_at_signs_is_another_name(front: Front) -> None:
    """`a@evil@corp.com` passed for somebody of corp.com."""
    letter = "/mail/letter.txt"
    assert front.reasons(lambda: front.refuses(letter, user=FORGED_MAIL))[-1] == "not_admitted"

    assert SECRET in front.opens(letter, user=MAIL)


def test_ghsa_f24x_5g9q_753f_login_begins_a_session_of_its_own(front: Front) -> None:
    """A session from before the login page was kept, so whoever had planted it was logged in as well."""
    for planted in (UNKNOWN_ID, front.browser("bob").cookies["authgate"]):
        visitor = front.browser()
        visitor.cookies["authgate"] = planted
        # "again": the page of somebody who is logged in already has no form.
        visitor.login("alice", "/authgate/login?again=1")

        assert visitor.cookies["authgate"] != planted
        assert SECRET in visitor.get(HANDBOOK).content
        # The one that was planted has not become alice's, and is nobody's any more.
        for path in (HANDBOOK, "/home/bob/notes.txt"):
            front.refuses(path, f"Cookie: authgate={planted}")
            front.refuses(path, f"Cookie: authgate={planted}; authgate={visitor.cookies['authgate']}")


def test_ghsa_3q28_qjrv_qr39_half_a_login_is_none(front: Front) -> None:
    """tinyauth: the session of somebody whose second factor was missing was accepted elsewhere."""
    visitor = front.browser()
    token = hidden_fields(visitor.get("/authgate/login").text)["token"]
    assert visitor.cookies == {"authgate-form": token}
    # What the form begins with is no session, by whichever name it comes back, and neither is a failed login's.
    for cookie in (f"authgate-form={token}", f"authgate={token}", f"__Host-authgate={token}"):
        front.refuses(HANDBOOK, f"Cookie: {cookie}")
    visitor.post("/authgate/login", {"token": token, "next": "", "username": "alice", "password": "wrong"})
    front.refuses(HANDBOOK, f"Cookie: authgate={visitor.cookies['authgate-form']}")
    # With the password alone nobody is where a second factor is asked for.
    own = front.session("alice")
    assert front.reasons(lambda: front.refuses("/vault/key.txt", user="alice")) == ["second_factor_required"]

    assert SECRET in front.opens(HANDBOOK, f"Cookie: authgate={own}")


MALFORMED: Mapping[str, str] = {
    "empty": "authgate=",
    "a name alone": "authgate",
    "unknown": f"authgate={UNKNOWN_ID}",
    "not base64": "authgate=%%%%",
    "JSON": 'authgate={"user":"alice"}',
    "encoded": "authgate=" + "%41" * 43,
    "too long": f"authgate={UNKNOWN_ID}A",
    "a line break": f"authgate={UNKNOWN_ID}%0d%0a",
    "not ASCII": "authgate=\xff\xfe" + "A" * 41,
    "quoted": f'authgate="{UNKNOWN_ID}"',
    "signed": "authgate=eyJ1c2VyIjoiYWxpY2UifQ.aaaa.bbbb",
    "path": "authgate=../../../../etc/passwd",
    "a statement": "authgate=' OR 1=1 --",
    "twice": f"authgate={UNKNOWN_ID}; authgate={UNKNOWN_ID}",
}


def test_cve_2026_25748_malformed_session_is_no_yes(front: Front) -> None:
    """GHSA-fj56-5763-j8pp, authentik: a cookie that could not be read ended in the status that is the default, 200."""
    statuses: dict[str, int] = {}

    def ask() -> None:
        for name, cookie in MALFORMED.items():
            statuses[name] = status_of(front.refuses(HANDBOOK, f"Cookie: {cookie}"))

    reasons = dict(zip(MALFORMED, front.reasons(ask), strict=True))

    assert set(statuses.values()) == {401}, statuses
    # Without "=" there is no cookie of this name (RFC 6265 section 4.2.1).
    assert reasons.pop("a name alone") == "login_required"
    assert set(reasons.values()) == {"bad_credential"}, reasons
    for cookie in MALFORMED.values():
        assert body_of(front.opens(OPEN_PATH, f"Cookie: {cookie}")) == OPEN, cookie


def test_cve_2026_25748_well_formed_session_counts(front: Front) -> None:
    assert SECRET in front.opens(HANDBOOK, f"Cookie: theme=dark; authgate={front.session('alice')}; a=b")


CRAFTED = [
    *("authgate_chunks=99999999999999999999", "authgate_0=x; authgate_1=y; authgate_chunks=2", "authgate_x=1"),
    *("mod_auth_openidc_session_chunks=99999999", "authgate=2147483648", "authgate=-1", f"authgate={'9' * 4000}"),
    *("authgate_1of999999999=a", "authgate_0of0=a", "authgate_-1of3=a", "__Host-authgate_1of999999999=a"),
    *("VouchCookie_x=1", "VouchCookie_1of999999999=a", "authgate-form=99999999999", "; ".join(["authgate=x"] * 300)),
]


def costs_nothing(front: Front, cookie: str) -> None:
    """Send a cookie; it opens nothing, and the processes and the time are as before."""
    before = front.authgate.family()
    began = time.monotonic()
    front.refuses(HANDBOOK, f"Cookie: {cookie}")
    front.send("/authgate/whoami", f"Cookie: {cookie}")
    # A count that is believed takes seconds and gigabytes.
    assert time.monotonic() - began < servers.DEADLINE / 2
    assert front.authgate.family() == before
    assert SECRET in front.opens(HANDBOOK, user="alice")


@pytest.mark.parametrize("cookie", CRAFTED, ids=lambda text: text[:40])
def test_cve_2024_24814_number_in_a_cookie_is_not_believed(front: Front, cookie: str) -> None:
    """mod_auth_openidc: the client's cookie said of how many parts the session was made."""
    costs_nothing(front, cookie)


@pytest.mark.parametrize("suffix", ["_x=1", "_=1", "_of=1", "_1of=1", "_1of999999999=a", "_999999999of1=a"])
def test_vouch_c_number_in_the_name_of_a_cookie_is_not_read(front: Front, suffix: str) -> None:
    """`VouchCookie_x=1` was read beyond the end of a list, `_1of999999999` made one of that length."""
    for name in ("authgate", "__Host-authgate", "authgate-form", "VouchCookie"):
        costs_nothing(front, name + suffix)


ODD_COOKIES = [
    ";",
    "=",
    " ",
    ";;;;",
    "; =",
    "=;=",
    "authgate",
    "authgate;",
    ";authgate=",
    "authgate=;authgate=",
    "\t;\t",
]


@pytest.mark.parametrize("cookie", ODD_COOKIES, ids=repr)
def test_cve_2023_28625_cookie_that_is_taken_away_leaves_the_others(service: Front, cookie: str) -> None:
    """mod_auth_openidc: taking its cookies away for the application crashed at a field that held nothing else."""
    for sent in (cookie, f"theme=dark; {cookie}"):
        answer = service.send("/pub/x", f"Cookie: {sent}", host=OTHER_HOST)
        assert status_of(answer) == 200, sent
        got = dict(json.loads(body_of(answer))["headers"]).get("Cookie", "")
        assert "authgate=" not in got
        assert ("theme=dark" in got) is ("theme" in sent)
    costs_nothing(service, cookie)


# Each brake holds for a client: the tests of brakes come from addresses of their own.
FROM: Mapping[str, int] = {"nginx": 1, "fastcgi": 2, "rewritemap": 3, "caddy": 4}


def attempt(front: Front, address: str, name: str, secret: str) -> httpx.Response:
    """Fill in the login form from an address."""
    with front.client(address) as client:
        shown = client.get("/authgate/login", headers=Visitor.NAVIGATION)
        form = {**hidden_fields(shown.text), "username": name, "password": secret}
        cookie = shown.headers["set-cookie"].partition(";")[0]
        origin = {"Origin": front.house.origin(), "Sec-Fetch-Site": "same-origin", "Cookie": cookie}
        return client.post("/authgate/login", data=form, headers={**Visitor.NAVIGATION, **origin})


def test_cve_2026_47203_spelling_of_a_name_opens_no_new_count(front: Front) -> None:
    """GHSA-hjj4-hfjm-fmrj, Authelia: who wrote a name with other capitals could go on guessing."""
    guesser, owner = (f"127.0.{FROM[front.name]}.{number}" for number in (1, 2))
    spellings = ["dora", "Dora", "DORA", " dora", "dora ", "doRA", "\tdora", "dOrA", "dora\r\n", "DORa "]
    for spelling in spellings:
        assert attempt(front, guesser, spelling, "wrong").status_code == 200, spelling

    for spelling in ("dora", "dORA", "  dora  ", "DORA"):
        assert attempt(front, guesser, spelling, password("dora")).status_code == 429, spelling
    # A name that is nobody's proves nothing, whatever it is counted as.
    assert attempt(front, guesser, "dora\0", password("dora")).status_code == 200
    # The count is the guesser's own: it keeps nobody else out.
    assert attempt(front, owner, "dora", password("dora")).status_code == 303


def test_cve_2025_24806_each_way_to_log_in_counts_with_the_other(service: Front) -> None:
    """Authelia: an account could be named in two ways, and each had a count of its own. Here: the form and Basic."""
    guesser, owner = (f"127.0.{FROM[service.name]}.{number}" for number in (3, 4))

    def by_basic(address: str, secret: str) -> httpx.Response:
        with service.client(address) as client:
            return client.get("/press/draft.txt", auth=("frank", secret))

    for number in range(5):
        assert attempt(service, guesser, "frank", f"wrong {number}").status_code == 200
        assert by_basic(guesser, f"wrong too {number}").status_code == 401

    assert attempt(service, guesser, "frank", password("frank")).status_code == 429
    lines = service.audited(lambda: by_basic(guesser, password("frank")))
    assert [(line["reason"], line["failure"]) for line in lines] == [("too_many_attempts", "too_many_attempts")]
    assert SECRET in by_basic(owner, password("frank")).content


def test_ghsa_x883_2vmg_xwf7_removal_from_a_group_reaches_sessions_that_have_begun(front: Front) -> None:
    """Authelia: with users in a file, a group that somebody had lost still counted."""
    draft, groups = "/press/draft.txt", front.house.folder / "groups"
    assert SECRET in front.opens(draft, user="erin")
    before = groups.read_text()
    fresh = groups.with_suffix(".new")
    fresh.write_text(before.replace("press: erin frank", "press: frank"))

    fresh.replace(groups)
    try:
        servers.eventually(lambda: status_of(front.send(draft, user="erin")) == 403, "erin is out")
        assert front.reasons(lambda: front.refuses(draft, user="erin")) == ["not_admitted"]
        # The session itself goes on.
        front.opens(OPEN_PATH, user="erin")
        assert b'"erin"' in front.send("/authgate/whoami", "Accept: application/json", user="erin")
    finally:
        fresh.write_text(before)
        fresh.replace(groups)


TOKENS = [
    # {"alg":"none"} {"sub":"alice"}, without and with aud and iss.
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlzcyI6ImV2aWwiLCJhdWQiOiJvdGhlciJ9.",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.AAAA",
]


def test_ghsa_wcvh_g65p_v576_token_of_another_audience_is_nobody(service: Front) -> None:
    """mod_auth_openidc looked neither at `aud` nor at `iss`. Here no token of this kind is accepted at all."""
    session = f"Cookie: authgate={service.session('alice')}"

    def ask() -> None:
        for token in TOKENS:
            bearer = f"Authorization: Bearer {token}"
            assert status_of(service.refuses(HANDBOOK, bearer)) == 401
            # A session beside it does not heal it.
            service.refuses(HANDBOOK, bearer, session)
            service.refuses(f"{HANDBOOK}?access_token={token}", f"Cookie: authgate={token}")

    assert service.reasons(ask) == ["bad_credential"] * 3 * len(TOKENS)
    assert SECRET in service.opens(HANDBOOK, basic("alice"))

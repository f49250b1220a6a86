"""Published open redirects: after the login a browser stays at the site."""

import re
from collections.abc import Sequence
from urllib.parse import quote

import pytest

from tests.advisories.fronts import Front
from tests.deploy.house import HTTP_HOST, Visitor, hidden_fields, password

EVIL = "evil.example"

# By the published advisory: what was sent as the address to go back to.
SLASHES = [
    f"//{EVIL}",
    f"///{EVIL}",
    f"/\\{EVIL}",
    f"\\\\{EVIL}",
    f"/\\/{EVIL}",
    f"\\/{EVIL}",
    f"https:/{EVIL}",
    f"/%5c{EVIL}",
]
SPACES = [
    f"/%09/{EVIL}",
    f"/ /{EVIL}",
    f"/\t/{EVIL}",
    f"/%0a/{EVIL}",
    f"/\n/{EVIL}",
    f"/%0d%0a/{EVIL}",
    f" //{EVIL}",
]
DOTS = [
    f"/./\\{EVIL}",
    f"/.//{EVIL}",
    f"/../\\{EVIL}",
    f"/x/..//{EVIL}",
    f"/%2e%2e//{EVIL}",
    f"/ ./{EVIL}/..//",
    f"/%2f{EVIL}",
]
SUFFIXES = [
    *(f"http://{EVIL}.{HTTP_HOST}", f"http://evil{HTTP_HOST}", f"http://{HTTP_HOST}.{EVIL}", f"//{HTTP_HOST}@{EVIL}"),
    *(
        f"http://{HTTP_HOST}@{EVIL}/",
        f"http://{EVIL}/?{HTTP_HOST}",
        f"http://{EVIL}#{HTTP_HOST}",
        "http://badexample.com",
    ),
]
TABS = [
    f"/\t/{EVIL}",
    f"/%09/{EVIL}",
    f"/\t\\{EVIL}",
    f"\t//{EVIL}",
    f"/\x0b/{EVIL}",
    f"/%00/{EVIL}",
    "javascript:alert(1)",
]


def landing(front: Front, visitor: Visitor, goal: str) -> str:
    """Log in with the address that `goal` names to go back to, and return where the browser is sent."""
    shown = visitor.get(f"/authgate/login?again=1&next={quote(goal, safe='')}")
    in_page = hidden_fields(shown.text)
    # A client may change the page's own address, so both are tried.
    for given in (in_page["next"], goal):
        form = {**in_page, "next": given, "username": "alice", "password": password("alice")}
        answer = visitor.post("/authgate/login", form)
        assert answer.status_code == 303, answer.text
        location = str(answer.headers["location"])
        if location != "/":
            return location
    return "/"


def stays(front: Front, goals: Sequence[str]) -> None:
    """Fail where one of these addresses leads to anywhere but the first page; an honest one leads where it says."""
    visitor = front.browser()
    for goal in goals:
        assert landing(front, visitor, goal) == "/", goal
    for honest in ("/staff/handbook.txt?x=%20y&z=1", "/public/pages/"):
        assert landing(front, visitor, honest) == honest


def test_ghsa_qqxw_m5fj_f7gv_backslash_leads_nowhere(front: Front) -> None:
    stays(front, SLASHES)


def test_ghsa_j7px_6hwj_hpjg_white_space_leads_nowhere(front: Front) -> None:
    stays(front, SPACES)
    # A path to every reader, as long as nobody decodes it: it is handed on as it came.
    assert landing(front, front.browser(), f"/%20/{EVIL}") == f"/%20/{EVIL}"


def test_ghsa_5m6c_jp6f_2vcv_dots_lead_nowhere(front: Front) -> None:
    stays(front, DOTS)


def test_ghsa_4mf2_f3wh_gvf2_host_that_ends_like_ours_is_none(front: Front) -> None:
    stays(front, SUFFIXES)


def test_cve_2022_23527_tabulator_leads_nowhere(front: Front) -> None:
    """mod_auth_openidc took `/\\t/evil.example` for a path, at logout too."""
    stays(front, TABS)
    for goal in TABS:
        visitor = front.browser("alice")
        form = hidden_fields(visitor.get("/authgate/whoami").text)
        query = quote(goal, safe="")
        answer = visitor.post(f"/authgate/logout?next={query}&logout={query}", {**form, "next": goal})
        assert (answer.status_code, answer.headers["location"]) == (303, "/authgate/login?out=1")


@pytest.mark.parametrize(
    "target", [f"/staff/\\{EVIL}", f"/staff/%5c{EVIL}", f"/staff//{EVIL}", f"//staff/{EVIL}", f"/staff/.//\\{EVIL}"]
)
def test_ghsa_qqxw_m5fj_f7gv_way_to_the_login_forgets_such_an_address(front: Front, target: str) -> None:
    login = f"{front.house.origin()}/authgate/login"

    odd, plain = (location_of(front.refuses(path, "Accept: text/html")) for path in (target, "/staff/x?y=%20"))

    # With rewrite maps the address is written anew, of what Apache has read.
    assert odd in {"", login, f"{login}?next=/", f"{login}?next=/staff/{EVIL}"}
    assert plain == f"{login}?next=/staff/x%3Fy%3D%2520"


def location_of(answer: bytes) -> str:
    """Return where an answer sends a browser; empty: nowhere."""
    found = re.search(rb"(?i)\r\nlocation: ([^\r\n]*)\r\n", answer)
    return found[1].decode() if found else ""

"""deploy/nginx/examples/sites-own-logins.conf and sites-shared-login.conf: whose login counts where."""

from urllib.parse import urlsplit

import httpx

from tests.deploy.examples import Examples
from tests.deploy.house import SECRET, Visitor, hidden_fields, password

ONE, TWO, DOCS, WIKI = (f"{name}.example.com" for name in ("one", "two", "docs", "wiki"))
SESSIONS = {"authgate", "__Host-authgate", "__Secure-authgate"}


def log_in(examples: Examples, host: str, user: str) -> tuple[dict[str, str], str]:
    """Fill in the login form of a site; return the session cookie and how it was set."""
    with examples.client(host, **Visitor.NAVIGATION) as client:
        shown = client.get("/authgate/login")
        answer = client.post(
            "/authgate/login",
            data={**hidden_fields(shown.text), "username": user, "password": password(user)},
            headers={
                "Origin": examples.origin(host),
                "Sec-Fetch-Site": "same-origin",
                "Cookie": shown.headers["set-cookie"].partition(";")[0],
            },
        )
    assert answer.status_code == 303, answer.text
    lines = [line for line in answer.headers.get_list("set-cookie") if line.partition("=")[0] in SESSIONS]
    name, _, value = lines[0].partition(";")[0].partition("=")
    return {name: value}, lines[0]


def get(examples: Examples, host: str, cookies: dict[str, str], path: str = "/page.txt") -> httpx.Response:
    with examples.client(host, **Visitor.NAVIGATION) as client:
        return client.get(path, headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())})


def test_login_of_one_site_is_none_at_the_other(examples: Examples) -> None:
    cookies, line = log_in(examples, ONE, "alice")

    here, there = get(examples, ONE, cookies), get(examples, TWO, cookies)

    assert "domain=" not in line.lower()
    assert SECRET in here.content
    assert there.status_code == 302
    assert there.headers["location"].startswith(f"{examples.origin(TWO)}/authgate/login")


def test_each_site_has_its_own_rules(examples: Examples) -> None:
    answers = {host: get(examples, host, log_in(examples, host, "bob")[0]).status_code for host in (ONE, TWO)}

    assert answers == {ONE: 200, TWO: 403}


def test_shared_login_counts_at_both_sites(examples: Examples) -> None:
    cookies, line = log_in(examples, DOCS, "alice")

    files, application = get(examples, DOCS, cookies), get(examples, WIKI, cookies, "/x")

    assert "Domain=example.com" in line
    assert list(cookies) == ["__Secure-authgate"]
    assert SECRET in files.content
    heard = dict(application.json()["headers"])
    assert heard["Remote-User"] == "alice"
    assert "Cookie" not in heard


def test_shared_login_ends_at_both_sites(examples: Examples) -> None:
    cookies, _ = log_in(examples, DOCS, "alice")
    form = hidden_fields(get(examples, WIKI, cookies, "/authgate/whoami").text)
    with examples.client(WIKI, **Visitor.NAVIGATION) as client:
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        origin = {"Origin": examples.origin(WIKI), "Sec-Fetch-Site": "same-origin", "Cookie": cookie}
        answer = client.post("/authgate/logout", data=form, headers=origin)

    assert answer.status_code == 303
    assert [get(examples, host, cookies).status_code for host in (DOCS, WIKI)] == [302, 302]


def test_shared_login_means_nothing_outside_its_domain(examples: Examples) -> None:
    cookies, _ = log_in(examples, DOCS, "alice")
    value = cookies["__Secure-authgate"]

    answers = [get(examples, host, {name: value}).status_code for host in (ONE, "h2.example.com") for name in SESSIONS]

    assert answers == [302] * 6


def test_rules_of_the_sites_with_a_shared_login_are_each_sites_own(examples: Examples) -> None:
    cookies, _ = log_in(examples, DOCS, "bob")

    assert [get(examples, host, cookies).status_code for host in (DOCS, WIKI)] == [200, 403]


def test_login_page_of_the_other_site_is_not_needed(examples: Examples) -> None:
    refused = get(examples, WIKI, {}, "/x")

    assert urlsplit(refused.headers["location"])[1] == examples.origin(WIKI).partition("://")[2]

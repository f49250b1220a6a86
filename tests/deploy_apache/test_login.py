"""Logging in through Apache: by the form, in a browser, and by a login of Apache's own."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests import servers
from tests.browser import chromium, console_messages
from tests.credentials.people import sha
from tests.deploy.house import FILES, HTTP_HOST, SECRET, exchange, hidden_fields, password, status_of
from tests.deploy_apache.house import Running, house_of

APACHES = "known-to-apache"


def test_navigation_is_sent_to_the_login_and_back(through: Running) -> None:
    visitor = through.browser()
    sent = visitor.get("/staff/handbook.txt?x=%20y")
    origin = through.house.origin()

    assert sent.status_code == 302
    assert sent.headers["location"] == f"{origin}/authgate/login?next=/staff/handbook.txt%3Fx%3D%2520y"
    back = visitor.login("alice", sent.headers["location"].removeprefix(origin))

    assert back.headers["location"] == "/staff/handbook.txt?x=%20y"
    assert visitor.get("/staff/handbook.txt?x=%20y").content == FILES["staff/handbook.txt"]


def test_logout_ends_the_session(through: Running) -> None:
    visitor = through.browser("alice")
    before = dict(visitor.cookies)
    visitor.logout()
    visitor.cookies.update(before)

    servers.eventually(lambda: visitor.get("/staff/handbook.txt").status_code == 302, "the session has ended")


@pytest.mark.parametrize("name", ["X-Authgate-Client", "X-Authgate-Host", "x-authgate-scheme"])
def test_a_client_cannot_take_away_or_forge_what_the_pages_are_told(through: Running, name: str) -> None:
    port = through.house.http_port
    head = f"GET /authgate/login HTTP/1.1\r\nHost: {HTTP_HOST}:{port}\r\nConnection: close, {name}\r\n"

    answer = exchange(port, f"{head}{name}: evil.example\r\nConnection: {name}\r\n\r\n".encode())

    assert status_of(answer) == 200
    assert b"evil.example" not in answer


def test_brakes_count_the_address_that_apache_sees() -> None:
    with servers.open_folder() as folder, house_of(folder) as running:
        visitor = running.browser()
        form = hidden_fields(visitor.get("/authgate/login").text)
        for number in range(10):
            own = {
                "Origin": running.house.origin(),
                "Sec-Fetch-Site": "same-origin",
                "X-Authgate-Client": f"192.0.2.{number}",
            }
            wrong = {**form, "username": "alice", "password": "wrong"}
            answer = visitor._send("POST", "/authgate/login", {**visitor.NAVIGATION, **own}, wrong)
            assert "name or the password is not right" in answer.text

        answer = visitor.post("/authgate/login", {**form, "username": "alice", "password": password("alice")})

    assert "too many wrong passwords" in answer.text


@pytest.fixture(scope="module")
def by_address() -> Iterator[Running]:
    """Give a site that is reached by the address that a browser here can reach."""
    with servers.open_folder() as folder, house_of(folder, sites=("127.0.0.1",), change=by_its_address) as running:
        yield running


def by_its_address(name: str, text: str) -> str:
    return text.replace(HTTP_HOST, "127.0.0.1") if name.startswith("example") else text


def test_chromium_logs_in_and_out(by_address: Running) -> None:
    origin = f"http://127.0.0.1:{by_address.house.http_port}"
    with chromium() as browser, browser.new_context() as context:
        page = context.new_page()
        messages = console_messages(page)
        page.goto(f"{origin}/staff/handbook.txt")
        log_in(page, "bob")
        assert "You may not open this" in page.inner_text("main")
        assert "bob" in page.inner_text("main")

        page.get_by_role("link", name="Log in as somebody else").click()
        log_in(page, "alice")
        page.goto(f"{origin}/staff/handbook.txt")
        assert page.inner_text("body").encode() == FILES["staff/handbook.txt"]

        page.goto(f"{origin}/authgate/whoami")
        page.get_by_role("button", name="Log out").click()
        page.get_by_text("You are logged out.").wait_for()
        page.goto(f"{origin}/staff/handbook.txt")
        assert page.get_by_label("Password").is_visible()
    # Chromium itself notes each 403 that it shows.
    assert all("403" in message for message in messages), messages


def log_in(page: Page, user: str) -> None:
    """Fill in the form."""
    page.get_by_label("Name").fill(user)
    page.get_by_label("Password").fill(password(user))
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state("networkidle")


# Apache's own login


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    """Give a site where Apache checks the password and authgate what that user may have."""
    with servers.open_folder() as folder:

        def change(name: str, text: str) -> str:
            return text.replace("Include authgate/authgate-protect.conf", server_login(folder))

        write_users(folder / "apache.users")
        with house_of(folder, users="server_login = true\n", change=change) as running:
            yield running


def server_login(folder: Path) -> str:
    """Return what stands in <Directory>."""
    users = f"AuthBasicProvider file\n    AuthUserFile {folder}/apache.users"
    return f"{users}\n    Include authgate/authgate-protect-server.conf"


def write_users(path: Path) -> None:
    path.write_text("".join(f"{user}:{sha(APACHES)}\n" for user in ("alice", "bob")))


def basic(user: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        ("/staff/handbook.txt", "alice", 200),
        ("/staff/handbook.txt", "bob", 403),
        ("/home/bob/notes.txt", "bob", 200),
        ("/home/alice/notes.txt", "bob", 403),
        ("/denied/secret.txt", "alice", 403),
        ("/nothing", "alice", 403),
        ("/public/hello.txt", "bob", 200),
    ],
)
def test_user_of_apache_gets_what_the_rules_say(served: Running, path: str, user: str, status: int) -> None:
    answer = served.get(path, Authorization=basic(user, APACHES))

    assert answer.status_code == status
    assert status == 200 or SECRET not in answer.content


def test_nobody_comes_by_apaches_login(served: Running) -> None:
    for headers in (
        {},
        {"Authorization": basic("alice", "wrong")},
        {"Authorization": basic("alice", password("alice"))},
    ):
        for path in ("/staff/handbook.txt", "/public/hello.txt", "/denied/secret.txt"):
            answer = served.get(path, **headers)

            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith('Basic realm="files"')
            assert SECRET not in answer.content


def test_a_session_does_not_stand_in_for_apaches_login(served: Running) -> None:
    visitor = served.browser("alice")

    assert visitor.get("/staff/handbook.txt").status_code == 401


def test_without_authgate_apaches_login_opens_nothing() -> None:
    with servers.open_folder() as folder:

        def change(name: str, text: str) -> str:
            return text.replace("Include authgate/authgate-protect.conf", server_login(folder))

        write_users(folder / "apache.users")
        with house_of(folder, users="server_login = true\n", change=change) as running:
            assert running.get("/staff/handbook.txt", Authorization=basic("alice", APACHES)).status_code == 200
            running.authgate.stop()
            answer = running.get("/staff/handbook.txt", Authorization=basic("alice", APACHES))

    assert answer.status_code == 503
    assert SECRET not in answer.content

"""The pages in a real browser: both sizes, both colour schemes, keyboard only, judged by axe-core."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from authgate.credentials.directory import Directory
from authgate.stores.sqlite import SqliteStore
from tests.browser import SIZES, chromium, console_messages, scrolls_sideways
from tests.clock import MovableClock
from tests.web.visitor import build, parse_settings, sha_line

# Long enough to break a layout that does not wrap.
LONG_NAME = "wolfgang.amadeus.theophilus.mozart+" + "a" * 40 + "@files.example.com"
LONG_DECISION = "frankfurtmain001-c6bfff4b5cd9"


class AsTheWebServer:
    """Adds the headers that the web server's configuration adds; a query plays the part of a decision."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        added = {"host": self._host, "scheme": "http", "client": "127.0.0.1", "decision": LONG_DECISION}
        added["reason"] = scope["query_string"].decode() or "not_admitted"
        headers = [(f"x-authgate-{name}".encode(), value.encode()) for name, value in added.items()]
        await self._app({**scope, "headers": [*scope["headers"], *headers]}, receive, send)


def _verify(username: str, password: str) -> None:
    if username == "broken":
        raise ConnectionError


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the application on a port of its own; yields its origin."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        clock = MovableClock()
        settings = parse_settings(folder, plain=f"http://{host}")
        with (folder / "users").open("a") as users:
            users.write(f"{LONG_NAME}:{sha_line('secret')}\n")
        (folder / "groups").write_text(f"staff: alice\n{'very-long-group-' * 6}: {LONG_NAME}\nstaff: {LONG_NAME}\n")
        store = SqliteStore(folder / "web.db", clock)
        directory = Directory(_verify)
        app, passwords = build(settings, store, clock, directory=directory)
        config = uvicorn.Config(AsTheWebServer(app, host), log_config=None, lifespan="off", ws="none", loop="asyncio")
        server = uvicorn.Server(config)

        async def serve() -> None:
            await server.serve(sockets=[listener])
            await store.aclose()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        try:
            yield f"http://{host}"
        finally:
            server.should_exit = True
            thread.join()
            passwords.close()
            directory.close()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("pages")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextmanager
def opened(browser: Browser, size: tuple[int, int], scheme: str) -> Iterator[Page]:
    """Open a window with a fresh profile and check, at its end, that it had nothing to complain about."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    messages = console_messages(page)
    yield page
    context.close()
    # Chromium notes the status of the page itself, which is 403 or 503 on purpose.
    assert [message for message in messages if "the server responded with a status of" not in message] == []


def _look(page: Page, name: str, size: tuple[int, int], scheme: str) -> None:
    folder = os.environ.get("AUTHGATE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}-{size[0]}-{scheme}.png", full_page=True)
    assert not scrolls_sideways(page)
    judged = Axe().run(page).response
    assert judged["passes"]
    violations = [(item["id"], [node["html"] for node in item["nodes"]]) for item in judged["violations"]]
    assert violations == []


def _log_in(page: Page, origin: str, name: str, password: str) -> None:
    page.goto(f"{origin}/authgate/login?next=/authgate-after")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_are_readable_and_accessible(browser: Browser, origin: str, size: tuple[int, int], scheme: str) -> None:
    with opened(browser, size, scheme) as page:
        page.goto(f"{origin}/authgate/login")
        _look(page, "login", size, scheme)

        _log_in(page, origin, LONG_NAME, "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("Password")).to_be_focused()
        _look(page, "login-failed", size, scheme)

        page.goto(f"{origin}/authgate/whoami")
        _look(page, "stranger", size, scheme)
        page.goto(f"{origin}/authgate/refused")
        _look(page, "refused-stranger", size, scheme)

        _log_in(page, origin, LONG_NAME, "secret")
        page.goto(f"{origin}/authgate/whoami")
        expect(page.locator("dd").first).to_have_text(LONG_NAME)
        _look(page, "whoami", size, scheme)
        page.goto(f"{origin}/authgate/login")
        _look(page, "already", size, scheme)
        page.goto(f"{origin}/authgate/refused")
        _look(page, "refused", size, scheme)
        page.goto(f"{origin}/authgate/refused?store_unavailable")
        _look(page, "unavailable", size, scheme)

        page.goto(f"{origin}/authgate/whoami")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("status")).to_contain_text("You are logged out.")
        _look(page, "logged-out", size, scheme)


@pytest.mark.parametrize("size", SIZES)
def test_login_and_logout_by_keyboard_alone(browser: Browser, origin: str, size: tuple[int, int]) -> None:
    with opened(browser, size, "light") as page:
        page.goto(f"{origin}/authgate/login?next=/authgate-after")
        expect(page.get_by_label("Name")).to_be_focused()
        page.keyboard.type("alice")
        page.keyboard.press("Tab")
        page.keyboard.type("alice-secret")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Log in")).to_be_focused()
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        page.keyboard.press("Enter")

        expect(page).to_have_url(f"{origin}/authgate-after")
        assert outline == "solid"
        page.goto(f"{origin}/authgate/whoami")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Log out")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{origin}/authgate/login?out=1")


def test_session_cookie_is_out_of_reach_of_scripts(browser: Browser, origin: str) -> None:
    with opened(browser, SIZES[0], "light") as page:
        _log_in(page, origin, "alice", "alice-secret")

        assert {cookie["name"] for cookie in page.context.cookies()} == {"authgate", "authgate-form"}
        assert page.evaluate("document.cookie") == ""


def test_two_open_login_pages_both_work(browser: Browser, origin: str) -> None:
    with opened(browser, SIZES[0], "light") as page:
        page.goto(f"{origin}/authgate/login")
        other = page.context.new_page()
        other.goto(f"{origin}/authgate/login")

        _log_in(other, origin, "bob", "bob-secret")
        page.get_by_label("Name").fill("alice")
        page.get_by_label("Password").fill("alice-secret")
        page.get_by_role("button", name="Log in").click()

        page.goto(f"{origin}/authgate/whoami")
        expect(page.locator("dd").first).to_have_text("alice")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_login_that_is_not_possible_now_is_readable_and_accessible(
    browser: Browser, origin: str, size: tuple[int, int], scheme: str
) -> None:
    with opened(browser, size, scheme) as page:
        # A name of its own for each, so that none has to wait before it is its turn.
        name = f"{scheme}-{size[0]}"
        for number in range(11):
            _log_in(page, origin, name, f"wrong-{number}")
        expect(page.get_by_role("alert")).to_contain_text("Try again in about 10 minutes.")
        expect(page.get_by_label("Name")).to_have_value(name)
        expect(page.get_by_label("Password")).to_be_focused()
        _look(page, "login-braked", size, scheme)

        _log_in(page, origin, "broken", "x")
        expect(page.get_by_role("heading")).to_have_text("Not possible just now")
        _look(page, "login-unavailable", size, scheme)

"""``authgate demo`` from a clone that only its owner may enter, with curl's eyes and with a browser's."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests import servers
from tests.browser import SIZES, chromium, console_messages, scrolls_sideways
from tests.deploy.house import NO_TLS

PEOPLE = ("alice", "bob", "carol")

# Who may have which file; None is a stranger.
MAY: dict[str, set[str | None]] = {
    "/public/hello.txt": {None, "alice", "bob", "carol"},
    "/staff/handbook.txt": {"alice", "carol"},
    "/reports/q3.csv": {"carol"},
    "/home/alice/notes.txt": {"alice"},
    "/home/bob/notes.txt": {"bob"},
    "/home/carol/notes.txt": {"carol"},
    "/media/big.bin": {"alice", "bob", "carol"},
}

# What a visit shows, in this order; the second one is left logged in.
PAGES = {
    "start": "/",
    "login": "/staff/handbook.txt",
    "start alice": "/",
    "whoami": "/authgate/whoami",
    "refused": "/reports/q3.csv",
}


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demonstration."""

    server: servers.Server
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        found = re.search(r"(/\S+/authgate-demo-\S+)", self.server.text())
        assert found, self.server.text()
        return Path(found[1])

    def get(self, path: str, user: str | None = None, **headers: str) -> httpx.Response:
        auth = (user, f"{user}-demo") if user else None
        return httpx.get(f"{self.origin}{path}", auth=auth, headers=headers, verify=NO_TLS, trust_env=False)


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    # mkdtemp makes it 0700: nginx's workers, another user, cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="ag-clone-"))
    try:
        for name in ("authgate", "deploy"):
            shutil.copytree(servers.PACKAGE_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def demo(clone: Path) -> Iterator[Demo]:
    servers.require("nginx")
    port = servers.free_port()
    command = [sys.executable, "-m", "authgate", "demo", "--port", str(port)]
    with servers.child(command, clone / "output.log", cwd=clone) as server:
        ready = f"authgate: ready http://127.0.0.1:{port}/\n"
        servers.eventually(lambda: ready in server.text(), "the demonstration is ready", server)
        yield Demo(server, port)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def test_clone_is_closed_to_others_and_nginx_is_not_the_owner(clone: Path, demo: Demo) -> None:
    assert clone.stat().st_mode & 0o077 == 0
    if os.geteuid() == 0:
        owners = {
            Path(f"/proc/{worker}").stat().st_uid
            for child in servers.children(demo.server.process.pid)
            if b"nginx" in Path(f"/proc/{child}/cmdline").read_bytes()
            for worker in servers.children(child)
        }
        assert owners
        assert 0 not in owners


@pytest.mark.parametrize("path", MAY)
def test_file_is_for_those_it_is_for(demo: Demo, path: str) -> None:
    statuses = {user: demo.get(path, user, Range="bytes=0-9").status_code for user in (None, *PEOPLE)}

    assert {user for user, status in statuses.items() if status == 206} == MAY[path]
    assert {status for user, status in statuses.items() if user and user not in MAY[path]} <= {403}
    assert statuses[None] in {206, 401}


def test_download_goes_on_where_it_was(demo: Demo, tmp_path: Path) -> None:
    whole = (demo.folder / "site" / "media" / "big.bin").read_bytes()
    assert len(whole) == 64 << 20
    partial = tmp_path / "big.bin"
    partial.write_bytes(whole[: 40 << 20])
    command = [servers.require("curl"), "-fsS", "-u", "bob:bob-demo", "-C", "-", "-o", str(partial)]

    subprocess.run([*command, f"{demo.origin}/media/big.bin"], check=True)

    assert partial.read_bytes() == whole


def test_decisions_are_in_the_access_log(demo: Demo) -> None:
    demo.get("/staff/handbook.txt", "alice")

    log = demo.folder / "logs" / "access.log"
    servers.eventually(lambda: '"user":"alice"' in log.read_text(), "a line about alice")


def test_bob_in_a_browser_may_not_have_what_alice_may(demo: Demo, page: Page) -> None:
    messages = console_messages(page)
    page.goto(demo.origin)
    page.get_by_text("You are not logged in").wait_for()

    page.goto(f"{demo.origin}/staff/handbook.txt")
    log_in(page, "bob")
    assert "You may not open this" in page.inner_text("main")
    assert "bob" in page.inner_text("main")

    page.get_by_role("link", name="Log in as somebody else").click()
    log_in(page, "alice")
    page.goto(f"{demo.origin}/staff/handbook.txt")
    assert page.inner_text("body") == (demo.folder / "site" / "staff" / "handbook.txt").read_text()

    page.goto(demo.origin)
    page.get_by_text("You are alice, in staff.").wait_for()
    page.get_by_role("link", name="Account and log out").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("You are logged out.").wait_for()

    page.goto(f"{demo.origin}/staff/handbook.txt")
    assert page.get_by_label("Password").is_visible()
    # Chromium itself notes each 403 that it shows.
    assert all("403" in message for message in messages), messages


def test_file_opened_before_the_logout_is_not_shown_from_the_browsers_cache(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.origin}/staff/handbook.txt")
    log_in(page, "carol")
    assert "handbook.txt" in page.url
    page.goto(f"{demo.origin}/authgate/whoami")
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("You are logged out.").wait_for()

    page.goto(f"{demo.origin}/staff/handbook.txt")

    assert page.get_by_label("Password").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=[f"{width}x{height}" for width, height in SIZES])
def test_pages_fit_their_window_and_are_accessible(
    demo: Demo, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    width, height = size
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    ) as context:
        page = context.new_page()
        messages = console_messages(page)
        for name, path in PAGES.items():
            page.goto(f"{demo.origin}{path}")
            page.wait_for_load_state("networkidle")
            assert not scrolls_sideways(page), name
            results = Axe().run(page)
            assert results.violations_count == 0, results.generate_report()
            keep_picture(page, f"demo-{name}-{width}x{height}-{scheme}")
            if name == "login":
                log_in(page, "alice")
        # Chromium itself notes the 403.
        assert [message for message in messages if "403" not in message] == []


def test_sigterm_ends_everything_and_leaves_nothing_behind(clone: Path, demo: Demo) -> None:
    """The last test of this module: the demonstration is gone after it."""
    folder, family = demo.folder, demo.server.family()

    demo.server.process.send_signal(signal.SIGTERM)

    assert demo.server.process.wait(servers.DEADLINE) == 0
    assert not folder.exists()
    assert len(family) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in family)
    with pytest.raises(httpx.ConnectError):
        demo.get("/")


def log_in(page: Page, user: str) -> None:
    """Fill in the form."""
    page.get_by_label("Name").fill(user)
    page.get_by_label("Password").fill(f"{user}-demo")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state("networkidle")


def keep_picture(page: Page, name: str) -> None:
    """Save a screenshot where ``AUTHGATE_PICTURES`` says."""
    if folder := os.environ.get("AUTHGATE_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name.replace(' ', '-')}.png", full_page=True)

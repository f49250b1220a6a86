"""Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.servers import require

# Nothing of it may reach out: tests have no network.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# The sizes every page is looked at in: a small phone, a laptop.
SIZES = [(360, 740), (1280, 800)]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium with a fresh profile; skip where there is none, fail where there has to be one (`CI`)."""
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def console_messages(page: Page) -> list[str]:
    """Return a list that fills with what the page writes to the console, uncaught errors included."""
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    return messages


def scrolls_sideways(page: Page) -> bool:
    """Tell whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

"""An image directory beside a Flask application: who is logged in there sees what the application's session says."""

import sqlite3
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from flask import Flask, request, session

from tests import servers
from tests.deploy.house import NO_TLS, OPEN, SECRET, House, Running, Visitor, hidden_fields, inhabited, password
from tests.servers import open_folder
from tests.test_cookbook import recipes

HOST = "shop.example.com"
OLD = tomllib.loads((servers.PACKAGE_ROOT / "tests" / "vectors" / "applications.toml").read_text())
IMAGES = ("harbour.jpg", "storm.jpg", "summit.jpg")

SOURCE = """
[[applications]]
source  = "shop"
kind    = "flask"
secrets = ["shop.secret"]
user    = "_user_id"
groups  = "roles"

[[rules]]
name  = "images"
paths = ["/images/{image}"]
allow = ["group:shop/editors", "via:application & handler:album_rights::may_see"]
"""


def shop() -> Flask:
    """Make an application whose login writes who it is, and what they have bought, into the session."""
    application = Flask("shop")
    application.secret_key = OLD["secret"]

    @application.post("/login")
    def login() -> str:
        session["_user_id"] = request.form["name"]
        session["roles"] = request.form.getlist("role")
        session["albums"] = dict.fromkeys(request.form.getlist("album"), 1)
        return "logged in"

    @application.post("/logout")
    def logout() -> str:
        session.clear()
        return "logged out"

    @application.get("/")
    def index() -> str:
        return f"hello {session.get('_user_id', 'stranger')}"

    return application


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass


@contextmanager
def served(application: Flask) -> Iterator[int]:
    """Serve an application on a port of 127.0.0.1."""
    with make_server("127.0.0.1", 0, application.wsgi_app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass(slots=True)
class Shop:
    """The application, the images, nginx and authgate, running."""

    running: Running

    def browser(self) -> httpx.Client:
        """Return somebody with a browser's cookies."""
        port = self.running.house.http_port
        headers = {**Visitor.NAVIGATION, "Host": f"{HOST}:{port}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, verify=NO_TLS, trust_env=False)

    def login(self, browser: httpx.Client) -> None:
        """Log alice in at authgate itself."""
        form = hidden_fields(browser.get("/authgate/login?again=1").text)
        origin = {"Origin": f"http://{HOST}:{self.running.house.http_port}", "Sec-Fetch-Site": "same-origin"}
        data = {**form, "username": "alice", "password": password("alice")}
        assert browser.post("/authgate/login", data=data, headers=origin).status_code == 303


@pytest.fixture(scope="module")
def site() -> Iterator[Shop]:
    with open_folder() as folder, served(shop()) as port:
        house = House(folder, sites=(HOST,), rules=SOURCE, workers=2)
        house.build()
        (recipe,) = (one for one in recipes() if one.title.startswith("Images by the application's session"))
        for language, text in recipe.blocks:
            if language == "python":
                (folder / "album_rights.py").write_text(text)
            elif language == "sql":
                with sqlite3.connect(folder / "albums.db") as database:
                    database.executescript(text)
                database.close()
        (folder / "shop.secret").write_text(OLD["secret"])
        (folder / "shop.secret").chmod(0o600)
        for image in IMAGES:
            servers.make_file(bytes(house.files / "images" / image), image.encode() + b": " + SECRET)
        block = f"""
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{house.http_port};
            server_name {HOST};
            access_log {house.log} authgate;
            root {house.files};
            location ^~ /images/ {{ include authgate/authgate-protect.conf; }}
            location ^~ /public/ {{ include authgate/authgate-protect.conf; }}
            location ^~ /staff/ {{ include authgate/authgate-protect.conf; }}
            location / {{ proxy_pass http://127.0.0.1:{port}; }}
        }}
        """
        with inhabited(house, block) as running:
            yield Shop(running)


def seen(browser: httpx.Client) -> list[str]:
    """Return the images that a browser gets; what it does not get holds nothing of them."""
    found = []
    for image in IMAGES:
        answer = browser.get(f"/images/{image}")
        if answer.status_code == 200:
            assert answer.content == image.encode() + b": " + SECRET
            found.append(image)
        else:
            assert SECRET not in answer.content
    return found


def test_login_of_the_application_opens_what_its_session_says_until_the_logout(site: Shop) -> None:
    with site.browser() as browser:
        assert browser.get("/").text == "hello stranger"
        assert seen(browser) == []
        first = browser.get("/images/harbour.jpg")
        assert (first.status_code, "/authgate/login" in first.headers["Location"]) == (302, True)

        browser.post("/login", data={"name": "7", "album": ["sea"]})
        assert browser.get("/").text == "hello 7"
        assert seen(browser) == ["harbour.jpg"]
        assert browser.get("/images/storm.jpg").status_code == 403
        browser.post("/login", data={"name": "7", "album": ["sea", "mountains"]})
        assert seen(browser) == ["harbour.jpg", "summit.jpg"]

        browser.post("/logout")
        assert browser.get("/").text == "hello stranger"
        assert seen(browser) == []


def test_group_of_the_application_and_who_is_logged(site: Shop) -> None:
    with site.browser() as browser:
        browser.post("/login", data={"name": "1", "role": ["editors"]})

        line = site.running.logged(lambda: browser.get("/images/storm.jpg"))

        assert seen(browser) == list(IMAGES)
        assert (line["status"], line["user"], line["credential"]) == (200, "shop/1", "application")


def test_name_that_a_local_user_has_is_not_that_user(site: Shop) -> None:
    with site.browser() as browser:
        browser.post("/login", data={"name": "alice", "role": ["staff"]})

        assert browser.get("/staff/handbook.txt").status_code == 403


def test_cookie_that_a_visitor_has_changed_proves_nothing(site: Shop) -> None:
    with site.browser() as browser:
        browser.post("/login", data={"name": "7", "album": ["sea"]})
        value = browser.cookies["session"]
        payload, _, signature = value.partition(".")
        for forged in (f"{payload}x.{signature}", f"{payload}.", value[:-1], f"{value}=", f'"{value}"'):
            browser.cookies.set("session", forged, domain="127.0.0.1", path="/")
            assert seen(browser) == [], forged


# Signed with the application's key, two years ago.
EXPIRED = next(one["value"] for one in OLD["cookies"] if (one["kind"], one["data"]) == ("flask", "login"))
STALE = (EXPIRED, "null", "x" * 3000, "a=b", "")


@pytest.mark.parametrize("stale", STALE, ids=range(len(STALE)))
def test_stale_cookie_of_the_application_logs_nobody_out(site: Shop, stale: str) -> None:
    with site.browser() as browser:
        browser.headers["Cookie"] = f"session={stale}"
        assert OPEN in browser.get("/public/hello.txt").content
        assert browser.get("/staff/handbook.txt").status_code == 302
        assert browser.get("/authgate/login").status_code == 200
        del browser.headers["Cookie"]

        site.login(browser)
        browser.headers["Cookie"] = f"session={stale}; authgate={browser.cookies['authgate']}"

        assert SECRET in browser.get("/staff/handbook.txt").content
        assert "alice" in browser.get("/authgate/whoami").text


def test_session_at_authgate_comes_before_the_one_at_the_application(site: Shop) -> None:
    with site.browser() as browser:
        browser.post("/login", data={"name": "7", "album": ["sea"]})
        site.login(browser)

        assert SECRET in browser.get("/staff/handbook.txt").content
        assert seen(browser) == []

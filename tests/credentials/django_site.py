"""A Django application with its sessions on the server, and how authgate sees it by docs/applications.md.

A program of its own: Django has one configuration for each process, and changes its time zone. Its argument is a
folder with ``shop/settings.py`` and the adapter; it prints who each cookie is about, one line a step.
"""

import asyncio
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from authgate.config import load
from authgate.credentials.applications import FRESH, ApplicationCookie, wanted_by_applications
from authgate.handlers import load_functions

SETTINGS = """
SECRET_KEY = "nobody's"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER + "/shop.db"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "shop.urls"
SESSION_FILE_PATH = FOLDER
USE_TZ = True
"""
URLS = """
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpResponse
from django.urls import path

def cart(request):
    request.session["cart"] = [1, 2]
    return HttpResponse()

urlpatterns = [
    path("login", LoginView.as_view(success_url="/")),
    path("logout", LogoutView.as_view(next_page="/")),
    path("cart", cart),
]
"""


def build(folder: Path, engine: str) -> None:
    """Write the application."""
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    text = f"FOLDER = {str(folder)!r}\nSESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'\n{SETTINGS}"
    (folder / "shop" / "settings.py").write_text(text)
    (folder / "shop" / "urls.py").write_text(URLS)


class Watcher:
    """authgate, with a clock that is moved on by more than an answer counts."""

    def __init__(self, folder: Path) -> None:
        (settings,) = load(folder / "authgate.toml").sources.applications
        code = load_functions(wanted_by_applications([settings]), folder)
        self.now = time.time()
        self.cookie = ApplicationCookie(settings, lambda: self.now, code.functions[settings.function])
        self.cookie.load()

    async def tell(self, step: str, value: str) -> None:
        """Print who the cookie is about."""
        self.now += FRESH + 1
        identity = await self.cookie.verify(value)
        subject = identity.subject
        groups = sorted(subject.groups) if subject and subject.groups is not None else None
        found = [subject.id if subject else None, groups, identity.failure, identity.session.get("cart")]
        print(json.dumps([step, *found]))  # noqa: T201


async def scenario(folder: Path, application: Any) -> None:
    """Log in, out and in again, change the password, close the account."""
    watcher = Watcher(folder)
    client, models = application

    def key() -> str:
        return str(client.cookies["sessionid"].value)

    alice = await asyncio.to_thread(models.User.objects.create_user, "alice", password="wonderland")
    staff = await asyncio.to_thread(models.Group.objects.create, name="staff")
    await asyncio.to_thread(alice.groups.add, staff)
    await asyncio.to_thread(client.get, "/cart")
    before = key()
    await watcher.tell("a visitor", before)

    async def login(password: str) -> None:
        client.cookies.clear()
        await asyncio.to_thread(client.get, "/cart")
        await asyncio.to_thread(client.post, "/login", {"username": "alice", "password": password})

    await login("wonderland")
    first = key()
    await watcher.tell("logged in", first)
    await asyncio.to_thread(client.post, "/logout")
    await watcher.tell("logged out", first)
    await login("wonderland")
    await watcher.tell("logged in again", key())
    alice.set_password("looking-glass")
    await asyncio.to_thread(alice.save)
    await watcher.tell("another password", key())
    await login("looking-glass")
    await watcher.tell("with that", key())
    alice.is_active = False
    await asyncio.to_thread(alice.save)
    await watcher.tell("account closed", key())
    for value in ("a" * 32, "../../etc/passwd", "x", "A" * 32, "%s" * 16):
        await watcher.tell("made up", value)
    watcher.cookie.close()


def main() -> None:
    """Run everything."""
    folder = Path(sys.argv[1])
    sys.path.append(str(folder))
    # The adapter sets Django up, as it does in a worker.
    import_module("django_sessions")
    call_command = import_module("django.core.management").call_command
    call_command("migrate", verbosity=0)
    client = import_module("django.test").Client(SERVER_NAME="localhost")
    asyncio.run(scenario(folder, (client, import_module("django.contrib.auth.models"))))


if __name__ == "__main__":
    main()

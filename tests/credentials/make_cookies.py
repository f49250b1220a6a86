"""Session cookies as the real libraries make them, whichever versions this Python has; a program of its own.

Reads ``{"library": ..., "moment": ..., "secrets": [...], "data": ..., "salt": ..., "digest": ...}``, one JSON object a
line, and writes the versions and then one value a line. The oldest of the tests' cookies in
``tests/vectors/applications.toml`` were made by it too, in an environment of their time::

    python -m venv old && old/bin/pip install flask==2.3.3 itsdangerous==2.1.2 django==4.2.8 starlette==0.33.0
    old/bin/python -m tests.credentials.make_cookies < specifications
"""

import asyncio
import hashlib
import json
import sys
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any
from uuid import UUID

SHOP = {"_user_id": "7", "_fresh": True, "roles": ["staff", "editors"], "albums": {"harbour": 2}}
DATA: dict[str, dict[str, Any]] = {
    "login": SHOP,
    "nobody": {"cart": [1, 2]},
    "long": {**SHOP, "cart": [f"article {number}" for number in range(200)]},
    "django": {
        "_auth_user_id": "7",
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": "0" * 64,
    },
}


def flask(specification: dict[str, Any]) -> str:
    """Return what a Flask application sets, and with which it finds the session again."""
    from flask import Flask  # noqa: PLC0415 - one of the three may be missing
    from flask.sessions import SecureCookieSessionInterface  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    class Interface(SecureCookieSessionInterface):
        salt = specification.get("salt", SecureCookieSessionInterface.salt)
        digest_method = staticmethod(getattr(hashlib, specification.get("digest", "sha1")))

    application = Flask("shop")
    application.secret_key = specification["secrets"][0]
    serializer = Interface().get_signing_serializer(application)
    if serializer is None:
        raise LookupError("no secret key")
    tagged = {
        "_user_id": "7",
        "tuple": (1, [2]),
        "bytes": b"\x00\xff",
        "markup": Markup("<b>"),
        "uuid": UUID(int=7),
        "moment": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        "looks like a tag": {" t": [1]},
        "looks twice like one": {" di": {" b": "x"}},
        "two": {" t": 1, " b": 2},
        "no tag": {" x": 1},
    }
    return str(serializer.dumps(tagged if specification["data"] == "tagged" else DATA[specification["data"]]))


def starlette(specification: dict[str, Any]) -> str:
    """Return what Starlette's SessionMiddleware sets."""
    from starlette.middleware.sessions import SessionMiddleware  # noqa: PLC0415

    headers: list[tuple[bytes, bytes]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].update(DATA[specification["data"]])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        headers.extend(message["headers"])

    scope = {"type": "http", "headers": [], "path": "/", "method": "GET", "query_string": b""}
    asyncio.run(SessionMiddleware(application, specification["secrets"][0])(scope, receive, send))
    (cookie,) = (value.decode() for name, value in headers if name.lower() == b"set-cookie")
    return cookie.partition(";")[0].removeprefix("session=")


def django(specification: dict[str, Any]) -> str:
    """Return the key of a session of Django's backend ``signed_cookies``, which is the cookie's value."""
    from django.conf import settings  # type: ignore[import-untyped]  # noqa: PLC0415
    from django.core import signing  # type: ignore[import-untyped]  # noqa: PLC0415

    if not settings.configured:
        settings.configure(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
    settings.SECRET_KEY = specification["secrets"][0]
    from django.contrib.sessions.backends.signed_cookies import (  # type: ignore[import-untyped]  # noqa: PLC0415
        SessionStore,
    )

    made = signing.Signer.__init__

    def with_digest(self: Any, **arguments: Any) -> None:
        made(self, **{**arguments, "algorithm": specification.get("digest")})

    # There is no setting for it any more.
    signing.Signer.__init__ = with_digest
    try:
        data = DATA[specification["data"]]
        if "salt" in specification:
            return str(signing.dumps(data, salt=specification["salt"], compress=True))
        store = SessionStore()
        store.update(data)
        store.save()
        return str(store.session_key)
    finally:
        signing.Signer.__init__ = made


MAKERS = {"flask": flask, "starlette": starlette, "django": django}


def main() -> None:
    """Make what is asked for."""
    print(json.dumps({name: version(name) for name in ("flask", "itsdangerous", "starlette", "django")}))  # noqa: T201
    for line in sys.stdin:
        specification = json.loads(line)
        # All three ask it for the moment of signing.
        time.time = partial(float, specification["moment"])
        print(MAKERS[specification["library"]](specification))  # noqa: T201


if __name__ == "__main__":
    main()

"""Reading a form and believing it: bounded, strictly parsed, and sent from this site's own page.

Three independent signs are asked for (cross-site request forgery): where the browser says the form came from, twice
(``Origin``, ``Sec-Fetch-Site``), and a token that only our own page could have put into it.
"""

import re
import secrets
from collections.abc import Mapping
from hmac import compare_digest
from urllib.parse import parse_qsl

from starlette.requests import Request

from authgate.errors import AuthgateError
from authgate.web.visit import Visit

MAX_BYTES = 64 * 1024
MAX_FIELDS = 16

# As `secrets.token_urlsafe(32)` makes it.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class FormRefused(AuthgateError):
    """A form that cannot be read or believed; `status`, `title` and the message are shown to the person."""

    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.title = title


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        FormRefused: when it is too large, of another type, malformed, or names a field twice.
    """
    types = request.headers.getlist("content-type")
    kind = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""
    if kind != "application/x-www-form-urlencoded" or "content-encoding" in request.headers:
        raise FormRefused(415, "Not a form", "This address reads application/x-www-form-urlencoded only.")
    body = await _bounded_body(request)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise FormRefused(400, "Form not understood", "The form that was sent is malformed.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormRefused(400, "Form not understood", "The form names one of its fields twice.")
    return fields


async def _bounded_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        # Counted rather than believed: Content-Length is missing from a chunked body.
        if len(body) > MAX_BYTES:
            raise FormRefused(413, "Form too large", "The form that was sent is larger than 64 KiB.")
    return bytes(body)


def check_origin(visit: Visit) -> None:
    """Refuse a form that another site made the browser send.

    Raises:
        FormRefused: when `Origin` or `Sec-Fetch-Site` is there and names anything but this site.
    """
    headers = visit.request.headers
    # "null" (a sandboxed frame, a redirect from elsewhere) equals no origin. Programs send neither header; the token
    # has to hold for them.
    origins = headers.getlist("origin")
    fetch_sites = headers.getlist("sec-fetch-site")
    if origins not in ([], [visit.site.origin]) or fetch_sites not in ([], ["same-origin"]):
        raise FormRefused(403, "Form from elsewhere", "Your browser says that another site sent this form.")


def login_token(visit: Visit) -> str:
    """Return a login form's token: the one this browser already holds, so that several tabs work, or a new one."""
    values = visit.cookie_values(form_cookie(visit))
    if len(values) == 1 and _TOKEN.fullmatch(values[0]):
        return values[0]
    return secrets.token_urlsafe(32)


def check_login_token(visit: Visit, form: Mapping[str, str]) -> str:
    """Return the token of a login form that carries the one of its cookie.

    Raises:
        FormRefused: when either is missing, malformed, sent twice, or they differ.
    """
    values = visit.cookie_values(form_cookie(visit))
    if len(values) != 1 or not _TOKEN.fullmatch(values[0]) or not _same(form.get("token", ""), values[0]):
        raise FormRefused(
            403,
            "Form out of date",
            "The form does not belong to this browser session. Open it again and repeat; cookies have to be allowed.",
        )
    return values[0]


def own_value(form: Mapping[str, str], candidates: Mapping[str, str]) -> str:
    """Return the session cookie that a form was made for.

    Args:
        candidates: the cookies the client sent, by the token that their forms carry.

    Raises:
        FormRefused: when the form's token belongs to none of them.
    """
    for token, value in candidates.items():
        if _same(form.get("token", ""), token):
            return value
    raise FormRefused(403, "Form out of date", "You have logged in or out since this page was opened. Open it again.")


def form_cookie(visit: Visit) -> str:
    """Name of the cookie that holds the login form's token; the prefix keeps sibling hosts from setting it."""
    return "__Host-authgate-form" if visit.site.scheme == "https" else "authgate-form"


def _same(given: str, expected: str) -> bool:
    # As bytes: compare_digest raises TypeError for text that is not ASCII.
    return compare_digest(given.encode(), expected.encode())

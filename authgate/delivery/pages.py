"""What a person or a program gets in place of a file. Unlike behind `auth_request`, each status passes as it is."""

import string
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.model import Reason, Site
from authgate.networks import parse_host
from authgate.pdp import Answer
from authgate.protocols.subrequest import Fields
from authgate.stores import Clock
from authgate.web.refused import Refused
from authgate.web.rendering import page, text_answer
from authgate.web.visit import Visit
from authgate.web.wording import REFUSALS, RETRY_AFTER

# A name of 253 bytes (RFC 1035), a final dot, a port.
_MAX_HOST = 300


class Pages:
    """The answers of the listener that are no file. Each names its decision, for the web server's log."""

    def __init__(self, settings: Settings, credentials: Credentials, clock: Clock) -> None:
        self._realm = settings.realm
        self._sites = {site.host: site for site in settings.sites}
        self._refused = Refused(settings, credentials, clock)

    async def refused(self, given: Answer, fields: Fields) -> Response:
        """Say why; or that a decision allows what there is no file for."""
        reason, site = given.decision.reason, self._site(fields)
        if site is None:
            # RFC 9110 section 15.5.20, "Misdirected Request": a host that is not looked after here.
            status = 421 if reason is Reason.UNKNOWN_HOST else 403
            return _numbered(given, text_answer(f"{status} {REFUSALS[reason]} (decision {given.id})", status=status))
        # Instead of what a client may have sent by these names.
        said = {**fields, b"x-authgate-decision": given.id.encode(), b"x-authgate-reason": reason.encode()}
        return _numbered(given, await self._refused.show(_visit(said, site)))

    def to_the_login(self, given: Answer, location: str) -> Response:
        """Lead a browser to the login."""
        return _numbered(given, Response(status_code=302, headers={"location": location}))

    def login_wanted(self, given: Answer, challenge: str) -> Response:
        """Tell a program that it has to say who it is."""
        line = f"401 {REFUSALS[given.decision.reason]} (decision {given.id})"
        return _numbered(given, text_answer(line, status=401, headers={"www-authenticate": challenge}))

    def moved(self, given: Answer, site: Site, path: str, query: str) -> Response:
        """Lead to another path of the same site."""
        rest = f"?{quote(query.encode('latin-1'), safe=string.punctuation)}" if query else ""
        return _numbered(given, Response(status_code=301, headers={"location": site.origin + quote(path) + rest}))

    def missing(self, given: Answer, fields: Fields) -> Response:
        """Tell whoever may have it that there is no such file."""
        return self._problem(given, fields, 404, "Not found", "There is nothing at this address.")

    def wrong_method(self, given: Answer, fields: Fields) -> Response:
        """Say that files can only be read here."""
        response = self._problem(given, fields, 405, "Not possible here", "Files can only be read at this address.")
        response.headers["allow"] = "GET, HEAD"
        return response

    def unavailable(self, given: Answer, fields: Fields) -> Response:
        """Say that the files are away."""
        words = "The files of this address cannot be read at this moment. Try again in a few seconds."
        response = self._problem(given, fields, 503, "Not possible just now", words)
        response.headers["retry-after"] = str(RETRY_AFTER)
        return response

    def _problem(self, given: Answer, fields: Fields, status: int, title: str, words: str) -> Response:
        site = self._site(fields)
        visit = _visit(fields, site) if site else None
        if visit is not None and visit.wants == "html":
            values = {"heading": title, "words": words}
            return _numbered(given, page("problem.html", visit, realm=self._realm, status=status, **values))
        return _numbered(given, text_answer(f"{status} {words}", status=status))

    def _site(self, fields: Fields) -> Site | None:
        host = fields.get(b"x-authgate-host", b"")
        return self._sites.get(parse_host(host.decode("latin-1"))) if len(host) <= _MAX_HOST else None


def _visit(fields: Fields, site: Site) -> Visit:
    scope: dict[str, Any] = {"type": "http", "headers": list(fields.items())}
    return Visit(Request(scope), site)


def _numbered(given: Answer, response: Response) -> Response:
    response.headers["x-authgate-decision"] = given.id
    return response

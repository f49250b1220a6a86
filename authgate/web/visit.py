"""One request to the pages: which site it is for and what it carries.

Host and scheme come only from ``X-Authgate-*``, which the web server sets: ``Host`` is what a client wrote.
"""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from authgate import cookies
from authgate.config import Settings
from authgate.credentials import Presented
from authgate.credentials.certificate import sent_certificate
from authgate.errors import Busy, SiteFunctionFailed, StoreUnavailable, TooManyAttempts
from authgate.model import Identity, Reason, Site, Subject
from authgate.networks import Address, parse_address, parse_host

# Seconds after which it is worth asking again who somebody is whose client has to wait.
_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Visit:
    """A request whose site is known."""

    request: Request
    site: Site

    @property
    def presented(self) -> Presented:
        """The credentials as the client sent them."""
        headers = self.request.headers
        # Several Cookie fields are one list (RFC 9113 section 8.2.3). Several Authorization fields are not one
        # credential: joined they are none that verifies. The same for what is said of a certificate.
        authorization, verified, subject, pem = (
            ", ".join(headers.getlist(name))
            for name in (
                "authorization",
                "x-authgate-certificate-verify",
                "x-authgate-certificate-subject",
                "x-authgate-certificate",
            )
        )
        return Presented(
            "; ".join(headers.getlist("cookie")),
            authorization,
            address=self.address,
            certificate=sent_certificate(verified, subject, pem),
        )

    @property
    def address(self) -> Address | None:
        """The client's, as the web server knows it; None when it does not say."""
        values = self.request.headers.getlist("x-authgate-client")
        return parse_address(values[0]) if len(values) == 1 else None

    def cookie_values(self, name: str) -> list[str]:
        """Return every value the client sent under `name`."""
        return cookies.values(self.presented.cookie, name)

    @property
    def wants(self) -> str:
        """What the client prefers to read: ``html``, ``json`` or, when it named neither, ``text``."""
        return preferred(",".join(self.request.headers.getlist("accept")))


def visit_of(request: Request, settings: Settings) -> Visit:
    """Find the site of a request.

    Raises:
        HTTPException: 400 when the web server did not say host and scheme once each, 421 for a site nobody configured.
    """
    host, scheme = (_only(request, name) for name in ("x-authgate-host", "x-authgate-scheme"))
    site = settings.site(parse_host(host))
    # RFC 9110 section 7.4: an origin is its scheme too. A Secure cookie would not survive on http, and a password
    # typed there has already been read by others.
    if site is None or site.scheme != scheme.lower():
        raise HTTPException(421, "this site is not configured here")
    return Visit(request, site)


def known_subject(identity: Identity) -> Subject:
    """Return who asks, anonymous included.

    Raises:
        AuthgateError: when that cannot be known now: Busy, TooManyAttempts, SiteFunctionFailed or StoreUnavailable.
    """
    if identity.subject is not None:
        return identity.subject
    if identity.failure is Reason.BUSY:
        raise Busy
    if identity.failure is Reason.TOO_MANY_ATTEMPTS:
        raise TooManyAttempts(_WAIT)
    if identity.failure is Reason.HANDLER_ERROR:
        raise SiteFunctionFailed
    raise StoreUnavailable


def _only(request: Request, name: str) -> str:
    values = request.headers.getlist(name)
    if len(values) != 1 or not values[0]:
        raise HTTPException(400, f"the web server has to send {name} exactly once")
    return values[0]


def preferred(accept: str) -> str:
    """Tell from an ``Accept`` field (RFC 9110 section 12.5.1) whether ``html``, ``json`` or neither was asked for."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    html, json = weights.values()
    if not html and not json:
        return "text"
    return "html" if html >= json else "json"


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            digits = parameter[2:]
            # "1", "0.5": at most three decimals; anything else was not meant to be believed.
            return float(digits) if digits.replace(".", "", 1).isdecimal() and digits.isascii() else 0.0
    return 1.0

"""From a request to the headers that make the web server send a file, or to what is said instead."""

import logging
import os

from starlette.responses import Response

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.delivery.files import Found, look
from authgate.delivery.headers import Header, content_disposition, sending
from authgate.delivery.pages import Pages
from authgate.model import AccessRequest, Outcome, Reason
from authgate.paths import is_plain_target
from authgate.pdp import Answer, Pdp
from authgate.policy.delivery import Delivery
from authgate.protocols.subrequest import Fields, login_headers, presented, user_header
from authgate.stores import Clock

log = logging.getLogger("authgate")

_INDEX = "index.html"
_DELIVERED = frozenset({"GET", "HEAD"})


class Desk:
    """Decides about requests, and finds the files of those that may pass."""

    def __init__(self, settings: Settings, pdp: Pdp, credentials: Credentials, clock: Clock) -> None:
        self._pdp = pdp
        self._pages = Pages(settings, credentials, clock)
        self._challenge = f'Basic realm="{settings.realm}", charset="UTF-8"'.encode()
        self._deliveries = {rule.name: rule.deliver for rule in pdp.policy.rules if rule.deliver is not None}
        self._complained: set[str] = set()

    async def answer(self, request: AccessRequest | Reason, fields: Fields) -> Response | list[Header]:
        """Return the headers of the answer that stands for a file, or an answer that is none."""
        if isinstance(request, Reason):
            return await self._pages.refused(self._pdp.refuse(request), fields)
        if not is_plain_target(fields[b"x-authgate-uri"].decode("latin-1")):
            return await self._pages.refused(self._pdp.refuse(Reason.AMBIGUOUS_PATH, request), fields)
        shown = presented(fields, request.address)
        given = self._pdp.evaluate_at_once(request, shown) or await self._pdp.evaluate(request, shown)
        if not given.decision.allowed:
            return await self._refused(given, request, fields)
        delivery = self._deliveries.get(given.decision.rule)
        if delivery is None:
            self._complain(given.decision.rule)
            return await self._pages.refused(given, fields)
        if request.method not in _DELIVERED:
            return self._pages.wrong_method(given, fields)
        try:
            found = _find(delivery, request.path)
        except OSError as error:
            log.warning("%s cannot be looked at: %s", delivery.root, (error.strerror or str(error)).lower())
            return self._pages.unavailable(given, fields)
        if found is None:
            return self._pages.missing(given, fields)
        if not found.is_folder:
            headers = self._sent(given, delivery, found, request.path)
            return self._pages.missing(given, fields) if headers is None else headers
        if not request.path.endswith("/"):
            # Else the links of the page would lead elsewhere.
            return self._pages.moved(given, self._pdp.sites[request.host], request.path + "/", request.query)
        return await self.answer(request._replace(path=request.path + _INDEX), fields)

    async def _refused(self, given: Answer, request: AccessRequest, fields: Fields) -> Response:
        if given.decision.outcome is not Outcome.LOGIN:
            return await self._pages.refused(given, fields)
        headers = dict(login_headers(fields, self._pdp, request, self._challenge))
        location = headers.get(b"location")
        if location is not None:
            return self._pages.to_the_login(given, location.decode("ascii"))
        return self._pages.login_wanted(given, headers[b"www-authenticate"].decode("latin-1"))

    def _complain(self, rule: str) -> None:
        if rule not in self._complained:
            self._complained.add(rule)
            hint = 'write deliver = { root = "/srv/files" } in it, or take its paths from the listener deliver'
            log.warning('rule "%s" admits, and there is nothing to send\nhint: %s', rule, hint)

    def _sent(self, given: Answer, delivery: Delivery, found: Found, path: str) -> list[Header] | None:
        """Return what makes the web server send a file; None when its name cannot be told to it."""
        headers = sending(delivery, found.inside)
        if headers is None:
            log.warning("%r below %s: no header can hold this name", os.fsdecode(found.inside), delivery.root)
            return None
        headers += [
            (b"cache-control", given.decision.cache.encode()),
            (b"x-authgate-decision", given.id.encode()),
            (b"content-length", b"0"),
        ]
        subject = given.decision.identity.subject
        if subject is not None and not subject.is_anonymous:
            # For the web server's log. nginx drops it; deploy/apache takes it away from what clients get.
            headers.append(user_header(subject))
        if delivery.disposition:
            name = path.rpartition("/")[2]
            headers.append((b"content-disposition", content_disposition(delivery.disposition, name)))
        if not delivery.internal and path.endswith(f"/{_INDEX}"):
            # Apache takes the type from the name in the address, and a folder's has none.
            headers.append((b"content-type", b"text/html"))
        return headers


def _find(delivery: Delivery, path: str) -> Found | None:
    """Return the file, or the folder if it has an index page; None when there is nothing to send."""
    root = delivery.root.encode()
    found = look(root, path)
    if found is None or not found.is_folder:
        return found
    index = look(root, f"{path.rstrip('/')}/{_INDEX}")
    return None if index is None or index.is_folder else found

"""What a person sees in place of a 403: why, in words, and the number under which the operator finds it.

The web server redirects here internally after a refusal and hands on what the decision said. Names of rules and what
stands in them stay out of the page: they would tell a stranger what to try next.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.model import Identity, Reason
from authgate.stores import Clock
from authgate.web.rendering import json_answer, page, text_answer
from authgate.web.visit import Visit
from authgate.web.wording import LINK_REFUSALS, REFUSALS, TEMPORARY, UNKNOWN_REFUSAL

# A decision's id: the node and a number (`authgate.pdp`).
_DECISION = re.compile(r"[a-z0-9]{1,16}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Refused:
    """The page behind ``error_page 403``."""

    settings: Settings
    credentials: Credentials
    clock: Clock

    async def show(self, visit: Visit) -> Response:
        """Explain a refusal, whichever method was refused."""
        decision = _only(visit.request, "x-authgate-decision")
        if _DECISION.fullmatch(decision) is None:
            decision = "unknown"
        reason = _reason(visit.request)
        wait = TEMPORARY.get(reason) if reason else None
        status = 503 if wait else 403
        words = LINK_REFUSALS.get(reason, REFUSALS[reason]) if reason else UNKNOWN_REFUSAL
        if visit.wants == "html":
            response = await self._page(visit, status, words, decision)
        elif visit.wants == "json":
            name = reason.value if reason else "unknown"
            response = json_answer({"error": "refused", "reason": name, "decision": decision}, status=status)
        else:
            response = text_answer(f"{status} {words} (decision {decision})", status=status)
        if wait:
            response.headers["retry-after"] = str(wait)
        return response

    async def _page(self, visit: Visit, status: int, words: str, decision: str) -> Response:
        identity = await self._identity(visit) if status == 403 else None
        return page(
            "refused.html",
            visit,
            realm=self.settings.realm,
            status=status,
            temporary=status == 503,
            words=words,
            decision=decision,
            user=identity.subject.id if identity and identity.subject else "",
            identity_known=identity is not None and identity.subject is not None,
            time=datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        )

    async def _identity(self, visit: Visit) -> Identity | None:
        """Return who asks, as far as that costs no password hash: a refusal can be had without any login."""
        known = self.credentials.peek(visit.presented, visit.site)
        if known is None and not visit.presented.authorization:
            return await self.credentials.verify(visit.presented, visit.site)
        return known


def _reason(request: Request) -> Reason | None:
    try:
        return Reason(_only(request, "x-authgate-reason"))
    except ValueError:
        return None


def _only(request: Request, name: str) -> str:
    values = request.headers.getlist(name)
    return values[0] if len(values) == 1 else ""

"""The policy decision point: verify, decide, fetch what is missing, decide again. Every door calls this."""

import asyncio
import logging
from random import getrandbits
from typing import NamedTuple

from authgate.credentials import Credentials, Presented
from authgate.engine import decide
from authgate.model import AccessRequest, CredentialKind, Decision, Facts, Identity, Need, Outcome, Reason, Site
from authgate.policy import Policy

log = logging.getLogger("authgate")

# nginx waits 2 s for an answer (proxy_read_timeout in deploy/nginx); a late answer is a 500 for the client.
DECISION_DEADLINE = 1.5


class Answer(NamedTuple):
    """A decision that was given.

    Args:
        id: names this decision to people and in logs; 16 hex digits.
    """

    id: str
    decision: Decision


class Pdp:
    """Decides access requests with one policy."""

    def __init__(self, policy: Policy, sites: tuple[Site, ...], credentials: Credentials) -> None:
        self.policy = policy
        self.sites = {site.host: site for site in sites}
        self._credentials = credentials

    async def evaluate(self, request: AccessRequest, presented: Presented) -> Answer:
        """Decide `request`; never raises."""
        try:
            site = self.sites.get(request.host)
            # What is known without waiting is handed over at once: that costs less than a first decision whose only
            # outcome is that it is needed.
            known = self._credentials.peek(presented, site) if site else None
            decision = decide(self.policy, request, Facts(known))
            if decision is Need.IDENTITY and site:
                decision = decide(self.policy, request, Facts(await self._identify(site, presented)))
            if isinstance(decision, Decision):
                return answer(decision)
            log.error("decide() asks again for %s", decision.value)
        except Exception:
            log.exception("a decision failed")
        return answer(Decision(Outcome.REFUSE, Reason.HANDLER_ERROR))

    async def _identify(self, site: Site, presented: Presented) -> Identity:
        try:
            async with asyncio.timeout(DECISION_DEADLINE):
                return await self._credentials.verify(presented, site)
        except TimeoutError:
            return Identity(None, CredentialKind.NONE, Reason.BUSY)


def answer(decision: Decision) -> Answer:
    """Give a decision its id."""
    # Tells decisions apart, proves nothing: it need not be hard to guess.
    return Answer(f"{getrandbits(64):016x}", decision)

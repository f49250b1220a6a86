"""The policy decision point: verify, decide, fetch what is missing, decide again. Every door calls this."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import getrandbits
from typing import NamedTuple

from authgate.credentials import Credentials, Presented
from authgate.engine import Witness, decide
from authgate.errors import AuthgateError
from authgate.handlers import Handlers
from authgate.model import ANONYMOUS, NOBODY, AccessRequest, Decision, Facts, Need, Outcome, Reason, Site
from authgate.policy import Policy

log = logging.getLogger("authgate")

# nginx waits 2 s for an answer (proxy_read_timeout in deploy/nginx); a late answer is a 500 for the client.
DECISION_DEADLINE = 1.5

# More than any sane rule asks; a decision always ends.
MAX_FACTS = 64


Fetch = Callable[[Need, Facts], Awaitable[Facts]]


class Answer(NamedTuple):
    """A decision that was given.

    Args:
        id: names this decision to people and in logs; 16 hex digits.
    """

    id: str
    decision: Decision


class Pdp:
    """Decides access requests with one policy."""

    def __init__(
        self, policy: Policy, sites: tuple[Site, ...], credentials: Credentials, handlers: Handlers | None = None
    ) -> None:
        self.policy = policy
        self.sites = {site.host: site for site in sites}
        self._credentials = credentials
        self._handlers = handlers or Handlers({})

    def evaluate_at_once(self, request: AccessRequest, presented: Presented) -> Answer | None:
        """Decide `request` from memory, without the price of a coroutine; None: `evaluate` has to do it."""
        try:
            decision = decide(self.policy, request, self._known(request, presented))
        except Exception:
            log.exception("a decision failed")
            return answer(Decision(Outcome.REFUSE, Reason.HANDLER_ERROR))
        return answer(decision) if isinstance(decision, Decision) else None

    async def evaluate(self, request: AccessRequest, presented: Presented) -> Answer:
        """Decide `request`, fetching one fact after the other while there is time; never raises."""
        late = Reason.BUSY

        async def fetch(need: Need, facts: Facts) -> Facts:
            nonlocal late
            if need.call is None:
                identity = await self._credentials.verify(presented, self.sites[request.host])
                return facts._replace(identity=identity)
            late = Reason.HANDLER_ERROR
            return await ask_handler(self._handlers, need, request, facts)

        try:
            async with asyncio.timeout(DECISION_DEADLINE):
                return answer(await settle(self.policy, request, self._known(request, presented), fetch))
        except TimeoutError:
            log.warning("a decision took over %s s: %s", DECISION_DEADLINE, late)
            return answer(Decision(Outcome.REFUSE, late))
        except Exception:
            log.exception("a decision failed")
            return answer(Decision(Outcome.REFUSE, Reason.HANDLER_ERROR))

    def _known(self, request: AccessRequest, presented: Presented) -> Facts:
        # What is known without waiting is handed over at once: that costs less than a first decision whose only
        # outcome is that it is needed.
        site = self.sites.get(request.host)
        return Facts(self._credentials.peek(presented, site) if site else None)


async def settle(
    policy: Policy, request: AccessRequest, facts: Facts, fetch: Fetch, witness: Witness | None = None
) -> Decision:
    """Decide, fetching what is needed until nothing is.

    Args:
        witness: see `decide`; told anew each time the rules are looked at.

    Raises:
        AuthgateError: a rule needs more facts than any may.
    """
    for _ in range(MAX_FACTS):
        decided = decide(policy, request, facts, witness)
        if isinstance(decided, Decision):
            return decided
        facts = await fetch(decided, facts)
    raise AuthgateError(f"a decision needs over {MAX_FACTS} facts")


async def ask_handler(handlers: Handlers, need: Need, request: AccessRequest, facts: Facts) -> Facts:
    """Return the facts with what a handler said added to them; `need` names one."""
    if need.call is None:
        return facts
    subject = (facts.identity or NOBODY).subject or ANONYMOUS
    said = await handlers.ask(need, request._replace(subject=subject))
    return facts._replace(answers={**facts.answers, need.call: said})


def answer(decision: Decision) -> Answer:
    """Give a decision its id."""
    # Tells decisions apart, proves nothing: it need not be hard to guess.
    return Answer(getrandbits(64).to_bytes(8).hex(), decision)

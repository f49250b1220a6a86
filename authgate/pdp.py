"""The policy decision point: verify, decide, fetch what is missing, decide again, note it. Every door calls this."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import getrandbits
from time import monotonic
from typing import NamedTuple

from authgate.credentials import Credentials, Presented
from authgate.credentials.links import Links
from authgate.engine import Witness, decide
from authgate.errors import AuthgateError
from authgate.handlers import Handlers
from authgate.model import ANONYMOUS, NOBODY, AccessRequest, Decision, Facts, Identity, Need, Outcome, Reason, Site, Use
from authgate.observe.audit import Audit
from authgate.observe.metrics import Counts
from authgate.policy import Policy

log = logging.getLogger("authgate")

# nginx waits 2 s for an answer (proxy_read_timeout in deploy/nginx); a late answer is a 500 for the client.
DECISION_DEADLINE = 1.5

# More than any sane rule asks; a decision always ends.
MAX_FACTS = 64

NO_FACTS = Facts()
_FAILED = Decision(Outcome.REFUSE, Reason.HANDLER_ERROR)

Fetch = Callable[[Need, Facts], Awaitable[Facts]]


class Answer(NamedTuple):
    """A decision that was given.

    Args:
        id: names this decision to people and in logs: the node, and 12 hex digits.
    """

    id: str
    decision: Decision


class Pdp:
    """Decides access requests with one policy.

    Args:
        node: at the head of every decision's id.
        deadline: seconds that a decision may take; None: DECISION_DEADLINE.
        counts: None: nobody asks for figures.
        audit: None: nothing is written down.
        links: None: nothing is known of signed links.
    """

    def __init__(
        self,
        policy: Policy,
        sites: tuple[Site, ...],
        credentials: Credentials,
        handlers: Handlers | None = None,
        *,
        node: str = "",
        deadline: float | None = None,
        counts: Counts | None = None,
        audit: Audit | None = None,
        links: Links | None = None,
    ) -> None:
        self.policy = policy
        self.sites = {site.host: site for site in sites}
        self._credentials = credentials
        self._handlers = handlers or Handlers({})
        self._node = f"{node}-" if node else ""
        self._deadline = deadline
        self._counts = counts
        self._audit = audit
        self._links = links if policy.asks_link else None

    def evaluate_at_once(
        self, request: AccessRequest, presented: Presented, *, identity_wanted: bool = False
    ) -> Answer | None:
        """Decide `request` from memory, without the price of a coroutine; None: `evaluate` has to do it.

        Args:
            identity_wanted: whoever is behind the web server wants to know who asks, though no rule may.
        """
        facts = NO_FACTS
        try:
            facts = self._known(request, presented)
            decision = decide(self.policy, request, facts)
        except Exception:
            log.exception("a decision failed")
            return self._give(_FAILED, request, facts)
        if not isinstance(decision, Decision):
            return None
        if identity_wanted and decision.allowed:
            if facts.identity is None:
                return None
            if decision.identity is not facts.identity:
                decision = decision._replace(identity=facts.identity)
        return self._give(decision, request, facts)

    async def evaluate(self, request: AccessRequest, presented: Presented, *, identity_wanted: bool = False) -> Answer:
        """Decide `request`, fetching one fact after the other while there is time; never raises.

        Args:
            identity_wanted: as in `evaluate_at_once`.
        """
        late = Reason.BUSY
        facts = NO_FACTS
        decision: Decision | None = None
        began = monotonic()

        async def fetch(need: Need, known: Facts) -> Facts:
            nonlocal facts, late
            if need.use:
                facts = known._replace(use=await self._use(request, known))
            elif need.call is None:
                facts = known._replace(identity=await self._verify(request, presented))
            else:
                late = Reason.HANDLER_ERROR
                facts = await ask_handler(self._handlers, need, request, known)
            return facts

        deadline = self._deadline or DECISION_DEADLINE
        try:
            async with asyncio.timeout(deadline):
                facts = self._known(request, presented)
                decision = await settle(self.policy, request, facts, fetch)
                if identity_wanted and decision.allowed:
                    facts = facts._replace(identity=facts.identity or await self._verify(request, presented))
                    decision = decision._replace(identity=facts.identity or NOBODY)
        except TimeoutError:
            log.warning("a decision took over %s s: %s", deadline, late)
            # What was allowed to anybody stays so when it takes too long to find out who asks.
            decision = decision or Decision(Outcome.REFUSE, late)
        except Exception:
            log.exception("a decision failed")
            decision = _FAILED
        if self._counts is not None:
            self._counts.waited(monotonic() - began)
        return self._give(decision, request, facts)

    def refuse(self, reason: Reason, request: AccessRequest | None = None) -> Answer:
        """Refuse what is no request that could be decided.

        Args:
            request: as far as it could be read.
        """
        return self._give(Decision(Outcome.REFUSE, reason), request, NO_FACTS)

    def _give(self, decision: Decision, request: AccessRequest | None, facts: Facts) -> Answer:
        # The id tells decisions apart and proves nothing: it need not be hard to guess.
        given = Answer(self._node + getrandbits(48).to_bytes(6).hex(), decision)
        if self._counts is not None:
            self._counts.decided(decision)
        if self._audit is not None and (decision.outcome is not Outcome.ALLOW or self._audit.allows):
            self._audit.decided(given.id, decision, request, facts)
        return given

    def _known(self, request: AccessRequest, presented: Presented) -> Facts:
        # What is known without waiting is handed over at once: that costs less than a first decision whose only
        # outcome is that it is needed.
        site = self.sites.get(request.host)
        identity = self._credentials.peek(presented, site) if site else None
        if identity is not None and identity.scope is not None:
            identity = _in_scope(identity, request)
        return Facts(identity, link=self._links.look(request)) if self._links else Facts(identity)

    async def _verify(self, request: AccessRequest, presented: Presented) -> Identity:
        return _in_scope(await self._credentials.verify(presented, self.sites[request.host]), request)

    async def _use(self, request: AccessRequest, known: Facts) -> Use:
        if self._links is None or known.link is None:
            return Use.UNKNOWN
        return await self._links.use(known.link, request)


def _in_scope(identity: Identity, request: AccessRequest) -> Identity:
    """Return nobody for a credential that does not reach as far as this request."""
    if identity.scope is None or identity.scope.covers(request):
        return identity
    return Identity(ANONYMOUS, identity.credential, Reason.SCOPE_EXCEEDED)


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
    identity = facts.identity or NOBODY
    subject = identity.subject or ANONYMOUS
    said = await handlers.ask(need, request._replace(subject=subject, session=identity.session))
    return facts._replace(answers={**facts.answers, need.call: said})

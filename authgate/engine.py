"""`decide`: the one function that says who may pass. Pure: no clock, no file, no network, no logging.

Rules of this module:
1. The first rule that matches host, path and method decides. A guard (no ``allow``) whose ``deny`` does not
   hold passes on to the next.
2. Deny is the default and the error path: one line allows.
3. An unknown term does not hold in ``allow`` and refuses in ``deny``.
4. A fact that is missing is asked for (`Need`), never guessed.
"""

from collections.abc import Callable, Mapping

from authgate.model import NOBODY, AccessRequest, Decision, Facts, Identity, Need, Outcome, Reason, Use
from authgate.paths import is_canonical
from authgate.policy import Policy
from authgate.policy.atoms import Question
from authgate.policy.rules import Rule

NEED_IDENTITY = Need()

# Told of each rule that is looked at, in order, with what its atoms will look at.
Witness = Callable[[Rule, Question], None]

_NO_USE = {Use.USED_UP: Reason.LIMIT_REACHED, Use.UNKNOWN: Reason.STORE_UNAVAILABLE}

# Failures after which logging in again would not help.
_NOT_THE_CLIENTS = frozenset({
    Reason.BUSY, Reason.STORE_UNAVAILABLE, Reason.HANDLER_ERROR, Reason.TOO_MANY_ATTEMPTS, Reason.SCOPE_EXCEEDED,
})  # fmt: skip


def decide(policy: Policy, request: AccessRequest, facts: Facts, witness: Witness | None = None) -> Decision | Need:
    """Decide one access request.

    Args:
        witness: for explanations; it cannot change the decision.

    Returns:
        The decision, or the fact that the deciding rules need and `facts` lacks: fetch it and ask again.
    """
    if not is_canonical(request.path):
        return Decision(Outcome.REFUSE, Reason.AMBIGUOUS_PATH)
    if request.host not in policy.hosts:
        return Decision(Outcome.REFUSE, Reason.UNKNOWN_HOST)
    identity = NOBODY
    for rule, captures in policy.matching(request.host, request.path, request.method, preflight=request.preflight):
        if rule.needs_identity:
            if facts.identity is None:
                return NEED_IDENTITY
            identity = facts.identity
        asked = Question(request, identity, captures, rule.name, rule.options, facts.answers, facts.link, facts.use)
        if witness is not None:
            witness(rule, asked)
        said = _ask(rule, asked)
        if said is not None:
            return said
    return _failed(identity, "", {}) or Decision(Outcome.REFUSE, Reason.NO_RULE, identity=identity)


def _ask(rule: Rule, asked: Question) -> Decision | Need | None:
    """Return what the rule decides; None when it is a guard that has nothing against the request."""
    for term in rule.deny:
        denied = term.refuses(asked)
        if denied is True:
            return _refuse(Reason.DENIED_BY_RULE, rule, asked)
        if denied is not False:
            return _end(denied, rule, asked)
    admitting = rule.admitting(asked.request)
    if admitting is None:
        return None
    use = None
    for term in admitting:
        admitted = term.holds(asked)
        if admitted is True:
            return Decision(Outcome.ALLOW, Reason.ALLOWED, rule.name, asked.identity, rule.cache, asked.captures)
        if isinstance(admitted, Need) and admitted.use:
            # Another term may admit without using the link up.
            use = admitted
        elif admitted is not False:
            return _end(admitted, rule, asked)
    return use or _refuse(_why_not_admitted(rule, asked), rule, asked)


def _why_not_admitted(rule: Rule, asked: Question) -> Reason:
    """Return what is wrong with the link, where a rule admits by link and there is one."""
    if not rule.asks_link or asked.link is None:
        return Reason.NOT_ADMITTED
    if asked.link.failure is not None or asked.use is None:
        return asked.link.failure or Reason.NOT_ADMITTED
    return _NO_USE.get(asked.use, Reason.NOT_ADMITTED)


def _end(said: Decision | Need, rule: Rule, asked: Question) -> Decision | Need:
    """Return what is needed, or the refusal of a handler as the decision it ends."""
    if isinstance(said, Need):
        return said
    # The handler was asked about anonymous when a credential proved nothing: that is the reason then.
    failed = None if said.reason is Reason.HANDLER_ERROR else _failed(asked.identity, rule.name, asked.captures)
    if failed is not None:
        return failed
    outcome = Outcome.LOGIN if said.outcome is Outcome.LOGIN else Outcome.REFUSE
    return Decision(outcome, said.reason, rule.name, asked.identity, captures=asked.captures, detail=said.detail)


def _refuse(reason: Reason, rule: Rule, asked: Question) -> Decision:
    identity = asked.identity
    failed = _failed(identity, rule.name, asked.captures)
    if failed is not None:
        return failed
    anonymous = identity.subject is not None and identity.subject.is_anonymous
    if anonymous and _login_may_help(rule, asked):
        return Decision(Outcome.LOGIN, Reason.LOGIN_REQUIRED, rule.name, identity, captures=asked.captures)
    if rule.asks_second_factor and not anonymous and _second_factor_helps(rule, asked):
        return Decision(Outcome.LOGIN, Reason.SECOND_FACTOR_REQUIRED, rule.name, identity, captures=asked.captures)
    return Decision(Outcome.REFUSE, reason, rule.name, identity, captures=asked.captures)


def _failed(identity: Identity, rule: str, captures: Mapping[str, str]) -> Decision | None:
    """A refusal of somebody whose credential proved nothing says so, whatever the rule."""
    if identity.failure is None:
        return None
    outcome = Outcome.REFUSE if identity.failure in _NOT_THE_CLIENTS else Outcome.LOGIN
    return Decision(outcome, identity.failure, rule, identity, captures=captures)


def _login_may_help(rule: Rule, asked: Question) -> bool:
    """Tell whether the rule could admit this request if only its identity atoms were different."""
    if any(not term.asks_identity and term.refuses(asked) is True for term in rule.deny):
        return False
    admitting = rule.admitting(asked.request)
    return admitting is None or any(term.holds_for_somebody(asked) for term in admitting)


def _second_factor_helps(rule: Rule, asked: Question) -> bool:
    """Tell whether the rule would admit this request if only a second factor had been used."""
    asked = asked._replace(identity=asked.identity._replace(second_factor=True))
    if any(term.refuses(asked) is True for term in rule.deny):
        return False
    admitting = rule.admitting(asked.request)
    return admitting is None or any(term.holds(asked) is not False for term in admitting)

"""`decide`: the one function that says who may pass. Pure: no clock, no file, no network, no logging.

Rules of this module:
1. The first rule that matches host, path and method decides. A guard (no ``allow``) whose ``deny`` does not
   hold passes on to the next.
2. Deny is the default and the error path: one line allows.
3. An unknown term does not hold in ``allow`` and refuses in ``deny``.
4. A fact that is missing is asked for (`Need`), never guessed.
"""

from authgate.model import NOBODY, AccessRequest, Decision, Facts, Identity, Need, Outcome, Reason
from authgate.paths import is_canonical
from authgate.policy import Policy
from authgate.policy.rules import Rule
from authgate.policy.terms import Question

# Failures that say nothing about the client: logging in again would not help.
_NOT_THE_CLIENTS = frozenset({Reason.BUSY, Reason.STORE_UNAVAILABLE})


def decide(policy: Policy, request: AccessRequest, facts: Facts) -> Decision | Need:
    """Decide one access request.

    Returns:
        The decision, or the fact that the deciding rules need and `facts` lacks: fetch it and ask again.
    """
    if not is_canonical(request.path):
        return Decision(Outcome.REFUSE, Reason.AMBIGUOUS_PATH)
    if request.host not in policy.hosts:
        return Decision(Outcome.REFUSE, Reason.UNKNOWN_HOST)
    identity = NOBODY
    for rule, captures in policy.matching(request.host, request.path, request.method):
        if rule.asks_identity:
            if facts.identity is None:
                return Need.IDENTITY
            identity = facts.identity
        asked = Question(request, identity, captures)
        for term in rule.deny:
            if term.evaluate(asked) is not False:
                return _refuse(Reason.DENIED_BY_RULE, rule, asked)
        if rule.allow is None:
            continue
        for term in rule.allow:
            if term.evaluate(asked) is True:
                return Decision(Outcome.ALLOW, Reason.ALLOWED, rule.name, identity, rule.cache, captures)
        return _refuse(Reason.NOT_ADMITTED, rule, asked)
    return _failed(identity, "") or Decision(Outcome.REFUSE, Reason.NO_RULE, identity=identity)


def _refuse(reason: Reason, rule: Rule, asked: Question) -> Decision:
    identity = asked.identity
    failed = _failed(identity, rule.name)
    if failed is not None:
        return failed
    anonymous = identity.subject is not None and identity.subject.is_anonymous
    if anonymous and _login_may_help(rule, asked):
        return Decision(Outcome.LOGIN, Reason.LOGIN_REQUIRED, rule.name, identity)
    return Decision(Outcome.REFUSE, reason, rule.name, identity)


def _failed(identity: Identity, rule: str) -> Decision | None:
    """A refusal of somebody whose credential proved nothing says so, whatever the rule."""
    if identity.failure is None:
        return None
    outcome = Outcome.REFUSE if identity.failure in _NOT_THE_CLIENTS else Outcome.LOGIN
    return Decision(outcome, identity.failure, rule, identity)


def _login_may_help(rule: Rule, asked: Question) -> bool:
    """Tell whether the rule could admit this request if only its identity atoms were different."""
    if any(not term.asks_identity and term.evaluate(asked) is not False for term in rule.deny):
        return False
    return rule.allow is None or any(term.holds_for_somebody(asked) for term in rule.allow)

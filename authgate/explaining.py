"""Why a decision fell as it did: the trace of `rehearse` as values that can be printed. Nothing is decided here.

Each truth comes from the atom itself, by the same `evaluate` that the decision asked; this module only finds words.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from authgate.model import ANONYMOUS, AccessRequest, Decision, Need, Reason
from authgate.patterns import Capture, Glob, Literal, PathPattern, RegexPattern
from authgate.policy import Policy
from authgate.policy.atoms import Question
from authgate.policy.describing import describe
from authgate.policy.index import PathIndex
from authgate.policy.rules import Rule
from authgate.policy.terms import Part, Term
from authgate.rehearsal import Looked, Rehearsed

# How many rules are named that were not asked, or that are near: more would hide what was asked.
_FEW = 5


class AtomSeen(NamedTuple):
    """One atom of a term, as written with its ``!``.

    Args:
        truth: ``true``, ``false``, ``unknown``, ``not asked`` or, of a handler that ends the decision, ``ends it``.
        why: in words; a handler's traceback has several lines.
    """

    atom: str
    truth: str
    why: str


class TermSeen(NamedTuple):
    """One term.

    Args:
        result: ``admits``, ``refuses``, ``no`` or ``not asked``.
    """

    term: str
    result: str
    atoms: tuple[AtomSeen, ...]


class RuleSeen(NamedTuple):
    """One rule that was looked at.

    Args:
        allow: None for a guard.
        verdict: what the rule made of it.
    """

    rule: str
    place: str
    captures: Mapping[str, str]
    deny: tuple[TermSeen, ...]
    allow: tuple[TermSeen, ...] | None
    verdict: str

    @property
    def terms(self) -> tuple[TermSeen, ...]:
        """All terms, ``deny`` first."""
        return (*self.deny, *(self.allow or ()))


class NearMiss(NamedTuple):
    """A term with exactly one atom that did not hold."""

    rule: str
    term: str
    atom: str
    why: str


class Nearby(NamedTuple):
    """A rule that had no part in the decision, and why."""

    rule: str
    place: str
    why: str


class Explanation(NamedTuple):
    """A decision with its reasons.

    Args:
        rules: those that were looked at, in order.
        later: rules that match too and are not asked any more.
        nearest: when no rule matched, those that nearly did.
        why: the decision's reason as a sentence.
    """

    decision: Decision
    why: str
    rules: tuple[RuleSeen, ...]
    near_misses: tuple[NearMiss, ...]
    later: tuple[Nearby, ...]
    nearest: tuple[Nearby, ...]


def explain(policy: Policy, request: AccessRequest, rehearsed: Rehearsed) -> Explanation:
    """Say why `rehearsed` came out as it did."""
    decision, looked = rehearsed
    seen = tuple(_rule_seen(one) for one in looked)
    return Explanation(
        decision,
        _why(policy, request, decision, seen),
        seen,
        () if decision.allowed else tuple(_near_misses(seen)),
        tuple(islice(_later(policy, request, looked[-1].rule), _FEW)) if looked else (),
        tuple(islice(_nearest(policy, request, looked), _FEW)) if decision.reason is Reason.NO_RULE else (),
    )


def _rule_seen(looked: Looked) -> RuleSeen:
    rule, asked = looked
    deny, ended = _terms_seen(rule.deny, Term.refuses, "refuses", asked, ended=False)
    refused = ended
    allow: tuple[TermSeen, ...] | None = None
    if rule.allow is not None:
        allow, ended = _terms_seen(rule.allow, Term.holds, "admits", asked, ended=ended)
    if refused:
        unsure = any(atom.truth == "unknown" for term in deny if term.result == "refuses" for atom in term.atoms)
        verdict = "a term in deny refuses" + (": what is unknown counts against the request" if unsure else "")
    elif allow is None:
        verdict = "a guard that has nothing against it: the next rule is asked"
    elif any(term.result == "admits" for term in allow):
        verdict = "a term in allow admits"
    elif ended:
        verdict = "a handler ends the decision"
    else:
        verdict = "no term in allow admits" if allow else "allow is empty: nobody is admitted"
    return RuleSeen(rule.name, rule.place, asked.captures, deny, allow, verdict)


def _terms_seen(
    terms: Iterable[Term],
    ask: Callable[[Term, Question], bool | Need | Decision],
    yes: str,
    asked: Question,
    *,
    ended: bool,
) -> tuple[tuple[TermSeen, ...], bool]:
    """Return the terms as far as the decision asked them, and whether one of them ended it."""
    seen = []
    for term in terms:
        said = ask(term, asked)
        result = "not asked" if ended or isinstance(said, Need) else "no" if said is False else yes
        if isinstance(said, Decision) and not ended:
            result = "refuses"
        seen.append(TermSeen(term.text, result, tuple(_atom_seen(part, asked) for part in term.parts)))
        ended = ended or said is not False
    return tuple(seen), ended


def _atom_seen(part: Part, asked: Question) -> AtomSeen:
    truth = part.evaluate(asked)
    if isinstance(truth, Need):
        name = "not asked"
    elif isinstance(truth, Decision):
        name = "true" if truth.allowed else "ends it"
    else:
        name = {True: "true", False: "false", None: "unknown"}[truth]
    return AtomSeen(part.text, name, describe(part, asked))


def _why(policy: Policy, request: AccessRequest, decision: Decision, rules: Sequence[RuleSeen]) -> str:
    handler = any(atom.truth == "ends it" for rule in rules[-1:] for term in rule.terms for atom in term.atoms)
    match decision.reason:
        case Reason.AMBIGUOUS_PATH:
            return _ambiguity(request.path)
        case Reason.UNKNOWN_HOST:
            return f'no [[sites]] origin has the host "{request.host}"; there is {", ".join(sorted(policy.hosts))}'
        case Reason.DENIED_BY_RULE if handler:
            return "a handler refuses"
        case Reason.LOGIN_REQUIRED if handler:
            return "a handler asks for a login"
        case Reason.HANDLER_ERROR if not handler:
            return decision.detail or "the site's verify or lookup failed, so nobody knew who asks"
        case Reason.NOT_ADMITTED if (decision.identity.subject or ANONYMOUS).is_anonymous:
            return "no term in allow admits, and a login alone would not help"
        case reason:
            return _REASONS.get(reason, "")


def _ambiguity(path: str) -> str:
    if "//" in path:
        what = "it holds an empty segment (//)"
    elif any(segment in {".", ".."} for segment in path.split("/")):
        what = "it holds a dot segment"
    else:
        what = "it holds a control character, or bytes that are not UTF-8"
    return f"the path has more than one reading: {what}; ask for the path that the web server makes of it"


_REASONS: Mapping[Reason, str] = {
    Reason.ALLOWED: "a term in allow admits",
    Reason.NO_RULE: "no rule decides about it, and what no rule covers is closed",
    Reason.DENIED_BY_RULE: "a term in deny refuses",
    Reason.NOT_ADMITTED: "no term in allow admits",
    Reason.LOGIN_REQUIRED: "nobody is logged in, and the rule could admit somebody",
    Reason.SECOND_FACTOR_REQUIRED: "only a second factor is missing",
    Reason.HANDLER_ERROR: "a handler failed, and then nobody passes",
    Reason.BAD_CREDENTIAL: "what was sent proves nothing: a wrong password, or a session that is over",
    Reason.EXPIRED: "the session was not used for too long, or its time was over",
    Reason.REVOKED: "the session was ended: the user is gone, or has another password",
    Reason.TOO_MANY_ATTEMPTS: "too many wrong passwords had come from there, so none was verified",
    Reason.BUSY: "too many passwords were being verified, or it took too long",
    Reason.STORE_UNAVAILABLE: "the store could not be read, so nobody knew who asks",
}


def why_unreadable(reason: Reason) -> str:
    """Say what was wrong with a question of the web server's that no policy was asked; empty when that was not it."""
    return _UNREADABLE.get(reason, "")


_UNREADABLE: Mapping[Reason, str] = {
    Reason.MISSING_PATH: "the web server named no path; its location has to include one of authgate-protect*.conf",
    Reason.AMBIGUOUS_PATH: "not every program reads the target alike, or the path was that of the check itself",
    Reason.UNKNOWN_HOST: "the web server named no host",
    Reason.CONFLICTING_HEADERS: "method, scheme or host was missing, doubled or too long",
}


def _near_misses(rules: Iterable[RuleSeen]) -> Iterator[NearMiss]:
    for rule in rules:
        for term in rule.allow or ():
            failing = [atom for atom in term.atoms if atom.truth in {"false", "unknown"}]
            if term.result == "no" and len(failing) == 1:
                yield NearMiss(rule.rule, term.term, failing[0].atom, failing[0].why)


def _later(policy: Policy, request: AccessRequest, last: Rule) -> Iterator[Nearby]:
    """Name the rules that match too: people look for the fault in them."""
    matching = [rule for rule, _ in policy.matching(request.host, request.path, request.method)]
    for rule in matching[matching.index(last) + 1 :]:
        yield Nearby(rule.name, rule.place, f'matches too, but "{last.name}" comes first and decides')


def _nearest(policy: Policy, request: AccessRequest, looked: Iterable[Looked]) -> Iterator[Nearby]:
    """Name the rules for the same path and another host or method; where there are none, those that begin alike."""
    segments = request.path.split("/")[1:]
    entries = sorted(entry for run in PathIndex(enumerate(policy.rules)).find(request.path, segments) for entry in run)
    asked = {one.rule for one in looked}
    same_path = [rule for rule in dict.fromkeys(entry.rule for entry in entries) if rule not in asked]
    for rule in same_path:
        yield Nearby(rule.name, rule.place, _difference(rule, request))
    if same_path:
        return
    alike = [(_alike(pattern, segments), rule, pattern.text) for rule in policy.rules for pattern in rule.paths]
    for count, rule, text in sorted(alike, key=lambda found: -found[0]):
        if count and rule not in asked:
            yield Nearby(rule.name, rule.place, f'begins alike, but its path is "{text}"')


def _difference(rule: Rule, request: AccessRequest) -> str:
    wrong = []
    if rule.hosts is not None and request.host not in rule.hosts:
        wrong.append(f"for {', '.join(sorted(rule.hosts))}, not for {request.host}")
    if rule.methods is not None and request.method not in rule.methods:
        wrong.append(f"for {', '.join(sorted(rule.methods))}, not for {request.method}")
    return f"has this path, but is {' and '.join(wrong)}"


def _alike(pattern: PathPattern | RegexPattern, segments: list[str]) -> int:
    """Count the first segments that fit, or would but for upper and lower case; captures alone say little."""
    count = literals = 0
    for wanted, segment in zip(pattern.segments if isinstance(pattern, PathPattern) else (), segments, strict=False):
        if not (segment and _fits(wanted, segment)):
            break
        count += 1
        literals += isinstance(wanted, Literal)
    return count if literals else 0


def _fits(wanted: Literal | Capture | Glob, segment: str) -> bool:
    match wanted:
        case Literal(text):
            return text.casefold() == segment.casefold()
        case Glob():
            return wanted.matches(segment)
        case Capture():
            return True

"""What ``authgate explain`` prints.

The object that ``--json`` prints has these keys:

* ``logged``: null, or of a decision of the past the line of the audit: what was decided then, by which policy, when;
* ``request``: method, scheme, host, path (decoded), query (without the link), ip (null when not known), at (RFC 3339);
* ``subject``: name (null for nobody), groups (null when nobody knows them), claims (pairs), via, mfa;
* ``notes``: what is odd about the question;
* ``rules``: those that were looked at, in order: rule, place, captures, deny, allow (null for a guard), verdict; a term
  has term, result (admits, refuses, no, not asked) and atoms; an atom has atom, truth (true, false, unknown, not asked,
  ends it) and why;
* ``near_misses``: rule, term, atom, why; ``later`` and ``nearest``: rule, place, why;
* ``outcome`` (allow, login, refuse), ``reason``, ``why``, ``rule`` (null when none decided), ``detail`` (of a handler);
* ``status`` and ``headers`` (name and value): what the web server is told.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from authgate.cli.output import visible
from authgate.config import Settings
from authgate.explaining import Explanation, RuleSeen, TermSeen, why_unreadable
from authgate.model import ANONYMOUS, AccessRequest, Decision, Outcome
from authgate.observe.records import Record
from authgate.protocols.subrequest import identity_headers
from authgate.redirects import hide_link, hide_link_in_query, login_location
from authgate.rehearsal import Asking, outcome_name

# A terminal of the usual size; what cannot be broken, such as a long name, goes over it.
_WIDTH = 79
# What a path keeps when it is written as a request target (RFC 3986 section 3.3).
_PATH_SAFE = "/:@!$&'()*+,;=~"


_FOR_THE_LOG = b"x-authgate-user"

_STATUS = {
    Outcome.ALLOW: "status 200, with",
    Outcome.LOGIN: "status 401: programs are asked for a password, browsers are sent to the login page",
    Outcome.REFUSE: "status 403",
}


def as_json(
    settings: Settings, asking: Asking, explanation: Explanation, notes: Sequence[str], record: Record | None = None
) -> str:
    """Return one JSON object; see the top of this module."""
    request, identity = asking.request, asking.identity
    subject = identity.subject or ANONYMOUS
    decision = explanation.decision
    document = {
        "logged": None if record is None else record.fields,
        "request": {
            "method": request.method,
            "scheme": request.scheme,
            "host": request.host,
            "path": hide_link(request.path),
            "query": hide_link_in_query(request.query),
            "ip": None if request.address is None else str(request.address),
            "at": _moment(request),
        },
        "subject": {
            "name": subject.id or None,
            "groups": None if subject.groups is None else sorted(subject.groups),
            "claims": sorted(subject.claims),
            "via": identity.credential,
            "mfa": identity.second_factor,
        },
        "notes": notes,
        "rules": [_rule_as_json(rule) for rule in explanation.rules],
        "near_misses": [miss._asdict() for miss in explanation.near_misses],
        "later": [nearby._asdict() for nearby in explanation.later],
        "nearest": [nearby._asdict() for nearby in explanation.nearest],
        "outcome": outcome_name(decision),
        "reason": decision.reason,
        "why": explanation.why,
        "rule": decision.rule or None,
        "detail": decision.detail,
        "status": decision.outcome,
        "headers": _headers(settings, asking, explanation),
    }
    # Escaped to ASCII: a path may hold bytes that are not UTF-8, and what a terminal obeys.
    return json.dumps(document, indent=2)


def _rule_as_json(rule: RuleSeen) -> dict[str, object]:
    def terms(seen: Iterable[TermSeen]) -> list[object]:
        return [{**term._asdict(), "atoms": [atom._asdict() for atom in term.atoms]} for term in seen]

    allow = None if rule.allow is None else terms(rule.allow)
    return {**rule._asdict(), "captures": dict(rule.captures), "deny": terms(rule.deny), "allow": allow}


def as_text(
    settings: Settings, asking: Asking, explanation: Explanation, notes: Sequence[str], record: Record | None = None
) -> str:
    """Return lines for a person, made for a terminal of 80 columns."""
    decision = explanation.decision
    lines = [] if record is None else [*_then(record, settings), ""]
    lines += [*_question(asking), *(line for note in notes for line in _wrapped("note: ", note))]
    for rule in explanation.rules:
        lines += ["", *_rule(rule)]
    if explanation.near_misses:
        lines += ["", "near misses, where one atom is missing:"]
        for miss in explanation.near_misses:
            lines += _wrapped("  ", f'{miss.term}  (in "{miss.rule}")')
            lines += _wrapped("    missing: ", f"{miss.atom}: {miss.why}" if miss.atom != miss.term else miss.why)
    if not explanation.rules and explanation.nearest:
        lines += ["", "no rule matches; the nearest are:"]
    elif explanation.nearest:
        lines += ["", "no other rule matches; the nearest are:"]
    lines += [line for nearby in explanation.nearest for line in _wrapped("  ", f"{nearby.place} {nearby.why}")]
    if explanation.later:
        lines += ["", "not asked:"]
        lines += [line for nearby in explanation.later for line in _wrapped("  ", f"{nearby.place} {nearby.why}")]
    lines += ["", *_wrapped("", _result(decision))]
    lines += _wrapped("  ", explanation.why)
    lines += _wrapped("  ", _STATUS[decision.outcome])
    # Not broken: an address is to be copied.
    lines += [f"  {name}: {visible(value)}" for name, value in _headers(settings, asking, explanation)]
    return "\n".join(line.rstrip() for line in lines)


def unreadable_as_json(record: Record) -> str:
    """Return one JSON object about a question that could not be read."""
    why = why_unreadable(record.decision.reason)
    return json.dumps({"logged": record.fields, "request": None, "why": why}, indent=2)


def unreadable_as_text(settings: Settings, record: Record) -> str:
    """Return lines about a question that could not be read."""
    return "\n".join([*_then(record, settings), *_wrapped("  ", why_unreadable(record.decision.reason))])


def recorded_notes(settings: Settings, record: Record, decision: Decision) -> list[str]:
    """Return what makes the decision of now another one than that of then, or may do so."""
    notes = []
    if record.cut:
        notes.append(f"too long for the log and shortened there: {', '.join(record.cut)}")
    then = record.decision
    same = (then.outcome, then.reason, then.rule) == (decision.outcome, decision.reason, decision.rule)
    if record.policy != settings.version:
        notes.append("of groups and claims the log has those that rules named then")
    elif not same:
        why = why_unreadable(then.reason) or "what was in its way then, the log of the service says"
        notes.append(f"by the same policy it comes out otherwise now: {why}")
    return notes


def _result(decision: Decision) -> str:
    by = f' by "{decision.rule}"' if decision.rule else ""
    return f"{outcome_name(decision).upper()}: {decision.reason}{by}"


def _then(record: Record, settings: Settings) -> Iterator[str]:
    """Say what was decided then, and whether the same policy is asked now."""
    yield from _wrapped("", f"{record.id}, decided at {record.time} by policy {record.policy}")
    yield from _wrapped("  ", _result(record.decision))
    if record.decision.detail:
        yield from _wrapped("  ", record.decision.detail)
    if record.policy != settings.version:
        other = "the policy on the disk is another one"
        yield from _wrapped("  ", f"{other}, {settings.version}: below is what that makes of the same facts")


def _question(asking: Asking) -> Iterator[str]:
    request, identity = asking.request, asking.identity
    host = f"[{request.host}]" if ":" in request.host else request.host
    query = f"?{hide_link_in_query(request.query)}" if request.query else ""
    yield from _wrapped("", f"{request.method} {request.scheme}://{host}{hide_link(request.path)}{query}")
    subject = identity.subject or ANONYMOUS
    facts = [f"{subject.id} by {identity.credential}"]
    if subject.is_anonymous:
        # Of a request of the past: what was sent and proved nothing, or could not be looked at.
        sent = f" ({identity.credential}: {identity.failure})" if identity.failure else ""
        facts = [("nobody" if identity.subject else "nobody knows who") + sent]
    if not subject.is_anonymous:
        groups = subject.groups
        facts.append(
            "groups unknown" if groups is None else f"in {', '.join(sorted(groups))}" if groups else "in no group"
        )
    facts += [f"{name}={value}" for name, value in sorted(subject.claims)]
    facts += ["with a second factor"] if identity.second_factor else []
    facts.append("address unknown" if request.address is None else f"from {request.address}")
    yield from _wrapped("  ", f"{', '.join(facts)}, at {_moment(request)}")


def _rule(rule: RuleSeen) -> Iterator[str]:
    yield from _wrapped("", rule.place)
    for name, value in rule.captures.items():
        yield from _wrapped("  ", f"{{{name}}} is {value}")
    for key, terms in (("deny", rule.deny), ("allow", rule.allow or ())):
        for term in terms:
            yield from _term(key, term)
    yield from _wrapped("  => ", rule.verdict)


def _term(key: str, term: TermSeen) -> Iterator[str]:
    first = f"  {key:5}  {term.result:9}  "
    yield from _wrapped(first, term.term)
    for atom in term.atoms:
        text = atom.why if len(term.atoms) == 1 and atom.atom == term.term else f"{atom.atom}: {atom.why}"
        yield from _wrapped(f"           {atom.truth:9}  ", text)


def _wrapped(before: str, text: str) -> Iterator[str]:
    """Break lines after `before`, and indent what follows as far."""
    indent = " " * len(before)
    for number, line in enumerate(visible(text).split("\n")):
        # A traceback keeps its own lines.
        room = _WIDTH if number == 0 else max(_WIDTH, len(line) + len(indent))
        yield from textwrap.wrap(
            line,
            room,
            initial_indent=indent if number else before,
            subsequent_indent=indent,
            drop_whitespace=number == 0,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _moment(request: AccessRequest) -> str:
    return datetime.fromtimestamp(request.instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _headers(settings: Settings, asking: Asking, explanation: Explanation) -> list[tuple[str, str]]:
    """Return what matters of the answer to the web server."""
    decision = explanation.decision
    if decision.allowed:
        given = identity_headers(decision.identity.subject or ANONYMOUS, settings.policy.groups)
        # X-Authgate-User is for the web server's log and comes with refusals too.
        named = [(name.decode().title(), value.decode()) for name, value in given if value and name != _FOR_THE_LOG]
        return [*named, ("Cache-Control", decision.cache)]
    site = settings.site(asking.request.host)
    if decision.outcome is Outcome.LOGIN and site is not None and asking.request.method in {"GET", "HEAD"}:
        query = f"?{asking.request.query}" if asking.request.query else ""
        target = quote(asking.request.path, _PATH_SAFE) + query
        return [("Location", login_location(site, target))]
    return []

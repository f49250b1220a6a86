"""Requests that nobody sends now: asked of the policy as if somebody did, for ``authgate explain`` and ``[[tests]]``.

Everything is as in a real decision, the same `decide` and the same handlers, but for the credentials: who asks is said,
not proved. Of a request of the past it is known from the audit, and so is what handlers said.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from authgate.config import PolicyTest, Settings
from authgate.credentials.htpasswd import parse_groups
from authgate.credentials.watched import Watched
from authgate.errors import AuthgateError, ConfigError, Problem
from authgate.handlers import Handlers
from authgate.model import (
    ANONYMOUS,
    AccessRequest,
    CredentialKind,
    Decision,
    Facts,
    HandlerCall,
    Identity,
    Link,
    Need,
    Outcome,
    Reason,
    Site,
    Subject,
    Use,
)
from authgate.networks import parse_address, parse_host
from authgate.paths import from_wire
from authgate.pdp import DECISION_DEADLINE, Fetch, ask_handler, settle
from authgate.policy import Policy
from authgate.policy.atoms import Question
from authgate.policy.rules import Rule
from authgate.scopes import is_method

# Who is in which local groups; None when groups are not mapped at all.
LocalGroups = Mapping[str, frozenset[str]] | None

# RFC 3986 section 3, as far as browsers send it: no userinfo, the fragment stays with them.
_ADDRESS = re.compile(r"(https?)://([^/?#@\s]+)(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?", re.DOTALL | re.IGNORECASE)
_EXAMPLE = 'write "GET https://files.example.com/x"'
_MOMENT = "write 2026-11-20T19:30:00+01:00"


class Looked(NamedTuple):
    """A rule that was looked at, with what its atoms had to look at."""

    rule: Rule
    asked: Question


class Rehearsed(NamedTuple):
    """A decision, and the rules that led to it, in order."""

    decision: Decision
    looked: tuple[Looked, ...]


class Asking(NamedTuple):
    """One request, who makes it, and the signed link it carries."""

    request: AccessRequest
    identity: Identity
    link: Link | None = None
    use: Use | None = None


class Tried(NamedTuple):
    """One of the ``[[tests]]``, and what came out."""

    test: PolicyTest
    asking: Asking
    rehearsed: Rehearsed

    @property
    def passed(self) -> bool:
        """True when everything came out as the test says."""
        decision = self.rehearsed.decision
        return outcome_name(decision) == self.test.expect and self.test.rule in {None, decision.rule}


class RequestError(ValueError):
    """A request cannot be made of this text; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def outcome_name(decision: Decision) -> str:
    """Return the outcome in the word of ``expect``: allow, login or refuse."""
    return decision.outcome.name.lower()


async def rehearse(policy: Policy, handlers: Handlers, asking: Asking) -> Rehearsed:
    """Decide a request as the service would; handlers are really asked."""

    async def ask(need: Need, facts: Facts) -> Facts:
        # Nothing is used up by a question.
        return facts._replace(use=Use.UNKNOWN) if need.use else await ask_handler(handlers, need, asking.request, facts)

    return await _rehearse(policy, asking.request, Facts(asking.identity, link=asking.link, use=asking.use), ask)


async def rehearse_recorded(
    policy: Policy, asking: Asking, answers: Mapping[HandlerCall, Decision | None]
) -> Rehearsed:
    """Decide a request of the past; no handler is asked again.

    Args:
        answers: what handlers said then.
    """

    async def ask(need: Need, facts: Facts) -> Facts:
        # Only another policy asks a handler that was not asked then.
        if need.use:
            return facts._replace(use=Use.UNKNOWN)
        return facts if need.call is None else facts._replace(answers={**facts.answers, need.call: _NOT_RECORDED})

    return await _rehearse(policy, asking.request, Facts(asking.identity, answers, asking.link, asking.use), ask)


async def _rehearse(policy: Policy, request: AccessRequest, facts: Facts, ask: Fetch) -> Rehearsed:
    looked: list[Looked] = []

    async def fetch(need: Need, known: Facts) -> Facts:
        known = await ask(need, known)
        # The rules are looked at again from the first; only the last time leads to the decision.
        looked.clear()
        return known

    def witness(rule: Rule, asked: Question) -> None:
        looked.append(Looked(rule, asked))

    try:
        async with asyncio.timeout(DECISION_DEADLINE):
            decision = await settle(policy, request, facts, fetch, witness)
    except TimeoutError:
        decision = _handler_error(f"the decision took over {DECISION_DEADLINE} s")
    except AuthgateError as error:
        decision = _handler_error(str(error))
    return Rehearsed(decision, tuple(looked))


def _handler_error(detail: str) -> Decision:
    return Decision(Outcome.REFUSE, Reason.HANDLER_ERROR, detail=detail)


_NOT_RECORDED = _handler_error("it was not asked then, and is not asked now")


def read_groups(settings: Settings) -> LocalGroups:
    """Read the configured group file.

    Raises:
        ConfigError: it cannot be read or is refused.
    """
    if settings.groups is None:
        return None
    watched: Watched[dict[str, frozenset[str]]] = Watched(settings.groups, parse_groups, {})
    watched.load()
    return watched.parsed


def parse_request(method: str, address: str, sites: Iterable[Site], ip: str | None, instant: float) -> AccessRequest:
    """Return the request that a client would make with this method and this address.

    The path is decoded once and nothing more: a web server would also take out ``//`` and ``..``, and what it does
    with them is not guessed here; `decide` refuses them.

    Raises:
        RequestError: no client can ask that, or not at the configured sites.
    """
    if not is_method(method):
        close = method.upper()
        raise RequestError(f'"{method}" is no method', f'write "{close}"' if is_method(close) else _EXAMPLE)
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise RequestError(f'"{address}" is no address of a site', _EXAMPLE)
    scheme, authority, path, query = found[1].lower(), found[2], found[3] or "/", found[4] or ""
    host = parse_host(authority)
    _check_origin(scheme, authority, next((site for site in sites if site.host == host), None), address)
    client = parse_address(ip) if ip is not None else None
    if ip is not None and client is None:
        raise RequestError(f'"{ip}" is no address of a client', "write 192.0.2.1 or 2001:db8::1")
    decoded = from_wire(unquote_to_bytes(path.encode("utf-8", "surrogateescape")))
    return AccessRequest(method, host, decoded, scheme, client, instant, query)


def _check_origin(scheme: str, authority: str, site: Site | None, address: str) -> None:
    """Refuse another scheme or port of a site: rules do not look at them, but whoever asks took them for something."""
    if site is None:
        return
    port = site.port or {"http": 80, "https": 443}[site.scheme]
    name, colon, written = authority.rpartition(":")
    asked = written if colon and not written.endswith("]") and (":" not in name or "]" in name) else ""
    if scheme != site.scheme or (asked or str({"http": 80, "https": 443}[scheme])) != str(port):
        rest = address.partition("://")[2].removeprefix(authority)
        raise RequestError(f"the site with this host is {site.origin}", f'write "{site.origin}{rest}"')


def parse_moment(moment: str | datetime) -> float:
    """Return a moment with its zone as seconds since the epoch.

    Raises:
        RequestError: it names no zone, or is too far away for some zone's calendar.
    """
    try:
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        raise RequestError(f'"{moment}" is no moment', _MOMENT) from None
    if at.tzinfo is None:
        raise RequestError(f'"{moment}" has no zone', _MOMENT)
    if not 1970 < at.year < 9999:
        raise RequestError(f'"{moment}" is not in the years 1971 to 9998', _MOMENT)
    return at.timestamp()


def parse_identity(
    name: str,
    groups: Sequence[str] | None,
    claims: Collection[tuple[str, str]],
    via: CredentialKind,
    mfa: bool,
    known: LocalGroups,
) -> Identity:
    """Return who asks.

    Args:
        name: as rules write it, ``alice`` or ``partner/alice``; empty for anonymous.
        groups: None: for a local name those of the group file; for others nothing is known.
        known: the group file.

    Raises:
        RequestError: nobody can be called that.
    """
    if not name:
        if groups or mfa or claims:
            raise RequestError("groups, claims and a second factor belong to somebody", "say who asks")
        return Identity(ANONYMOUS, CredentialKind.NONE)
    source, slash, own = name.partition("/")
    if not slash:
        source, own = "", name
    if (slash and not source) or not own:
        raise RequestError(f'"{name}" is no name', 'write "alice", or "partner/alice" for alice of the source partner')
    return Identity(Subject(source, own, _groups(source, own, groups, known), frozenset(claims)), via, None, mfa)


def _groups(source: str, name: str, groups: Sequence[str] | None, known: LocalGroups) -> frozenset[str] | None:
    if groups is None:
        return None if source or known is None else known.get(name, frozenset())
    prefix = f"{source}/" if source else ""
    members = frozenset(group.removeprefix(prefix) for group in groups if group)
    for group in sorted(members):
        if "/" in group:
            raise RequestError(
                f'"{group}" is no group of {source or "local users"}', "groups are of the user's own source"
            )
    return members


def prepare(settings: Settings, known: LocalGroups, now: float) -> list[tuple[PolicyTest, Asking]]:
    """Make requests of the ``[[tests]]``.

    Args:
        now: for the tests that name no moment.

    Raises:
        ConfigError: with every test that cannot be run.
    """
    prepared, problems = [], []
    names = [rule.name for rule in settings.policy.rules]
    for test in settings.tests:
        try:
            prepared.append((test, _asking(test, settings, known, now)))
        except RequestError as error:
            problems.append(Problem(test.place, str(error), error.hint))
        if test.rule is not None and test.rule not in names:
            close = get_close_matches(test.rule, names, n=1)
            hint = f'did you mean "{close[0]}"?' if close else "rule is the name of the rule that has to decide"
            problems.append(Problem(test.place, f'there is no rule "{test.rule}"', hint))
    if problems:
        raise ConfigError(problems)
    return prepared


def _asking(test: PolicyTest, settings: Settings, known: LocalGroups, now: float) -> Asking:
    method, space, address = test.request.partition(" ")
    if not space:
        raise RequestError(f'"{test.request}" is no request', _EXAMPLE)
    instant = now if test.at is None else parse_moment(test.at)
    request = parse_request(method, address.strip(" "), settings.sites, test.ip, instant)
    return Asking(request, parse_identity(test.subject, test.groups, test.claims.items(), test.via, test.mfa, known))


async def run_tests(
    policy: Policy, handlers: Handlers, prepared: Iterable[tuple[PolicyTest, Asking]]
) -> tuple[Tried, ...]:
    """Run tests one after the other."""
    return tuple([Tried(test, asking, await rehearse(policy, handlers, asking)) for test, asking in prepared])


def untested(policy: Policy, tried: Iterable[Tried]) -> list[Rule]:
    """Return the rules that no test reaches: no decision looked at them."""
    reached = {looked.rule.name for one in tried for looked in one.rehearsed.looked}
    return [rule for rule in policy.rules if rule.name not in reached]

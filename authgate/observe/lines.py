"""Decisions, logins and logouts as lines of JSON: every fact, no secret.

Rules of this module:
1. A line is ASCII: what a client, a handler or a directory chose can neither begin a new line nor move a cursor.
2. A line is shorter than what a pipe takes at once, so that those of several workers do not mix (PIPE_BUF, pipe(7)).
3. No query, cookie, password or token arrives here.
4. The moment is that of the request, cut to milliseconds: `time` terms see the same one when it is explained.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from json.encoder import encode_basestring_ascii as quoted
from typing import TypeVar

from authgate.model import (
    NOBODY,
    CredentialKind,
    Decision,
    Facts,
    HandlerCall,
    Identity,
    Link,
    Outcome,
    Reason,
    Subject,
    Use,
)
from authgate.networks import Address

# People, and clients, whose part of the line is remembered.
_KNOWN = 4096

_Item = TypeVar("_Item")

# One less than PIPE_BUF: there is room for the line break that ends somebody's torn line.
MAX_LINE = 4095

# How much of a line that would be too long each part keeps, in bytes as written. Each has its own limit, so that no
# long path can push out who asked for it.
_METHOD, _HOST, _PATH, _USER, _GROUPS, _CLAIMS, _CAPTURES, _ANSWERS, _DETAIL = (
    100,
    260,
    900,
    260,
    300,
    200,
    200,
    800,
    250,
)

_Answers = Mapping[HandlerCall, Decision | None]

# The first fields of an AccessRequest: method, host, path, scheme, address, instant. What else it holds, the client's
# headers above all, is not kept until somebody writes.
Asked = tuple[str, str, str, str, Address | None, float]

# A decision on its way to a line: its id, itself, the request (None when the web server's question could not be read),
# whether that was a preflight, the facts, and the moment of a decision without a request. No NamedTuple, because one
# is made for each request.
Decided = tuple[str, Decision, Asked | None, bool, Facts, float]


class Lines:
    """Writes lines for one policy.

    Args:
        named_groups: the groups that rules name; of others nothing is written.
        named_claims: the names of the claims that rules look at; likewise.
    """

    def __init__(
        self, node: str, version: str, named_groups: frozenset[str] = frozenset(), named_claims: Iterable[str] = ()
    ) -> None:
        self._node = quoted(node)
        self._version = quoted(version)
        self._named_groups = named_groups
        self._named_claims = frozenset(named_claims)
        self._identity = lru_cache(maxsize=_KNOWN)(self._write_identity)

    def decision(self, decided: Decided) -> str:
        """Return the line of a decision; what does not fit is shortened and named in ``cut``."""
        line = self._decision(decided)
        if len(line) <= MAX_LINE:
            return line
        shortened, cut = _shorten(decided, self._named_groups, self._named_claims)
        return self._decision(shortened, f',"cut":{_list(map(quoted, cut))}')

    def _decision(self, decided: Decided, end: str = "") -> str:
        id_, decision, request, preflight, facts, instant = decided
        outcome, reason, rule, _, _, captures, detail = decision
        asked = _NO_REQUEST
        if request is not None:
            method, host, path, scheme, address, instant = request
            asked = (
                f'"method":{quoted(method)},"scheme":"{scheme}","host":{quoted(host)},"path":{quoted(path)},'
                f'"address":{_address(address)}'
            )
        if preflight:
            end = f',"preflight":true{end}'
        if facts.link is not None:
            end = f',"link":{_link(facts.link, facts.use)}{end}'
        said = quoted(_last_line(detail) if reason is Reason.HANDLER_ERROR else detail) if detail else "null"
        identity = _who(decision, facts)
        captured = tuple(captures.values()) if captures else ()
        # What an application's session holds is nobody's business here.
        who = _NOT_LOOKED_AT if identity is None else self._identity(*identity[:4], captured)
        return (
            f'{{"time":"{moment(instant)}","id":"{id_}","node":{self._node},"event":"decision",'
            f'{_result(outcome, reason, rule)},"detail":{said},{asked},{who},'
            f'"captures":{_captures(captures) if captures else "{}"},"answers":{_answers(facts.answers)},'
            f'"policy":{self._version}{end}}}\n'
        )

    def login(self, instant: float, reason: Reason, name: str, host: str, address: Address | None) -> str:
        """Return the line of a login, or of an attempt at one.

        Args:
            reason: ALLOWED when it succeeded.
            name: empty when there is no such account: people type passwords into the field for names.
        """
        outcome = "allow" if reason is Reason.ALLOWED else "refuse"
        return self._visit(instant, "login", f'"outcome":"{outcome}","reason":"{reason}",', name, host, address)

    def logout(self, instant: float, name: str, host: str, address: Address | None) -> str:
        """Return the line of a logout."""
        return self._visit(instant, "logout", "", name, host, address)

    def _visit(self, instant: float, event: str, result: str, name: str, host: str, address: Address | None) -> str:
        user = quoted(_fit(name, _USER)) if name else "null"
        return (
            f'{{"time":"{moment(instant)}","node":{self._node},"event":"{event}",{result}'
            f'"host":{quoted(_fit(host, _HOST))},"address":{_address(address)},"user":{user}}}\n'
        )

    def dropped(self, instant: float, count: int) -> str:
        """Return the line that says how many are missing before it."""
        return f'{{"time":"{moment(instant)}","node":{self._node},"event":"dropped","count":{count}}}\n'

    def _write_identity(
        self,
        subject: Subject | None,
        credential: CredentialKind,
        failure: Reason | None,
        second_factor: bool,
        captured: tuple[str, ...],
    ) -> str:
        user = groups = claims = "null"
        if subject is not None:
            user = quoted(subject.id)
            named = named_groups(subject, self._named_groups, captured)
            groups = "null" if named is None else _list(map(quoted, named))
            pairs = sorted(pair for pair in subject.claims if pair[0] in self._named_claims) if subject.claims else ()
            claims = _list(f"[{quoted(name)},{quoted(value)}]" for name, value in pairs) if pairs else "[]"
        return (
            f'"user":{user},"groups":{groups},"claims":{claims},"credential":"{credential}",'
            f'"failure":{f"{chr(34)}{failure}{chr(34)}" if failure else "null"},'
            f'"second_factor":{"true" if second_factor else "false"}'
        )


_NO_REQUEST = '"method":null,"scheme":null,"host":null,"path":null,"address":null'
_NOT_LOOKED_AT = '"user":null,"groups":null,"claims":null,"credential":null,"failure":null,"second_factor":false'


def moment(instant: float) -> str:
    """Return a moment in UTC with milliseconds (RFC 3339)."""
    second, fraction = divmod(int(instant * 1000), 1000)
    return f"{_second(second)}.{fraction:03}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def named_groups(subject: Subject, named: frozenset[str], captured: Sequence[str] = ()) -> list[str] | None:
    """Return the groups of a subject that rules name, as rules write them; None when nobody knows its groups.

    Args:
        captured: what may stand in a name in place of ``{capture}``.
    """
    if subject.groups is None:
        return None
    if not subject.source and not captured:
        return sorted(subject.groups & named)
    prefix = f"{subject.source}/" if subject.source else ""
    return sorted(
        prefix + group
        for group in subject.groups
        if prefix + group in named or any(text and text in prefix + group for text in captured)
    )


@lru_cache(maxsize=1024)
def _result(outcome: Outcome, reason: Reason, rule: str) -> str:
    return f'"outcome":"{outcome.name.lower()}","reason":"{reason}","rule":{quoted(rule) if rule else "null"}'


def _address(address: Address | None) -> str:
    # An address as a key would be hashed by way of its text.
    return "null" if address is None else _written_address(int(address), isinstance(address, IPv4Address))


@lru_cache(maxsize=_KNOWN)
def _written_address(number: int, old: bool) -> str:
    return f'"{IPv4Address(number) if old else IPv6Address(number)}"'


def _captures(captures: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{quoted(name)}:{quoted(value)}" for name, value in captures.items()) + "}"


def _answers(answers: _Answers) -> str:
    return _list(_answer(call, said) for call, said in answers.items()) if answers else "[]"


def _answer(call: HandlerCall, said: Decision | None) -> str:
    detail = "" if said is None else said.detail
    if said is None:
        name = "none"
    elif said.reason is Reason.HANDLER_ERROR:
        name, detail = "failed", _last_line(detail)
    else:
        name = {Outcome.ALLOW: "allow", Outcome.LOGIN: "login", Outcome.REFUSE: "deny"}[said.outcome]
    return (
        f'{{"rule":{quoted(call.rule)},"handler":{quoted(call.handler)},"answer":"{name}",'
        f'"detail":{quoted(detail) if detail else "null"}}}'
    )


def _last_line(text: str) -> str:
    """Return of a traceback the line that names the exception: the others show source code."""
    return text.rstrip().rpartition("\n")[2]


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _link(link: Link, use: Use | None) -> str:
    failure = f'"{link.failure}"' if link.failure else "null"
    uses = "null" if link.uses is None else link.uses
    used = f'"{use.value}"' if use else "null"
    return f'{{"id":{quoted(link.id)},"failure":{failure},"uses":{uses},"use":{used}}}'


def _who(decision: Decision, facts: Facts) -> Identity | None:
    """Return who asked, though no rule may have looked at it; None when nobody did."""
    if facts.identity is not None:
        return facts.identity
    return None if decision.identity is NOBODY else decision.identity


def _shorten(
    decided: Decided, named_groups_: frozenset[str], named_claims: frozenset[str]
) -> tuple[Decided, list[str]]:
    """Return the decision with what is long shortened, and the names of the fields that are not whole."""
    id_, decision, request, preflight, facts, instant = decided
    cut: list[str] = []

    def fit(name: str, text: str, limit: int) -> str:
        fitted = _fit(text, limit)
        if fitted != text:
            cut.append(name)
        return fitted

    def fitting(name: str, items: Collection[_Item], write: Callable[[_Item], str], limit: int) -> list[_Item]:
        kept = _fitting(items, write, limit)
        if len(kept) < len(items):
            cut.append(name)
        return kept

    if request is not None:
        method, host, path, scheme, address, at = request
        request = (
            fit("method", method, _METHOD), fit("host", host, _HOST), fit("path", path, _PATH), scheme, address, at,
        )  # fmt: skip
    captured = tuple(decision.captures.values())
    captures = fitting("captures", decision.captures.items(), lambda item: _captures(dict([item])), _CAPTURES)
    last = _last_line(decision.detail) if decision.reason is Reason.HANDLER_ERROR else decision.detail
    decision = decision._replace(captures=dict(captures), detail=fit("detail", last, _DETAIL))
    answers = [(call, _with_short_detail(said)) for call, said in facts.answers.items()]
    answers = fitting("answers", answers, lambda item: _answer(*item), _ANSWERS)
    who = _who(decision, facts)
    if who is not None and who.subject is not None:
        subject = who.subject
        groups = named_groups(subject, named_groups_, captured)
        prefix = f"{subject.source}/" if subject.source else ""
        kept = None if groups is None else fitting("groups", groups, quoted, _GROUPS)
        pairs = sorted(pair for pair in subject.claims if pair[0] in named_claims)
        claims = fitting("claims", pairs, lambda pair: _list(map(quoted, pair)), _CLAIMS)
        name = fit("user", subject.name, _USER)
        members = None if kept is None else frozenset(group.removeprefix(prefix) for group in kept)
        who = who._replace(subject=Subject(subject.source, name, members, frozenset(claims)))
    return (id_, decision, request, preflight, facts._replace(identity=who, answers=dict(answers)), instant), cut


def _with_short_detail(said: Decision | None) -> Decision | None:
    if said is None:
        return None
    detail = _last_line(said.detail) if said.reason is Reason.HANDLER_ERROR else said.detail
    return said._replace(detail=_fit(detail, _DETAIL))


def _fit(text: str, limit: int) -> str:
    """Return the text, or its beginning and ``...``, so that it takes at most `limit` bytes as written."""
    if len(quoted(text[:limit])) <= limit and len(text) <= limit:
        return text
    size = len('"..."')
    for number, character in enumerate(text):
        size += len(quoted(character)) - len('""')
        if size > limit:
            return f"{text[:number]}..."
    return text


def _fitting(items: Iterable[_Item], write: Callable[[_Item], str], limit: int) -> list[_Item]:
    """Return as many items, from the first, as take at most `limit` bytes as written."""
    kept, size = [], 0
    for item in items:
        size += len(write(item)) + 1
        if size > limit:
            break
        kept.append(item)
    return kept

"""What a policy answers, written from its description and as slowly as one likes: every rule is looked at, every text
is read anew, nothing is compiled. It shares the vocabulary of `authgate.model` with the package, and no code.

It is meant for policies that compile; about others it says nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from authgate.model import NOBODY, AccessRequest, Decision, HandlerCall, Identity, Link, Outcome, Reason, Use

Table = Mapping[str, Any]
Truth = bool | None

IDENTITY = {"authenticated", "user", "group", "claim", "via", "mfa"}
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
# Of these nobody is told to log in.
NOT_THE_CLIENTS = {Reason.BUSY, Reason.STORE_UNAVAILABLE, Reason.HANDLER_ERROR, Reason.TOO_MANY_ATTEMPTS}


class Atom(NamedTuple):
    """An atom as it is written."""

    negated: bool
    kind: str
    value: str


class Verdict(NamedTuple):
    """What is answered, and which facts were needed for it."""

    outcome: Outcome
    reason: Reason
    rule: str
    captures: Mapping[str, str]
    identity: Identity
    asked: tuple[HandlerCall, ...]
    used: bool


class Ended(Exception):
    """A handler has ended the decision."""

    def __init__(self, said: Decision) -> None:
        super().__init__()
        self.said = said


# Paths


def is_canonical(path: str) -> bool:
    """Tell whether the path has one reading only."""
    try:
        octets = path.encode()
    except UnicodeEncodeError:
        return False
    *inner, last = path.split("/")[1:] or [""]
    return (
        path.startswith("/")
        and all(inner)
        and not {".", ".."} & {*inner, last}
        and all(octet >= 0x20 and octet != 0x7F for octet in octets)
    )


def captured(pattern: str, path: str) -> Mapping[str, str] | None:
    """Return what the pattern captures; None when it does not cover the path."""
    if pattern.startswith("re:"):
        found = re.fullmatch(pattern[3:], path, re.DOTALL)
        return None if found is None else {name: text or "" for name, text in found.groupdict().items()}
    return _segments(pattern.split("/")[1:], path.split("/")[1:])


def _segments(wanted: Sequence[str], given: Sequence[str]) -> Mapping[str, str] | None:
    if wanted == ["**"]:
        return {}
    if not wanted or not given:
        return None if wanted or given else {}
    rest = _segments(wanted[1:], given[1:])
    if rest is None:
        return None
    if wanted[0].startswith("{"):
        return {wanted[0][1:-1]: given[0], **rest} if given[0] else None
    return rest if _fits(wanted[0], given[0]) else None


def _fits(wanted: str, given: str) -> bool:
    if not wanted or not given:
        return wanted == given
    if wanted[0] == "*":
        return any(_fits(wanted[1:], given[taken:]) for taken in range(1, len(given) + 1))
    return wanted[0] == given[0] and _fits(wanted[1:], given[1:])


# Rules and terms


def matching(table: Table, request: AccessRequest) -> Mapping[str, str] | None:
    """Return what is captured when the rule is about the request; None when it is not."""
    hosts, methods = table.get("hosts", [request.host]), table.get("methods", [request.method])
    if not any(_is_host(wanted, request.host) for wanted in hosts):
        return None
    wanted_method = "GET" if request.method == "HEAD" and "HEAD" not in methods else request.method
    if wanted_method not in methods and not _is_preflight(table, request):
        return None
    found = [captured(pattern, request.path) for pattern in table["paths"]]
    return next((captures for captures in found if captures is not None), None)


def _is_host(wanted: str, host: str) -> bool:
    if wanted.startswith("*."):
        label, _, rest = host.partition(".")
        return label != "" and rest == wanted.removeprefix("*.")
    return wanted == host


def _is_preflight(table: Table, request: AccessRequest) -> bool:
    return bool(table.get("preflight")) and request.preflight


def atoms(term: str) -> list[Atom]:
    """Return the atoms of a term."""
    found = []
    for text in re.findall(r'(?:"[^"]*"|[^"&])+', term):
        negated = text.strip().startswith("!")
        kind, _, value = text.strip().removeprefix("!").strip().partition(":")
        found.append(Atom(negated, kind, value.replace('"', "")))
    return found


def _is_time(value: str, instant: float) -> bool:
    *days, hours, zone = value.split()
    local = datetime.fromtimestamp(instant, ZoneInfo(zone))
    wanted = set()
    for part in ",".join(days or ["Mon-Sun"]).lower().split(","):
        first, _, last = part.partition("-")
        at = DAYS.index(first)
        wanted.add(at)
        while DAYS[at] != (last or first):
            at = (at + 1) % 7
            wanted.add(at)
    begin, end = hours.split("-")
    clock = local.strftime("%H:%M")
    if begin < end:
        return begin <= clock < end and local.weekday() in wanted
    evening = local if clock >= begin else local - timedelta(days=1)
    return (clock >= begin or clock < end) and evening.weekday() in wanted


@dataclass
class Case:
    """One request, who makes it, and what handlers say when they are asked.

    Args:
        hosts: of the sites.
        networks: by name, as they are written.
        use: what would become of a use of the link.
        used: one was asked for.
    """

    hosts: Sequence[str]
    networks: Mapping[str, Sequence[str]]
    request: AccessRequest
    who: Identity
    says: Callable[[HandlerCall], Decision | None]
    link: Link | None = None
    use: Use = Use.GRANTED
    used: bool = False
    asked: list[HandlerCall] = field(default_factory=list)
    looked: bool = False

    def decide(self, tables: Sequence[Table]) -> Verdict:
        """Return what is answered."""
        if not is_canonical(self.request.path):
            return self._verdict(Outcome.REFUSE, Reason.AMBIGUOUS_PATH)
        if self.request.host not in self.hosts:
            return self._verdict(Outcome.REFUSE, Reason.UNKNOWN_HOST)
        for table in tables:
            captures = matching(table, self.request)
            if captures is not None:
                verdict = self._ask(table, captures)
                if verdict is not None:
                    return verdict
        return self._failed("", {}) or self._verdict(Outcome.REFUSE, Reason.NO_RULE)

    def _ask(self, table: Table, captures: Mapping[str, str]) -> Verdict | None:
        name = table["name"]
        deny = [atoms(term) for term in table.get("deny", [])]
        allow = [atoms(term) for term in table["allow"]] if "allow" in table else None
        if any(atom.kind in {*IDENTITY, "handler"} for term in [*deny, *(allow or [])] for atom in term):
            self.looked = True
        if _is_preflight(table, self.request):
            allow = [atoms("anyone")]
        try:
            if any(self._truth(term, name, captures, deny=True) is not False for term in deny):
                return self._refusal(Reason.DENIED_BY_RULE, name, captures, deny, allow)
            if allow is None:
                return None
            if self._admits(allow, name, captures):
                return self._verdict(Outcome.ALLOW, Reason.ALLOWED, name, captures)
        except Ended as ended:
            said = ended.said
            if said.reason is not Reason.HANDLER_ERROR and self.who.failure is not None:
                return self._failed(name, captures)
            return self._verdict(said.outcome, said.reason, name, captures)
        return self._refusal(self._why_not(allow), name, captures, deny, allow)

    def _admits(self, allow: Sequence[Sequence[Atom]], name: str, captures: Mapping[str, str]) -> bool:
        counted, wanted = self.link is not None and self.link.uses is not None, False
        for term in allow:
            if self._truth(term, name, captures, deny=False) is not True:
                continue
            if not (counted and any(atom.kind == "link" and not atom.negated for atom in term)):
                return True
            wanted = True
        # Only now is one asked for: no other term admits.
        self.used = wanted
        return wanted and self.use is Use.GRANTED

    def _why_not(self, allow: Sequence[Sequence[Atom]]) -> Reason:
        if self.used:
            return Reason.LIMIT_REACHED if self.use is Use.USED_UP else Reason.STORE_UNAVAILABLE
        if self.link is not None and any(atom.kind == "link" for term in allow for atom in term):
            return self.link.failure or Reason.NOT_ADMITTED
        return Reason.NOT_ADMITTED

    def _covered(self, atom: Atom, *, deny: bool) -> Truth:
        """Return whether the link covers the request; in ``allow``, once a use was asked for, whether one was left."""
        if self.link is None or self.link.failure not in {None, Reason.STORE_UNAVAILABLE}:
            truth: Truth = False
        elif self.link.failure is not None:
            truth = None
        elif self.used and not deny:
            truth = {Use.GRANTED: True, Use.USED_UP: False, Use.UNKNOWN: None}[self.use]
        else:
            truth = True
        return truth if truth is None else truth is not atom.negated

    def _refusal(
        self,
        reason: Reason,
        name: str,
        captures: Mapping[str, str],
        deny: Sequence[Sequence[Atom]],
        allow: Sequence[Sequence[Atom]] | None,
    ) -> Verdict:
        failed = self._failed(name, captures)
        if failed is not None:
            return failed
        subject = (self.who if self.looked else NOBODY).subject
        if subject is not None and subject.is_anonymous:
            if self._would_pass(name, captures, deny, allow, self.who, IDENTITY):
                return self._verdict(Outcome.LOGIN, Reason.LOGIN_REQUIRED, name, captures)
        elif any(atom.kind == "mfa" for term in [*deny, *(allow or [])] for atom in term):
            by_two = self.who._replace(second_factor=True)
            if self._would_pass(name, captures, deny, allow, by_two, set()):
                return self._verdict(Outcome.LOGIN, Reason.SECOND_FACTOR_REQUIRED, name, captures)
        return self._verdict(Outcome.REFUSE, reason, name, captures)

    def _would_pass(
        self,
        name: str,
        captures: Mapping[str, str],
        deny: Sequence[Sequence[Atom]],
        allow: Sequence[Sequence[Atom]] | None,
        who: Identity,
        free: set[str],
    ) -> bool:
        """Tell whether another identity might pass.

        Args:
            who: that other one.
            free: kinds of atoms that may be whatever would help.
        """

        def may_be_false(atom: Atom) -> bool:
            if atom.kind == "handler":
                # Unasked it does not count; asked it has refused nobody, else there would be no question.
                return True
            if atom.kind == "link":
                return self._covered(atom, deny=True) is False
            return atom.kind in free or self._atom(atom, captures, who) is False

        def may_be_true(atom: Atom) -> bool:
            if atom.kind == "handler":
                call = HandlerCall(atom.value, name)
                return call not in self.asked or self.says(call) is not None
            if atom.kind == "link":
                return self._covered(atom, deny=False) is True
            return atom.kind in free or self._atom(atom, captures, who) is True

        if not all(any(may_be_false(atom) for atom in term) for term in deny):
            return False
        return allow is None or any(all(may_be_true(atom) for atom in term) for term in allow)

    def _truth(self, term: Sequence[Atom], name: str, captures: Mapping[str, str], *, deny: bool) -> Truth:
        """Return whether a term holds; ask its handlers when nothing else decides it."""
        known = [
            self._covered(atom, deny=deny) if atom.kind == "link" else self._atom(atom, captures, self.who)
            for atom in term
            if atom.kind != "handler"
        ]
        handlers = [HandlerCall(atom.value, name) for atom in term if atom.kind == "handler"]
        if False in known:
            return False
        if (None in known and not deny) or (handlers and self.who.subject is None):
            return None
        for call in handlers:
            if call not in self.asked:
                self.asked.append(call)
            said = self.says(call)
            if said is not None and not said.allowed:
                raise Ended(said)
            if said is None or deny:
                return False
        return None if None in known else True

    def _atom(self, atom: Atom, captures: Mapping[str, str], who: Identity) -> Truth:
        truth = self._plain(atom, captures, who)
        return truth if truth is None else truth is not atom.negated

    def _plain(self, atom: Atom, captures: Mapping[str, str], who: Identity) -> Truth:
        def filled(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda found: captures[found[1]], text)

        if atom.kind == "anyone":
            return True
        if atom.kind == "ip":
            address = self.request.address
            networks = [ip_network(text) for text in self.networks.get(atom.value, [atom.value])]
            return None if address is None else any(address in network for network in networks)
        if atom.kind == "time":
            return _is_time(atom.value, self.request.instant)
        subject = who.subject
        if subject is None:
            return None
        if subject.is_anonymous:
            return False
        # The source is what is written: no visitor's path makes somebody of another source out of a local user.
        source, slash, own = atom.value.partition("/")
        source, own = (filled(source), filled(own)) if slash else ("", filled(source))
        if atom.kind == "user":
            return (subject.source, subject.name) == (source, own)
        if atom.kind == "group":
            if subject.source != source:
                return False
            return None if subject.groups is None else own in subject.groups
        if atom.kind == "claim":
            name, _, value = atom.value.partition("=")
            return (name, filled(value)) in subject.claims
        if atom.kind == "via":
            return who.credential.value == atom.value
        assert atom.kind in {"authenticated", "mfa"}
        return atom.kind == "authenticated" or who.second_factor

    def _failed(self, name: str, captures: Mapping[str, str]) -> Verdict | None:
        if not self.looked or self.who.failure is None:
            return None
        outcome = Outcome.REFUSE if self.who.failure in NOT_THE_CLIENTS else Outcome.LOGIN
        return self._verdict(outcome, self.who.failure, name, captures)

    def _verdict(
        self, outcome: Outcome, reason: Reason, name: str = "", captures: Mapping[str, str] | None = None
    ) -> Verdict:
        identity = self.who if self.looked else NOBODY
        return Verdict(outcome, reason, name, captures or {}, identity, tuple(self.asked), self.used)

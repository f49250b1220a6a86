"""Policies, and requests that come near to what they are about."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st

from authgate.engine import decide
from authgate.model import (
    ANONYMOUS,
    NOBODY,
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
    Subject,
    Use,
    allow,
    deny,
    login,
)
from authgate.networks import parse_address
from authgate.policy import Policy
from tests.policies import SITES, compiled
from tests.properties.reference import IDENTITY, Case, Table, Verdict, atoms

_T = TypeVar("_T")

HOSTS = [site.host for site in SITES]
OFFICE = {"office": ["10.0.0.0/8", "2001:db8::/32"]}

# Short, so that patterns, paths, captures, names and groups meet. The simplest of each stands first.
SEGMENTS = ["a", "b", "ab", "A", "x.pdf", "home", "partner", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "a b", "%2e"]
PIECES = ["*", "*.pdf", "a*", "*b*", "a*b*", "{owner}", "{owner}", "{team}"]
REGEXES = [
    "/a",
    "/.*",
    ".*",
    "/[ab]+/?",
    r".*\.pdf",
    "/(?:a|ab)(?:b|/b)?",
    "/(?P<owner>[^/]+)(?:/.*)?",
    "/(?P<owner>.*)",
    "/home/(?P<owner>.+)",
    "/(?P<owner>a)?b*",
    "/(?P<owner>[^/]*)/(?P<team>.*)",
    "/(?P<team>a|ab)(?P<owner>.*)",
    "(?:/[^/]+){2}",
    "/\N{LATIN SMALL LETTER U WITH DIAERESIS}?.",
    "",
    "a",
]
USERS = ["alice", "a", "b", "home", "Anna Lind"]
GROUPS = ["staff", "a", "b", "team a", "R & D"]
CLAIMS = ["sales", "R & D", "a"]
HANDLERS = ["site::f", "site::g"]
TIMES = [
    "00:00-24:00 UTC",
    "Mon-Fri 08:00-18:00 Europe/Berlin",
    "Fri-Mon 22:00-06:00 UTC",
    "02:00-03:00 America/New_York",
    "sat,Sun 00:00-24:00 UTC",
    "Wed 12:00-00:00 Asia/Kathmandu",
]
NETWORKS = ["office", "office", "192.0.2.0/24", "::1", "0.0.0.0/0"]
ADDRESSES = ["10.1.2.3", "192.0.2.1", None, "2001:db8::1", "::1", "198.51.100.7"]
KINDS = [kind for kind in CredentialKind if kind is not CredentialKind.NONE]
FAILURES = [Reason.BAD_CREDENTIAL, Reason.EXPIRED, Reason.REVOKED]
NOT_NOW = [Reason.BUSY, Reason.STORE_UNAVAILABLE, Reason.HANDLER_ERROR, Reason.TOO_MANY_ATTEMPTS]
# Of handlers that only admit or have no opinion: one that ends the decision makes order matter, as it is meant to.
MILD: Sequence[Decision | None] = [None, allow()]
ANSWERS: Sequence[Decision | None] = [*MILD, deny("no"), login(), Decision(Outcome.REFUSE, Reason.HANDLER_ERROR)]
LINKS = [
    None,
    Link("l"),
    Link("l", None, 3),
    *(Link("l", failure, 3) for failure in (Reason.EXPIRED, Reason.SCOPE_EXCEEDED, Reason.STORE_UNAVAILABLE)),
]
_MOMENTS = [
    datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp()
    for month, day in ((1, 2), (3, 8), (3, 29), (10, 25), (11, 1), (11, 18))
    for hour, minute in ((12, 0), (0, 0), (1, 0), (5, 59), (6, 15), (7, 0), (17, 0), (18, 15), (22, 0))
]


class Choices:
    """Choices, one for each byte; where there are no more bytes, the first of what there is to choose from.

    Drawing bytes at once costs a twentieth of drawing each choice, and what fails is still made simple.
    """

    def __init__(self, octets: bytes) -> None:
        self._octets = iter(octets)

    def of(self, options: Sequence[_T]) -> _T:
        """Choose one."""
        return options[next(self._octets, 0) % len(options)]

    def some(self, options: Sequence[_T]) -> frozenset[_T]:
        """Choose any of at most eight."""
        octet = next(self._octets, 0)
        return frozenset(option for bit, option in enumerate(options) if octet >> bit & 1)

    def yes(self, out_of: int = 2) -> bool:
        """Say yes once in so many times."""
        return self.of(range(out_of)) == out_of - 1

    def times(self, least: int, most: int) -> range:
        """Choose how often."""
        return range(self.of(range(least, most + 1)))


def choices() -> st.SearchStrategy[Choices]:
    """Enough choices for a policy and some requests."""
    return st.binary(min_size=300, max_size=300).map(Choices)


def pattern(chosen: Choices) -> str:
    """Return a path pattern of any kind."""
    if chosen.yes(4):
        return f"re:{chosen.of(REGEXES)}"
    segments: list[str] = []
    for _ in chosen.times(0, 3):
        segment = chosen.of(PIECES) if chosen.yes(3) else chosen.of(SEGMENTS[: chosen.of([2, 10])])
        segments.append("*" if segment in segments and segment.startswith("{") else segment)
    end = chosen.of(["/**", "", "/"])
    return "".join(f"/{segment}" for segment in segments) + (end if segments or end else "/")


def _name(chosen: Choices, names: Sequence[str], captures: Sequence[str]) -> str:
    forms = [
        *names,
        *(form for capture in captures for form in (f"{{{capture}}}", f"{{{capture}}}", f"team {{{capture}}}")),
    ]
    return f'"{"partner/" * chosen.yes(5)}{chosen.of(forms)}"'


def _atom(chosen: Choices, captures: Sequence[str], handlers: bool) -> str:
    kind = chosen.of(
        ["authenticated", "user", "group", "ip", "group", "mfa", "anyone", "time", "claim", "via", "handler", "link"]
    )
    if kind == "handler":
        return f"handler:{chosen.of(HANDLERS)}" if handlers else "anyone"
    if kind == "anyone":
        return kind
    values = {
        "user": lambda: _name(chosen, USERS, captures),
        "group": lambda: _name(chosen, GROUPS, captures),
        "claim": lambda: f'dept="{chosen.of([*CLAIMS, *(f"{{{capture}}}" for capture in captures)])}"',
        "via": lambda: chosen.of(KINDS).value,
        "ip": lambda: chosen.of(NETWORKS),
        "time": lambda: chosen.of(TIMES),
    }
    return "!" * chosen.yes(3) + (f"{kind}:{values[kind]()}" if kind in values else kind)


def term(chosen: Choices, captures: Sequence[str] = (), *, handlers: bool = True) -> str:
    """Return a term as it may stand in ``deny``."""
    return " & ".join(_atom(chosen, captures, handlers) for _ in chosen.times(1, 3))


def _admitting(text: str) -> str:
    identity = [atom for atom in atoms(text) if atom.kind in IDENTITY]
    return f"authenticated & {text}" if identity and all(atom.negated for atom in identity) else text


def rule(chosen: Choices, *, handlers: bool = True, guard: bool | None = None) -> dict[str, Any]:
    """Return one rule's table, without a name.

    Args:
        guard: None: it may be one or not.
    """
    paths = [pattern(chosen) for _ in chosen.times(1, 2)]
    captures = [name for name in ("owner", "team") if all(f"{{{name}}}" in p or f"<{name}>" in p for p in paths)]
    made: dict[str, Any] = {"paths": paths}
    hosts = chosen.of([None, None, None, None, ["files.example.com"], ["*.example.com"], ["localhost"]])
    methods = chosen.of([None, None, None, None, ["GET"], ["PUT", "GET"], ["HEAD"], ["OPTIONS"]])
    made |= {"hosts": hosts} if hosts else {}
    made |= {"methods": methods} if methods else {}
    is_guard = chosen.yes(4) if guard is None else guard
    if is_guard or chosen.yes():
        made["deny"] = [term(chosen, captures, handlers=handlers) for _ in chosen.times(1, 2)]
    if not is_guard:
        made["allow"] = [_admitting(term(chosen, captures, handlers=handlers)) for _ in chosen.times(0, 3)]
        made |= {"preflight": True} if chosen.yes(3) else {}
    return made


def rules(chosen: Choices, most: int = 3, *, handlers: bool = True) -> list[Table]:
    """Return the tables of a policy, named by their number."""
    return [{"name": f"r{number}", **rule(chosen, handlers=handlers)} for number in chosen.times(1, most)]


def _fitting(text: str) -> str:
    """Return a path that a pattern covers, or may cover if it is a regular expression."""
    if text.startswith("re:"):
        return {"re:/home/(?P<owner>.+)": "/home/partner/alice", r"re:.*\.pdf": "/a/x.pdf"}.get(text, "/a/b")
    segments = [
        {"{owner}": "a", "{team}": "home"}.get(segment, segment.replace("*", "b"))
        for segment in text.removesuffix("/**").split("/")
    ]
    return "/".join(segments) or "/"


def _mutated(chosen: Choices, path: str) -> str:
    if not chosen.yes(3):
        return path
    middle = len(path) // 2
    if not chosen.yes(3):
        return chosen.of(
            [
                f"{path}/",
                f"{path}/a",
                f"{path}/partner/alice",
                "/partner/alice",
                f"{path}x",
                path[:-1] or "/",
                path.upper(),
                f"{path}\x80",
                f"{path}.",
                f"{path};a",
                f"{path}\\a",
                f"{path}%2fa",
                path.replace("b", "ab"),
                "/",
                "/a/b/a",
            ]
        )
    return chosen.of(
        [
            path.replace("/", "//", 1),
            f"{path}//",
            f"{path}/.",
            f"{path}/..",
            f"{path}/../a",
            f"/.{path}",
            path[1:],
            f"{path[:middle]}\n{path[middle:]}",
            f"{path}\0",
            f"{path}\x7f",
            f"{path}\x1f",
            f"{path}\udcff",
            f"{path}\ud800",
        ]
    )


class World(NamedTuple):
    """A request, who makes it, its link, and what handlers would say, each in each rule."""

    request: AccessRequest
    who: Identity
    said: Sequence[Decision | None]
    link: Link | None = None
    use: Use = Use.GRANTED

    def says(self, call: HandlerCall) -> Decision | None:
        """Return what a handler says."""
        return self.said[(HANDLERS.index(call.handler) + 2 * sum(map(ord, call.rule))) % len(self.said)]


def request(chosen: Choices, tables: Sequence[Table]) -> AccessRequest:
    """Return a request to about where one of the rules is."""
    near = chosen.of(tables)
    path = _mutated(chosen, _fitting(chosen.of(near["paths"])))
    usual = chosen.of(near.get("methods", ["GET"]))
    method = usual if not chosen.yes(5) else chosen.of(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
    preflight = chosen.yes(8)
    host = (
        chosen.of([HOSTS[0], *HOSTS]) if not chosen.yes(30) else chosen.of(["evil.example", "x.files.example.com", ""])
    )
    address, instant = chosen.of(ADDRESSES), chosen.of(_MOMENTS)
    asked = AccessRequest(method, host, path, "https", parse_address(address) if address else None, instant)
    return asked._replace(method="OPTIONS", preflight=True) if preflight else asked


def identity(chosen: Choices) -> Identity:
    """Return somebody, nobody, or somebody whose credential proved nothing."""
    kind, what = chosen.of(KINDS), chosen.of(range(12))
    if what < 4:
        return NOBODY
    if what == 4:
        return Identity(ANONYMOUS, kind, chosen.of(FAILURES))
    if what == 5:
        return Identity(None, kind, chosen.of(NOT_NOW))
    groups = None if chosen.yes(5) else chosen.some(GROUPS)
    claims = frozenset(("dept", claim) for claim in chosen.some(CLAIMS))
    source = "partner" if chosen.yes(4) else ""
    return Identity(Subject(source, chosen.of(USERS), groups, claims), kind, None, chosen.yes())


def world(chosen: Choices, tables: Sequence[Table], answers: Sequence[Decision | None] = ANSWERS) -> World:
    """Return a request that comes near to a policy."""
    said = [chosen.of(answers) for _ in range(4)]
    return World(request(chosen, tables), identity(chosen), said, chosen.of(LINKS), chosen.of(list(Use)))


def compile_tables(tables: Sequence[Table]) -> Policy:
    """Compile a policy for the sites of `tests.policies`."""
    return compiled(*tables)


def decided(policy: Policy, asked: World, *, known: bool = False) -> Verdict:
    """Let the package decide, giving it each fact that it asks for and no other.

    Args:
        known: the identity is handed over with the question, as it is when it is in memory.
    """
    facts = Facts(asked.who if known else None, link=asked.link)
    while isinstance(said := decide(policy, asked.request, facts), Need):
        if said.use:
            assert facts.use is None, "asked twice for a use"
            facts = facts._replace(use=asked.use)
        elif said.call is None:
            assert facts.identity is None, "asked twice for who asks"
            facts = facts._replace(identity=asked.who)
        else:
            assert said.call not in facts.answers, "asked twice for an answer"
            facts = facts._replace(answers={**facts.answers, said.call: asked.says(said.call)})
    return Verdict(
        said.outcome,
        said.reason,
        said.rule,
        dict(said.captures),
        said.identity,
        tuple(facts.answers),
        facts.use is not None,
    )


def referred(tables: Sequence[Table], asked: World) -> Verdict:
    """Let the reference decide."""
    return Case(HOSTS, OFFICE, asked.request, asked.who, asked.says, asked.link, asked.use).decide(tables)

"""Rules: one TOML table each, checked key by key."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from authgate.errors import Problem
from authgate.model import AccessRequest
from authgate.networks import NetworkSet
from authgate.patterns import PathPattern, PatternError, RegexPattern, parse_pattern
from authgate.policy.delivery import Delivery, parse_delivery
from authgate.policy.parsing import TermError, parse_term
from authgate.policy.terms import Term
from authgate.scopes import is_method

# Also a header value and a metric label, so nothing that needs escaping there.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}")
_CACHE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,199}")

_MAX_TEXTS = 1000

# Protected answers carry no Cache-Control of their own, and a cache in front would give one visitor's file to all.
DEFAULT_CACHE = "private, no-cache"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled rule.

    Args:
        place: where it stands, for messages.
        hosts: the hosts it is about, wildcards resolved; None for every host.
        methods: None for every method.
        allow: None when the rule has no ``allow`` at all: a guard, which refuses or passes on to the next rule.
        needs_identity: some term looks at who asks, or asks a handler, which may.
        asks_second_factor: some term looks at ``mfa``.
        asks_link: some term of ``allow`` looks at the request's signed link.
        options: for handlers; the rule's own table, read-only.
        preflight: a CORS preflight, and only that, passes whatever `methods` and `allow` say.
        deliver: for the listener ``deliver`` alone; None: nothing of this rule is sent there.
    """

    name: str
    place: str
    paths: tuple[PathPattern | RegexPattern, ...]
    hosts: frozenset[str] | None
    methods: frozenset[str] | None
    deny: tuple[Term, ...]
    allow: tuple[Term, ...] | None
    cache: str
    needs_identity: bool
    asks_second_factor: bool
    asks_link: bool
    options: Mapping[str, object]
    preflight: bool
    deliver: Delivery | None

    def admitting(self, request: AccessRequest) -> tuple[Term, ...] | None:
        """Return the terms of which one has to hold for this request; None when this is a guard."""
        return _ANYONE if self.preflight and request.preflight else self.allow

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms, ``deny`` first."""
        return (*self.deny, *(self.allow or ()))


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule may refer to: the hosts that exist, the named networks, and where people come from."""

    hosts: frozenset[str]
    networks: Mapping[str, NetworkSet]
    sources: frozenset[str] = frozenset()


class _Table:
    """A rule's TOML table while it is read; collects problems instead of stopping at the first."""

    def __init__(self, place: str, table: Mapping[str, object], problems: list[Problem]) -> None:
        name = table.get("name")
        self.place = f'{place} "{name}"' if isinstance(name, str) and _NAME.fullmatch(name) else place
        self.table = table
        self.problems = problems

    def problem(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.place, message, hint))

    def text(self, key: str, pattern: re.Pattern[str], hint: str) -> str | None:
        value = self.table.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            self.problem(f"{key} is not valid", hint)
            return None
        return value

    def texts(self, key: str, hint: str) -> tuple[str, ...] | None:
        value = self.table.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.problem(f"{key} is not a list of texts", hint)
            return None
        if len(value) > _MAX_TEXTS:
            self.problem(f"{key} has over {_MAX_TEXTS} entries", "write several rules, or a group")
            return None
        return tuple(value)


def parse_rule(place: str, table: object, context: RuleContext, problems: list[Problem]) -> Rule | None:
    """Compile one rule; add what is wrong to `problems` and return None when anything is."""
    if not isinstance(table, dict):
        problems.append(Problem(place, "a rule is a table", "write [[rules]] above its keys"))
        return None
    before = len(problems)
    reading = _Table(place, table, problems)
    for key in sorted(table.keys() - _KEYS):
        close = get_close_matches(key, _KEYS, n=1)
        reading.problem(f'unknown key "{key}"', f'did you mean "{close[0]}"?' if close else f"the keys are {_ALL_KEYS}")
    name = reading.text("name", _NAME, "letters, digits, spaces and . _ / -, at most 64, a letter or digit first")
    if "name" not in table:
        reading.problem("a rule has a name", 'write name = "..."; it is shown in decisions and logs')
    cache = reading.text("cache", _CACHE, 'write a Cache-Control value, such as "private, max-age=60"')
    paths = _parse_paths(reading)
    hosts = _parse_hosts(reading, context)
    methods = _parse_methods(reading)
    deny, allow = _parse_terms(reading, "deny", context), _parse_terms(reading, "allow", context)
    if "deny" not in table and "allow" not in table:
        reading.problem("a rule allows or denies", 'write allow = ["authenticated"], for example')
    terms = (*(deny or ()), *(allow or ()))
    _check_captures(reading, paths, terms)
    preflight = table.get("preflight", False)
    if not isinstance(preflight, bool):
        reading.problem("preflight is not true or false", "write preflight = true")
    elif preflight and "allow" not in table:
        reading.problem("preflight in a rule without allow", "a guard admits nothing; write it into the rule that does")
    options = table.get("options", {})
    if not isinstance(options, dict):
        reading.problem("options is not a table", 'write options = { database = "/srv/rights.db" }')
    elif options and not any(term.handlers for term in terms):
        reading.problem("options without a handler", "only handlers read them")
    deliver = _parse_deliver(reading)
    for term in allow or ():
        if term.admits_strangers:
            reading.problem(f'"{term.text}" in allow admits strangers', f'write "authenticated & {term.text}"')
    if len(problems) > before or name is None:
        return None
    return Rule(
        name=name,
        place=reading.place,
        paths=paths,
        hosts=hosts,
        methods=methods,
        deny=deny or (),
        allow=allow,
        cache=cache or DEFAULT_CACHE,
        needs_identity=any(term.asks_identity or term.handlers for term in terms),
        asks_second_factor=any(term.asks_second_factor for term in terms),
        asks_link=any(term.asks_link for term in allow or ()),
        options=MappingProxyType(options),
        preflight=preflight is True,
        deliver=deliver,
    )


def _parse_deliver(reading: _Table) -> Delivery | None:
    if "deliver" not in reading.table:
        return None
    if "allow" not in reading.table:
        reading.problem("deliver in a rule without allow", "a guard admits nothing; write it into the rule that does")
    return parse_delivery(reading.table["deliver"], reading.problem)


def _parse_paths(reading: _Table) -> tuple[PathPattern | RegexPattern, ...]:
    texts = reading.texts("paths", 'write paths = ["/reports/**"]')
    if not texts and not (texts is None and "paths" in reading.table):
        reading.problem("a rule has paths", 'write paths = ["/reports/**"]; "/**" is every path')
    return tuple(_parse_each(reading, "paths", texts or (), parse_pattern, PatternError))


def _parse_each(
    reading: _Table,
    key: str,
    texts: Iterable[str],
    parse: Callable[[str], PathPattern | RegexPattern],
    error: type[PatternError],
) -> list[PathPattern | RegexPattern]:
    values = []
    for text in texts:
        try:
            values.append(parse(text))
        except error as problem:
            reading.problem(f'"{text}" in {key}: {problem}')
    return values


def _parse_hosts(reading: _Table, context: RuleContext) -> frozenset[str] | None:
    texts = reading.texts("hosts", 'write hosts = ["files.example.com"]')
    if texts is None:
        return None
    if not texts:
        reading.problem("hosts is empty", "leave the key out for every host")
    hosts: set[str] = set()
    for text in texts:
        found = {host for host in context.hosts if _host_fits(text.lower(), host)}
        if not found:
            # Passing over a mistyped host would hand its requests to the next, perhaps wider, rule.
            close = get_close_matches(text, context.hosts, n=1)
            reading.problem(
                f'no site has the host "{text}"',
                f'did you mean "{close[0]}"?' if close else "add it as an origin under [[sites]]",
            )
        hosts |= found
    return frozenset(hosts)


def _host_fits(pattern: str, host: str) -> bool:
    """``*.example.com`` stands for exactly one label more (as in RFC 6125 section 6.4.3)."""
    if not pattern.startswith("*."):
        return pattern == host
    label, _, rest = host.partition(".")
    return bool(label) and rest == pattern[2:]


def _parse_methods(reading: _Table) -> frozenset[str] | None:
    texts = reading.texts("methods", 'write methods = ["GET"]')
    if texts is None:
        return None
    if not texts:
        reading.problem("methods is empty", "leave the key out for every method")
    for text in texts:
        if not is_method(text):
            reading.problem(f'"{text}" in methods is no method', f'did you mean "{text.upper()}"?')
    # HEAD is GET without the body (RFC 9110 section 9.3.2): who may have the one may have the other.
    return frozenset(texts) | ({"HEAD"} if "GET" in texts else frozenset())


def _parse_terms(reading: _Table, key: str, context: RuleContext) -> tuple[Term, ...] | None:
    texts = reading.texts(key, f'write {key} = ["group:staff"]')
    if texts is None:
        return None
    terms = []
    for text in texts:
        try:
            term = parse_term(text, context.networks)
        except TermError as error:
            reading.problem(f"{error}", error.hint)
            continue
        for source in term.sources - context.sources:
            # A source that nobody configured has no people: in `allow` a typing mistake, in `deny` an open door.
            close = get_close_matches(source, context.sources, n=1)
            known = f"the sources are {', '.join(sorted(context.sources))}" if context.sources else _NO_SOURCES
            reading.problem(
                f'"{text}": there is no source "{source}"', f'did you mean "{close[0]}"?' if close else known
            )
        terms.append(term)
    return tuple(terms)


def _check_captures(reading: _Table, paths: Iterable[PathPattern | RegexPattern], terms: Iterable[Term]) -> None:
    wanted = frozenset[str]().union(*(term.captures for term in terms))
    for pattern in paths:
        for name in sorted(wanted - pattern.captures):
            reading.problem(
                f'"{pattern.text}" in paths captures no {{{name}}}, which a term asks for',
                "every path of the rule needs it; write a second rule for the other paths",
            )


_KEYS = frozenset({"name", "hosts", "paths", "methods", "deny", "allow", "cache", "options", "preflight", "deliver"})
_ALL_KEYS = ", ".join(sorted(_KEYS))
_NO_SOURCES = 'local names hold no "/"; a source is configured by source = "..." in [[issuers]] and the like'

# A browser asks without cookies and credentials, so no term that looks at who asks could hold.
_ANYONE = (parse_term("anyone", {}),)

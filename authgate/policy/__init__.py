"""The compiled policy: parsed TOML in, an immutable value out. Compiling is validating.

What `compile_policy` returns can be evaluated without any further check, and what it cannot understand it refuses:
there is no rule that was half understood.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from authgate.errors import ConfigError, Problem
from authgate.model import Site
from authgate.networks import NetworkSet
from authgate.policy.index import Entry, PathIndex
from authgate.policy.rules import Rule, RuleContext, parse_rule


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order, and the means to find those that match without asking each.

    Args:
        hosts: every host a request may name; others are refused.
        rules: all of them, in the order they are asked.
        anywhere: index of the rules without ``hosts``.
        by_host: index of the rules that name the host.
        groups: every group that a rule names in full, as `Group` atoms write it.
        claims: the name of every claim that a rule looks at.
        handlers: every handler that a rule asks.
        asks_link: some rule looks at signed links.
    """

    hosts: frozenset[str]
    rules: tuple[Rule, ...]
    anywhere: PathIndex
    by_host: Mapping[str, PathIndex]
    groups: frozenset[str]
    claims: frozenset[str]
    handlers: frozenset[str]
    asks_link: bool

    def matching(
        self, host: str, path: str, method: str, *, preflight: bool = False
    ) -> Iterable[tuple[Rule, Mapping[str, str]]]:
        """Return the rules that match host, path and method, in the order of the policy, each once, with captures.

        Args:
            preflight: rules that let preflights pass match whatever their methods.
        """
        segments = path.split("/")[1:]
        runs = self.anywhere.find(path, segments)
        of_host = self.by_host.get(host)
        if of_host is not None:
            runs += of_host.find(path, segments)
        if len(runs) != 1:
            return _in_order(sorted(entry for run in runs for entry in run), segments, method, preflight=preflight)
        (run,) = runs
        if len(run) != 1:
            return _in_order(run, segments, method, preflight=preflight)
        # Most often there is just one; the rest of this is for it alone.
        (entry,) = run
        rule = entry.rule
        if rule.methods is not None and method not in rule.methods and not (preflight and rule.preflight):
            return ()
        return ((rule, entry.captured(segments) if entry.captures else entry.found),)


def _in_order(
    entries: list[Entry], segments: list[str], method: str, *, preflight: bool
) -> Iterator[tuple[Rule, Mapping[str, str]]]:
    last = None
    for entry in entries:
        rule = entry.rule
        wanted = rule.methods is None or method in rule.methods or (preflight and rule.preflight)
        if rule is not last and wanted:
            last = rule
            yield rule, entry.captured(segments) if entry.captures else entry.found


def compile_policy(
    tables: Sequence[tuple[str, object]],
    sites: Sequence[Site],
    networks: Mapping[str, NetworkSet],
    sources: frozenset[str] = frozenset(),
) -> Policy:
    """Compile rule tables, in the order they shall be asked.

    Args:
        tables: for each rule the place it stands at (``authgate.toml: rules[3]``) and its parsed TOML table.
        sites: the origins that exist.
        networks: the named networks that ``ip:`` may use.
        sources: where people come from beside the htpasswd file; rules write ``user:SOURCE/NAME``.

    Raises:
        ConfigError: with every problem of every rule.
    """
    context = RuleContext(frozenset(site.host for site in sites), networks, sources)
    problems: list[Problem] = []
    rules: list[Rule] = []
    for place, table in tables:
        rule = parse_rule(place, table, context, problems)
        if rule is not None:
            rules.append(rule)
    names: dict[str, str] = {}
    for rule in rules:
        first = names.setdefault(rule.name, rule.place)
        if first != rule.place:
            problems.append(Problem(rule.place, f'the name "{rule.name}" is taken by {first}', "names are unique"))
    if problems:
        raise ConfigError(problems)
    return Policy(
        hosts=context.hosts,
        rules=tuple(rules),
        anywhere=PathIndex((order, rule) for order, rule in enumerate(rules) if rule.hosts is None),
        by_host={
            host: PathIndex((order, rule) for order, rule in enumerate(rules) if rule.hosts and host in rule.hosts)
            for host in {host for rule in rules for host in rule.hosts or ()}
        },
        groups=frozenset(group for rule in rules for term in rule.terms for group in term.groups),
        claims=frozenset(claim for rule in rules for term in rule.terms for claim in term.claims),
        handlers=frozenset(handler for rule in rules for term in rule.terms for handler in term.handlers),
        asks_link=any(term.asks_link for rule in rules for term in rule.terms),
    )

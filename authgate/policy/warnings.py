"""What a policy says and probably does not mean: rules, or paths of rules, that an earlier rule always decides.

A warning is only given for what is proved. One pattern contains another when every path of the one is a path of the
other; that is decided segment by segment, and taken for false where that takes more than a look.
"""

from collections.abc import Iterator
from typing import NamedTuple

from authgate.errors import Problem
from authgate.patterns import Capture, Glob, Literal, PathPattern, RegexPattern
from authgate.policy import Policy
from authgate.policy.atoms import Anyone
from authgate.policy.index import PathIndex
from authgate.policy.rules import Rule
from authgate.policy.terms import Term

_ANYTHING = Glob(("", ""))


class _Cover(NamedTuple):
    """An earlier rule that decides every request to one path of a later one."""

    rule: Rule
    pattern: PathPattern
    covered: str


def find_warnings(policy: Policy) -> list[Problem]:
    """Return a warning for each rule, or path of a rule, that can never decide, in the order of the policy."""
    # Only rules that decide whatever they match: a guard that holds nothing against a request passes it on.
    index = PathIndex((order, rule) for order, rule in enumerate(policy.rules) if _always_decides(rule))
    warnings = []
    for order, rule in enumerate(policy.rules):
        covers = [_cover(policy, index, order, rule, pattern) for pattern in rule.paths]
        found = [cover for cover in covers if cover is not None]
        opening = next((cover for cover in found if _opens(cover.rule, rule)), None)
        if opening is not None:
            warnings.append(_opened(rule, opening, whole=len(found) == len(covers)))
        elif found and len(found) == len(covers):
            warnings.append(_never_decides(rule, found))
    return warnings


def contains(outer: PathPattern, inner: PathPattern) -> bool:
    """Tell whether every path that fits `inner` also fits `outer`; False also when that is hard to say."""
    if outer.subtree:
        if len(outer.segments) > len(inner.segments):
            return False
    elif inner.subtree or len(outer.segments) != len(inner.segments):
        return False
    return all(_segment_contains(*pair) for pair in zip(outer.segments, inner.segments, strict=False))


def _segment_contains(outer: Literal | Capture | Glob, inner: Literal | Capture | Glob) -> bool:
    if isinstance(outer, Literal):
        return outer == inner
    # "{name}" and "*" are the same: one whole segment of at least one byte.
    wide = _ANYTHING if isinstance(outer, Capture) else outer
    if isinstance(inner, Literal):
        return wide.matches(inner.text)
    narrow = _ANYTHING if isinstance(inner, Capture) else inner
    if len(wide.parts) > 2:
        return wide == narrow
    # One star: what begins and ends the narrow one includes what the wide one asks for, and between the two
    # there is at least one byte in both.
    first, last = wide.parts
    return narrow.parts[0].startswith(first) and narrow.parts[-1].endswith(last)


def _cover(
    policy: Policy, index: PathIndex, order: int, rule: Rule, pattern: PathPattern | RegexPattern
) -> _Cover | None:
    path = _sample(pattern)
    # Whatever contains the pattern fits this path too, so that not every pair of rules has to be compared.
    for entry in sorted(entry for run in index.find(path, path.split("/")[1:]) for entry in run):
        if entry.order[0] >= order:
            return None
        outer = entry.rule.paths[entry.order[1]]
        if isinstance(outer, RegexPattern) or not _same_requests(policy, entry.rule, rule):
            continue
        # Of a regular expression only "every path" is known to contain it.
        if contains(outer, pattern) if isinstance(pattern, PathPattern) else outer.text == "/**":
            return _Cover(entry.rule, outer, pattern.text)
    return None


def _sample(pattern: PathPattern | RegexPattern) -> str:
    """Return a path that fits the pattern; for a regular expression one that fits "every path"."""
    if isinstance(pattern, RegexPattern):
        return "/"
    return "".join(f"/{_fill(segment)}" for segment in pattern.segments) or "/"


def _fill(segment: Literal | Capture | Glob) -> str:
    match segment:
        case Literal(text):
            return text
        case Glob(parts):
            return "x".join(parts)
        case Capture():
            return "x"


def _same_requests(policy: Policy, outer: Rule, inner: Rule) -> bool:
    """Tell whether `outer` matches every host and method that `inner` matches."""
    hosts = outer.hosts is None or (inner.hosts or policy.hosts) <= outer.hosts
    methods = outer.methods is None or (inner.methods is not None and inner.methods <= outer.methods)
    return hosts and methods


def _always_decides(rule: Rule) -> bool:
    return rule.allow is not None or any(_is_anyone(term) for term in rule.deny)


def _opens(earlier: Rule, later: Rule) -> bool:
    """Tell whether the earlier rule admits anyone where the later one would look at who asks, or at something else."""
    return _admits_anyone(earlier) and (bool(later.deny) or not _admits_anyone(later))


def _admits_anyone(rule: Rule) -> bool:
    return any(_is_anyone(term) for term in rule.allow or ())


def _is_anyone(term: Term) -> bool:
    return all(isinstance(part.atom, Anyone) for part in term.parts)


def _opened(rule: Rule, cover: _Cover, *, whole: bool) -> Problem:
    return Problem(
        cover.rule.place,
        f'"anyone" may see "{cover.pattern.text}", and with it "{cover.covered}", which {rule.place} restricts: '
        f"that rule never decides{'' if whole else ' there'}",
        f'put "{rule.name}" before "{cover.rule.name}"',
    )


def _never_decides(rule: Rule, covers: list[_Cover]) -> Problem:
    earlier = " and ".join(_unique(cover.rule.place for cover in covers))
    names = " and ".join(_unique(f'"{cover.rule.name}"' for cover in covers))
    return Problem(
        rule.place,
        f"never decides: before it {earlier} {'matches' if names.count(' and ') == 0 else 'match'} all that it matches",
        f'put "{rule.name}" before {names}, or remove it',
    )


def _unique(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(texts))

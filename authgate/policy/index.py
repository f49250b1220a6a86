"""Finds the rules whose path matches, at a cost that depends on the path and not on how many rules there are.

A trie over segments. Literal segments are dictionary look-ups; a capture is one branch however many rules use it;
only globs (``*.pdf``) at one node, and regular expressions, are tried one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from authgate.patterns import Capture, Glob, Literal, PathPattern, RegexPattern
from authgate.policy.rules import Rule


class Entry(NamedTuple):
    """One pattern of one rule.

    Args:
        order: position of the rule in the policy, then of the pattern in the rule: the first as written counts.
        captures: names and the index of the segment each stands for.
        found: what they stand for, when a regular expression has found it already.
    """

    order: tuple[int, int]
    rule: Rule
    captures: tuple[tuple[str, int], ...] = ()
    found: Mapping[str, str] = MappingProxyType({})

    def captured(self, segments: list[str]) -> Mapping[str, str]:
        """Return what this path's captures stand for."""
        return {name: segments[position] for name, position in self.captures}


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    globs: dict[Glob, _Node] = field(default_factory=dict)
    capture: _Node | None = None
    ends: list[Entry] = field(default_factory=list)
    subtree: list[Entry] = field(default_factory=list)

    def child(self, segment: Literal | Capture | Glob) -> _Node:
        """Return the node behind `segment`, made when it is not there yet."""
        match segment:
            case Literal(text):
                return self.literals.setdefault(text, _Node())
            case Glob():
                return self.globs.setdefault(segment, _Node())
            case Capture():
                if self.capture is None:
                    self.capture = _Node()
                return self.capture


class PathIndex:
    """An immutable index of rules by path."""

    __slots__ = ("_regexes", "_root")

    def __init__(self, rules: Iterable[tuple[int, Rule]]) -> None:
        self._root = _Node()
        self._regexes: list[tuple[tuple[int, int], Rule, RegexPattern]] = []
        for order, rule in rules:
            for position, pattern in enumerate(rule.paths):
                if isinstance(pattern, RegexPattern):
                    self._regexes.append(((order, position), rule, pattern))
                else:
                    self._insert((order, position), rule, pattern)

    def _insert(self, order: tuple[int, int], rule: Rule, pattern: PathPattern) -> None:
        node = self._root
        for segment in pattern.segments:
            node = node.child(segment)
        captures = tuple(
            (segment.name, index) for index, segment in enumerate(pattern.segments) if isinstance(segment, Capture)
        )
        (node.subtree if pattern.subtree else node.ends).append(Entry(order, rule, captures))

    def find(self, path: str, segments: list[str]) -> list[list[Entry]]:
        """Return runs of matching entries, each run in order.

        Args:
            path: canonical.
            segments: the same, split at its slashes, without the empty text before the first.
        """
        runs = self._walk(segments)
        if self._regexes:
            raw = path.encode()
            run = []
            for order, rule, pattern in self._regexes:
                found = pattern.match(raw)
                if found is not None:
                    run.append(Entry(order, rule, found=found))
            if run:
                runs.append(run)
        return runs

    def _walk(self, segments: list[str]) -> list[list[Entry]]:
        nodes = [self._root]
        runs = [self._root.subtree] if self._root.subtree else []
        for segment in segments:
            reached: list[_Node] = []
            for node in nodes:
                child = node.literals.get(segment)
                if child is not None:
                    reached.append(child)
                # The empty last segment of "/x/" is no segment that a star or a capture could stand for.
                if segment:
                    if node.capture is not None:
                        reached.append(node.capture)
                    if node.globs:
                        reached += [child for glob, child in node.globs.items() if glob.matches(segment)]
            if not reached:
                return runs
            nodes = reached
            runs += [node.subtree for node in nodes if node.subtree]
        return runs + [node.ends for node in nodes if node.ends]

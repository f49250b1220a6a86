"""Path patterns, as text to value.

`*` stands for one or more bytes without ``/``; `**` as the whole last segment for everything below; `{name}` for one
whole segment, captured. Everything else is literal and compared byte for byte: no case folding, no decoding.

``re:`` begins an RE2 expression (https://github.com/google/re2/wiki/Syntax) that has to match the whole path. RE2 takes
time linear in the path, whatever the expression: one that backtracks would let a visitor keep a worker busy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import re2

from authgate.paths import is_canonical

_CAPTURE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_NAMED_GROUP = re.compile(r"\(\?P?<([^>]*)>")


class PatternError(ValueError):
    """The text is no pattern; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A segment that must be there exactly so."""

    text: str


@dataclass(frozen=True, slots=True)
class Capture:
    """One whole segment of at least one byte, remembered under `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Glob:
    """A segment with ``*`` in it; `parts` are the literal texts between the stars."""

    parts: tuple[str, ...]

    def matches(self, segment: str) -> bool:
        """Tell whether the whole segment fits, in time linear in its length.

        Taking each part at its first possible place never misses a fit, so there is nothing to go back to.
        """
        first, *middle, last = self.parts
        if not segment.startswith(first):
            return False
        position = len(first)
        for part in middle:
            # One byte at least belongs to the star before the part.
            found = segment.find(part, position + 1)
            if found < 0:
                return False
            position = found + len(part)
        return len(segment) - len(last) > position and segment.endswith(last)


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A compiled pattern.

    Args:
        segments: what stands between the slashes, in order.
        subtree: the pattern ended in ``/**``: the path itself, with or without final slash, and all below.
    """

    text: str
    segments: tuple[Literal | Capture | Glob, ...]
    subtree: bool

    @property
    def captures(self) -> frozenset[str]:
        """The names that the pattern captures."""
        return frozenset(segment.name for segment in self.segments if isinstance(segment, Capture))


# Bytes of memory that one expression may take, an eighth of RE2's own limit: a policy may have many.
_MAX_PROGRAM = 1 << 20


@dataclass(frozen=True, slots=True)
class RegexPattern:
    """A compiled ``re:`` pattern; named groups are captures."""

    text: str
    compiled: re2._Regexp

    @property
    def captures(self) -> frozenset[str]:
        """The names that the pattern captures."""
        return frozenset(self.compiled.groupindex)

    def match(self, path: bytes) -> Mapping[str, str] | None:
        """Return what the groups stand for when the whole path fits, else None; a group that took no part is empty."""
        found = self.compiled.fullmatch(path)
        if found is None:
            return None
        # "\C" is one byte, which may be half a character; what it becomes equals no name.
        return {name: (found[name] or b"").decode(errors="surrogateescape") for name in self.compiled.groupindex}


def parse_pattern(text: str) -> PathPattern | RegexPattern:
    """Compile a pattern.

    Raises:
        PatternError: the text can match no canonical path, or is written in a way that means nothing.
    """
    return _parse_regex(text) if text.startswith("re:") else _parse_path(text)


def _parse_regex(text: str) -> RegexPattern:
    options = re2.Options()
    # "." is every byte of a canonical path; without this, not the line feed.
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = _MAX_PROGRAM
    try:
        compiled = re2.compile(text.removeprefix("re:"), options)
    except re2.error as error:
        (why,) = error.args
        raise PatternError(f"not an RE2 expression: {why.decode(errors='replace')}") from None
    names = _NAMED_GROUP.findall(text)
    if len(names) != len(set(names)):
        # RE2 would take the first of them, whether or not it is the one that matched.
        raise PatternError("a name is captured twice")
    for name in compiled.groupindex:
        if _CAPTURE.fullmatch(f"{{{name}}}") is None:
            raise PatternError(f'the group name "{name}" is not lower-case letters, digits and _')
    return RegexPattern(text, compiled)


def _parse_path(text: str) -> PathPattern:
    if not text.startswith("/"):
        raise PatternError("a path starts with /")
    if not is_canonical(text):
        raise PatternError("no request can have this path: it holds //, a dot segment or a control character")
    subtree = text.endswith("/**")
    body = text.removesuffix("/**") if subtree else text
    segments = tuple(_parse_segment(segment) for segment in body.split("/")[1:])
    names = [segment.name for segment in segments if isinstance(segment, Capture)]
    if len(names) != len(set(names)):
        raise PatternError("a name is captured twice")
    return PathPattern(text, segments, subtree)


def _parse_segment(segment: str) -> Literal | Capture | Glob:
    if "**" in segment:
        raise PatternError("** stands only as the whole last segment")
    if "{" in segment or "}" in segment:
        capture = _CAPTURE.fullmatch(segment)
        if capture is None:
            raise PatternError("a capture is one whole segment, {name}, of lower-case letters, digits and _")
        return Capture(capture[1])
    return Glob(tuple(segment.split("*"))) if "*" in segment else Literal(segment)

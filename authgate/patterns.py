"""Path patterns, as text to value.

`*` stands for one or more bytes without ``/``; `**` as the whole last segment for everything below; `{name}` for one
whole segment, captured. Everything else is literal and compared byte for byte: no case folding, no decoding.
"""

import re
from dataclasses import dataclass

from authgate.paths import is_canonical

_CAPTURE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


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


def parse_pattern(text: str) -> PathPattern:
    """Compile a path pattern.

    Raises:
        PatternError: the text can match no canonical path, or uses a star or brace where it has no meaning.
    """
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

"""What an application's session holds: bounded, and read-only down to its last member. Text to value; pure.

Rules of this module:
1. Every size is bounded before work is done on it: a few bytes may unpack to gigabytes, or nest without end.
2. What is remembered serves many requests, so no handler can change what the next one finds: objects become
   read-only mappings, lists tuples.
"""

import zlib
from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

# A cookie holds 4 KiB, of which a session's JSON packs to a quarter or so.
MAX_SIZE = 64 * 1024
MAX_DEPTH = 32

# What each value counts beside its text: thousands of empty ones are not small.
_EACH = 16


class UnusableData(ValueError):
    """What a session holds cannot be used; says why without quoting it."""


class SessionData(NamedTuple):
    """A session's data.

    Args:
        size: about how many bytes of text it holds, at least 16 for each value.
    """

    members: Mapping[str, object]
    size: int


def inflate(packed: bytes) -> bytes:
    """Return what zlib has compressed.

    Raises:
        ValueError: it is damaged, or larger than `MAX_SIZE`.
    """
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(packed, MAX_SIZE)
    except zlib.error:
        raise ValueError("not compressed data") from None
    if not inflater.eof or inflater.unused_data:
        raise ValueError("too much, or not all of it")
    return content


def freeze(data: object) -> SessionData:
    """Return a read-only copy of a session's data.

    Raises:
        UnusableData: it is no mapping by names, too large, too deep, or holds something else than data.
    """
    if not isinstance(data, Mapping):
        raise UnusableData(f"{type(data).__name__}, not a mapping or None")
    copying = _Copying()
    named = {name: value for name, value in copying.members(data, MAX_DEPTH).items() if isinstance(name, str)}
    if len(named) != len(data):
        raise UnusableData("a mapping with names that are not text")
    return SessionData(MappingProxyType(named), copying.size)


class _Copying:
    """One copy, and how much is in it."""

    def __init__(self) -> None:
        self.size = 0

    def value(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool | float | date | UUID):
            self._count(0)
        elif isinstance(value, int):
            self._count(value.bit_length() // 8)
        elif isinstance(value, bytes):
            self._count(len(value))
        elif isinstance(value, str):
            self._text(value)
        elif not depth:
            raise UnusableData("a mapping that is nested too deeply")
        elif isinstance(value, Mapping):
            return MappingProxyType(self.members(value, depth - 1))
        elif isinstance(value, list | tuple):
            return tuple(self._each(value, depth - 1))
        elif isinstance(value, set | frozenset):
            return frozenset(self._each(value, depth - 1))
        else:
            raise UnusableData(f"a mapping that holds a {type(value).__name__}")
        return value

    def members(self, data: Mapping[object, object], depth: int) -> dict[object, object]:
        self._count(0)
        copied = {}
        for name, value in data.items():
            # PHP numbers the members of its arrays.
            if not isinstance(name, str | int):
                raise UnusableData("a mapping with names that are not text")
            copied[self.value(name, depth)] = self.value(value, depth)
        return copied

    def _each(self, values: Iterable[object], depth: int) -> Iterable[object]:
        self._count(0)
        for value in values:
            yield self.value(value, depth)

    def _text(self, text: str) -> None:
        self._count(len(text))
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair is no character.
            raise UnusableData("a mapping that holds text that is none") from None

    def _count(self, size: int) -> None:
        self.size += _EACH + size
        if self.size > MAX_SIZE:
            raise UnusableData("a mapping that is too large")

"""The web server's side of FastCGI, written from the specification and not from the package."""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, DATA, GET_VALUES, VALUES, UNKNOWN = 1, 2, 3, 4, 5, 6, 8, 9, 10, 11
AUTHORIZER, RESPONDER = 2, 1
COMPLETE, CANT_MULTIPLEX, UNKNOWN_ROLE = 0, 1, 3

Pairs = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]


class Record(NamedTuple):
    """One record as it arrived."""

    kind: int
    id: int
    content: bytes


def record(kind: int, number: int, content: bytes = b"", *, padding: int = 0, version: int = 1) -> bytes:
    """Write one record."""
    return struct.pack(">BBHHBB", version, kind, number, len(content), padding, 0) + content + b"p" * padding


def encoded(pairs: Pairs) -> bytes:
    """Write names and values."""
    written = b""
    for name, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
        parts = (name.encode(), value if isinstance(value, bytes) else value.encode())
        for part in parts:
            written += bytes([len(part)]) if len(part) < 128 else struct.pack(">I", len(part) | 1 << 31)
        written += b"".join(parts)
    return written


def begin(number: int = 1, *, role: int = AUTHORIZER, keep: bool = False) -> bytes:
    """Write the record that begins a request."""
    return record(BEGIN, number, struct.pack(">HB5x", role, int(keep)))


def question(pairs: Pairs, number: int = 1, *, keep: bool = False, size: int = 16384) -> bytes:
    """Write a whole request, as Apache does: parameters in records of at most so many bytes."""
    body = encoded(pairs)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return begin(number, keep=keep) + b"".join(record(PARAMS, number, part) for part in [*parts, b""])


def records(data: bytes) -> list[Record]:
    """Read records; fail when something is left over."""
    found = []
    while data:
        version, kind, number, length, padding, _ = struct.unpack(">BBHHBB", data[:8])
        assert version == 1
        assert len(data) >= 8 + length + padding
        found.append(Record(kind, number, data[8 : 8 + length]))
        data = data[8 + length + padding :]
    return found


class Reply(NamedTuple):
    """The CGI headers that an authorizer answered with."""

    status: int
    headers: dict[str, str]


def reply(data: bytes, number: int = 1) -> Reply:
    """Read the one answer that `data` is; fail when it is not well-formed."""
    *stdout, last, end = records(data)
    assert (last.kind, last.id, last.content) == (STDOUT, number, b"")
    assert (end.kind, end.id, end.content) == (END, number, bytes(8))
    assert stdout
    assert {(kind, number) for kind, number, _ in stdout} == {(STDOUT, number)}
    return headers(b"".join(content for _, _, content in stdout))


def headers(text: bytes) -> Reply:
    """Read CGI headers (RFC 3875 section 6.2); fail when there is a body or a name twice."""
    head, _, body = text.partition(b"\r\n\r\n")
    assert body == b""
    pairs = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
    found = {name: value for name, value in pairs}  # noqa: C416 - fails on what is no pair
    assert len(found) == len(pairs)
    return Reply(int(found.pop("Status").partition(" ")[0]), found)

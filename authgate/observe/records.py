"""Decisions read back from the audit: the files it may be in, the line of an id, and what stands in it."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from os import SEEK_END
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from authgate.errors import AuthgateError
from authgate.model import (
    AccessRequest,
    CredentialKind,
    Decision,
    HandlerCall,
    Identity,
    Link,
    Outcome,
    Reason,
    Subject,
    Use,
    allow,
    deny,
    login,
)
from authgate.networks import parse_address

ID = re.compile(r"([a-z0-9]{1,16})-[0-9a-f]{12}")

# Read from the end in pieces of this size: what is asked about has mostly just happened.
_BLOCK = 1 << 20

# What logrotate makes of a name: .1, .2.gz, -20261120, -20261120.gz, -20261120-1795199400.gz.
_ROTATED = re.compile(r"(?:[.-][0-9]+)*(?:\.gz)?")

# Client's quotes are escaped in a line, so nobody can write this into a path.
_BEGIN = b'{"time":"'


class RecordError(AuthgateError):
    """The line of a decision cannot be understood."""


class Record(NamedTuple):
    """A decision as it was written down.

    Args:
        fields: all that stands in the line.
        decision: that fell then; its identity is `identity`.
        request: None when the web server's question could not be read.
        cut: names of the fields that were too long for the line.
    """

    fields: Mapping[str, object]
    id: str
    time: str
    policy: str
    decision: Decision
    request: AccessRequest | None
    identity: Identity
    answers: Mapping[HandlerCall, Decision | None]
    cut: tuple[str, ...]
    link: Link | None
    use: Use | None


def log_files(current: Path) -> list[Path]:
    """Return the audit's file and those that were rotated away, the newest first.

    Raises:
        OSError: the folder cannot be read.
    """
    found = [path for path in current.parent.iterdir() if path.name.startswith(current.name)]
    rotated = [path for path in found if _ROTATED.fullmatch(path.name.removeprefix(current.name))]
    return sorted(rotated, key=lambda path: (path != current, -path.stat().st_mtime, path.name))


def find_in_file(id_: str, path: Path) -> Mapping[str, object] | None:
    """Return the line of a decision in a file, which may be compressed by gzip; None when it is not there.

    Raises:
        OSError: the file cannot be read.
    """
    if path.suffix == ".gz":
        try:
            with gzip.open(path) as stream:
                return find(id_, stream)
        except (EOFError, zlib.error):
            raise OSError("it is damaged") from None
    with path.open("rb") as stream:
        return find(id_, _lines_from_the_end(stream))


def find(id_: str, lines: Iterable[bytes]) -> Mapping[str, object] | None:
    """Return the line of a decision; None when there is none.

    Args:
        lines: also such with something before the JSON, as journalctl puts it, and such of others.
    """
    needle = f'"id":"{id_}"'.encode()
    for line in lines:
        where = line.find(needle)
        # The last beginning before it: a full disk may have cut off another line just here.
        begin = line.rfind(_BEGIN, 0, where) if where >= 0 else -1
        if begin < 0:
            continue
        try:
            fields, _ = json.JSONDecoder().raw_decode(line[begin:].decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(fields, dict) and fields.get("id") == id_ and fields.get("event") == "decision":
            return fields
    return None


def _lines_from_the_end(stream: BinaryIO) -> Iterator[bytes]:
    position = stream.seek(0, SEEK_END)
    rest = b""
    while position:
        size = min(_BLOCK, position)
        position -= size
        stream.seek(position)
        first, *whole = (stream.read(size) + rest).split(b"\n")
        yield from reversed(whole)
        rest = first
    yield rest


def read_record(fields: Mapping[str, object]) -> Record:
    """Return what stands in the line of a decision.

    Raises:
        RecordError: something is missing, or is not what it should be.
    """
    try:
        return _read(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"the line does not say all of the decision: {error}") from None


def _read(fields: Mapping[str, object]) -> Record:
    identity = _identity(fields)
    captures = _mapping(fields["captures"])
    decision = Decision(
        Outcome[_text(fields["outcome"]).upper()],
        Reason(_text(fields["reason"])),
        _text(fields["rule"] or ""),
        identity,
        captures={name: _text(value) for name, value in captures.items()},
        detail=_text(fields["detail"] or ""),
    )
    return Record(
        fields,
        _text(fields["id"]),
        _text(fields["time"]),
        _text(fields["policy"]),
        decision,
        None if fields["path"] is None else _request(fields),
        identity,
        MappingProxyType(dict(_answer(_mapping(answer)) for answer in _list(fields["answers"]))),
        tuple(_text(name) for name in _list(fields.get("cut", []))),
        *_link(fields.get("link")),
    )


def _link(found: object) -> tuple[Link | None, Use | None]:
    if found is None:
        return None, None
    fields = _mapping(found)
    failure, uses, use = fields["failure"], fields["uses"], fields["use"]
    if uses is not None and type(uses) is not int:
        raise TypeError("the uses of a link are no number")
    link = Link(_text(fields["id"]), None if failure is None else Reason(_text(failure)), uses)
    return link, None if use is None else Use(_text(use))


def _request(fields: Mapping[str, object]) -> AccessRequest:
    address = None if fields["address"] is None else parse_address(_text(fields["address"]))
    return AccessRequest(
        _text(fields["method"]),
        _text(fields["host"]),
        _text(fields["path"]),
        _text(fields["scheme"]),
        address,
        datetime.fromisoformat(_text(fields["time"])).timestamp(),
        preflight=fields.get("preflight", False) is True,
    )


def _identity(fields: Mapping[str, object]) -> Identity:
    failure = None if fields["failure"] is None else Reason(_text(fields["failure"]))
    if fields["credential"] is None:
        # Nobody looked then. What looks now finds it unknown.
        return Identity(None, CredentialKind.NONE)
    credential = CredentialKind(_text(fields["credential"]))
    subject = None
    if fields["user"] is not None:
        source, slash, name = _text(fields["user"]).partition("/")
        source, name = (source, name) if slash else ("", source)
        groups = None
        if fields["groups"] is not None:
            prefix = f"{source}/" if slash else ""
            groups = frozenset(_text(group).removeprefix(prefix) for group in _list(fields["groups"]))
        pairs = [_list(pair) for pair in _list(fields["claims"])]
        claims = frozenset((_text(claim), _text(value)) for claim, value in pairs)
        subject = Subject(source, name, groups, claims)
    return Identity(subject, credential, failure, fields["second_factor"] is True)


def _answer(fields: Mapping[str, object]) -> tuple[HandlerCall, Decision | None]:
    said: Decision | None
    detail = _text(fields["detail"] or "")
    match fields["answer"]:
        case "none":
            said = None
        case "allow":
            said = allow()
        case "login":
            said = login()
        case "deny":
            said = deny(detail)
        case _:
            said = Decision(Outcome.REFUSE, Reason.HANDLER_ERROR, detail=detail)
    return HandlerCall(_text(fields["handler"]), _text(fields["rule"])), said


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value

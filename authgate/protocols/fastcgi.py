"""FastCGI 1.0 as an authorizer speaks it: bytes in, events out; no socket, no clock.

Rules of this module:
1. Nothing raises, whatever arrives. What is no FastCGI ends in `Broken`, after which nothing more is read.
2. One request at a time: another one on the same connection is refused as the specification says (section 5.5,
   FCGI_CANT_MPX_CONN).
3. What is kept of one connection is bounded: one record, and MAX_PARAMETERS bytes of parameters.

Section numbers are those of the FastCGI specification 1.0 (Brown, 1996).
"""

from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

# Section 8, "Types and Constants".
_VERSION = 1
_BEGIN_REQUEST, _ABORT_REQUEST, _END_REQUEST, _PARAMS, _STDIN, _STDOUT = 1, 2, 3, 4, 5, 6
_DATA, _GET_VALUES, _GET_VALUES_RESULT, _UNKNOWN_TYPE = 8, 9, 10, 11
_AUTHORIZER = 2
_KEEP_CONN = 1
_REQUEST_COMPLETE, _CANT_MPX_CONN, _UNKNOWN_ROLE = 0, 1, 3

# version, type, requestId, contentLength, paddingLength, reserved (section 3.3)
_HEADER = Struct(">BBHHBx")
_MANAGEMENT = 0
_MOST_CONTENT = 0xFFFF

# Of one worker at a time.
MAX_CONNECTIONS = 512

# Apache sends some 2 KiB, and with the longest fields it takes, up to 800 KiB.
MAX_PARAMETERS = 1 << 16
# Up to here a request is read to its end, so that whoever sends it reads the refusal.
MAX_REQUEST = 1 << 20

# Section 4.1: the limits that a web server may ask for. The last one says that requests are not multiplexed.
_VALUES = {
    b"FCGI_MAX_CONNS": b"%d" % MAX_CONNECTIONS,
    b"FCGI_MAX_REQS": b"%d" % MAX_CONNECTIONS,
    b"FCGI_MPXS_CONNS": b"0",
}


class Asked(NamedTuple):
    """A request whose parameters have arrived.

    Args:
        parameters: for `select`; None when there were more than MAX_PARAMETERS bytes of them.
    """

    parameters: bytes | None


class Ended(NamedTuple):
    """The web server no longer wants an answer (section 5.4); it is to be told that the request has ended."""


class Reply(NamedTuple):
    """Bytes to send now; no request begins or ends with them."""

    data: bytes


class Broken(NamedTuple):
    """This is no FastCGI, or not one request after the other; close the connection."""


class Refused(NamedTuple):
    """A request that is none for an authorizer: send the bytes, and close unless `keep` says otherwise."""

    data: bytes
    keep: bool


Event = Asked | Ended | Reply | Refused | Broken


class Incoming:
    """What arrives on one connection.

    Attributes:
        active: id of the request that was begun and not finished; 0: there is none.
        keep: the web server wants to use the connection again after that request (FCGI_KEEP_CONN).
    """

    __slots__ = ("_broken", "_buffer", "_complete", "_parameters", "_size", "active", "keep")

    def __init__(self) -> None:
        self.active = 0
        self.keep = False
        self._buffer = bytearray()
        self._parameters: list[bytes] = []
        self._size = 0
        self._complete = False
        self._broken = False

    def receive(self, data: bytes) -> list[Event]:
        """Take what has arrived; return what it means."""
        events: list[Event] = []
        if self._broken:
            return events
        buffer: bytes | bytearray = data
        if self._buffer:
            # Not `+`: a record that arrives byte by byte would be copied whole for each of them.
            self._buffer += data
            buffer = self._buffer
        at, end = 0, len(buffer)
        while end - at >= 8:
            version, kind, number, length, padding = _HEADER.unpack_from(buffer, at)
            if version != _VERSION:
                return self._break(events)
            following = at + 8 + length + padding
            if following > end:
                break
            event = self._record(kind, number, bytes(buffer[at + 8 : at + 8 + length]))
            if event is not None:
                events.append(event)
                if type(event) is Broken:
                    return self._break(events[:-1])
            at = following
        self._buffer = bytearray(buffer[at:]) if at or not self._buffer else self._buffer
        return events

    def finish(self) -> None:
        """Note that the active request was answered; what else arrives for it is not looked at (section 3.3)."""
        self.active = 0
        self._parameters = []
        self._size = 0
        self._complete = False

    def _break(self, events: list[Event]) -> list[Event]:
        self._broken = True
        self._buffer = bytearray()
        self._parameters = []
        return [*events, Broken()]

    def _record(self, kind: int, number: int, content: bytes) -> Event | None:
        if kind == _PARAMS and number == self.active and number:
            return self._take(content)
        if kind == _BEGIN_REQUEST and number:
            return self._begin(number, content)
        if kind == _GET_VALUES and not number:
            return _values(content)
        if kind == _ABORT_REQUEST and number:
            return Ended() if number == self.active else None
        if kind in {_PARAMS, _STDIN, _DATA} and number:
            # Of a request that has ended already, or a body, which an authorizer has no use for (section 6.3).
            return None
        if kind > _UNKNOWN_TYPE or kind == 0:
            # Section 4.2; for a type that is known and makes no sense here there is no answer.
            return Reply(_record(_UNKNOWN_TYPE, _MANAGEMENT, bytes([kind, 0, 0, 0, 0, 0, 0, 0])))
        return Broken()

    def _begin(self, number: int, content: bytes) -> Event | None:
        if len(content) != 8 or number == self.active:
            return Broken()
        role, flags = int.from_bytes(content[:2], "big"), content[2]
        if self.active:
            return Reply(_end(number, _CANT_MPX_CONN))
        keep = bool(flags & _KEEP_CONN)
        if role != _AUTHORIZER:
            return Refused(_end(number, _UNKNOWN_ROLE), keep)
        self.active, self.keep = number, keep
        return None

    def _take(self, content: bytes) -> Event | None:
        """Take one record of the stream of parameters, whose end is an empty one."""
        if self._complete:
            return Broken()
        if content:
            self._size += len(content)
            if self._size <= MAX_PARAMETERS:
                self._parameters.append(content)
            else:
                self._parameters = []
            return None if self._size <= MAX_REQUEST else Broken()
        self._complete = True
        return Asked(b"".join(self._parameters) if self._size <= MAX_PARAMETERS else None)


class Selected(NamedTuple):
    """Parameters that somebody looks at.

    Args:
        values: by the name they have here; of those sent twice, the last.
        doubled: which were sent twice.
    """

    values: dict[bytes, bytes]
    doubled: set[bytes]


def select(content: bytes, wanted: Mapping[bytes, bytes]) -> Selected | None:
    """Read names and values (section 3.4); None when the lengths do not add up.

    Args:
        wanted: the names that count, and what they are called in what is returned.
    """
    values: dict[bytes, bytes] = {}
    doubled: set[bytes] = set()
    find = wanted.get
    at, end = 0, len(content)
    try:
        while at < end:
            name, value = content[at], content[at + 1]
            if name < 0x80 and value < 0x80:
                at += 2
            else:
                name, at = _length(content, at)
                value, at = _length(content, at)
            middle = at + name
            found = find(content[at:middle])
            at = middle + value
            if found is not None:
                if found in values:
                    doubled.add(found)
                values[found] = content[middle:at]
    except IndexError:
        return None
    # A slice beyond the end is just shorter, but `at` is not.
    return Selected(values, doubled) if at == end else None


def _length(content: bytes, at: int) -> tuple[int, int]:
    """Return a length of one byte, or of four whose first bit is set, and where it ends."""
    if content[at] < 0x80:
        return content[at], at + 1
    if len(content) < at + 4:
        raise IndexError
    return int.from_bytes(content[at : at + 4], "big") & 0x7FFFFFFF, at + 4


def _values(content: bytes) -> Event:
    asked = select(content, {name: name for name in _VALUES})
    if asked is None:
        return Broken()
    known = [(name, value) for name, value in _VALUES.items() if name in asked.values]
    body = b"".join(bytes([len(name), len(value)]) + name + value for name, value in known)
    return Reply(_record(_GET_VALUES_RESULT, _MANAGEMENT, body))


def answer(number: int, text: bytes) -> bytes:
    """Return the records that answer a request: CGI headers, the end of the stream, the end of the request.

    Args:
        text: ends with an empty line; a web server may take what does not for an answer without headers, and that for
            a yes (lighttpd does).
    """
    if len(text) <= _MOST_CONTENT:
        return _HEADER.pack(_VERSION, _STDOUT, number, len(text), 0) + text + _ended(number)
    parts = (text[at : at + _MOST_CONTENT] for at in range(0, len(text), _MOST_CONTENT))
    return b"".join(_record(_STDOUT, number, part) for part in parts) + _ended(number)


def _ended(number: int) -> bytes:
    """Return the records that end a request, whatever was sent of its answer."""
    return _HEADER.pack(_VERSION, _STDOUT, number, 0, 0) + _end(number, _REQUEST_COMPLETE)


def _end(number: int, status: int) -> bytes:
    return _record(_END_REQUEST, number, bytes([0, 0, 0, 0, status, 0, 0, 0]))


def _record(kind: int, number: int, content: bytes) -> bytes:
    return _HEADER.pack(_VERSION, kind, number, len(content), 0) + content

"""``RewriteMap prg:`` of Apache: a line is a question, and the line after it the answer. Nothing here reads or writes.

Rules of this module:
1. Every line gets exactly one line, whatever is in it: else each question after it would be given another's answer.
2. An answer begins with the nonce of its question, so that another's opens nothing. A line without one is given ``-``,
   which is nobody's.
3. Only ``OK`` opens something. All else refuses, and so do silence and what cannot be understood.
4. Facts come from the ten fields alone. Each but the nonce has gone through ``int:escape``, and is decoded once. What
   that could not have written is refused: where it is missing, a visitor writes fields himself.

The answers, of fields between single spaces; ``-`` stands for what there is none of:

    NONCE OK USER DECISION CACHE-CONTROL
    NONCE DENY 401|403|503 DECISION
    NONCE LOGIN PAGE NEXT DECISION
"""

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from authgate.cookies import split_joined
from authgate.credentials import Presented
from authgate.model import ANONYMOUS, AccessRequest, Outcome, Reason, Subject
from authgate.pdp import Answer, Pdp
from authgate.policy.rules import DEFAULT_CACHE
from authgate.protocols.subrequest import Fields, access_request, login_headers
from authgate.stores import Clock

# Of what a client sends, Apache takes 8 KiB for the target and for each field; escaped, each byte may be three.
MAX_LINE = 128 * 1024

_NOTHING = _NO_NONCE = b"-"
_NAMES = (
    b"x-authgate-method", b"x-authgate-client", b"x-authgate-scheme", b"x-authgate-host", b"x-authgate-path",
    b"x-authgate-query", b"cookie", b"accept", b"sec-fetch-mode",
)  # fmt: skip

# What mod_unique_id writes, and what int:escape (ap_os_escape_path) leaves as it is.
_NONCE = rb"([A-Za-z0-9@_-]{1,64})"
# Not possessive: until Python 3.11.5 `re` let such a group match less than it had taken, and "%" passed for an escape
# (gh-106052). Nothing is tried twice either way: no two parts of this can begin with the same byte.
_PLAIN = rb"[A-Za-z0-9$_.+!*'(),:;@&=/~-]*"
_FIELD = rb"(" + _PLAIN + rb"(?:%[0-9A-Fa-f]{2}" + _PLAIN + rb")*)"
_QUESTION = re.compile(b" ".join([_NONCE, *[_FIELD] * len(_NAMES)]))
_BEGINNING = re.compile(_NONCE + rb"(?![^ ])")

# Asking again in a moment may help.
_UNAVAILABLE = frozenset({Reason.BUSY, Reason.STORE_UNAVAILABLE})

# Beside letters, digits and _.-~; no space.
_SAFE_IN_ANSWERS = "@+/"

_Question = tuple[bytes, Fields, AccessRequest | Reason]


class Lines:
    """Makes lines of what arrives in pieces. Of one that is too long it keeps so much that it stays too long."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that this piece ends, without their ends."""
        *lines, begun = (self._begun + piece).split(b"\n")
        self._begun = begun[: MAX_LINE + 1]
        return lines


class RewriteMap:
    """Answers lines as the policy decides."""

    def __init__(self, pdp: Pdp, clock: Clock) -> None:
        self._pdp = pdp
        self._clock = clock

    def answer_at_once(self, line: bytes) -> bytes | None:
        """Answer from memory; None: `answer` has to do it."""
        question = self._read(line)
        nonce, fields, request = question
        if isinstance(request, Reason):
            return _denied(nonce, self._pdp.refuse(request))
        given = self._pdp.evaluate_at_once(request, _presented(fields, request), identity_wanted=True)
        return None if given is None else self._say(question, given)

    async def answer(self, line: bytes) -> bytes:
        """Answer, after a look into the store where memory does not do; never raises."""
        question = self._read(line)
        nonce, fields, request = question
        if isinstance(request, Reason):
            return _denied(nonce, self._pdp.refuse(request))
        given = await self._pdp.evaluate(request, _presented(fields, request), identity_wanted=True)
        return self._say(question, given)

    def _read(self, line: bytes) -> _Question:
        found = _QUESTION.fullmatch(line) if len(line) <= MAX_LINE else None
        if found is None:
            beginning = _BEGINNING.match(line)
            return beginning[1] if beginning else _NO_NONCE, {}, Reason.CONFLICTING_HEADERS
        nonce, *values = found.groups()
        # An empty field is one that was not sent.
        fields = {
            name: unquote_to_bytes(value) if b"%" in value else value
            for name, value in zip(_NAMES, values, strict=True)
            if value
        }
        return nonce, fields, access_request(fields, self._clock())

    def _say(self, question: _Question, given: Answer) -> bytes:
        nonce, fields, request = question
        decision = given.decision
        if decision.allowed:
            user, cache = _user(decision.identity.subject or ANONYMOUS), _cache(decision.cache)
            return b"%s OK %s %s %s\n" % (nonce, user, given.id.encode(), cache)
        if decision.outcome is not Outcome.LOGIN or isinstance(request, Reason):
            return _denied(nonce, given)
        location = dict(login_headers({**fields, b"x-authgate-uri": _target(fields)}, self._pdp, request, b""))
        page, _, back = location.get(b"location", b"").partition(b"?next=")
        if not page:
            return _denied(nonce, given)
        # Always with a way back: the `?` stands in Apache's rule, which refuses one that comes out of a map (AH10508).
        return b"%s LOGIN %s %s %s\n" % (nonce, page, back or b"/", given.id.encode())


def _presented(fields: Fields, request: AccessRequest) -> Presented:
    # Apache joins two Cookie fields by a comma, which RFC 6265 does not know.
    return Presented(split_joined(fields.get(b"cookie", b"").decode("latin-1")), "", "", request.address)


@lru_cache(maxsize=4096)
def _user(subject: Subject) -> bytes:
    # Somebody may be called "-".
    return quote(subject.id, _SAFE_IN_ANSWERS).encode().replace(b"-", b"%2D") or _NOTHING


@lru_cache(maxsize=1024)
def _cache(wanted: str) -> bytes:
    # Apache reads an answer byte by byte, so what nearly all rules have is not spelled out.
    return _NOTHING if wanted == DEFAULT_CACHE else quote(wanted, ",=").encode()


def _target(fields: Fields) -> bytes:
    """Write the request's target anew, for the way back; Apache has no raw one without its fragment and host."""
    path, query = fields.get(b"x-authgate-path", b""), fields.get(b"x-authgate-query")
    return quote(path).encode() + (b"?" + query if query else b"")


def _denied(nonce: bytes, given: Answer) -> bytes:
    decision = given.decision
    status = 503 if decision.reason in _UNAVAILABLE else int(decision.outcome)
    return b"%s DENY %d %s\n" % (nonce, status, given.id.encode())

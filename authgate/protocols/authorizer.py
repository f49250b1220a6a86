"""FastCGI parameters to a decision, and a decision to CGI headers: Apache's mod_authnz_fcgi asks, for each request.

Rules of this module:
1. Nothing is looked at before the secret: whoever can reach the port may send any parameters.
2. Facts come only from the parameters in `_FIELDS`. Most others are header fields of the client's. The path is Apache's
   own, normalised, in AG_PATH: REQUEST_URI is the raw target, and stays the first one in internal redirects.
3. An allowing answer holds ``Status`` and ``Variable-*`` and nothing else: Apache sends every other field to the client
   beside the file, and takes the type of the file from a Content-Type. An answer has no body, so that ErrorDocument
   is in force.
4. What Apache tells the client: in the form ``authnz`` (check_authn) any status as it is. In the form ``authz``, behind
   a login of Apache's own, 500 for 500, and for all else 401, or 403 with ``AuthzSendForbiddenOnFailure On``.
"""

from collections.abc import Coroutine, Mapping
from functools import lru_cache
from hmac import compare_digest
from http import HTTPStatus
from typing import NamedTuple

from authgate.cookies import split_joined
from authgate.credentials import Presented
from authgate.model import ANONYMOUS, AccessRequest, CredentialKind, Outcome, Reason, Subject
from authgate.paths import is_plain_target
from authgate.pdp import Answer, Pdp
from authgate.protocols.fastcgi import Asked, Selected, select
from authgate.protocols.subrequest import access_request, certificate, identity_headers, login_headers
from authgate.stores import Clock
from authgate.web.wording import TEMPORARY

_SECRET, _ROLE, _TARGET, _USER = b"ag-secret", b"role", b"x-authgate-uri", b"x-authgate-user"
_APPLICATION, _ODD_FIELD = b"application", b"odd-field"

# Every parameter that is looked at, and the field of `/check` that says the same.
_FIELDS = {
    b"AG_SECRET": _SECRET,
    b"AG_PATH": b"x-authgate-path",
    # From authgate-protect-app.conf only.
    b"AG_APPLICATION": _APPLICATION,
    b"AG_ODD_FIELD": _ODD_FIELD,
    b"FCGI_APACHE_ROLE": _ROLE,
    b"REQUEST_METHOD": b"x-authgate-method",
    b"REQUEST_SCHEME": b"x-authgate-scheme",
    b"REQUEST_URI": _TARGET,
    # With `UseCanonicalName On` the site's own name; HTTP_HOST is whatever the client writes.
    b"SERVER_NAME": b"x-authgate-host",
    b"QUERY_STRING": b"x-authgate-query",
    b"REMOTE_ADDR": b"x-authgate-client",
    b"REMOTE_USER": _USER,
    b"AG_CERTIFICATE_VERIFY": b"x-authgate-certificate-verify",
    b"AG_CERTIFICATE_SUBJECT": b"x-authgate-certificate-subject",
    b"AG_CERTIFICATE": b"x-authgate-certificate",
    b"HTTP_COOKIE": b"cookie",
    b"HTTP_AUTHORIZATION": b"authorization",
    b"HTTP_ACCEPT": b"accept",
    b"HTTP_SEC_FETCH_SITE": b"sec-fetch-site",
    b"HTTP_SEC_FETCH_MODE": b"sec-fetch-mode",
    b"HTTP_SEC_FETCH_DEST": b"sec-fetch-dest",
    b"HTTP_X_REQUESTED_WITH": b"x-requested-with",
}

# FCGI_APACHE_ROLE of the form `authz`: by then Apache has verified REMOTE_USER. In the other forms that may be a name
# which a client only claims (AuthType Basic, before the password is looked at).
_BEHIND_A_LOGIN = b"AUTHORIZER"
# What Apache's user is where authgate named nobody (DefaultUser in deploy/apache).
_NOBODY = b"-"

# What applications behind Apache find in their environment; Apache itself makes REMOTE_USER of AUTH_USER (UserExpr).
_VARIABLES = {
    b"remote-user": b"AUTH_USER",
    b"remote-groups": b"REMOTE_GROUPS",
    b"remote-name": b"REMOTE_NAME",
    b"remote-email": b"REMOTE_EMAIL",
    b"x-authgate-groups": b"AUTHGATE_GROUPS",
}

# For what went wrong here: no decision, and so no id.
FAILED = b"Status: 403 Forbidden\r\nCache-Control: no-store\r\n\r\n"


class Question(NamedTuple):
    """A request that can be decided.

    Args:
        fields: by the names of `/check`.
        behind_a_login: Apache's own, in the form ``authz``.
    """

    request: AccessRequest
    presented: Presented
    fields: Mapping[bytes, bytes]
    behind_a_login: bool


class Authorizer:
    """Answers what Apache asks.

    Args:
        secret: what Apache has to send in AG_SECRET; empty: nobody is believed.
    """

    def __init__(self, pdp: Pdp, realm: str, clock: Clock, secret: bytes) -> None:
        self._pdp = pdp
        self._clock = clock
        self._secret = secret
        self._challenge = f'Basic realm="{realm}", charset="UTF-8"'.encode()

    def ask(self, asked: Asked) -> bytes | Coroutine[None, None, bytes]:
        """Return the answer, CGI headers and an empty line; or what has to be awaited for it."""
        question = self._read(asked)
        if isinstance(question, Reason):
            return self._refusal(self._pdp.refuse(question))
        if _APPLICATION in question.fields and not is_plain_target(question.fields.get(_TARGET, b"").decode("latin-1")):
            return self._refusal(self._pdp.refuse(Reason.AMBIGUOUS_PATH, question.request))
        given = self._pdp.evaluate_at_once(question.request, question.presented, identity_wanted=True)
        return self._wait(question) if given is None else self._answer(question, given)

    async def _wait(self, question: Question) -> bytes:
        given = await self._pdp.evaluate(question.request, question.presented, identity_wanted=True)
        return self._answer(question, given)

    def _read(self, asked: Asked) -> Question | Reason:
        if asked.parameters is None:
            return Reason.CONFLICTING_HEADERS
        selected = select(asked.parameters, _FIELDS)
        # What is no list of names and values holds no secret either.
        if selected is None or not self._is_trusted(selected):
            return Reason.UNTRUSTED_PEER
        if selected.doubled or _ODD_FIELD in selected.values:
            return Reason.CONFLICTING_HEADERS
        fields = selected.values
        behind_a_login = fields.get(_ROLE) == _BEHIND_A_LOGIN
        if _TARGET in fields:
            fields[_TARGET] = _origin_form(fields[_TARGET])
        request = access_request(fields, self._clock())
        if isinstance(request, Reason):
            return request
        user = fields.get(_USER, b"") if behind_a_login else b""
        presented = Presented(
            split_joined(fields.get(b"cookie", b"").decode("latin-1")),
            fields.get(b"authorization", b"").decode("latin-1"),
            "" if user == _NOBODY else user.decode("latin-1"),
            request.address,
            certificate(fields),
        )
        return Question(request, presented, fields, behind_a_login)

    def _is_trusted(self, selected: Selected) -> bool:
        secret = selected.values.pop(_SECRET, b"")
        return bool(self._secret) and _SECRET not in selected.doubled and compare_digest(secret, self._secret)

    def _answer(self, question: Question, given: Answer) -> bytes:
        decision = given.decision
        if decision.allowed:
            identity = decision.identity
            return b"Status: 200\r\nVariable-AUTHGATE_DECISION: %b\r\n%b%b\r\n" % (
                given.id.encode(),
                _decided(decision.rule, identity.credential, decision.cache),
                _identified(identity.subject or ANONYMOUS, self._pdp.policy.groups),
            )
        if question.behind_a_login:
            # 503 would become 401, and a browser would ask for the password again.
            return self._refusal(given, 500 if decision.reason in TEMPORARY else 403)
        if decision.outcome is Outcome.LOGIN:
            return self._login(question, given)
        return self._refusal(given)

    def _login(self, question: Question, given: Answer) -> bytes:
        headers = dict(login_headers(question.fields, self._pdp, question.request, self._challenge))
        if b"location" in headers:
            # Unlike nginx's auth_request, Apache hands on a redirect.
            return self._refusal(given, 302, b"Location: %b\r\n" % headers[b"location"])
        return self._refusal(given, 401, b"WWW-Authenticate: %b\r\n" % headers[b"www-authenticate"])

    def _refusal(self, given: Answer, status: int = 0, more: bytes = b"") -> bytes:
        wait = None if status else TEMPORARY.get(given.decision.reason)
        if wait is not None:
            more = b"Retry-After: %d\r\n" % wait
        # Without its words Apache says "Unknown Reason" to the client.
        answer = HTTPStatus(status or (403 if wait is None else 503))
        return b"Status: %d %b\r\n%bCache-Control: no-store\r\nX-Authgate-Decision: %b\r\n\r\n" % (
            answer,
            answer.phrase.encode(),
            more,
            given.id.encode(),
        )


def _origin_form(target: bytes) -> bytes:
    """Return path and query of a request target, which a client may also write with scheme and host in front."""
    if target[:1] == b"/":
        return target
    authority_and_rest = target.partition(b"://")[2]
    _, slash, rest = authority_and_rest.partition(b"/")
    return slash + rest


@lru_cache(maxsize=4096)
def _decided(rule: str, credential: CredentialKind, cache: str) -> bytes:
    return _variables(
        {
            b"AUTHGATE_RULE": rule.encode(),
            b"AUTHGATE_CREDENTIAL": credential.encode(),
            b"AUTHGATE_CACHE": cache.encode(),
            # Empty: it is in the environment of what is behind Apache, where nothing has a use for it.
            b"AG_SECRET": b"",
        }
    )


@lru_cache(maxsize=4096)
def _identified(subject: Subject, named_groups: frozenset[str]) -> bytes:
    headers = identity_headers(subject, named_groups)
    # What is empty is left out: unlike a header, a variable of this name is nothing that a client can send.
    return _variables({_VARIABLES[name]: value for name, value in headers if value and name in _VARIABLES})


def _variables(variables: Mapping[bytes, bytes]) -> bytes:
    return b"".join(b"Variable-%b: %b\r\n" % pair for pair in variables.items())

"""Logging in and out. These are the only two requests of the pages that change anything, and both are POSTs."""

from dataclasses import dataclass
from math import ceil
from urllib.parse import quote

from starlette.responses import Response

from authgate.config import Settings
from authgate.credentials import Credentials, Presented
from authgate.credentials.logins import Logins
from authgate.credentials.session import Sessions
from authgate.errors import Busy, CredentialError, SiteFunctionFailed, StoreUnavailable, TooManyAttempts
from authgate.model import NOBODY, CredentialKind, Reason, Subject
from authgate.observe.audit import Audit
from authgate.redirects import LOGIN_PATH, return_path
from authgate.web.forms import check_login_token, check_origin, form_cookie, login_token, own_value, read_form
from authgate.web.rendering import page
from authgate.web.set_cookie import ended_session_cookie, login_form_cookie, session_cookie
from authgate.web.visit import Visit, known_subject
from authgate.web.wording import FAILED_LOGIN, LOGIN_NOTICES, REFUSALS, TEMPORARY, too_many_attempts

# A browser holds one session cookie for a site; somebody who sends thousands does not make us write thousands of times.
MAX_ENDED = 4

# What the audit says of a login that ended otherwise than right or wrong.
_REASONS = {
    TooManyAttempts: Reason.TOO_MANY_ATTEMPTS,
    Busy: Reason.BUSY,
    SiteFunctionFailed: Reason.HANDLER_ERROR,
    StoreUnavailable: Reason.STORE_UNAVAILABLE,
}

# What a name is cut to where it is shown again.
MAX_SHOWN = 256


@dataclass(frozen=True, slots=True)
class Login:
    """The login page, its form, and the way out."""

    settings: Settings
    credentials: Credentials
    sessions: Sessions
    logins: Logins
    audit: Audit | None

    async def answer(self, visit: Visit) -> Response:
        """Show the page, or take its form."""
        return await (self.submit(visit) if visit.request.method == "POST" else self.show(visit))

    async def show(self, visit: Visit) -> Response:
        """Show the form, or who is logged in already."""
        query = visit.request.query_params
        goal = _goal(query.getlist("next"))
        # The session alone: a password in `Authorization` would be hashed for anybody who asks for this page.
        identity = await self.credentials.verify(Presented(visit.presented.cookie, "", "", visit.address), visit.site)
        if identity.subject is None and identity.credential is not CredentialKind.SESSION:
            # An application that gives no answer about its own cookie keeps nobody from logging in here.
            identity = NOBODY
        subject = known_subject(identity)
        if not subject.is_anonymous and "again" not in query:
            return self._already(visit, subject, goal)
        notice = "You are logged out." if "out" in query else LOGIN_NOTICES.get(identity.failure or Reason.ALLOWED, "")
        return self._form(visit, login_token(visit), goal, notice=notice)

    async def submit(self, visit: Visit) -> Response:
        """Log in: a new session, and the end of the one before."""
        check_origin(visit)
        form = await read_form(visit.request)
        token = check_login_token(visit, form)
        goal = return_path(form.get("next"))
        name = form.get("username", "")
        try:
            value = await self._begin(visit, name, form.get("password", ""))
        except TooManyAttempts as error:
            # 429 (RFC 6585 section 4) is exactly this and, unlike 401, needs no challenge: the form stays as it is.
            words, wait = too_many_attempts(error.seconds), ceil(error.seconds)
            return _again_in(wait, self._form(visit, token, goal, name=name, problem=words, status=429))
        except Busy:
            words, wait = REFUSALS[Reason.BUSY], TEMPORARY[Reason.BUSY]
            return _again_in(wait, self._form(visit, token, goal, name=name, problem=words, status=503))
        if value is None:
            # 200, the form once more, as HTML forms do. 401 needs a challenge (RFC 9110 section 15.5.2), which
            # opens the browser's own password box; 403 is a refusal, and some error_page may take it for one; 422
            # makes browsers report a page that failed to load. Success is a 303, so access logs tell them apart.
            return self._form(visit, token, goal, name=name, problem=FAILED_LOGIN, wrong=True)
        response = _see_other(goal or "/")
        response.headers.append("set-cookie", session_cookie(visit.site, value))
        return response

    async def _begin(self, visit: Visit, name: str, password: str) -> str | None:
        """Return the new session's cookie value; None, whatever the cause, when nobody is who they say."""
        try:
            subject = await self.logins.verify(name, password, visit.address)
            # At once: an htpasswd line that changes while something else is waited for would be taken for the one
            # that was verified.
            begun = await self.sessions.begin(subject, visit.site) if subject else None
        except CredentialError:
            # Removed while the password was being hashed.
            begun = None
        except (TooManyAttempts, Busy, SiteFunctionFailed, StoreUnavailable) as error:
            self._note(visit, _REASONS[type(error)], name)
            raise
        if subject is None or begun is None:
            self._note(visit, Reason.BAD_CREDENTIAL, name)
            return None
        self._note(visit, Reason.ALLOWED, subject.id)
        # Session fixation: were the old one left, whoever planted it would stay logged in with it.
        for value in visit.cookie_values(visit.site.session_cookie)[:MAX_ENDED]:
            await self.sessions.end(value)
        return begun

    async def leave(self, visit: Visit) -> Response:
        """Log out: the record goes first; when the store is away the cookie stays, because the session does."""
        check_origin(visit)
        form = await read_form(visit.request)
        response = _see_other(f"{LOGIN_PATH}?out=1")
        values = visit.cookie_values(visit.site.session_cookie)
        if not values:
            # A second click. Nothing is cleared either: a form from another site arrives without the cookie
            # (SameSite), and must not log anybody out by its answer.
            return response
        # A second cookie of the name may have been planted; the form says which one it was made for.
        value = own_value(form, {self.sessions.form_token(value): value for value in values[:MAX_ENDED]})
        identity = await self.sessions.verify(value, visit.site)
        await self.sessions.end(value)
        if self.audit is not None and identity.subject is not None and not identity.subject.is_anonymous:
            self.audit.logout(identity.subject.id, visit.site.host, visit.address)
        response.headers.append("set-cookie", ended_session_cookie(visit.site))
        return response

    def _note(self, visit: Visit, reason: Reason, name: str) -> None:
        if self.audit is not None:
            # A name that is none may be a password, typed one field too early.
            known = name if reason is Reason.ALLOWED or self.logins.is_known(name) else ""
            self.audit.login(reason, known, visit.site.host, visit.address)

    def _form(
        self,
        visit: Visit,
        token: str,
        goal: str | None,
        *,
        name: str = "",
        notice: str = "",
        problem: str = "",
        wrong: bool = False,
        status: int = 200,
    ) -> Response:
        response = page(
            "login.html",
            visit,
            realm=self.settings.realm,
            status=status,
            token=token,
            next=goal or "",
            # Control characters would be replaced by the browser's parser, so they are not a name it can send again.
            name=name[:MAX_SHOWN] if name.isprintable() else "",
            notice=notice,
            problem=problem,
            wrong=wrong,
        )
        response.headers.append("set-cookie", login_form_cookie(visit.site, form_cookie(visit), token))
        return response

    def _already(self, visit: Visit, subject: Subject, goal: str | None) -> Response:
        again = f"{LOGIN_PATH}?again=1" + (f"&next={quote(goal, safe='/')}" if goal else "")
        return page("already.html", visit, realm=self.settings.realm, user=subject.id, next=goal or "/", again=again)


def _goal(values: list[str]) -> str | None:
    """Return where to go after login; an address given twice is none."""
    return return_path(values[0]) if len(values) == 1 else None


def _again_in(seconds: int, response: Response) -> Response:
    response.headers["retry-after"] = str(seconds)
    return response


def _see_other(location: str) -> Response:
    return Response(status_code=303, headers={"location": location})

"""Who am I here: a page for people, a small document for programs."""

from dataclasses import dataclass

from starlette.responses import Response

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.credentials.session import Sessions
from authgate.model import CredentialKind, Identity, Reason, Subject
from authgate.web.rendering import json_answer, page
from authgate.web.visit import Visit, known_subject
from authgate.web.wording import CREDENTIALS, LOGIN_NOTICES


@dataclass(frozen=True, slots=True)
class Whoami:
    """The page that says who is logged in and offers the way out."""

    settings: Settings
    credentials: Credentials
    sessions: Sessions

    async def show(self, visit: Visit) -> Response:
        """Say who asks."""
        identity = await self.credentials.verify(visit.presented, visit.site)
        subject = known_subject(identity)
        if visit.request.query_params.get("format") == "json" or visit.wants == "json":
            return json_answer(_document(identity, subject))
        return page(
            "whoami.html",
            visit,
            realm=self.settings.realm,
            user=subject.id,
            groups=None if subject.groups is None else sorted(subject.groups),
            credential=CREDENTIALS[identity.credential],
            notice=LOGIN_NOTICES.get(identity.failure or Reason.ALLOWED, ""),
            token=self._logout_token(visit, identity),
        )

    def _logout_token(self, visit: Visit, identity: Identity) -> str:
        """Return the token of the logout form; empty when there is no session to end."""
        if identity.credential is not CredentialKind.SESSION or identity.failure:
            return ""
        return self.sessions.form_token(visit.cookie_values(visit.site.session_cookie)[0])


def _document(identity: Identity, subject: Subject) -> dict[str, object]:
    return {
        "user": subject.id or None,
        "source": subject.source,
        "groups": None if subject.groups is None else sorted(subject.groups),
        "credential": identity.credential.value,
    }

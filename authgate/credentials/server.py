"""The web server's own login: nginx's ``auth_basic`` and the like have verified it, and hand on the name.

Whether the web server may be believed is its configuration's affair (``authgate-protect-server.conf``). A name that
arrived here is proved.
"""

from authgate.credentials.directory import is_name
from authgate.credentials.people import People
from authgate.credentials.users import LocalUsers
from authgate.errors import SiteFunctionFailed
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject

BAD = Identity(ANONYMOUS, CredentialKind.SERVER, Reason.BAD_CREDENTIAL)
UNKNOWN = Identity(None, CredentialKind.SERVER, Reason.HANDLER_ERROR)


class ServerLogin:
    """Who the web server's user is: in the htpasswd file, or by the site's ``lookup``, or the bare name."""

    def __init__(self, users: LocalUsers, people: People) -> None:
        self._users = users
        self._people = people

    def peek(self, user: str) -> Identity | None:
        """Answer from memory; None when the site has to be asked.

        Args:
            user: as it came, decoded as Latin-1.
        """
        name = _name(user)
        if name is None:
            return BAD
        local = self._users.subject(name)
        if local is not None:
            return Identity(local, CredentialKind.SERVER)
        if not self._people.looked_up:
            return Identity(Subject("", name, self._users.groups(name)), CredentialKind.SERVER)
        try:
            known = self._people.peek(name)
        except SiteFunctionFailed:
            return UNKNOWN
        return None if known is None else self._identity(known.subject)

    async def verify(self, user: str) -> Identity:
        """Answer after asking the site, if memory does not do."""
        identity = self.peek(user)
        name = _name(user)
        if identity is not None or name is None:
            return identity or BAD
        try:
            return self._identity((await self._people.verify(name)).subject)
        except SiteFunctionFailed:
            return UNKNOWN

    def _identity(self, subject: Subject | None) -> Identity:
        # The name of somebody in the htpasswd file is proved by that name only, not by one that the site maps to it.
        if subject is None or self._users.find(subject.name) is not None:
            return BAD
        return Identity(self._users.with_groups(subject), CredentialKind.SERVER)


def _name(user: str) -> str | None:
    try:
        name = user.encode("latin-1").decode()
    except UnicodeError:
        return None
    return name if is_name(name) else None

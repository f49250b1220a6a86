"""A name and a password, wherever they were typed: brakes first, then the htpasswd file or the site's ``verify``.

A name in the htpasswd file is proved by that file alone. The site is not asked about it, and a site that says somebody
else is that person proves nothing: whoever can add an account to a directory could otherwise become root here.
"""

from authgate.credentials.brakes import Brakes
from authgate.credentials.directory import Directory, is_name
from authgate.credentials.passwords import Passwords, is_acceptable
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy
from authgate.model import Subject
from authgate.networks import Address


class Logins:
    """Verifies passwords for the login form and for Basic.

    `verifications` is how many there were, `wrong` how many of them were wrong, and `refused_busy` how many there were
    not because others were under way.
    """

    def __init__(self, users: LocalUsers, passwords: Passwords, directory: Directory, brakes: Brakes) -> None:
        self.verifications = 0
        self.wrong = 0
        self.refused_busy = 0
        self._users = users
        self._passwords = passwords
        self._directory = directory
        self._brakes = brakes

    async def verify(self, name: str, password: str, address: Address | None) -> Subject | None:
        """Return whose name and password these are; None when they are nobody's.

        Raises:
            TooManyAttempts: this client has to wait.
            Busy: too many passwords are being verified.
            SiteFunctionFailed: the site's ``verify`` gave no answer.
            StoreUnavailable: wrong passwords could not be counted.
        """
        if not is_acceptable(password):
            return None
        line = self._users.find(name)
        try:
            subject = await self._brakes.attempt(address, name, lambda: self._prove(name, password))
        except Busy:
            self.refused_busy += 1
            raise
        if subject is None:
            return None
        # What is returned is true of this moment, for the files may have changed since the password was verified:
        # whoever begins a session with it at once need not ask again.
        if self._users.find(name) != line:
            return None
        if line is None:
            return None if self._users.find(subject.name) is not None else subject
        return self._users.subject(name)

    def wait(self, name: str, address: Address | None) -> float:
        """Return for how many seconds this client has to wait, as far as this process knows without asking."""
        return self._brakes.remaining(address, name)

    def is_known(self, name: str) -> bool:
        """Tell whether the htpasswd file has an account of this name."""
        return self._users.find(name) is not None

    async def _prove(self, name: str, password: str) -> Subject | None:
        subject = await self._ask(name, password)
        self.verifications += 1
        self.wrong += subject is None
        return subject

    async def _ask(self, name: str, password: str) -> Subject | None:
        if self._directory.verifies and self._users.find(name) is None:
            if not is_name(name):
                return None
            subject = await self._directory.verify(name, password)
            return None if subject is None or self._users.find(subject.name) is not None else subject
        return await self._passwords.verify(name, password)

"""What can go wrong, as one tree.

AuthgateError
├── ConfigError          the configuration, or a file it names, is wrong; holds every problem found
├── CredentialError      what a client sent does not prove who it is
├── Busy                 too many passwords are being verified already
├── TooManyAttempts      too many wrong passwords came from this client lately
├── SiteFunctionFailed   the site's own `verify` or `lookup` raised, answered nonsense or took too long
└── StoreUnavailable     the store cannot be read or written now

A denial is never an exception; it is a `Decision`. No message ever holds a secret, a password or a cookie.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class AuthgateError(Exception):
    """Root of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file, and what to do about it.

    Args:
        place: where, for a person: ``authgate.toml: rules[3] "reports"`` or ``users.htpasswd: line 4, user "bob"``.
        message: what is wrong, lower case, without a final full stop.
        hint: what to write instead; may be empty.
    """

    place: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(AuthgateError):
    """The configuration is refused; `problems` holds everything found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class CredentialError(AuthgateError):
    """What a client sent does not prove who it is."""


class Busy(AuthgateError):
    """Too many passwords are being verified; try again in a moment."""


class TooManyAttempts(AuthgateError):
    """Too many wrong passwords came from this client lately; none is verified for a while.

    Args:
        seconds: until one is verified again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong passwords; again in {seconds:.0f} s")
        self.seconds = seconds


class SiteFunctionFailed(AuthgateError):
    """The site's own `verify` or `lookup` raised, answered nonsense or took too long; the log has the cause."""


class StoreUnavailable(AuthgateError):
    """The store cannot be read or written now."""

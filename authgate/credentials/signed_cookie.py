"""What the signed cookies of the three frameworks have in common."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from authgate.credentials.session_data import SessionData


class Opened(NamedTuple):
    """A cookie whose signature was verified.

    Args:
        signed: when, in seconds since the epoch, by the application's clock.
    """

    data: SessionData
    signed: float


# Opens a value of printable ASCII, of bounded size. None: the signature is wrong, or nobody can read what is signed.
Opener = Callable[[str], Opened | None]

# Makes one of the secret keys (the one in use first), the salt and the digest's name.
OpenerFactory = Callable[[Sequence[bytes], str, str], Opener]

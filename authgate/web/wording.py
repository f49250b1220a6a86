"""What a person reads instead of a reason's name. Every reason has words; `tests/web/test_wording.py` holds that."""

from collections.abc import Mapping

from authgate.model import CredentialKind, Reason

# Nothing here says what would be enough: that would help whoever is looking for a way in.
REFUSALS: Mapping[Reason, str] = {
    Reason.ALLOWED: "authgate would let you pass, but the web server itself does not serve this address: it may be a "
    "folder without an index page, or a file that the server may not read.",
    Reason.NO_RULE: "No rule of this site covers this address, and what no rule covers is closed.",
    Reason.DENIED_BY_RULE: "A rule of this site closes this address to you.",
    Reason.NOT_ADMITTED: "This address is open to some only, and you are not among them. It may depend on your "
    "account, your network or the time of day.",
    Reason.LOGIN_REQUIRED: "You have to log in to open this.",
    Reason.SECOND_FACTOR_REQUIRED: "You have to confirm your login with a second factor to open this.",
    Reason.BAD_CREDENTIAL: "The login that your browser sent is not valid. Log in again.",
    Reason.EXPIRED: "Your login has expired. Log in again.",
    Reason.REVOKED: "Your login has been ended, or your account has changed. Log in again.",
    Reason.SCOPE_EXCEEDED: "The link or token that you came with does not reach this address.",
    Reason.LIMIT_REACHED: "The number of times this may be opened is used up.",
    Reason.TOO_MANY_ATTEMPTS: "There were too many failed attempts. Wait a little before you try again.",
    Reason.BUSY: "Too many logins are being checked at this moment. Try again in a few seconds.",
    Reason.HANDLER_ERROR: "The site's own check could not be completed, so this stays closed.",
    Reason.MISSING_PATH: "The web server did not say which address you asked for, so this stays closed.",
    Reason.AMBIGUOUS_PATH: "The address can be read in more than one way, so this stays closed.",
    Reason.UNKNOWN_HOST: "This host is not one of the sites that are looked after here.",
    Reason.CONFLICTING_HEADERS: "The request contradicts itself, so this stays closed.",
    Reason.UNTRUSTED_PEER: "The request came by a way that is not trusted, so this stays closed.",
    Reason.STORE_UNAVAILABLE: "Logins cannot be looked up or changed at this moment. Nothing is lost; "
    "try again in a few seconds.",
}

# With 403 these are about a signed link: of whatever else they would have led to the login.
LINK_REFUSALS: Mapping[Reason, str] = {
    Reason.BAD_CREDENTIAL: "The link that you came with is not valid. Perhaps a part of it is missing.",
    Reason.EXPIRED: "The link that you came with has expired, or does not count yet.",
    Reason.REVOKED: "The link that you came with has been withdrawn.",
}

FAILED_LOGIN = "The name or the password is not right. Check both and try again."


def too_many_attempts(seconds: float) -> str:
    """Say how long to wait after too many wrong passwords, right or wrong the next one may be."""
    minutes = round(seconds / 60)
    wait = "less than a minute" if seconds < 60 else "about a minute" if minutes == 1 else f"about {minutes} minutes"
    return f"There were too many wrong passwords from your network address. Try again in {wait}."


# Without a reason, or with one that this version does not know.
UNKNOWN_REFUSAL = "The web server refused this."

# For how many seconds to wait; these are our trouble, not the visitor's.
TEMPORARY: Mapping[Reason, int] = {Reason.BUSY: 1, Reason.STORE_UNAVAILABLE: 5}

# Where nothing better is known.
RETRY_AFTER = 5

# At the login itself, where the words for a refused address would not fit.
LOGIN_TROUBLES: Mapping[Reason, str] = {
    Reason.HANDLER_ERROR: "Names and passwords cannot be checked at this moment. Try again in a few seconds.",
}

LOGIN_NOTICES: Mapping[Reason, str] = {
    Reason.EXPIRED: "Your login has expired. Log in again to go on.",
    Reason.REVOKED: "Your login was ended. Log in again to go on.",
    Reason.BAD_CREDENTIAL: "Your login is not valid here. Log in again to go on.",
}

CREDENTIALS: Mapping[CredentialKind, str] = {
    CredentialKind.NONE: "nothing",
    CredentialKind.SESSION: "this browser session",
    CredentialKind.BASIC: "a password sent with each request",
    CredentialKind.SERVER: "the web server's own login",
    CredentialKind.JWT: "a signed identity token",
    CredentialKind.TOKEN: "an access token",
    CredentialKind.CERTIFICATE: "a client certificate",
    CredentialKind.APPLICATION: "the login of an application of this site",
}

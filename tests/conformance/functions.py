"""The site's own functions of the cases: handlers, and the people whom no htpasswd file knows."""

from authgate.model import AccessRequest, Decision, Subject, allow, deny, login, user
from tests.conformance.cases import SITES_OWN


def says(request: AccessRequest) -> Decision | None:
    """Answer what the rule's options want."""
    return _say(request.options["say"])


async def says_later(request: AccessRequest) -> Decision | None:
    """Do the same, not at once."""
    return says(request)


def second(request: AccessRequest) -> Decision | None:
    """Answer what the rule's options want of another."""
    return _say(request.options["then"])


def owns(request: AccessRequest) -> Decision | None:
    """Admit whom the path names."""
    return allow() if request.subject.id == request.captures["owner"] else None


def asks_nicely(request: AccessRequest) -> Decision | None:
    """Admit a query; rules themselves never look at it."""
    return allow() if request.query == "please=1" else deny("not nice")


def by_method(request: AccessRequest) -> Decision | None:
    """Admit reading."""
    return allow() if request.method in {"GET", "HEAD"} else deny("only reading")


def knows(request: AccessRequest) -> Decision | None:
    """Send strangers to the login, and refuse others than the staff."""
    if request.subject.is_anonymous:
        return login()
    return allow() if "staff" in (request.subject.groups or ()) else deny("no staff")


def sees(request: AccessRequest) -> Decision | None:
    """Admit what every door tells handlers."""
    seen = (request.host, request.path, request.scheme, str(request.address).partition(".")[0])
    return allow() if seen == (request.options["host"], request.options["path"], "http", "127") else None


def _say(wanted: object) -> Decision | None:
    match wanted:
        case "allow":
            return allow()
        case "deny":
            return deny("no")
        case "login":
            return login()
        case "none":
            return None
        case "raise":
            raise LookupError("nothing is there")
        case _:
            # What no handler may say.
            return _WRONG[str(wanted)]  # type: ignore[return-value] # as a site's own mistake


_WRONG = {"true": True, "text": "allow"}


def verify(name: str, password: str) -> Subject | None:
    """Say who somebody is."""
    known = SITES_OWN.get(name)
    if known is None or password != f"{name}-site":
        return None
    if known.get("broken"):
        raise ConnectionError("the directory is away")
    return user(known.get("name", name), known.get("groups"), known.get("claims", {}))


def lookup(name: str) -> Subject | None:
    """Say who somebody is now."""
    return verify(name, f"{name}-site")

"""authgate: answers a web server's question "may this request pass?".

What stands here is for handlers, a site's own functions that rules ask: `AccessRequest` in, `allow()`, `deny()`,
`login()` or None out; and for a site's own login: `user()` is who somebody is.
"""

from authgate.model import AccessRequest, Decision, Subject, allow, deny, login, user

__all__ = ["AccessRequest", "Decision", "Subject", "allow", "deny", "login", "user"]

__version__ = "0.1.0"

"""authgate: answers a web server's question "may this request pass?".

What stands here is for handlers, a site's own functions that rules ask: `AccessRequest` in, `allow()`, `deny()`,
`login()` or None out.
"""

from authgate.model import AccessRequest, Decision, Subject, allow, deny, login

__all__ = ["AccessRequest", "Decision", "Subject", "allow", "deny", "login"]

__version__ = "0.1.0"

"""The ``Set-Cookie`` fields of the pages (RFC 6265bis section 4.1). Nothing else in authgate sets a cookie."""

from authgate.model import Site


def session_cookie(site: Site, value: str) -> str:
    """Write the session cookie: no lifetime of its own, the record on the server has one."""
    return _set_cookie(site, site.session_cookie, value, same_site="Lax", domain=site.cookie_domain)


def ended_session_cookie(site: Site) -> str:
    """Write the field that makes the browser forget the session cookie: the same attributes, or it names another."""
    return session_cookie(site, "") + "; Max-Age=0"


def login_form_cookie(site: Site, name: str, value: str) -> str:
    """Write the cookie of the login form; it never crosses sites, so Strict costs nothing."""
    return _set_cookie(site, name, value, same_site="Strict", domain="")


def _set_cookie(site: Site, name: str, value: str, *, same_site: str, domain: str) -> str:
    parts = [f"{name}={value}", "Path=/", "HttpOnly", f"SameSite={same_site}"]
    if domain:
        parts.append(f"Domain={domain}")
    if site.scheme == "https":
        parts.append("Secure")
    return "; ".join(parts)

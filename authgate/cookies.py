"""Reading a Cookie header as RFC 6265 section 4.2.1 writes it. Pure; never raises, whatever a client sends.

Pairs stand between semicolons; the first ``=`` ends the name; quotes are part of a value, they do not protect a
semicolon. Around a name or a value only space and tab are dropped, as browsers do (section 5.2). Python's own
``strip`` drops U+0085 and U+00A0 too, and a name that becomes ``__Host-authgate`` only after such a strip was set
without the checks that browsers make for the prefix, by a neighbouring host for instance.
"""


def values(header: str, name: str) -> list[str]:
    """Return every value that the header gives for the name, in the order sent.

    Two equal names mean that two origins set one, or that somebody planted one: which of them counts is not ours to
    guess, so both are returned and the caller refuses.

    Args:
        header: the Cookie header decoded as Latin-1; several headers joined by ``"; "``.
        name: compared exactly, upper and lower case are different.
    """
    if name not in header:
        return []
    found = []
    for pair in header.split(";"):
        if name in pair:
            key, equals, value = pair.partition("=")
            if equals and key.strip(" \t") == name:
                found.append(value.strip(" \t"))
    return found


def split_joined(header: str) -> str:
    """Return as one Cookie header what Apache has joined of several by ``", "`` (RFC 9110 section 5.2).

    Browsers send one, so a comma stands within a value, and a neighbouring host may have set it there: ``x`` to
    ``1, __Host-authgate=...``, since it cannot set a cookie of that name. A name with such a prefix that follows a
    comma is therefore written twice, which is as good as none: see `values`.
    """
    parts = header.split(", ")
    for part in parts[1:]:
        if part.lstrip(" \t").startswith(("__Host-", "__Secure-")):
            parts.append(part.partition(";")[0])
    return "; ".join(parts)

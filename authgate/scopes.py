"""How far a credential or a link reaches, as text to value. Pure.

Paths are compared byte for byte, as rules compare them: nothing is decoded, folded or normalised. What a request's path
may be at all is for `decide` to say, before anybody looks at it here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from authgate.model import AccessRequest
from authgate.networks import NetworkSet
from authgate.paths import is_canonical

_SUBTREE = "/**"
# As rules write them.
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Reach:
    """One path, or it and all below.

    Args:
        path: canonical (`paths.is_canonical`), without final slash where it is a folder.
        below: written ``/videos/42/**``: the path itself, with or without final slash, and all below.
    """

    path: str
    below: bool

    def covers(self, path: str) -> bool:
        """Tell whether a path is within reach."""
        # The slash after the folder: /pub/a/** does not reach /pub/ab.
        return path == self.path or (self.below and path.startswith(self.path) and path[len(self.path)] == "/")


def parse_reach(text: str) -> Reach:
    """Return the reach that a text means: an exact path, or a prefix that ends in ``/**``.

    Raises:
        ValueError: it is no canonical path, or would be a pattern to somebody who knows those of rules.
    """
    if not text.startswith("/"):
        raise ValueError("a path starts with /")
    if not is_canonical(text):
        raise ValueError("no request can have this path: it holds //, a dot segment or a control character")
    below = text.endswith(_SUBTREE)
    path = text.removesuffix(_SUBTREE)
    if "*" in path:
        raise ValueError("* stands only in /** at the end")
    return Reach(path, below)


def is_method(text: str) -> bool:
    """Tell whether a text is an HTTP method as rules write it."""
    return _METHOD.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class RequestScope:
    """What a credential may be used for.

    Args:
        paths: none: every path.
        methods: none: every method; GET covers HEAD.
        networks: None: from everywhere. An address that is not known is in none.
        hosts: none: every host.
    """

    paths: Sequence[Reach] = ()
    methods: frozenset[str] = frozenset()
    networks: NetworkSet | None = None
    hosts: frozenset[str] = frozenset()

    def covers(self, request: AccessRequest) -> bool:
        """Tell whether the request is within it."""
        return (
            (not self.hosts or request.host in self.hosts)
            and (not self.methods or _is_method_of(self.methods, request.method))
            and (not self.paths or _reaches(self.paths, request.path))
            and (self.networks is None or (request.address is not None and request.address in self.networks))
        )


def _is_method_of(methods: frozenset[str], method: str) -> bool:
    return method in methods or (method == "HEAD" and "GET" in methods)


def _reaches(paths: Sequence[Reach], path: str) -> bool:
    for reach in paths:  # noqa: SIM110 - asked at each decision; any() costs twice that
        if reach.covers(path):
            return True
    return False

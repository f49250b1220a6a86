"""Constructs that lose the check under Apache: what is written, what is asked, and what keeps it.

docs/apache.md has a row for each entry of `LOSSES`, in its words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.deploy.house import SECRET, status_of

FASTCGI, SITE, PROTECT = "authgate-fastcgi.conf", "authgate-site.conf", "authgate-protect.conf"
EXAMPLE = "example-fastcgi.conf"

_PROTECTED = "    Include authgate/authgate-protect.conf\n"
# Another module of this kind would make Apache ask again just as well.
_ASKED_ONCE = (
    ("*", "AllowMethods GET HEAD POST PUT PATCH DELETE OPTIONS\n", ""),
    ("*", "AllowMethods GET HEAD POST\n", ""),
    ("*", "AllowMethods GET HEAD\n", ""),
)
_SAME_CONFIGURATION = ((PROTECT, '<If "true">\n    AllowMethods GET HEAD\n</If>\n', "AllowMethods GET HEAD\n"),)
_NO_END = (SITE, "RewriteRule ^ - [END]\n", "")

OTHER_HOST = "other.example.com"

# Before those of the files.
RULES = f"""
[[rules]]
name = "hidden"
paths = ["/public/hidden.txt", "/public/inner/index.html"]
deny = ["anyone"]

[[rules]]
name = "kept"
paths = ["/staff/kept.txt"]
allow = ["group:staff"]
cache = "max-age=600"

[[rules]]
name = "other"
hosts = ["{OTHER_HOST}"]
paths = ["/**"]
allow = ["anyone"]
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """A construct and what it does.

    Args:
        ask: request lines and their headers, one request after the other; the last answer counts.
        inside: in the virtual host, above the include.
        behind: below the include.
        below: at server level.
        modules: further ones.
        without: the cures: file or `*`, what stands in it, and what takes its place.
        missing: modules whose absence belongs to that.
        cured: what takes the place of `below` or `inside` where the cure is not in a file of ours.
        files: below the files' folder, written before.
        status: of the answer with the cure.
        lost: tells whether an answer shows that the check is lost.
        session: somebody who is logged in asks the first request.
    """

    ask: tuple[str, ...]
    inside: str = ""
    behind: str = ""
    below: str = ""
    without: tuple[tuple[str, str, str], ...] = ()
    missing: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    cured: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    status: int = 403
    lost: Callable[[bytes], bool] = field(default=lambda answer: SECRET in answer)
    session: str = ""


_DENIED = ("GET /denied/secret.txt",)
_GRANTED = "<Location /denied/>\nRequire all granted\n</Location>"

LOSSES: Mapping[str, Loss] = {
    "a second `Require` beside ours": Loss(
        _DENIED,
        below="<Directory /srv/files>\nInclude authgate/authgate-protect.conf\nRequire ip 127.0.0.1\n</Directory>",
        cured="<Location />\nAuthMerging And\nRequire ip 127.0.0.1\n</Location>",
    ),
    "`<Location>` with a `Require`": Loss(
        _DENIED,
        inside=_GRANTED,
        cured=_GRANTED.replace("Require", "AuthMerging And\nRequire"),
    ),
    "`<Location>` instead of `<Directory>`, and a second `Alias`": Loss(
        ("GET /second/denied/secret.txt",),
        inside="Alias /second /srv/files\n<Location /denied/>\nInclude authgate/authgate-protect.conf\n</Location>",
        without=((EXAMPLE, _PROTECTED, "Require all granted\n"), (PROTECT, "AllowOverride None\n", "")),
        cured="Alias /second /srv/files",
    ),
    "`TRACE`": Loss(
        ("TRACE /denied/secret.txt",),
        without=((FASTCGI, "TraceEnable Off\n", ""),),
        status=405,
        lost=lambda answer: status_of(answer) == 200,
    ),
    "rewrite rules of a folder": Loss(
        ("GET /public/go.txt",),
        below="<Directory /srv/files>\nOptions FollowSymLinks\nRewriteEngine On\n"
        "RewriteRule ^public/go.txt$ /denied/secret.txt\n</Directory>",
        without=(_NO_END, *_ASKED_ONCE),
        missing=("allowmethods",),
        status=404,
    ),
    "rewrite rules below the include": Loss(
        ("GET /public/go.txt",),
        behind="RewriteRule ^/public/go.txt$ /denied/secret.txt",
        without=(_NO_END,),
        status=404,
    ),
    "`DirectoryIndex` of another folder": Loss(
        ("GET /public/pages/",),
        inside="DirectoryIndex nothing.html /denied/secret.txt",
        without=_ASKED_ONCE,
        missing=("allowmethods",),
    ),
    "an index page": Loss(
        ("GET /public/inner/",),
        files={"public/inner/index.html": SECRET},
        without=_SAME_CONFIGURATION,
    ),
    "`ErrorDocument` of the same folder": Loss(
        ("GET /public/nothing",),
        files={"public/hidden.txt": SECRET},
        inside="ErrorDocument 404 /public/hidden.txt",
        without=_SAME_CONFIGURATION,
        status=404,
    ),
    "`FallbackResource`": Loss(
        ("GET /public/nothing",),
        files={"public/hidden.txt": SECRET},
        below="<Directory /srv/files>\nFallbackResource /public/hidden.txt\n</Directory>",
        without=_SAME_CONFIGURATION,
    ),
    "`.htaccess`": Loss(
        _DENIED,
        files={"denied/.htaccess": b"Require all granted\n"},
        without=((PROTECT, "AllowOverride None\n", "AllowOverride All\n"),),
    ),
    "`CacheQuickHandler On`": Loss(
        ("GET /staff/kept.txt", "GET /staff/kept.txt"),
        files={"staff/kept.txt": SECRET},
        inside="CacheEnable socache /\nCacheSocache shmcb",
        modules=("cache", "cache_socache", "socache_shmcb"),
        without=((FASTCGI, "    CacheQuickHandler Off\n", ""),),
        session="alice",
        status=401,
    ),
    "`Options MultiViews`": Loss(
        ("GET /public/hidden",),
        files={"public/hidden.txt": SECRET},
        without=((PROTECT, "Options None\n", "Options MultiViews\n"), *_SAME_CONFIGURATION),
        status=404,
    ),
    "`Options Indexes`": Loss(
        ("GET /public/list/",),
        files={"public/list/name-of-a-file": b""},
        without=((PROTECT, "Options None\n", "Options Indexes\n"), *_SAME_CONFIGURATION),
        lost=lambda answer: b"name-of-a-file" in answer,
    ),
    "`Options Includes`": Loss(
        ("GET /public/include.shtml",),
        inside="AddType text/html .shtml\nAddOutputFilter INCLUDES .shtml",
        modules=("include",),
        without=((PROTECT, "Options None\n", "Options Includes\n"), *_ASKED_ONCE),
        missing=("allowmethods",),
        status=200,
    ),
    "`UseCanonicalName Off`": Loss(
        _DENIED,
        inside=f"ServerAlias {OTHER_HOST}",
        without=((SITE, "UseCanonicalName On\n", "UseCanonicalName Off\n"),),
    ),
    "`Satisfy Any`": Loss(
        _DENIED,
        below="<Directory />\nSatisfy Any\nAllow from all\n</Directory>",
        modules=("access_compat",),
        without=((PROTECT, "    Satisfy All\n", ""),),
    ),
}

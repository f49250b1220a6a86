"""The words of somebody who tries everything."""


def _words(text: str) -> tuple[bytes, ...]:
    """Return what stands between white space; what is no visible ASCII is written as in a Python string."""
    return tuple(word.encode("ascii").decode("unicode_escape").encode("latin-1") for word in text.split())


# What somebody may take for a slash.
SLASHES = _words(r"""
    // /// \\ %2f %2F %5c %5C %255c %252f %25252f /./ /x/../ /%2e/ /.%2e/ %c0%af %e0%80%af %u002f %u2215
    \xef\xbc\x8f %ef%bc%8f /;/ ;/ /;x=y/ %2f%2f /%2f %2f/ \xc0\xaf %00/ %0a/ %20/ \x20/ \x09/ ?/ #/ %3f/ %23/
""")

# What somebody may take for dots.
DOTS = _words(r"""
    . .. ... .... %2e %2E %2e%2e .%2e %2e. %252e%252e %252e ..; .; %c0%ae%c0%ae %c0%ae \xc0\xae\xc0\xae %e0%80%ae
    %uff0e%uff0e \xef\xbc\x8e\xef\xbc\x8e ..%00 ..%20 .\x20. ..;x=y %2e%2e%3b ..%01 ..\\ ..%5c ..%2f %25%32%65 ..?
""")

# Segments that lead nowhere.
NOTHING = (b"", *_words(". %2e x/.. x/%2e%2e x/.%2E %78/.. ./. // x/y/../.. ..;x/.. %2f/.."))

# What is hung on behind.
ENDS = _words(r"""
    . .. / // /. /.. /../ %20 \x20 %2e ~ .html .txt .pdf ::$DATA %3a%3a$DATA ; ;x ;x=y ;.pdf %3b.pdf /.pdf /x.pdf
    ?.pdf %3f.pdf %23.pdf %00 %00.pdf %00.html \x00 %0a %0d%0a %09 %7f %ff \xff # #x ? ?? ?/../
    ?/../../private/secret.txt ?x=/private/secret.txt %3f %3f/../ &x % %2 %zz /index.html /extra /extra/../.. * %2a
    $ ! ' " | ^ ` {} [] @
""")

# What is put in between.
INSERTS = _words(r"""
    %00 \x00 %01 \x01 %0a %0d %0d%0a \x0d \x0a %09 \x09 %7f \x7f %1b %20 \x20 + %2b % %% %zz %2 %u0061 %u002f %e9
    \xe9 %c3 %c3%a9 \xc3\xa9 %ef%bb%bf \xef\xbb\xbf %e2%80%ae %e2%80%8b %cc%88 \xcc\x88 %ed%a0%80 %f4%90%80%80 ;
    ;x=y %3b ? %3f # %23 & : @ \\ %5c %25 %2525 { } *
""")

# Host, or the host of a target; empty for the site that is asked.
HOSTS = (b"", b"", *_words("evil.example neighbour.example.com localhost 127.0.0.1 default.invalid [::1] _"))

# Besides GET.
METHODS = _words(r"""
    HEAD HEAD HEAD POST PUT OPTIONS PROPFIND get TRACE DELETE PATCH COPY MKCOL GETT G-T head CONNECT PURGE SEARCH
    _GET
""")

VERSIONS = (b"", b"HTTP/1.1 ", *_words("HTTP/1.0 HTTP/1.0 HTTP/1.2 HTTP/2.0 http/1.1"))

# Headers that somebody may take a path from.
NAMES = _words(r"""
    X-Original-URL X-Rewrite-URL X-Forwarded-Uri X-Forwarded-Prefix X-Forwarded-Path X-Script-Name X-Authgate-Path
    X-Authgate-Path X-Authgate-Target X-Authgate-Self X-Authgate-Uri X_Authgate_Path AG_PATH AG-PATH AG_ASKED
    Redirect-URL REDIRECT_URL Destination Referer X-Accel-Redirect X-Sendfile X-Original-URI Request-URI Location
    Content-Location PATH_INFO Path-Info
""")

# Whole lines.
LINES = (
    b"X: " + b"x" * 4000,
    *(
        line.encode("latin-1")
        for line in (
            "X-Authgate-Method: POST",
            "X-Authgate-User: alice",
            "X-Authgate-User: root",
            "Remote-User: alice",
            "REMOTE_USER: alice",
            "X-HTTP-Method-Override: POST",
            "X-HTTP-Method: PUT",
            "X-Method-Override: GET",
            "X-Authgate-Client: 10.0.0.1",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Host: neighbour.example.com",
            "X-Authgate-Host: neighbour.example.com",
            "X-Forwarded-Proto: https",
            "X-Authgate-Scheme: https",
            "Host: neighbour.example.com",
            "Host: evil.example",
            "Forwarded: for=127.0.0.1;host=neighbour.example.com",
            "Connection: X-Authgate-Path, X-Authgate-Host",
            "AG_OK: 1",
            "Connection: X-Authgate-Client, Cookie",
            "Connection: keep-alive, X-Authgate-Method",
            "Connection: close",
            "AG-OK: 1",
            "Range: bytes=0-",
            "Range: bytes=0-63",
            "Range: bytes=-40",
            "Range: bytes=0-39,60-120",
            "Range: bytes=5-4",
            "Range: x",
            "If-None-Match: *",
            "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
            'If-Match: "x"',
            'If-None-Match: "0"',
            'If-Range: "x"',
            "Content-Length: 0",
            "Accept: text/html",
            "Sec-Fetch-Mode: navigate",
            "Origin: http://evil.example",
            "Access-Control-Request-Method: GET",
            "X-Requested-With: XMLHttpRequest",
            "Accept-Language: ../../private",
            "Accept-Encoding: gzip, deflate",
            "Cookie: authgate=x",
            "Cookie: a=b; c=\u00ff",
            " folded: line",
            "No colon",
            ": no name",
            "X-Authgate-Path : /index.html",
            "Proxy: /private",
            "Content-Type: /private/secret.txt",
            "Translate: f",
            "Depth: infinity",
            "Secret: x",
            "AG_SECRET: x",
            "AG-SECRET: x",
        )
    ),
)

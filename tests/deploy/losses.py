"""Constructs that lose the check: what is written, what is asked, and what keeps it.

docs/nginx.md has a row for each entry of `LOSSES` and of `ADVICE`, in their words.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.deploy.house import SECRET, status_of

FILES, APP, SERVER_LOGIN = (f"include INCLUDES/authgate-protect{more}.conf;" for more in ("", "-app", "-server"))
HTTP, SERVER, PROTECT = "authgate-http.conf", "authgate-server.conf", "authgate-protect.conf"
PROTECT_APP, PROTECT_SERVER = "authgate-protect-app.conf", "authgate-protect-server.conf"
DENIED = f"location ^~ /denied/ {{ {FILES} }}"
PASS = "proxy_pass http://127.0.0.1:PORT/;"
CONTROL = '    "~[\\x00-\\x1f\\x7f]" "";\n'
KEPT = "proxy_cache kept; proxy_cache_valid any 10m; proxy_ignore_headers Cache-Control;"

# nginx's own password of alice, which authgate does not know.
NGINX_PASSWORD = "known-to-nginx"


def login(name: str, password: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def basic(answer: bytes) -> dict[str, str]:
    """Return what reached the FastCGI application; of two with one name the last."""
    return dict(json.loads(answer.partition(b"\r\n\r\n")[2])["environment"])


@dataclass(frozen=True, slots=True)
class Loss:
    """A construct and what it does.

    Args:
        block: what stands in the server block behind its first line.
        ask: request lines and their headers, one request after the other; the last answer counts.
        without: the cures: file, what stands in it, and what takes its place.
        both: changes that are no cure.
        cured: the block with the cure, where that is not in an include.
        before: what stands before the first line.
        status: of the answer with the cure.
        lost: tells whether an answer shows that the check is lost.
        source: the client's address.
    """

    block: str
    ask: tuple[str, ...]
    without: tuple[tuple[str, str, str], ...] = ()
    both: tuple[tuple[str, str, str], ...] = ()
    cured: str = ""
    before: str = ""
    status: int = 403
    lost: Callable[[bytes], bool] = field(default=lambda answer: SECRET in answer)
    source: str = "127.0.0.1"


LOSSES: Mapping[str, Loss] = {
    "map without volatile": Loss(
        f"{DENIED} location ^~ /l/ {{ {FILES} index nothing.html /denied/index.html; }}",
        ("GET /l/folder/",),
        ((HTTP, "map $uri $ag_safe {\n    volatile;\n", "map $uri $ag_safe {\n"),),
    ),
    "rewrite behind the line": Loss(
        f"location ^~ /l/ {{ {FILES} rewrite ^/l/(.*)$ /denied/$1 break; }}",
        ("GET /l/secret.txt",),
        ((PROTECT, "\nbreak;\n", "\n"),),
        status=404,
    ),
    "rewrite at server level": Loss(
        f"if (!-e $request_filename) {{ rewrite ^ /public/hello.txt last; }} {DENIED}",
        ("GET /denied/secret.txt",),
        ((SERVER, 'if ($uri ~ "^/(?:_authgate\\z|authgate/)") { break; }\n', ""),),
    ),
    "return at server level": Loss(
        f'if ($uri !~ "^/(?:public|denied)/") {{ return 204; }} {DENIED}',
        ("GET /denied/secret.txt",),
        ((SERVER, 'if ($uri ~ "^/(?:_authgate\\z|authgate/)") { break; }\n', ""),),
    ),
    "error_page 502 at server level": Loss(
        f"error_page 502 = /public/hello.txt; {DENIED}",
        ("GET /denied/secret.txt",),
        ((SERVER, "    error_page 599 = @authgate_away;\n", ""),),
        both=((HTTP, "/check.sock;", "/nobody.sock;"),),
        status=503,
    ),
    "set at server level": Loss(
        DENIED,
        ("GET /denied/secret.txt",),
        (
            (SERVER, 'if ($uri ~ "^/(?:_authgate\\z|authgate/)") { break; }\n', "set $ag_path $ag_safe;\n"),
            (SERVER, "    proxy_set_header X-Authgate-Self   /_authgate;\n", ""),
            (PROTECT, "set $ag_path  $ag_safe;\n", ""),
        ),
    ),
    "internal redirect into a location without set": Loss(
        f"location ^~ /l/ {{ {FILES} try_files $uri /unset/secret.txt; }}"
        "location ^~ /unset/ { alias ROOT/denied/; auth_request /_authgate; }",
        ("GET /l/nothing.txt",),
        ((PROTECT, 'auth_request_set $ag_path       "";\n', ""),),
    ),
    "SSI in a protected page": Loss(
        f"ssi on; ssi_types *; {DENIED} location ^~ /l/ {{ {FILES} }}",
        ("GET /l/page.shtml",),
        ((PROTECT, "\nssi off;\n", "\n"), (PROTECT, "if ($request_length = 0) { return 403; }\n", "")),
        status=200,
    ),
    "SSI in a page that is not protected": Loss(
        f"ssi on; ssi_types *; {DENIED}",
        ("GET /l/page.shtml",),
        ((PROTECT, "if ($request_length = 0) { return 403; }\n", ""),),
        status=200,
    ),
    "add_before_body": Loss(
        f"{DENIED} location ^~ /l/ {{ default_type text/html; add_before_body /denied/secret.txt; }}",
        ("GET /l/hello.html",),
        ((PROTECT, "if ($request_length = 0) { return 403; }\n", ""),),
        status=200,
    ),
    "autoindex": Loss(
        f"autoindex on; location ^~ /l/ {{ {FILES} }}",
        ("GET /l/folder/",),
        ((PROTECT, "\nautoindex off;\n", "\n"),),
        lost=lambda answer: b"name-of-a-file" in answer,
    ),
    "satisfy any": Loss(
        f"satisfy any; allow all; {DENIED}", ("GET /denied/secret.txt",), ((PROTECT, "\nsatisfy all;\n", "\n"),)
    ),
    "control bytes in the path": Loss(
        f"location ^~ /members/ {{ {FILES} }}",
        ("GET /members/a%0d%0aX-Authgate-User:%20alice",),
        ((HTTP, f"{CONTROL}    default $uri;", "    default $uri;"),),
        status=400,
    ),
    "set $args": Loss(
        f"location ^~ /members/ {{ set $args $uri; rewrite ^/members/to/ /members/hello.txt; {FILES} }}",
        ("GET /members/to/x%0d%0aX-Authgate-User:%20alice",),
        ((HTTP, '    "~[\\x00-\\x20\\x7f]" "";\n    default $args;', "    default $args;"),),
        status=401,
    ),
    "headers of the client": Loss(
        f"location ^~ /members/ {{ {FILES} }}",
        ("GET /members/hello.txt\r\nX-Authgate-User: alice",),
        (
            (SERVER, "    proxy_pass_request_headers off;\n", ""),
            (SERVER, "    proxy_set_header X-Authgate-User   $ag_server_user;\n", ""),
        ),
        status=401,
    ),
    "$remote_user without auth_basic": Loss(
        f"location ^~ /members/ {{ {FILES} }}",
        (f"GET /members/hello.txt\r\n{login('alice', 'wrong')}",),
        ((SERVER, "X-Authgate-User   $ag_server_user;", "X-Authgate-User   $remote_user;"),),
        status=401,
    ),
    "refused POST": Loss(
        f"location ^~ /members/ {{ {FILES} }}",
        ("POST /members/hello.txt\r\nContent-Length: 1\r\n\r\nx",),
        ((SERVER, 'if ($ag_location = "") { return 401; }\n    return 302 $ag_location;', "return 302 /login;"),),
        status=401,
        lost=lambda answer: status_of(answer) == 302,
    ),
    "long return address": Loss(
        f"location ^~ /members/ {{ {FILES} }}",
        ("GET /members/hello.txt",),
        ((SERVER, "    proxy_buffer_size 8k;\n", ""),),
        # Answers 401 with an address of 4.5 KiB, which authgate does not do.
        both=((HTTP, "/check.sock;", "/long.sock;"),),
        status=302,
        lost=lambda answer: status_of(answer) == 503,
    ),
    "POST": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        ("POST /x\r\nContent-Length: 4\r\n\r\nbody", "POST /x\r\nContent-Length: 4\r\n\r\nbody"),
        ((SERVER, '    proxy_pass_request_body off;\n    proxy_set_header Content-Length "";\n', ""),),
        status=200,
        lost=lambda answer: status_of(answer) != 200,
    ),
    "large upload": Loss(
        f"client_max_body_size 1m; location ^~ /admin/ {{ client_max_body_size 2g; {PASS} {APP} }}",
        ("PUT /admin/x\r\nContent-Length: 2147483648",),
        ((SERVER, "    client_max_body_size 0;\n", ""),),
        lost=lambda answer: status_of(answer) == 503,
    ),
    "refused upload": Loss(
        f"client_max_body_size 2g; location ^~ /admin/ {{ {PASS} {APP} }}",
        ("PUT /admin/x\r\nContent-Length: 2147483648",),
        ((SERVER, "    client_max_body_size 64k;\n    error_page 413 = @authgate_refused;\n", ""),),
        # nginx waits for the body.
        lost=lambda answer: answer == b"",
    ),
    "proxy_cache at server level": Loss(
        f"{KEPT} proxy_cache_key $host; {DENIED} location ^~ /public/ {{ {FILES} }}",
        ("GET /public/hello.txt", "GET /denied/secret.txt"),
        ((SERVER, "    proxy_cache off;\n", ""),),
    ),
    "files without Cache-Control": Loss(
        f"location ^~ /public/ {{ {FILES} }}",
        ("GET /public/hello.txt",),
        ((PROTECT, "add_header Cache-Control $ag_cache_control always;\n", ""),),
        status=200,
        lost=lambda answer: b"\r\nCache-Control: private" not in answer,
    ),
    "refusal page asked for by name": Loss(
        DENIED,
        ("GET /authgate/refused",),
        ((SERVER, "location = /authgate/refused {\n    internal;\n", "location = /authgate/refused {\n"),),
        status=404,
        lost=lambda answer: status_of(answer) == 403,
    ),
    "application that reads the target otherwise": Loss(
        f"location ^~ / {{ proxy_pass http://127.0.0.1:PORT; {APP} }}",
        ("GET /admin%2f..%2fpub/x",),
        ((SERVER, "    proxy_set_header X-Authgate-Target $ag_target;\n", ""),),
    ),
    "session cookie": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        ("GET /x\r\nCookie: a=b; authgate=stolen",),
        ((PROTECT_APP, "proxy_set_header Cookie            $ag_cookie;\n", ""),),
        status=200,
        lost=lambda answer: b"stolen" in answer,
    ),
    "more session cookies than maps": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        (f"GET /x\r\nCookie: {'; a=b; '.join(['authgate=stolen'] * 9)}",),
        ((HTTP, '    "~(?:^|;)[ \\t]*+(?:__Host-|__Secure-)?authgate(?:-form)?[ \\t]*+=" "";\n', ""),),
        status=200,
        lost=lambda answer: b"stolen" in answer,
    ),
    "password": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        (f"GET /x\r\n{login('alice', 'alice-demo')}",),
        ((PROTECT_APP, "proxy_set_header Authorization     $ag_authorization;\n", ""),),
        status=200,
        lost=lambda answer: b'"Authorization"' in answer,
    ),
    "Remote-User of a client": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        ("GET /x\r\nRemote-User: root",),
        ((PROTECT_APP, "proxy_set_header Remote-User       $ag_remote_user;\n", ""),),
        status=200,
        lost=lambda answer: b'"root"' in answer,
    ),
    "Remote_User of a client": Loss(
        f"underscores_in_headers on; location ^~ / {{ {PASS} {APP} }}",
        ("GET /x\r\nRemote_User: root",),
        ((PROTECT_APP, 'proxy_set_header Remote_User       "";\n', ""),),
        status=200,
        lost=lambda answer: b'"root"' in answer,
    ),
    "HTTP_REMOTE_USER of a client": Loss(
        f"location ^~ / {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:FASTCGI; {APP} }}",
        ("GET /x\r\nRemote-User: root",),
        ((PROTECT_APP, "fastcgi_param HTTP_REMOTE_USER            $ag_remote_user;\n", ""),),
        status=200,
        lost=lambda answer: basic(answer).get("HTTP_REMOTE_USER") == "root",
    ),
    "REMOTE_USER of fastcgi_params": Loss(
        f"location ^~ / {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:FASTCGI; {APP} }}",
        (f"GET /x\r\n{login('root', 'wrong')}",),
        ((PROTECT_APP, "fastcgi_param REMOTE_USER                 $ag_remote_user;\n", ""),),
        status=200,
        lost=lambda answer: basic(answer).get("REMOTE_USER") == "root",
    ),
    "Upgrade other than WebSocket": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        (
            (
                "GET /x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
                "GET /admin/x HTTP/1.1\r\nHost: HOST\r\nConnection: close"
            ),
        ),
        ((HTTP, '    "~*^websocket\\z" websocket;\n    default "";', "    default $http_upgrade;"),),
        status=200,
    ),
    "X-Original-URL": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        ("GET /x\r\nX-Original-URL: /admin/x",),
        ((PROTECT_APP, 'proxy_set_header X-Original-URL         "";\n', ""),),
        status=200,
    ),
    "X-HTTP-Method-Override": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        ("GET /x\r\nX-HTTP-Method-Override: DELETE",),
        ((PROTECT_APP, 'proxy_set_header X-HTTP-Method-Override "";\n', ""),),
        status=200,
        lost=lambda answer: b'"method": "DELETE"' in answer,
    ),
    "pages of an application in proxy_cache": Loss(
        f"{KEPT} proxy_cache_key $host$uri; location ^~ / {{ {PASS} {APP} }}",
        (f"GET /x\r\n{login('alice', 'alice-demo')}", f"GET /x\r\n{login('bob', 'bob-demo')}"),
        ((PROTECT_APP, "\nproxy_cache   off;\n", "\n"),),
        status=200,
        lost=lambda answer: b'"alice"' in answer,
    ),
    "Cache-Control of an application": Loss(
        f"location ^~ / {{ {PASS} {APP} }}",
        ("GET /x\r\nX-Want-Cache-Control: public, max-age=60",),
        ((PROTECT_APP, "proxy_hide_header   Cache-Control;\n", ""),),
        status=200,
        lost=lambda answer: b"\r\nCache-Control: public" in answer,
    ),
    "auth_basic without a file": Loss(
        f"location ^~ /members/ {{ {SERVER_LOGIN} }}",
        (f"GET /members/hello.txt\r\n{login('alice', 'wrong')}",),
        ((PROTECT_SERVER, "auth_basic_user_file $ag_user_file;\n", ""),),
        status=401,
    ),
    "satisfy any with auth_basic": Loss(
        f"satisfy any; allow all; location ^~ /members/ {{ set $ag_user_file USERS; {SERVER_LOGIN} }}",
        (f"GET /members/hello.txt\r\n{login('alice', 'wrong')}",),
        ((PROTECT_SERVER, "\nsatisfy all;\n", "\n"),),
        status=401,
    ),
    "login of the server that survives an internal redirect": Loss(
        f"location ^~ /l/ {{ set $ag_user_file USERS; {SERVER_LOGIN} try_files $uri /members/hello.txt; }}"
        f"location ^~ /members/ {{ {FILES} }}",
        (f"GET /l/nothing.txt\r\n{login('alice', NGINX_PASSWORD)}",),
        (
            (PROTECT_SERVER, 'auth_request_set $ag_server_user "";\n', ""),
            (PROTECT, 'set $ag_server_user "";\n', ""),
        ),
        status=401,
    ),
}

# What no include can cure: what is written, and what to write.
ADVICE: Mapping[str, Loss] = {
    "regex location": Loss(
        f"location /denied/ {{ {FILES} }} location ~ \\.txt$ {{ }}",
        ("GET /denied/secret.txt",),
        cured=f"location ^~ /denied/ {{ {FILES} }} location ~ \\.txt$ {{ }}",
    ),
    "alias without the final slash": Loss(
        f"location ^~ /l {{ alias ROOT/l/; {FILES} }}",
        ("GET /l../denied/secret.txt",),
        cured=f"location ^~ /l/ {{ alias ROOT/l/; {FILES} }} {DENIED}",
        status=404,
    ),
    "try_files with another name": Loss(
        f"location ^~ /l/ {{ try_files $uri.html $uri =404; {FILES} }}",
        ("GET /l/closed",),
        cured=f"location ^~ /l/ {{ try_files $uri =404; {FILES} }}",
        status=404,
    ),
    "COPY and MOVE": Loss(
        f"location ^~ /l/ {{ dav_methods PUT DELETE COPY; {FILES} }}",
        ("COPY /l/hello.html\r\nDestination: /members/copied",),
        cured=f"location ^~ /l/ {{ dav_methods PUT DELETE; {FILES} }}",
        status=405,
        lost=lambda answer: status_of(answer) in {201, 204},
    ),
    "symbolic link": Loss(
        f"location ^~ /l/ {{ {FILES} }}",
        ("GET /l/link.txt",),
        cured=f"location ^~ /l/ {{ disable_symlinks on; {FILES} }}",
    ),
    "above the first line": Loss(
        DENIED,
        ("GET /denied/secret.txt",),
        before="if (!-e $request_filename) { rewrite ^ /public/hello.txt last; }",
        cured=f"if (!-e $request_filename) {{ rewrite ^ /public/hello.txt last; }} {DENIED}",
    ),
    "return before the line": Loss(
        f'location ^~ /denied/ {{ return 200 "{SECRET.decode()}"; {FILES} }}',
        ("GET /denied/x",),
        cured=f'location ^~ /denied/ {{ {FILES} return 200 "{SECRET.decode()}"; }}',
    ),
    "add_header": Loss(
        f"add_header X-Frame-Options DENY always; location ^~ /public/ {{ {FILES} }}",
        ("GET /public/hello.txt",),
        cured=f"location ^~ /public/ {{ {FILES} add_header X-Frame-Options DENY always; }}",
        status=200,
        lost=lambda answer: b"X-Frame-Options" not in answer,
    ),
    "set_real_ip_from everybody": Loss(
        f"set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For; location ^~ /office/ {{ {FILES} }}",
        ("GET /office/plan.txt\r\nX-Forwarded-For: 10.1.2.3",),
        cured=f"set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; location ^~ /office/ {{ {FILES} }}",
        source="127.0.0.2",
    ),
    "proxy_pass with a variable": Loss(
        f"location ^~ / {{ proxy_pass http://127.0.0.1:PORT$uri; {APP} }}",
        ("GET /admin%3fx",),
        cured=f"location ^~ / {{ {PASS} {APP} }}",
        status=200,
    ),
    # Each of the two would do: the line refuses such a target, and with a URI part it is not what the application gets.
    "proxy_pass without a URI part": Loss(
        f"location ^~ / {{ proxy_pass http://127.0.0.1:PORT; {APP} }}",
        ("GET /admin%2f..%2fpub/x",),
        both=((SERVER, "    proxy_set_header X-Authgate-Target $ag_target;\n", ""),),
        cured=f"location ^~ / {{ {PASS} {APP} }}",
        status=200,
    ),
    "script with more path behind it": Loss(
        "location ~ ^/one\\.php(/|$) { fastcgi_split_path_info ^(.+\\.php)(/.+)$; include /etc/nginx/fastcgi_params;"
        f"fastcgi_pass unix:FASTCGI; {APP} }}",
        ("GET /one.php/x",),
        cured=f"location ~ \\.php\\z {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:FASTCGI; {APP} }}",
        status=404,
        lost=lambda answer: status_of(answer) == 200 and basic(answer).get("SCRIPT_NAME") == "/one.php",
    ),
    "named location without the line": Loss(
        f"location ^~ / {{ {APP} try_files /nothing @app; }} location @app {{ proxy_pass http://127.0.0.1:PORT; }}",
        ("GET /x\r\nRemote-User: root",),
        cured=f"location ^~ / {{ {APP} try_files /nothing @app; }}"
        f"location @app {{ proxy_pass http://127.0.0.1:PORT; {APP} }}",
        status=200,
        lost=lambda answer: b'"root"' in answer,
    ),
    "identity headers at server level": Loss(
        f"proxy_set_header Remote-User $ag_remote_user; location ^~ / {{ {FILES} {PASS} proxy_set_header X-Mine 1; }}",
        ("GET /x\r\nRemote-User: root",),
        cured=f"location ^~ / {{ {PASS} {APP} proxy_set_header X-Mine 1; }}",
        status=200,
        lost=lambda answer: b'"root"' in answer,
    ),
    "the same header beside the line": Loss(
        f"location ^~ / {{ {PASS} {APP} proxy_set_header Cookie $http_cookie; }}",
        ("GET /x\r\nCookie: authgate=stolen",),
        cured=f"location ^~ / {{ {PASS} {APP} }}",
        status=200,
        lost=lambda answer: b"stolen" in answer,
    ),
    "fastcgi_params behind the line": Loss(
        f"location ^~ / {{ {APP} include /etc/nginx/fastcgi_params; fastcgi_pass unix:FASTCGI; }}",
        (f"GET /x\r\n{login('root', 'wrong')}",),
        cured=f"location ^~ / {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:FASTCGI; {APP} }}",
        status=200,
        lost=lambda answer: basic(answer).get("REMOTE_USER") == "root",
    ),
}

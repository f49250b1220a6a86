"""What docs/policy.md says that nginx and Apache decide, they decide.

Each row of the two tables of directives is asked of the server that it is about, with that directive.
"""

import base64
import http.client
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers import child, eventually, free_port, listens, nginx, nginx_group, open_folder, require
from tests.test_docs import ASKED, CASE, PEOPLE, POLICY, SPAN, table

PASSWORD, HASH = "password", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="

# 404 and 405 come from what opens files: whoever gets them was let in. Any other status is a mistake of this test.
MEANS = {200: "allow", 301: "allow", 404: "allow", 405: "allow", 401: "login", 403: "refuse", 421: "refuse"}

NGINX_BASIC = 'auth_basic "Files"; auth_basic_user_file users;'
NGINX_ELSEWHERE = "location / { deny all; } "

# What stands in the server block.
NGINX: Mapping[str, str] = {
    "`auth_basic` in a location": f"location / {{ {NGINX_BASIC} }}",
    "`allow all;`": "location / { allow all; }",
    "`deny all;`": "location / { deny all; }",
    "`allow 10.0.0.0/8; deny all;`": "location / { allow 10.0.0.0/8; deny all; }",
    "`deny 192.0.2.7; allow all;`": "location / { deny 192.0.2.7; allow all; }",
    "`allow 10.1.1.0/24; deny 10.0.0.0/8; allow all;`": (
        "location / { allow 10.1.1.0/24; deny 10.0.0.0/8; allow all; }"
    ),
    "`satisfy any;` with `allow 10.0.0.0/8; deny all;` and `auth_basic`": (
        f"location / {{ satisfy any; allow 10.0.0.0/8; deny all; {NGINX_BASIC} }}"
    ),
    "`satisfy all;` with the same": f"location / {{ satisfy all; allow 10.0.0.0/8; deny all; {NGINX_BASIC} }}",
    "`limit_except GET { deny all; }`": "location / { limit_except GET { deny all; } }",
    '`limit_except GET { auth_basic "Files"; }`': f"location / {{ limit_except GET {{ {NGINX_BASIC} }} }}",
    "`location /x/ { }`": NGINX_ELSEWHERE + "location /x/ { }",
    "`location /x { }`": NGINX_ELSEWHERE + "location /x { }",
    "`location = /x { }`": NGINX_ELSEWHERE + "location = /x { }",
    r"`location ~ ^/x/[^/]+\.pdf$`": NGINX_ELSEWHERE + r"location ~ ^/x/[^/]+\.pdf$ { }",
    r"`location ~ \.pdf$`": NGINX_ELSEWHERE + r"location ~ \.pdf$ { }",
    r"`location ~* \.jpe?g$`": NGINX_ELSEWHERE + r"location ~* \.jpe?g$ { }",
    "`server_name files.example.com;`": "server_name files.example.com;",
    "`server_name *.example.com;`": "server_name *.example.com;",
}


def everywhere(*lines: str) -> str:
    """Return a section about all paths, in which people can log in."""
    basic = ("AuthType Basic", "AuthName Files", "AuthUserFile users", "AuthGroupFile groups")
    return "\n".join(["<Location />", *basic, "AuthzSendForbiddenOnFailure On", *lines, "</Location>"])


def only(section: str) -> str:
    """Return a section in which everything is granted, below one that denies everything."""
    name = section.split(maxsplit=1)[0].removeprefix("<")
    denied = "<Location />\nRequire all denied\n</Location>\n"
    return f"{denied}{section}\nRequire all granted\n</{name}>"


NETWORK_OR_LOGIN = ("Require ip 10.0.0.0/8", "Require valid-user")
HOME = '`<LocationMatch "^/home/(?<owner>[^/]+)/">` with `Require expr "%{REMOTE_USER} == %{env:MATCH_OWNER}"`'

APACHE: Mapping[str, str] = {
    "`Require valid-user`": everywhere("Require valid-user"),
    "`Require user alice bob`": everywhere("Require user alice bob"),
    "`Require group staff`": everywhere("Require group staff"),
    "`Require all granted`": everywhere("Require all granted"),
    "`Require all denied`": everywhere("Require all denied"),
    "`Require ip 10.0.0.0/8 192.0.2.7`": everywhere("Require ip 10.0.0.0/8 192.0.2.7"),
    "`Require method GET`": everywhere("Require method GET"),
    '`Require expr "%{TIME_HOUR} -ge 8 && %{TIME_HOUR} -lt 18"`': everywhere(
        'Require expr "%{TIME_HOUR} -ge 8 && %{TIME_HOUR} -lt 18"'
    ),
    "`<RequireAny>` with `Require ip 10.0.0.0/8` and `Require valid-user`": everywhere(
        "<RequireAny>", *NETWORK_OR_LOGIN, "</RequireAny>"
    ),
    "`Satisfy any` (2.2) with the same": everywhere(
        "Order deny,allow", "Deny from all", "Allow from 10.0.0.0/8", "Require valid-user", "Satisfy any"
    ),
    "`<RequireAll>` with the same": everywhere("<RequireAll>", *NETWORK_OR_LOGIN, "</RequireAll>"),
    "`<RequireAll>` with `Require all granted` and `Require not ip 192.0.2.7`": everywhere(
        "<RequireAll>", "Require all granted", "Require not ip 192.0.2.7", "</RequireAll>"
    ),
    "`<RequireAll>` with `Require valid-user` and `<RequireNone>` of `Require group contractors`": everywhere(
        "<RequireAll>",
        "Require valid-user",
        *("<RequireNone>", "Require group contractors", "</RequireNone>"),
        "</RequireAll>",
    ),
    (
        "`<RequireAny>` of `Require user bob` and `<RequireAll>` of `Require group staff` and `Require ip 10.0.0.0/8`"
    ): everywhere(
        "<RequireAny>",
        "Require user bob",
        *("<RequireAll>", "Require group staff", "Require ip 10.0.0.0/8", "</RequireAll>"),
        "</RequireAny>",
    ),
    '`<Location "/x">`, `<Directory>`': only('<Location "/x">'),
    r'`<LocationMatch "^/x/.*\.pdf$">`': only(r'<LocationMatch "^/x/.*\.pdf$">'),
    '`<LocationMatch "/private/">`': only('<LocationMatch "/private/">'),
    r'`<FilesMatch "\.bak$">` with `Require all denied`': ('<FilesMatch "\\.bak$">\nRequire all denied\n</FilesMatch>'),
    '`<Files ".ht*">` with `Require all denied`': '<Files ".ht*">\nRequire all denied\n</Files>',
    "`<LimitExcept GET>` with `Require valid-user`": everywhere(
        "<LimitExcept GET>", "Require valid-user", "</LimitExcept>"
    ),
    HOME: everywhere()
    + '\n<LocationMatch "^/home/(?<owner>[^/]+)/">\nRequire expr "%{REMOTE_USER} == %{env:MATCH_OWNER}"\n'
    "</LocationMatch>",
    "`<VirtualHost>` with `ServerName files.example.com`": (
        "<VirtualHost *>\nServerName none\n<Location />\nRequire all denied\n</Location>\n</VirtualHost>\n"
        "<VirtualHost *>\nServerName files.example.com\n</VirtualHost>"
    ),
}

# Named below the table: AuthzSendForbiddenOnFailure does not reach a Require expr about REMOTE_USER.
DIFFERENT = {(HOME, "/home/alice/a bob = refuse"): "login"}

MODULES = [
    *("mpm_event", "authn_core", "authn_file", "auth_basic", "remoteip"),
    *("authz_core", "authz_host", "authz_user", "authz_groupfile"),
]


def rows(header: str) -> list[list[str]]:
    return [row for row in table(POLICY, header) if row[2]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder with the people and groups of the page and some files."""
    with open_folder() as made:
        (made / "users").write_text("".join(f"{name}:{HASH}\n" for name in PEOPLE))
        groups = sorted(set[str]().union(*PEOPLE.values()))
        members = {group: [name for name, of in PEOPLE.items() if group in of] for group in groups}
        (made / "groups").write_text("".join(f"{group}: {' '.join(of)}\n" for group, of in members.items()))
        (made / "root" / "x").mkdir(parents=True)
        for name in ("index.html", "a.pdf", "a.bak", "a.ht", ".htaccess", ".htpasswd"):
            (made / "root" / "x" / name).touch()
        yield made


@contextmanager
def apache(folder: Path, configuration: str, moment: str | None) -> Iterator[int]:
    """Run Apache, where `moment` says what its clock on the wall shows, until the end of the block; give its port."""
    port, program = free_port(), require("apache2")
    modules = [*MODULES, *(["access_compat"] if "Satisfy" in configuration else [])]
    group = nginx_group()
    lines = [
        *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules),
        *((f"User {'nobody' if group == 'nogroup' else group}", f"Group {group}") if group else ()),
        *(f'ServerRoot "{folder}"', f'DefaultRuntimeDir "{folder}"', "PidFile apache.pid"),
        *("ErrorLog apache-error.log", "ServerName none", f"Listen 127.0.0.1:{port}"),
        *("StartServers 1", "ServerLimit 1", "ThreadsPerChild 4", "MaxRequestWorkers 4"),
        *("MinSpareThreads 1", "MaxSpareThreads 4"),
        *(f'DocumentRoot "{folder}/root"', "RemoteIPHeader X-Real-IP", "RemoteIPInternalProxy 127.0.0.1"),
    ]
    config = folder / "apache.conf"
    config.write_text("\n".join([*lines, configuration, ""]))
    command = ["env", f"TZ={zone(moment)}", program, "-DFOREGROUND", "-f", str(config)]
    with child(command, folder / "apache.log") as server:
        eventually(lambda: listens(port), "Apache listens", server)
        yield port


def zone(moment: str | None) -> str:
    """Return a time zone (POSIX, TZ) in which it is this time of day now."""
    if moment is None:
        return "UTC0"
    now, wanted = datetime.now(UTC), datetime.fromisoformat(moment)
    west = (now.hour - wanted.hour) * 3600 + (now.minute - wanted.minute) * 60 + now.second - wanted.second
    return f"AAA{'-' if west < 0 else '+'}{abs(west) // 3600}:{abs(west) // 60 % 60:02}:{abs(west) % 60:02}"


def answer(port: int, asked: re.Match[str]) -> str:
    """Return what the server decides about a case of the tables."""
    headers = {"Host": asked["host"] or "files.example.com", "X-Real-IP": asked["address"] or "192.0.2.1"}
    if asked["name"] not in {None, "nobody"}:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{asked['name']}:{PASSWORD}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(asked["method"] or "GET", asked["path"] or ASKED, headers=headers)
        return MEANS[connection.getresponse().status]
    finally:
        connection.close()


def cases(cell: str) -> dict[str, re.Match[str]]:
    found = {case: CASE.fullmatch(case) for case in SPAN.findall(cell)}
    assert found
    assert all(found.values()), cell
    return {case: asked for case, asked in found.items() if asked}


@pytest.mark.parametrize("row", rows("nginx"), ids=lambda row: row[0])
def test_nginx_decides_as_the_table_says(row: list[str], folder: Path) -> None:
    directive, _, cell = row
    assert directive in NGINX, "the row has no configuration here"
    name = "" if "server_name" in NGINX[directive] else "server_name files.example.com;"
    port = free_port()
    block = (
        "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;\n"
        f"server {{ listen 127.0.0.1:{port} default_server; server_name none; return 421; }}\n"
        f"server {{ listen 127.0.0.1:{port}; {name} root {folder}/root; {NGINX[directive]} }}"
    )
    with nginx(folder, block, port):
        for case, asked in cases(cell).items():
            assert answer(port, asked) == asked["outcome"], case


@pytest.mark.parametrize("row", rows("Apache"), ids=lambda row: row[0])
def test_apache_decides_as_the_table_says(row: list[str], folder: Path) -> None:
    directive, _, cell = row
    assert directive in APACHE, "the row has no configuration here"
    asked_of = cases(cell)
    for moment in {asked["at"] for asked in asked_of.values()}:
        with apache(folder, APACHE[directive], moment) as port:
            for case, asked in asked_of.items():
                if asked["at"] == moment:
                    assert answer(port, asked) == DIFFERENT.get((directive, case), asked["outcome"]), case


def test_every_configuration_is_in_the_tables() -> None:
    assert [row[0] for row in rows("nginx")] == list(NGINX)
    assert [row[0] for row in rows("Apache")] == list(APACHE)
    stated = {(row[0], case) for row in rows("Apache") for case in cases(row[2])}
    assert stated >= DIFFERENT.keys()

"""One authgate behind every kind of web server at once, before the same files."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from authgate.cli.snippet import apache_files, apache_secret, caddy_files, nginx_files
from authgate.config import load
from tests import servers
from tests.credentials.people import sha
from tests.deploy.house import password
from tests.hostile.tree import NEIGHBOUR, PEOPLE, rules, write

SHIPPED = servers.PACKAGE_ROOT / "deploy"

# Each door has a host of its own: what a rule says about delivering differs.
DOORS: Mapping[str, str] = {
    "nginx": "files.example.com",
    "fastcgi": "apache.example.com",
    "rewritemap": "map.example.com",
    "x-accel": "accel.example.com",
    "x-sendfile": "sendfile.example.com",
    "caddy": "caddy.example.com",
}
# Sites whose configuration has a hole, for those who want to see it found.
HOLES: Mapping[str, str] = {"nginx/no line": "bare.example.com", "nginx/raw": "raw.example.com",
                            "fastcgi/raw": "rawapache.example.com"}  # fmt: skip

MODULES = (
    *("mpm_event", "authn_core", "authz_core", "authnz_fcgi", "alias", "allowmethods", "dir", "rewrite", "mime", "env"),
    *("setenvif", "headers", "proxy", "proxy_http", "asis", "unique_id", "xsendfile"),
)
_SECRET = "x9" * 24

# What leads on to other files, as docs/nginx.md allows it.
_NGINX_LOCATIONS = """
    location ^~ /old/    { rewrite ^/old/(.*)$ /$1 last; include authgate/@protect@; }
    location ^~ /here/   { rewrite ^/here/(.*)$ /private/$1 break; include authgate/@protect@; }
    location ^~ /app/    { try_files $uri /app/index.html; include authgate/@protect@; }
    location ^~ /spa/    { try_files $uri /private/index.html; include authgate/@protect@; }
    location ^~ /folder/ { index nothing.html /private/index.html; include authgate/@protect@; }
    location ^~ /gone/   { error_page 404 =200 /private/missing.html; include authgate/@protect@; }
    location ^~ /lost/   { error_page 404 /public/missing.html; include authgate/@protect@; }
    location ^~ /nested/ {
        include authgate/@protect@;
        location ~ \\.pdf$ { include authgate/@protect@; }
    }
    location ^~ /alias/  { alias @folder@/shelf/; @line@ }
    location ^~ /        { include authgate/@protect@; }
"""
# The same, as docs/apache.md allows it.
_APACHE_FOLDERS = """
    <Directory @folder@/root/app>
        FallbackResource /app/index.html
    </Directory>
    <Directory @folder@/root/spa>
        FallbackResource /private/index.html
    </Directory>
    <Directory @folder@/root/folder>
        DirectoryIndex nothing.html /private/index.html
    </Directory>
    <Directory @folder@/root/gone>
        ErrorDocument 404 /private/missing.html
    </Directory>
    <Directory @folder@/root/lost>
        ErrorDocument 404 /public/missing.html
    </Directory>
"""
_APACHE_REWRITES = """
    RewriteEngine On
    RewriteRule ^/old/(.*)$ /$1
    RewriteRule ^/here/(.*)$ /private/$1
    Alias /alias @folder@/shelf
"""


@dataclass(slots=True)
class Site:
    """A folder with everything in it, and the ports. Nothing runs yet."""

    folder: Path
    ports: Mapping[str, int] = field(default_factory=lambda: {door: servers.free_port() for door in DOORS})
    fastcgi_port: int = field(default_factory=servers.free_port)

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    def build(self) -> None:
        """Write files, people, rules and authgate's settings."""
        write(self.folder)
        for name in ("root", "shelf", "neighbour"):
            for path in (self.folder / name).rglob("*"):
                # Long ago, as most files: Apache calls a date of this minute a weak validator.
                os.utime(path, (1_700_000_000, 1_700_000_000))
        (self.folder / "users").write_text(
            "".join(f"{who}:{sha(password(who))}\n" for who in PEOPLE if who != "nobody")
        )
        (self.folder / "groups").write_text("staff: alice\n")
        (self.folder / "state").mkdir()
        secret = self.folder / "fastcgi.secret"
        secret.touch(0o600)
        secret.write_text(_SECRET)
        group = servers.nginx_group()
        hosts = {**DOORS, "": NEIGHBOUR, **HOLES}
        deliver = {
            DOORS["x-accel"]: f'deliver = {{ root = "{self.folder}/root", internal = "/_files/" }}\n',
            DOORS["x-sendfile"]: f'deliver = {{ root = "{self.folder}/root" }}\n',
        }
        self.config.write_text(
            "workers = 2\n"
            '[listen]\ncheck = "unix:run/check.sock"\nweb = "unix:run/web.sock"\ndeliver = "unix:run/deliver.sock"\n'
            f'fastcgi = "127.0.0.1:{self.fastcgi_port}"\nfastcgi_secret_file = "fastcgi.secret"\n'
            + (f'group = "{group}"\n' if group else "")
            + '[users]\nhtpasswd = "users"\ngroups = "groups"\n'
            + "".join(f'[[sites]]\norigin = "{self._origin(door, host)}"\n' for door, host in hosts.items())
            + "".join(rules(host, deliver.get(host, "")) for host in hosts.values())
        )

    def _origin(self, door: str, host: str) -> str:
        return f"http://{host}:{self.ports[door.partition('/')[0] or 'nginx']}"

    def nginx_config(self) -> str:
        """Return the http block, and write what it includes."""
        includes = self.folder / "front" / "authgate"
        includes.mkdir(parents=True)
        files = nginx_files(load(self.config))
        for name, text in files.items():
            (includes / name).write_text(text)
        protect = files["authgate-protect.conf"]
        # As many recipes have it: what the client wrote.
        raw = protect.replace("set $ag_path  $ag_safe;", "set $ag_path $request_uri;")
        if raw == protect:
            raise LookupError("authgate-protect.conf does not set $ag_path as it did")
        (includes / "raw.conf").write_text(raw)
        line = "include authgate/@protect@;"
        return "\n".join(
            [
                "include authgate/authgate-http.conf;",
                f"server {{ listen 127.0.0.1:{self.ports['nginx']} default_server; server_name _; return 421; }}",
                self._nginx_server(DOORS["nginx"], "root", _NGINX_LOCATIONS.replace("@line@", line)),
                self._nginx_server(NEIGHBOUR, "neighbour", f"location ^~ / {{ {line} }}"),
                self._nginx_server(HOLES["nginx/no line"], "root", _NGINX_LOCATIONS.replace("@line@", "")),
                self._nginx_server(HOLES["nginx/raw"], "root", _NGINX_LOCATIONS.replace("@line@", line), "raw.conf"),
                self._accel(),
            ]
        )

    def _nginx_server(self, host: str, root: str, locations: str, protect: str = "authgate-protect.conf") -> str:
        locations = locations.replace("@folder@", str(self.folder)).replace("@protect@", protect)
        return f"""
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{self.ports["nginx"]};
            server_name {host};
            root {self.folder}/{root};
            index index.html;
            {locations}
        }}
        """

    def _accel(self) -> str:
        text = re.sub(r"^ *listen \[::\].*\n", "", (SHIPPED / "nginx" / "deliver.conf").read_text(), flags=re.MULTILINE)
        return _placed(
            text,
            {
                "listen 80": f"listen 127.0.0.1:{self.ports['x-accel']}",
                "server_name reports.example.com": f"server_name {DOORS['x-accel']}",
                "/run/authgate": str(self.folder / "run"),
                "/var/log/nginx": str(self.folder),
                "/srv/web": str(self.folder / "root"),
            },
        )

    def caddyfile(self) -> str:
        """Return Caddy's configuration, and write what it includes."""
        includes = self.folder / "caddy" / "authgate"
        includes.mkdir(parents=True)
        for name, text in caddy_files(load(self.config)).items():
            (includes / name).write_text(text)
        port = self.ports["caddy"]
        return (
            "{\nadmin off\nauto_https off\ndefault_bind 127.0.0.1\nservers {\nprotocols h1 h2\n}\n}\n"
            "import authgate/authgate.caddy\n"
            f"http://:{port} {{\nrespond 421\n}}\n"
            f"http://{DOORS['caddy']}:{port} {{\nimport authgate_site\nhandle {{\nroot * {self.folder}/root\n"
            "import authgate_protect\nfile_server\n}\n}\n"
        )

    def apache_config(self) -> str:
        """Return the configuration, and write what it includes."""
        includes = self.folder / "apache" / "authgate"
        includes.mkdir(parents=True)
        settings = load(self.config)
        files = {**apache_files(settings), "authgate-secret.conf": apache_secret(settings)}
        environment = f"prg:/usr/bin/env PYTHONPATH={servers.PACKAGE_ROOT} {sys.executable} -m authgate"
        for name, text in files.items():
            here = text.replace("/etc/apache2/", f"{self.folder}/apache/")
            # The program runs as whoever runs the tests.
            here = here.replace("prg:/opt/authgate/bin/authgate", environment).replace(" authgate:authgate\n", "\n")
            (includes / name).write_text(here)
        inside = files["authgate-site.conf"]
        raw = inside.replace(
            "RewriteRule ^(.*)$ - [E=AG_PATH:$1,",
            'RewriteCond %{THE_REQUEST} "^\\S+ ([^ ?]*)"\nRewriteRule ^ - [E=AG_PATH:%1,',
        )
        if raw == inside:
            raise LookupError("authgate-site.conf does not set AG_PATH as it did")
        (includes / "raw.conf").write_text(raw)
        folders = "".join(
            f"<Directory {self.folder}/{name}>\nInclude authgate/authgate-protect.conf\n</Directory>\n"
            for name in ("root", "shelf", "neighbour")
        )
        port = self.ports["fastcgi"]
        leading = _APACHE_FOLDERS + _APACHE_REWRITES
        return "\n".join(
            [
                *(f"Listen 127.0.0.1:{self.ports[door]}" for door in ("rewritemap", "x-sendfile")),
                "StartServers 1\nServerLimit 2\nThreadsPerChild 24\nMaxRequestWorkers 48",
                "<Directory />\nAllowOverride None\nRequire all denied\n</Directory>",
                "Include authgate/authgate-fastcgi.conf",
                folders,
                f"<VirtualHost 127.0.0.1:{port}>\nServerName default.invalid\nRedirect 421 /\n</VirtualHost>",
                self._apache_host(port, DOORS["fastcgi"], leading + "Include authgate/authgate-site.conf"),
                self._apache_host(port, NEIGHBOUR, "Include authgate/authgate-site.conf", root="neighbour"),
                self._apache_host(port, HOLES["fastcgi/raw"], leading + "Include authgate/raw.conf"),
                self._apache_host(self.ports["rewritemap"], DOORS["rewritemap"], self._map(leading)),
                self._sendfile(files["authgate-deliver.conf"]),
            ]
        )

    def _apache_host(self, port: int, host: str, inside: str, root: str = "root") -> str:
        return (
            f"<VirtualHost 127.0.0.1:{port}>\nServerName {host}\nDocumentRoot {self.folder}/{root}\n"
            f"DirectoryIndex index.html\n{inside.replace('@folder@', str(self.folder))}\n</VirtualHost>"
        )

    def _map(self, leading: str) -> str:
        """Return the example's lines, in the virtual host itself: rewrite rules of one's own stand above them."""
        example = (SHIPPED / "apache" / "example-rewritemap.conf").read_text()
        found = re.search(r"<Directory /srv/files>\n(.*?)</Directory>", example, re.DOTALL)
        if found is None:
            raise LookupError("example-rewritemap.conf has no folder /srv/files any more")
        own = "".join(f"<Directory {self.folder}/{name}>\n{found[1]}</Directory>\n" for name in ("root", "shelf"))
        return (
            # Those of the server ask for the other wiring.
            f"{own}{leading}\nInclude authgate/authgate-rewritemap.conf\nInclude authgate/authgate-login.conf\n"
            "ErrorDocument 403 /authgate/refused\nErrorDocument 503 /authgate/away\n"
        )

    def _sendfile(self, text: str) -> str:
        return _placed(
            text,
            {
                "*:80": f"127.0.0.1:{self.ports['x-sendfile']}",
                "ServerName files.example.com": f"ServerName {DOORS['x-sendfile']}",
                "${APACHE_LOG_DIR}": str(self.folder),
                "/srv/files": str(self.folder / "root"),
            },
        )


def _placed(text: str, names: Mapping[str, str]) -> str:
    for written, real in names.items():
        if written not in text:
            raise LookupError(f"the example does not hold {written!r} any more")
        text = text.replace(written, real)
    return text

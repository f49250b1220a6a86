"""The doors: real web servers with the configuration that is shipped, each of them for all policies."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from authgate.cli.snippet import apache_files, apache_secret, caddy_files, nginx_files
from authgate.config import Settings
from tests import servers
from tests.conformance.cases import POLICIES, Policy
from tests.conformance.town import Town
from tests.delivery.site import APACHE as APACHE_DELIVER
from tests.delivery.site import LOADED, apache
from tests.delivery.site import NGINX as NGINX_DELIVER
from tests.deploy_apache.house import ENABLED, SHIPPED, STOCK
from tests.deploy_caddy.house import EXAMPLE as CADDY
from tests.deploy_caddy.house import GLOBAL, PROTECTED

# Of the second table in docs/conformance.md, in the order of its columns.
DOORS = ("check", "accel", "fastcgi", "rewritemap", "sendfile", "forward")
# Those that can protect what answers by itself.
APPLICATION_DOORS = frozenset({"check", "fastcgi", "forward"})

_HOST = re.compile(r"^<VirtualHost .*?^</VirtualHost>\n", re.MULTILINE | re.DOTALL)


class Door(NamedTuple):
    """A web server that runs.

    Args:
        audit: where the decisions about its requests are.
    """

    name: str
    port: int
    audit: Path
    server: servers.Server


def hosts(*served: str) -> list[tuple[str, Policy]]:
    """Return the hosts of all policies that are served so, and whose they are."""
    return [(host, policy) for policy in POLICIES.values() if policy.served in served for host in policy.hosts]


@contextmanager
def nginx(town: Town, settings: Settings) -> Iterator[tuple[Door, Door]]:
    """Run nginx with auth_request on one port and X-Accel-Redirect on another; the applications are in it too."""
    check, accel = servers.free_port(), servers.free_port()
    (town.folder / "authgate").mkdir()
    for name, text in nginx_files(settings).items():
        (town.folder / "authgate" / name).write_text(text)
    folders = "".join(f"{host} {policy.id};\n" for host, policy in hosts("files", "application", "login"))
    files = f"root {town.files}/$conformance_folder;"
    blocks = [
        "server_names_hash_bucket_size 128; map_hash_bucket_size 128;",
        "include authgate/authgate-http.conf;",
        f'map $host $conformance_folder {{\ndefault "";\n{folders}}}',
        *(f"server {{ listen 127.0.0.1:{port} default_server; return 421; }}" for port in (check, accel)),
        _nginx_server(check, "files", f"{files} include authgate/authgate-protect.conf;"),
        _nginx_server(
            check,
            "application",
            f"proxy_pass http://127.0.0.1:{town.ports['backend']}/; include authgate/authgate-protect-app.conf;",
        ),
        _nginx_server(
            check,
            "login",
            f"root {town.folder}/login/$conformance_folder; set $ag_user_file {town.htpasswd};\n"
            "include authgate/authgate-protect-server.conf;",
        ),
        f"server {{ listen 127.0.0.1:{town.ports['backend']}; default_type text/plain;",
        'location / { return 200 "<<application $uri>>\\n"; } }',
        _placed(
            re.sub(r"^ *listen \[::\].*\n", "", NGINX_DELIVER.read_text(), flags=re.MULTILINE),
            {
                "listen 80": f"listen 127.0.0.1:{accel}",
                "server_name reports.example.com": f"server_name {_names('files', 'application')}",
                "unix:/run/authgate/deliver.sock": f"unix:{settings.deliver_socket}",
                "/srv/web": str(town.files),
                "/var/log/nginx/": f"{town.folder}/",
            },
        ),
    ]
    with servers.nginx(town.folder, "\n".join(blocks), accel) as server:
        yield _door("check", check, settings, server), _door("accel", accel, settings, server)


def _names(*served: str) -> str:
    return " ".join(host for host, _ in hosts(*served))


def _nginx_server(port: int, served: str, location: str) -> str:
    return (
        "server { include authgate/authgate-server.conf;\n"
        f"listen 127.0.0.1:{port}; server_name {_names(served)}; location ^~ / {{ {location} }} }}"
    )


def _placed(text: str, names: Mapping[str, str]) -> str:
    """Put other names into a shipped file."""
    for written, real in names.items():
        if written not in text:
            raise LookupError(f"what is shipped does not hold {written!r} any more")
        text = text.replace(written, real)
    return text


@contextmanager
def fastcgi(town: Town, settings: Settings) -> Iterator[Door]:
    """Run Apache with the FastCGI authorizer."""
    folder, port = _includes(town, "apache-fastcgi", settings), servers.free_port()
    (folder / "apache" / "authgate" / "authgate-secret.conf").write_text(apache_secret(settings))
    head, default, template = _example(town, SHIPPED / "example-fastcgi.conf", port)
    include = "    Include authgate/authgate-site.conf\n"
    assert include in template
    blocks = [head, default]
    for host, policy in hosts("files", "application", "login"):
        block = _virtual_host(template, town, host, policy)
        if policy.served == "application":
            protect = "<Location />\nInclude authgate/authgate-protect-app.conf\n</Location>\n"
            proxy = f"ProxyPass / http://127.0.0.1:{town.ports['backend']}/\n"
            block = block.replace(include, protect + include + proxy)
        elif policy.served == "login":
            blocks.append(
                f"<Directory {town.root(policy)}>\nAuthBasicProvider file\nAuthUserFile {town.htpasswd}\n"
                "Include authgate/authgate-protect-server.conf\n</Directory>\n"
            )
        blocks.append(block)
    modules = tuple(name for name in (*STOCK, *ENABLED["fastcgi"]) if name != "ssl")
    with apache(folder, "\n".join(blocks), port, modules) as server:
        yield _door("fastcgi", port, settings, server)


@contextmanager
def rewritemap(town: Town, settings: Settings) -> Iterator[Door]:
    """Run Apache with the rewrite map, whose program decides by itself."""
    folder, port = _includes(town, "apache-map", settings), servers.free_port()
    include = folder / "apache" / "authgate" / "authgate-rewritemap.conf"
    program = f"prg:/usr/bin/env PYTHONPATH={servers.PACKAGE_ROOT} {sys.executable} -m authgate"
    # The program runs as whoever runs the tests.
    names = {"prg:/opt/authgate/bin/authgate": program, " authgate:authgate\n": "\n"}
    include.write_text(_placed(include.read_text(), names))
    head, default, template = _example(town, SHIPPED / "example-rewritemap.conf", port)
    known = [(host, policy) for host, policy in hosts("files", "application") if not policy.asks_handlers]
    blocks = [head, default, *(_virtual_host(template, town, host, policy) for host, policy in known)]
    with apache(folder, "\n".join(blocks), port, (*STOCK, *ENABLED["rewritemap"])) as server:
        yield _door("rewritemap", port, settings, server)


@contextmanager
def sendfile(town: Town, settings: Settings) -> Iterator[Door]:
    """Run Apache with X-Sendfile."""
    folder, port = _includes(town, "apache-sendfile", settings), servers.free_port()
    _, default, _ = _example(town, SHIPPED / "example-rewritemap.conf", port)
    text = _placed(
        APACHE_DELIVER.read_text(),
        {
            "*:80": f"127.0.0.1:{port}",
            "/run/authgate/web.sock": str(settings.web_socket),
            "/run/authgate/deliver.sock": str(settings.deliver_socket),
            "${APACHE_LOG_DIR}": str(folder),
        },
    )
    [template] = _HOST.findall(text)
    known = hosts("files", "application")
    blocks = [default, *(_virtual_host(template, town, host, policy) for host, policy in known)]
    with apache(folder, "\n".join([text.partition(template)[0], *blocks]), port, (*LOADED, "alias")) as server:
        yield _door("sendfile", port, settings, server)


@contextmanager
def forward(town: Town, settings: Settings) -> Iterator[Door]:
    """Run Caddy with forward_auth."""
    folder, port = town.folder / "caddy", servers.free_port()
    (folder / "authgate").mkdir(parents=True)
    for name, text in caddy_files(settings).items():
        (folder / "authgate" / name).write_text(text)
    text = CADDY.read_text().replace("\tadmin off\n", GLOBAL).replace("http:// {\n", f"http://:{port} {{\n")
    head, _, template = re.split(r"^(?=# A site over )", text, flags=re.MULTILINE)
    blocks = [head]
    for policy in (policy for policy in POLICIES.values() if policy.served != "login"):
        names = {
            "http://intranet.example.com {": f"{', '.join(f'http://{host}:{port}' for host in policy.hosts)} {{",
            "/srv/files": str(town.root(policy)),
        }
        if policy.served == "application":
            proxy = f"\t\timport authgate_app\n\t\treverse_proxy 127.0.0.1:{town.ports['backend']}\n"
            names = {PROTECTED: proxy, **names}
        blocks.append(_placed(template, names))
    (folder / "Caddyfile").write_text("\n".join(blocks))
    # Not the home of whoever runs the tests.
    own = [f"{name}={folder}" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
    command = [servers.require("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with servers.child(["/usr/bin/env", *own, *command], folder / "log") as server:
        servers.eventually(lambda: servers.listens(port), "Caddy listens", server)
        yield _door("forward", port, settings, server)


def _door(name: str, port: int, settings: Settings, server: servers.Server) -> Door:
    assert settings.audit_file
    return Door(name, port, settings.audit_file, server)


def _includes(town: Town, name: str, settings: Settings) -> Path:
    folder = town.folder / name
    includes = folder / "apache" / "authgate"
    includes.mkdir(parents=True)
    for file, text in apache_files(settings).items():
        (includes / file).write_text(text.replace("/etc/apache2/", f"{folder}/apache/"))
    return folder


def _example(town: Town, path: Path, port: int) -> tuple[str, str, str]:
    """Return what stands above the virtual hosts of an example, its default one, and the one over plain http."""
    text = path.read_text().replace("*:80>", f"127.0.0.1:{port}>").replace("${APACHE_LOG_DIR}", str(town.folder))
    text = text.replace("/var/www/acme", f"{town.folder}/acme")
    found = _HOST.findall(text)
    return text.partition(found[0])[0].replace("/srv/files", str(town.files)), found[0], found[-1]


def _virtual_host(template: str, town: Town, host: str, policy: Policy) -> str:
    named, count = re.subn(r"^    ServerName \S+$", f"    ServerName {host}", template, flags=re.MULTILINE)
    assert count == 1
    return named.replace("/srv/files", str(town.root(policy)))

"""``authgate snippet``: what to put into a web server's configuration, for this configuration of authgate."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import complain, fail, report
from authgate.cli.shipped import shipped
from authgate.config import Settings
from authgate.errors import ConfigError, Problem
from authgate.model import Site

_INCLUDES = (
    "authgate-http.conf",
    "authgate-server.conf",
    "authgate-protect.conf",
    "authgate-protect-app.conf",
    "authgate-protect-server.conf",
)
_EXAMPLE = "example.conf"

# By what has to be configured for them.
_APACHE_ALWAYS = ("authgate-login.conf", "authgate-away.asis", "authgate-rewritemap.conf")
_APACHE_FASTCGI = (
    "authgate-fastcgi.conf",
    "authgate-site.conf",
    "authgate-protect.conf",
    "authgate-protect-app.conf",
    "authgate-protect-server.conf",
)
_APACHE_EXAMPLE, _APACHE_SECRET = "example-fastcgi.conf", "authgate-secret.conf"
_APACHE_EXAMPLES = ("example-rewritemap.conf",)
_APACHE_DELIVER = "authgate-deliver.conf"

_CADDY_SNIPPETS, _CADDY_EXAMPLE = "authgate.caddy", "Caddyfile"

# What example.conf is written for.
_CHECK, _WEB = "unix:/run/authgate/check.sock", "unix:/run/authgate/web.sock"
_FASTCGI, _DELIVER, _CONFIG = "127.0.0.1:950", "unix:/run/authgate/deliver.sock", "/etc/authgate/authgate.toml"
_HTTPS_HOST, _HTTP_HOST = "files.example.com", "intranet.example.com"

# What nginx's own language makes something else of (ngx_conf_read_token; "$" starts a variable).
_UNREADABLE = re.compile(r"""["'\\$;{}\s]""")
# The same for Apache: "$" and "%" start variables, "|" ends the socket of a ProxyPass.
_UNREADABLE_BY_APACHE = re.compile(r"""["'\\$%|{}\s]""")
# The same for Caddy: "{" starts a placeholder, "$" in it a variable of the environment.
_UNREADABLE_BY_CADDY = re.compile(r"""["`\\{}\s]""")
_BLOCK = re.compile(r"(?:^#[^\n]*\n)+^server \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_REJECT = re.compile(r"^(?: *#[^\n]*\n)* *ssl_reject_handshake on;\n", re.MULTILINE)
_LISTENS = re.compile(r"(?:^    listen [^\n]*\n)+", re.MULTILINE)
_VIRTUAL_HOST = re.compile(r"(?:^#[^\n]*\n)*^<VirtualHost .*?^</VirtualHost>\n", re.MULTILINE | re.DOTALL)


def nginx_files(settings: Settings) -> dict[str, str]:
    """Return the includes for nginx, by file name.

    Raises:
        ConfigError: a socket's path cannot be written in nginx's language.
    """
    _check_unix(settings, "nginx", "check", "web")
    files = {name: shipped("nginx", name) for name in _INCLUDES}
    http = files["authgate-http.conf"]
    for written, key, path in ((_CHECK, "check", settings.check_socket), (_WEB, "web", settings.web_socket)):
        if _UNREADABLE.search(str(path)):
            place = f"{settings.path.name}: listen.{key}"
            raise ConfigError([Problem(place, "nginx cannot read this path", 'no spaces and none of " \\ $ ; { }')])
        http = http.replace(f"server {written};", f"server unix:{path};")
    return files | {"authgate-http.conf": http}


def nginx_example(settings: Settings) -> str:
    """Return server blocks for the configured sites, to be completed by hand: certificates and the files' folder."""
    default, https, redirect, http = _BLOCK.findall(shipped("nginx", _EXAMPLE))
    ports = sorted(_ports(settings.sites))
    blocks = [_LISTENS.sub("".join(_listen(port, "default_server", tls=tls) for port, tls in ports), default)]
    if not any(tls for _, tls in ports):
        blocks = [_REJECT.sub("", blocks[0])]
    for site in settings.sites:
        blocks += [_for_site(block, site) for block in ((https, redirect) if site.scheme == "https" else (http,))]
    return f"include authgate/{_INCLUDES[0]};\n\n" + "\n".join(blocks)


def apache_files(settings: Settings) -> dict[str, str]:
    """Return what Apache is to include, by file name, and the examples that need no change for other sites.

    Raises:
        ConfigError: a path or a site's host cannot be written in Apache's language.
    """
    _check_unix(settings, "Apache", "web")
    names = [*_APACHE_ALWAYS, *_APACHE_EXAMPLES]
    put = [("listen.web", _WEB, f"unix:{settings.web_socket}"), ("", _CONFIG, str(settings.path.absolute()))]
    if settings.fastcgi:
        host, port = settings.fastcgi
        put.append(("listen.fastcgi", _FASTCGI, f"{_in_url(host)}:{port}"))
        names += _APACHE_FASTCGI
    if settings.deliver_socket:
        put.append(("listen.deliver", _DELIVER, f"unix:{settings.deliver_socket}"))
        names.append(_APACHE_DELIVER)
    for key, _, real in put:
        if _UNREADABLE_BY_APACHE.search(real):
            place = f"{settings.path.name}: {key}" if key else real
            raise ConfigError([Problem(place, "Apache cannot read this path", 'no spaces and none of " \\ $ % | { }')])
    unnameable = [site.host for site in settings.sites if ":" in site.host]
    if unnameable:
        message = f"Apache takes no {unnameable[0]} for a ServerName"
        raise ConfigError([Problem(f"{settings.path.name}: sites", message, "give the site a name")])
    files = {name: shipped("apache", name) for name in names}
    for _, written, real in put:
        files = {name: text.replace(written, real) for name, text in files.items()}
    return files


def apache_secret(settings: Settings) -> str:
    """Return the file that holds what Apache says to the listener ``fastcgi``."""
    return f"Define AUTHGATE_SECRET {settings.fastcgi_secret.decode('ascii')}\n"


def apache_example(settings: Settings) -> str:
    """Return virtual hosts for the configured sites, to be completed by hand: certificates and the files' folder."""
    text = shipped("apache", _APACHE_EXAMPLE)
    hosts = _VIRTUAL_HOST.findall(text)
    default, default_tls, https, redirect, http = hosts
    ports = sorted(_ports(settings.sites))
    blocks = []
    for port, tls in ports:
        block = default_tls.replace(_HTTPS_HOST, _certified(settings, port)) if tls else default
        blocks.append(_on_port(block, port))
    for site in settings.sites:
        blocks += [_on_port(_named(block, site), port) for block, port in _blocks_of(site, https, redirect, http)]
    listens = "".join(f"Listen {port}{' https' * tls}\n" for port, tls in ports if port not in {80, 443})
    head = re.sub(r"\A(?:#[^\n]*\n)+\n", "", text.partition(hosts[0])[0])
    return head + (f"{listens}\n" if listens else "") + "\n".join(blocks)


def caddy_files(settings: Settings) -> dict[str, str]:
    """Return what Caddy is to import, by file name.

    Raises:
        ConfigError: a socket's path cannot be written in Caddy's language.
    """
    _check_unix(settings, "Caddy", "check", "web")
    text = shipped("caddy", _CADDY_SNIPPETS)
    for written, key, path in ((_CHECK, "check", settings.check_socket), (_WEB, "web", settings.web_socket)):
        if _UNREADABLE_BY_CADDY.search(str(path)):
            place = f"{settings.path.name}: listen.{key}"
            raise ConfigError([Problem(place, "Caddy cannot read this path", 'no spaces and none of " ` \\ { }')])
        # Caddy's own form of an address: the network, a slash, and the path with its own first slash.
        text = text.replace(f" {_in_caddys_words(written)} ", f" {_in_caddys_words(f'unix:{path}')} ")
    return {_CADDY_SNIPPETS: text}


def caddy_example(settings: Settings) -> str:
    """Return blocks for the configured sites, to be completed by hand: the files' folder."""
    head, https, http = re.split(r"^(?=# A site over )", shipped("caddy", _CADDY_EXAMPLE), flags=re.MULTILINE)
    blocks = [
        https.replace(f"https://{_HTTPS_HOST}", site.origin)
        if site.scheme == "https"
        else http.replace(f"http://{_HTTP_HOST}", site.origin)
        for site in settings.sites
    ]
    return head + "\n".join(block.rstrip("\n") + "\n" for block in blocks)


@click.command
@click.argument("server", type=click.Choice(["nginx", "apache", "caddy"]))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write the files there.")
@config_option
def snippet(server: str, out: Path | None, config: Path | None) -> None:
    """Print what the web server needs, for the configured sites and sockets."""
    settings = load_or_exit(config)
    try:
        files = _FILES[server](settings)
        secret = apache_secret(settings) if _APACHE_EXAMPLE in files else ""
    except ConfigError as error:
        report(error)
    if server == "apache" and not settings.fastcgi:
        complain("nothing for FastCGI: authgate.toml has no [listen] fastcgi", f'write fastcgi = "{_FASTCGI}"')
    if out is None:
        for name, text in files.items():
            click.echo(f"# ======== {_place(name, server)}\n\n{text}")
        if secret:
            # Not on a screen, nor in its history.
            click.echo(f"# ======== /etc/apache2/authgate/{_APACHE_SECRET}: written by --out only, it holds the secret")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
        if secret:
            _write_secret(out / _APACHE_SECRET, secret)
    except OSError as error:
        fail(f"{error.filename}: {(error.strerror or 'cannot be written').lower()}", "choose a folder with --out DIR")
    click.echo("\n".join(str(out / name) for name in [*files, *([_APACHE_SECRET] if secret else [])]))


def _nginx(settings: Settings) -> dict[str, str]:
    return {**nginx_files(settings), _EXAMPLE: nginx_example(settings)}


def _apache(settings: Settings) -> dict[str, str]:
    files = apache_files(settings)
    return files | {_APACHE_EXAMPLE: apache_example(settings)} if settings.fastcgi else files


def _caddy(settings: Settings) -> dict[str, str]:
    return {**caddy_files(settings), _CADDY_EXAMPLE: caddy_example(settings)}


_FILES: Mapping[str, Callable[[Settings], dict[str, str]]] = {"nginx": _nginx, "apache": _apache, "caddy": _caddy}


def _check_unix(settings: Settings, server: str, *keys: str) -> None:
    ports = {"check": settings.check_port, "web": settings.web_port}
    problems = [
        Problem(
            f"{settings.path.name}: listen.{key}",
            f"what is shipped for {server} speaks to a unix socket",
            f'write {key} = "unix:run/{key}.sock"',
        )
        for key in keys
        if ports[key]
    ]
    if problems:
        raise ConfigError(problems)


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:  # noqa: PTH123
        stream.write(text)


def _place(name: str, server: str) -> str:
    if name == _EXAMPLE:
        return "for example /etc/nginx/conf.d/authgate.conf: one server block per site, to be completed"
    if name == _APACHE_EXAMPLE:
        return "for example /etc/apache2/sites-available/authgate.conf: one virtual host per site, to be completed"
    if name == _CADDY_EXAMPLE:
        return "for example /etc/caddy/Caddyfile: one block per site, to be completed"
    if name in {*_APACHE_EXAMPLES, _APACHE_DELIVER}:
        return f"instead, {name}: to be completed"
    return f"/etc/{'apache2' if server == 'apache' else server}/authgate/{name}"


def _for_site(block: str, site: Site) -> str:
    """Put a site's names into a block; a block without a certificate is port 80 of a site that may be https."""
    tls = "ssl_certificate" in block
    port = _port(site) if tls or site.scheme == "http" else 80
    text = _LISTENS.sub(_listen(port, "http2" if tls else "", tls=tls), block)
    # The origin first: it has the port, which server_name and folders have not.
    text = text.replace(f"https://{_HTTPS_HOST}$", f"{site.origin}$")
    return text.replace(_HTTPS_HOST, _in_url(site.host)).replace(_HTTP_HOST, _in_url(site.host))


def _named(block: str, site: Site) -> str:
    """Put a site's names into a virtual host."""
    host = _in_url(site.host)
    text = block.replace(f"https://{_HTTPS_HOST}$", f"{site.origin}$")
    return text.replace(_HTTPS_HOST, host).replace(_HTTP_HOST, host)


def _blocks_of(site: Site, https: str, redirect: str, http: str) -> list[tuple[str, int]]:
    return [(https, _port(site)), (redirect, 80)] if site.scheme == "https" else [(http, _port(site))]


def _on_port(block: str, port: int) -> str:
    return re.sub(r"<VirtualHost \*:\d+>", f"<VirtualHost *:{port}>", block)


def _certified(settings: Settings, port: int) -> str:
    """Return the host of a site over https on this port: its certificate is the one to show to strangers."""
    return next(_in_url(site.host) for site in settings.sites if site.scheme == "https" and _port(site) == port)


def _in_caddys_words(socket: str) -> str:
    return socket.replace("unix:", "unix/", 1)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(site: Site) -> int:
    return site.port or {"http": 80, "https": 443}[site.scheme]


def _ports(sites: Iterable[Site]) -> set[tuple[int, bool]]:
    """Return every port that some block listens on, and whether it speaks TLS."""
    found = {(_port(site), site.scheme == "https") for site in sites}
    return found | {(80, False) for _, tls in found if tls}


def _listen(port: int, extra: str, *, tls: bool) -> str:
    options = "".join(f" {word}" for word in ("ssl" if tls else "", extra) if word)
    return f"    listen {port}{options};\n    listen [::]:{port}{options};\n"

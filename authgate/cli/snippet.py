"""``authgate snippet``: what to put into a web server's configuration, for this configuration of authgate."""

import re
from collections.abc import Iterable
from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import fail, report
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

# What example.conf is written for.
_CHECK, _WEB = "unix:/run/authgate/check.sock", "unix:/run/authgate/web.sock"
_HTTPS_HOST, _HTTP_HOST = "files.example.com", "intranet.example.com"

# What nginx's own language makes something else of (ngx_conf_read_token; "$" starts a variable).
_UNREADABLE = re.compile(r"""["'\\$;{}\s]""")
_BLOCK = re.compile(r"(?:^#[^\n]*\n)+^server \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_REJECT = re.compile(r"^(?: *#[^\n]*\n)* *ssl_reject_handshake on;\n", re.MULTILINE)
_LISTENS = re.compile(r"(?:^    listen [^\n]*\n)+", re.MULTILINE)


def nginx_files(settings: Settings) -> dict[str, str]:
    """Return the includes for nginx, by file name.

    Raises:
        ConfigError: a socket's path cannot be written in nginx's language.
    """
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


@click.command
@click.argument("server", type=click.Choice(["nginx"]))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write the files there.")
@config_option
def snippet(server: str, out: Path | None, config: Path | None) -> None:  # noqa: ARG001 - nginx is the only one
    """Print what the web server needs, for the configured sites and sockets."""
    settings = load_or_exit(config)
    try:
        files = nginx_files(settings)
    except ConfigError as error:
        report(error)
    files[_EXAMPLE] = nginx_example(settings)
    if out is None:
        for name, text in files.items():
            click.echo(f"# ======== {_place(name)}\n\n{text}")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename}: {(error.strerror or 'cannot be written').lower()}", "choose a folder with --out DIR")
    click.echo("\n".join(str(out / name) for name in files))


def _place(name: str) -> str:
    if name == _EXAMPLE:
        return "for example /etc/nginx/conf.d/authgate.conf: one server block per site, to be completed"
    return f"/etc/nginx/authgate/{name}"


def _for_site(block: str, site: Site) -> str:
    """Put a site's names into a block; a block without a certificate is port 80 of a site that may be https."""
    tls = "ssl_certificate" in block
    port = _port(site) if tls or site.scheme == "http" else 80
    text = _LISTENS.sub(_listen(port, "http2" if tls else "", tls=tls), block)
    # The origin first: it has the port, which server_name and folders have not.
    text = text.replace(f"https://{_HTTPS_HOST}$", f"{site.origin}$")
    host = f"[{site.host}]" if ":" in site.host else site.host
    return text.replace(_HTTPS_HOST, host).replace(_HTTP_HOST, host)


def _port(site: Site) -> int:
    return site.port or {"http": 80, "https": 443}[site.scheme]


def _ports(sites: Iterable[Site]) -> set[tuple[int, bool]]:
    """Return every port that some block listens on, and whether it speaks TLS."""
    found = {(_port(site), site.scheme == "https") for site in sites}
    return found | {(80, False) for _, tls in found if tls}


def _listen(port: int, extra: str, *, tls: bool) -> str:
    options = "".join(f" {word}" for word in ("ssl" if tls else "", extra) if word)
    return f"    listen {port}{options};\n    listen [::]:{port}{options};\n"

"""The files of a first installation: configuration, nginx's, systemd's and logrotate's."""

import grp
import json
import pwd
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from authgate.cli.output import fail, report
from authgate.cli.shipped import shipped
from authgate.cli.snippet import nginx_example, nginx_files
from authgate.config import Settings, load, parse
from authgate.errors import ConfigError

USER = "authgate"
USUAL = Path("/etc/authgate")
STATE = Path("/var/lib/authgate")
NGINX, _UNITS, _LOGROTATE = Path("/etc/nginx"), Path("/etc/systemd/system"), Path("/etc/logrotate.d")
NGINX_SITE = NGINX / "conf.d/authgate.conf"

# What the shipped files are written for.
_PROGRAM, _CONFIG = "/opt/authgate/bin/authgate", "/etc/authgate/authgate.toml"
_GROUP, FILES = "www-data", "/srv/files"
_NGINX_USER = re.compile(r"^\s*user\s+([\w.-]+)(?:\s+([\w.-]+))?\s*;", re.MULTILINE)

_TOML = """\
# authgate. After a change: authgate check && systemctl reload authgate

store = "sqlite:{state}/authgate.db"

# Every origin that browsers use, exactly as they show it. A host that is in none of them is refused.
{sites}
[listen]
check = "unix:/run/authgate/check.sock"     # nginx asks here
web   = "unix:/run/authgate/web.sock"       # browsers log in here, through nginx
group = "{group}"                           # of nginx's workers; the same in authgate.socket

[users]
htpasswd = "users.htpasswd"                 # authgate user add NAME --group members
groups   = "groups"

# One line for every refusal and login; without a file it goes to the journal.
# [audit]
# file = "/var/log/authgate/audit.log"

# The first rule that matches host, path and method decides. What matches none is refused.
[[rules]]
name  = "files"
paths = ["/**"]
allow = ["group:members"]
"""
_GROUPS = "# One group a line, as for Apache: members: alice bob\n"


@dataclass(frozen=True, slots=True)
class File:
    """One file to be written.

    Args:
        path: where it is written.
        place: where it belongs; the same, unless nothing outside a folder may be written.
        private: for root and the service only.
    """

    path: Path
    place: Path
    content: str
    private: bool = False


def first_files(sites: Sequence[str], folder: Path | None, config_dir: Path, *, is_root: bool) -> list[File]:
    """Return all files; those outside `config_dir` below it when nothing else may be written."""
    config = config_dir / "authgate.toml"
    text = _toml(sites)
    try:
        # One that is there already is what everything else has to fit.
        settings = load(config) if config.exists() else parse(tomllib.loads(text), config)
        includes = nginx_files(settings)
    except ConfigError as error:
        report(error)
    except tomllib.TOMLDecodeError:
        fail("an origin has characters that no origin has", 'write --site "https://files.example.com"', code=2)
    final = config_dir if is_root else USUAL
    files = [
        File(config, final / config.name, text, private=True),
        File(config_dir / "users.htpasswd", final / "users.htpasswd", "", private=True),
        File(config_dir / "groups", final / "groups", _GROUPS, private=True),
    ]
    outside = {NGINX / "authgate" / name: content for name, content in includes.items()}
    outside[NGINX_SITE] = _site_file(settings, folder)
    outside |= {_UNITS / name: _unit(name, final / config.name) for name in ("authgate.service", "authgate.socket")}
    outside[_LOGROTATE / "authgate"] = shipped("systemd", "authgate.logrotate")
    # etc/nginx/... keeps its own shape below the folder: nginx/authgate/, systemd/system/, logrotate.d/.
    return files + [
        File(place if is_root else config_dir / place.relative_to("/etc"), place, content)
        for place, content in outside.items()
    ]


def _toml(sites: Sequence[str]) -> str:
    # TOML's escapes are JSON's.
    tables = "".join(f"[[sites]]\norigin = {json.dumps(origin)}\n" for origin in sites)
    return _TOML.format(state=STATE, sites=tables, group=_web_server_group())


def _site_file(settings: Settings, folder: Path | None) -> str:
    text = nginx_example(settings)
    if folder is not None:
        text = text.replace(f"root {FILES};", f"root {folder};")
    return f"# Written once by `authgate init` and yours from then on.\n\n{text}"


def _unit(name: str, config: Path) -> str:
    text = shipped("systemd", name).replace(_CONFIG, str(config)).replace(_PROGRAM, str(this_program()))
    return text.replace(f"SocketGroup={_GROUP}\n", f"SocketGroup={_web_server_group()}\n")


def this_program() -> Path:
    """Return this very authgate: what /usr/local/bin leads to may change."""
    program = Path(sys.prefix) / "bin/authgate"
    return program if program.exists() else Path(shutil.which("authgate") or _PROGRAM)


def _web_server_group() -> str:
    """Return the group of nginx's workers, as nginx.conf names it (the directive ``user``)."""
    with suppress(OSError, UnicodeDecodeError, KeyError):
        if found := _NGINX_USER.search((NGINX / "nginx.conf").read_text(encoding="utf-8")):
            return found[2] or grp.getgrgid(pwd.getpwnam(found[1]).pw_gid).gr_name
    return _GROUP

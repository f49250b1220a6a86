"""The files of the demonstration, and how they are laid out in its folder."""

import grp
import os
import pwd
import secrets
import socket
from pathlib import Path

from authgate.cli.snippet import apache_files, apache_secret, nginx_files
from authgate.config import Settings, load
from authgate.credentials.passwords import hash_password

_HERE = Path(__file__).parent

_PEOPLE = ("alice", "bob", "carol")

# 64 MiB in blocks that each say their number all the way through, so that a resumed download can be compared.
_BIG_BLOCKS, _BIG_LINES = 1024, 8192

_NOTICE = (
    '<p class="notice"><strong>Development only:</strong> nginx is not installed, so Python serves the files itself.'
    " Decisions are the same.</p>"
)


def lay_out(folder: Path, port: int, *, nginx: bool = False, apache: Path | None = None) -> Settings:
    """Write configuration, people and files of the demonstration; return the loaded configuration.

    Args:
        folder: exists and is empty; the web server's workers can reach it.
        nginx: also write nginx's configuration.
        apache: where Apache's modules are: also write Apache's configuration. With neither of both the start page says
            that there is no nginx.
    """
    # Whatever modes the clone has and whatever umask its owner, the web server reads all this as another user.
    os.umask(0o022)
    for source in (_HERE / "site").rglob("*"):
        if source.is_file():
            _write(folder / source.relative_to(_HERE), source.read_text(encoding="utf-8"))
    _write_big(folder / "site/media/big.bin")
    _write(folder / "groups", _read("groups"))
    _write(folder / "users.htpasswd", "".join(f"{name}:{hash_password(f'{name}-demo')}\n" for name in _PEOPLE))
    (folder / "users.htpasswd").chmod(0o600)
    account = _web_server_account()
    policy = _read("authgate.toml")
    if apache:
        _write_secret(folder / "fastcgi.secret", secrets.token_hex(32))
        policy = _asked_by_apache(policy)
    _write(folder / "authgate.toml", _for(policy, port, account))
    settings = load(folder / "authgate.toml")
    start = folder / "site/index.html"
    if apache:
        text = _for(_read("apache.conf"), port, account).replace("MODULES", str(apache)).replace("FOLDER", str(folder))
        _write(folder / "apache.conf", text)
        for name, text in apache_files(settings).items():
            _write(folder / "authgate" / name, text.replace("/etc/apache2/", f"{folder}/"))
        _write_secret(folder / "authgate/authgate-secret.conf", apache_secret(settings))
        _write(start, start.read_text(encoding="utf-8").replace("nginx serves them", "Apache serves them"))
        (folder / "logs").mkdir()
    elif nginx:
        _write(folder / "nginx.conf", _for(_read("nginx.conf"), port, account))
        for name, text in nginx_files(settings).items():
            _write(folder / name, text)
        for name in ("logs", "temp"):
            (folder / name).mkdir()
    else:
        _write(start, start.read_text(encoding="utf-8").replace("<!-- notice -->", _NOTICE))
    return settings


def _asked_by_apache(policy: str) -> str:
    """Put the listener that Apache asks in the place of nginx's."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    lines = policy.replace("nginx", "Apache").splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("check = "))
    lines[at] = f'fastcgi = "127.0.0.1:{port}"            # Apache asks here: may this one pass?\n'
    lines.insert(at + 1, 'fastcgi_secret_file = "fastcgi.secret"  # and says this, so that nobody else can\n')
    return "".join(lines)


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch(0o600)
    path.write_text(text, encoding="ascii")


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_big(path: Path) -> None:
    path.parent.mkdir()
    with path.open("wb") as file:
        for number in range(_BIG_BLOCKS):
            file.write(b"%07d\n" % number * _BIG_LINES)


def _web_server_account() -> tuple[str, str] | None:
    """Return user and group for nginx's workers; None when they run, as all else, as the user who started us."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("www-data" if "www-data" in names else "nobody")
    return account.pw_name, grp.getgrgid(account.pw_gid).gr_name


def _for(text: str, port: int, account: tuple[str, str] | None) -> str:
    """Put the port into a sample, and the web server's account, or leave out the lines that name one."""
    lines = text.replace(":8080", f":{port}").splitlines(keepends=True)
    if account is None:
        return "".join(line for line in lines if "www-data" not in line)
    user, group = account
    return "".join(
        line.replace("user www-data;", f"user {user} {group};")
        .replace("User www-data", f"User {user}")
        .replace("Group www-data", f"Group {group}")
        .replace('"www-data"', f'"{group}"')
        for line in lines
    )

"""``authgate init``: a first configuration, nginx's includes and systemd's units, each where it belongs.

Nothing is ever overwritten: a file that is there stays as it is, and is named. What has to be done afterwards is
printed, not done.
"""

import grp
import os
import pwd
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from authgate.cli.first_files import FILES, NGINX, NGINX_SITE, STATE, USER, USUAL, File, first_files, this_program
from authgate.cli.output import complain, fail
from authgate.config import load

# Means the same to nginx, to systemd and to a shell.
_PLAIN = re.compile(r"[A-Za-z0-9._/+@-]+")
# Debian's own site, a link, which is the default server of port 80.
_DEBIAN_SITE = NGINX / "sites-enabled/default"


@click.command
@click.option("--site", "sites", multiple=True, required=True, metavar="ORIGIN", help="What browsers show; repeatable.")
@click.option("--folder", type=click.Path(path_type=Path), help="The tree to protect, which nginx serves.")
@click.option("--config-dir", type=click.Path(path_type=Path), default=USUAL, show_default=True, help="A folder.")
def init(sites: tuple[str, ...], folder: Path | None, config_dir: Path) -> None:
    """Write a first configuration, what nginx needs and the units for systemd; nothing is overwritten."""
    is_root = os.geteuid() == 0
    config_dir = config_dir.absolute()
    if not is_root and config_dir == USUAL:
        fail("only root may write there", "run this as root, or name a folder of your own with --config-dir DIR")
    _require_plain(config_dir)
    if is_root and not NGINX.is_dir():
        fail(f"there is no {NGINX}", "apt-get install nginx")
    if folder is not None:
        folder = folder.absolute()
        _check_folder(folder, config_dir)
    files = first_files(sites, folder, config_dir, is_root=is_root)
    if is_root:
        _make_user()
    _write_all(files, config_dir, is_root=is_root)
    _tell(files, sites, folder, config_dir, is_root=is_root)


# What is wrong before anything is written


def _require_plain(path: Path) -> None:
    if not _PLAIN.fullmatch(str(path)):
        fail(f"{path}: not a path that nginx and systemd read alike", "letters, digits and . _ + @ - / only", code=2)


def _check_folder(folder: Path, config_dir: Path) -> None:
    _require_plain(folder)
    ours = (config_dir, USUAL, STATE, Path(sys.prefix))
    # Served to every member: passwords' hashes and the store do not belong in it.
    if any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in ours):
        fail(f"{folder} and authgate's own files are in one another", "choose the folder of the files alone", code=2)
    if not folder.is_dir():
        complain(f"there is no folder {folder} yet", "nginx answers 404 until there is")


# How it is written


def _make_user() -> None:
    with suppress(KeyError):
        pwd.getpwnam(USER)
        return
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(STATE)]
    command += ["--shell", "/usr/sbin/nologin", USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - no part is anybody's input
    except FileNotFoundError:
        fail("there is no useradd on this machine", f"make a system user and group named {USER} first")
    except subprocess.CalledProcessError as error:
        fail(f"no user {USER} could be made: {error.stderr.strip()}")
    click.echo(f"made the system user {USER}")


def _write_all(files: Sequence[File], config_dir: Path, *, is_root: bool) -> None:
    group = _own_group() if is_root else None
    for file in files:
        try:
            _make_folder(config_dir, 0o750, group)
            _make_folder(file.path.parent, 0o755, None)
            written = _write(file, group)
        except OSError as error:
            what = f"{error.filename or file.path}: {(error.strerror or str(error)).lower()}"
            fail(what, "what was written so far stays")
        goes = "" if file.path == file.place else f" (belongs to {file.place})"
        click.echo(f"{'wrote' if written else 'left as it is:'} {file.path}{goes}")


def _own_group() -> int:
    try:
        return grp.getgrnam(USER).gr_gid
    except KeyError:
        fail(f"there is a user {USER} and no group of that name", f"groupadd --system {USER}")


def _make_folder(folder: Path, mode: int, group: int | None) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, 0o755, None)
    folder.mkdir()
    # Whatever umask there is: nginx reads its files as root, the service its own through the group.
    folder.chmod(mode)
    if group is not None:
        os.chown(folder, -1, group)


def _write(file: File, group: int | None) -> bool:
    """Write a file whole or not at all; False, and nothing done, when there is something already."""
    descriptor, name = tempfile.mkstemp(dir=file.path.parent, prefix=f".{file.path.name}.")  # 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(file.content)
            stream.flush()
            if file.private and group is not None:
                os.fchown(stream.fileno(), -1, group)
            os.fchmod(stream.fileno(), 0o640 if file.private else 0o644)
            os.fsync(stream.fileno())
        # Not a rename: that would overwrite. A link to nowhere counts as something, too.
        os.link(temporary, file.path, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


# What is to be done


def _tell(files: Sequence[File], sites: Sequence[str], folder: Path | None, config_dir: Path, *, is_root: bool) -> None:
    site = next(file for file in files if file.place == NGINX_SITE)
    settings = load(config_dir / "authgate.toml")
    known = {one.origin for one in settings.sites}
    for origin in sites:
        if origin.rstrip("/").lower() not in known:
            complain(f"{settings.path} was there before, and has no site {origin}", "add [[sites]] there")
    for certificate in re.findall(r"ssl_certificate(?:_key)? +(\S+);", site.path.read_text(encoding="utf-8")):
        if not Path(certificate).exists():
            complain(f"there is no {certificate} yet", f"put it there, or name yours in {site.path}")
    if folder is None:
        complain("no folder to protect was named", f"write yours instead of {FILES} in {site.path}, or use --folder")
    for path in _other_default_servers() if is_root else ():
        complain(f"{path} has a default_server, as {NGINX_SITE} has", "nginx takes one for each port: remove one")
    _warn_of_home()
    option = "" if config_dir == USUAL or not is_root else f" --config {settings.path}"
    click.echo("\nNow, as root:" if is_root else "\nNow put each file where it belongs, and then, as root:")
    for command in _commands(option, is_root=is_root):
        click.echo(f"  {command}")


def _commands(option: str, *, is_root: bool) -> Iterator[str]:
    if not is_root:
        yield f"useradd --system --user-group --no-create-home --home-dir {STATE} --shell /usr/sbin/nologin {USER}"
        yield f"chown -R root:{USER} {USUAL}"
    yield f"authgate user add NAME --group members{option}"
    if is_root and os.path.lexists(_DEBIAN_SITE):
        yield f"rm {shlex.quote(str(_DEBIAN_SITE))}"
    yield "systemctl enable --now authgate"
    yield "systemctl reload nginx"


def _other_default_servers() -> Iterator[Path]:
    for path in sorted([*NGINX.glob("sites-enabled/*"), *NGINX.glob("conf.d/*.conf")]):
        if path not in {_DEBIAN_SITE, NGINX_SITE}:
            with suppress(OSError, UnicodeDecodeError):
                if re.search(r"^[^#\n]*\bdefault_server\b", path.read_text(encoding="utf-8"), re.MULTILINE):
                    yield path


def _warn_of_home() -> None:
    program = this_program()
    if any(program.is_relative_to(home) for home in ("/home", "/root", "/run/user")):
        complain(f"systemd keeps {program} from the service (ProtectHome=yes)", "install authgate in /opt/authgate")

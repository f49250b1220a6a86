"""Where the listeners are: unix sockets and ports, and the secrets of those that others can connect to."""

import os
from collections.abc import Iterator
from pathlib import Path

from authgate.config.schema import File
from authgate.config.secrets import read_secret
from authgate.errors import Problem
from authgate.networks import parse_address

# sun_path is 108 bytes (unix(7)); what is left is room for a temporary name beside it.
MAX_SOCKET_PATH = 100

Endpoint = tuple[str, int]
_UNIX = "unix:"
_MAX_PORT = 65535
# Those of which each can be one or the other.
_EITHER = ("check", "web")


def socket_path(raw: File, key: str, folder: Path) -> Path:
    """Return where the socket of a listener is; for one on a port where it would be, and so the files beside it."""
    name: str = getattr(raw.listen, key)
    return _socket(name if name.startswith(_UNIX) else f"{_UNIX}run/{key}.sock", folder)


def port_of(raw: File, key: str) -> Endpoint | None:
    """Return address and port of a listener; None: it is a unix socket, or the address is wrong."""
    name: str = getattr(raw.listen, key)
    return None if name.startswith(_UNIX) else _endpoint(name)


def check_listeners(raw: File, path: Path, problems: list[Problem]) -> None:
    """Check what no listener can say alone."""
    taken: dict[Path | Endpoint, str] = {}
    for key, where in _listeners(raw, path, problems):
        if isinstance(where, Path) and len(os.fsencode(where)) > MAX_SOCKET_PATH:
            message = f"the path is over {MAX_SOCKET_PATH} bytes"
            problems.append(Problem(f"{path.name}: listen.{key}", message, "choose a shorter folder"))
        other = taken.setdefault(where, key)
        if other != key:
            # One socket for two would let what reaches the login pages reach decisions.
            kind = "socket" if isinstance(where, Path) else "port"
            problems.append(Problem(f"{path.name}: listen.{key}", f"the same {kind} as listen.{other}"))


def _listeners(raw: File, path: Path, problems: list[Problem]) -> Iterator[tuple[str, Path | Endpoint]]:
    for key in ("check", "web", "api", "deliver"):
        name = getattr(raw.listen, key)
        if name is None:
            continue
        if name.startswith(_UNIX):
            yield key, _socket(name, path.parent)
            continue
        place = f"{path.name}: listen.{key}"
        endpoint = _endpoint(name)
        if endpoint is None:
            problems.append(Problem(place, f'"{name}" is no address and port', 'write "127.0.0.1:9091"'))
            continue
        yield key, endpoint
        if raw.listen.check_secret_file is None and not raw.trusted_proxies:
            hint = (
                'write check_secret_file = "check.secret" below it, or trusted_proxies = ["10.0.0.5"] above all tables'
            )
            problems.append(Problem(place, "whoever reaches this port could ask in anybody's name", hint))


def read_check_secret(raw: File, path: Path, problems: list[Problem]) -> bytes:
    """Return what a web server has to say at the ports of `check` and `web`; empty when no file is named."""
    name = raw.listen.check_secret_file
    if name is None:
        return b""
    place = f"{path.name}: listen.check_secret_file"
    if all(getattr(raw.listen, key).startswith(_UNIX) for key in _EITHER):
        problems.append(Problem(place, "asked for at a port only, and check and web are unix sockets", "leave it out"))
        return b""
    return read_secret(path.parent / name, place, problems)


def read_fastcgi(raw: File, path: Path, problems: list[Problem]) -> tuple[Endpoint | None, bytes]:
    """Return where the FastCGI authorizer listens, and the secret that whoever asks there has to know."""
    if raw.listen.fastcgi is None:
        return None, b""
    host, _, port = raw.listen.fastcgi.rpartition(":")
    address = parse_address(host.strip("[]"))
    place = f"{path.name}: listen.fastcgi"
    if address is None or not address.is_loopback or int(port) > _MAX_PORT:
        problems.append(
            Problem(place, f'"{raw.listen.fastcgi}" is no address of this machine', 'write "127.0.0.1:950"')
        )
        return None, b""
    if raw.listen.fastcgi_secret_file is None:
        hint = 'write fastcgi_secret_file = "fastcgi.secret" below it'
        problems.append(Problem(place, "every user of this machine can connect there", hint))
        return None, b""
    file = path.parent / raw.listen.fastcgi_secret_file
    return (str(address), int(port)), read_secret(file, f"{path.name}: listen.fastcgi_secret_file", problems)


def optional_socket(name: str | None, folder: Path) -> Path | None:
    """Return where a socket is that there need not be."""
    return None if name is None else _socket(name, folder)


def state_path(name: str, folder: Path) -> Path:
    """Return where a file is that authgate keeps."""
    return _beneath("state", "STATE_DIRECTORY", name, folder)


def _endpoint(name: str) -> Endpoint | None:
    host, _, port = name.rpartition(":")
    address = parse_address(host.strip("[]"))
    return None if address is None or int(port) > _MAX_PORT else (str(address), int(port))


def _socket(name: str, folder: Path) -> Path:
    return _beneath("run", "RUNTIME_DIRECTORY", name.removeprefix(_UNIX), folder)


def _beneath(usual: str, variable: str, name: str, folder: Path) -> Path:
    """Return where a relative name is: beside the file, or in the directory that systemd made (systemd.exec(5))."""
    made = os.environ.get(variable, "").partition(":")[0]
    # systemd's directory is what the folder `run` or `state` is elsewhere.
    return (Path(made) / name.removeprefix(f"{usual}/") if made else folder / name).absolute()

"""The site that is measured: many sessions, files and rules behind one nginx, and the same nginx without authgate."""

import asyncio
import hashlib
import re
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from authgate.cli.snippet import nginx_files
from authgate.config import Settings, load
from authgate.credentials.session import KIND, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.model import Subject
from authgate.stores.cache import CachedRecords
from authgate.stores.sqlite import SqliteStore
from tests import servers

USERS = 100
SESSIONS = 10_000
RULES = 1_000
BIG_MIB = 256


@dataclass(slots=True)
class Measured:
    """A running site.

    Args:
        ports: by what answers: ``authgate``; ``bare``, a uvicorn that only says 200; ``direct``, nginx alone;
            ``return``, nginx saying 200 by itself; ``starlette``, an application that sends the file through nginx.
        script: makes wrk ask for random files with random sessions.
        cookie: of one session, as a header.
    """

    ports: dict[str, int]
    script: Path
    cookie: str
    authgate: servers.Server
    nginx: servers.Server
    starlette: subprocess.Popen[bytes]
    first_answer: float

    def url(self, what: str, path: str = "/d0/file.txt") -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self.ports[what]}{path}"

    def worker(self) -> int:
        """Return the process id of authgate's one worker."""
        (pid,) = servers.children(self.authgate.process.pid)
        return pid


@contextmanager
def measured_site(
    more: str = "", *, listen: str = "", passwords: Mapping[str, str] = {}, program: str = "authgate"
) -> Iterator[Measured]:
    """Build the site in a temporary folder and run it.

    Args:
        more: further sections of its configuration.
        listen: further keys of ``[listen]``.
        passwords: lines of further users, by name.
        program: the module that serves.
    """
    with servers.open_folder() as folder, ExitStack() as stack:
        ports = {name: servers.free_port() for name in ("authgate", "bare", "direct", "return", "starlette")}
        settings = _configure(folder, ports["authgate"], more, listen, passwords)
        _files(folder / "files")
        cookies = asyncio.run(log_in(settings))
        stack.enter_context(_child("bare", folder / "bare.sock"))
        starlette = stack.enter_context(_child("starlette", folder / "starlette.sock", folder / "files/big.bin"))
        first = _first_answer(settings)
        authgate = stack.enter_context(servers.authgate(settings.path, program))
        nginx = stack.enter_context(servers.nginx(folder, _nginx(folder, settings, ports), ports["authgate"]))
        script = folder / "random.lua"
        (folder / "cookies").write_text("\n".join(cookies))
        script.write_text(_LUA.replace("FILE", str(folder / "cookies")).replace("RULES", str(RULES)))
        yield Measured(ports, script, f"Cookie: authgate={cookies[0]}", authgate, nginx, starlette, first)


# Every request names a file at random and a session: each once in the order of the list, and then at random, so that
# after one run of some seconds all are in the worker's cache, as on a server that has run for a while.
_LUA = """
local cookies, asked = {}, 0
for line in io.lines("FILE") do cookies[#cookies + 1] = "authgate=" .. line end
function init() math.randomseed(os.time()) end
function request()
  asked = asked + 1
  wrk.headers["Cookie"] = cookies[asked] or cookies[math.random(#cookies)]
  if asked % 2 == 0 and wrk.headers["X-Half"] then return wrk.format("GET", "/closed/file.txt") end
  return wrk.format("GET", "/d" .. math.random(0, RULES - 1) .. "/file.txt")
end
"""
# Makes every second request one that is refused.
HALF_REFUSED = "X-Half: yes"


def _configure(folder: Path, port: int, more: str, listen: str, passwords: Mapping[str, str]) -> Settings:
    group = servers.nginx_group()
    rules = "".join(
        f'[[rules]]\nname = "r{n}"\npaths = ["/d{n}/**"]\nallow = ["group:g{n % 10}", "user:root"]\n'
        for n in range(RULES)
    )
    (folder / "authgate.toml").write_text(
        f'workers = 1\n[[sites]]\norigin = "http://127.0.0.1:{port}"\n'
        '[users]\nhtpasswd = "users.htpasswd"\ngroups = "groups"\n[listen]\n'
        + (f'group = "{group}"\n' if group else "")
        + f"{listen}\n{more}\n"
        + rules
        + '[[rules]]\nname = "big"\npaths = ["/big.bin"]\nallow = ["authenticated"]\n'
    )
    write_people(folder, passwords)
    (folder / "state").mkdir()
    return load(folder / "authgate.toml")


def write_people(folder: Path, passwords: Mapping[str, str] = {}) -> None:
    """Write users.htpasswd and groups: USERS people, all in ten groups, and `passwords`, lines of others by name."""
    names = [f"user{n}" for n in range(USERS)]
    digest = b64encode(hashlib.sha1(b"secret").digest()).decode()
    lines = {**dict.fromkeys(names, f"{{SHA}}{digest}"), **passwords}
    (folder / "users.htpasswd").write_text("".join(f"{name}:{line}\n" for name, line in lines.items()))
    (folder / "groups").write_text("".join(f"g{n}: {' '.join(names)}\n" for n in range(10)))


def _files(folder: Path) -> None:
    for n in range(RULES):
        (folder / f"d{n}").mkdir(parents=True)
        (folder / f"d{n}" / "file.txt").write_bytes(b"x" * 1024)
    with (folder / "big.bin").open("wb") as big:
        for _ in range(BIG_MIB):
            big.write(bytes(1 << 20))


async def log_in(settings: Settings, sessions: int = SESSIONS) -> list[str]:
    """Begin so many sessions and return their cookies."""
    users = LocalUsers(settings.htpasswd, settings.groups)
    users.load()
    store = SqliteStore(Path(settings.store.removeprefix("sqlite:")), time.time)
    records = CachedRecords(store, KIND, decode, 1)
    begin = Sessions(records, store, users, settings.idle_timeout, settings.lifetime, time.time).begin
    cookies = [await begin(Subject("", f"user{n % USERS}"), settings.sites[0]) for n in range(sessions)]
    await store.aclose()
    return cookies


def _nginx(folder: Path, settings: Settings, ports: dict[str, int]) -> str:
    files = nginx_files(settings)
    includes = folder / "authgate"
    includes.mkdir()
    for name, text in files.items():
        (includes / name).write_text(text)
    (includes / "bare-server.conf").write_text(files["authgate-server.conf"].replace("authgate_check", "bare_check"))
    upstream = re.search(r"^upstream authgate_check \{.*?^\}", files["authgate-http.conf"], re.MULTILINE | re.DOTALL)
    if upstream is None:
        raise RuntimeError("authgate-http.conf has no upstream authgate_check")
    bare = (
        upstream[0].replace("authgate_check", "bare_check").replace(str(settings.check_socket), f"{folder}/bare.sock")
    )
    protected = f"location / {{ root {folder}/files; include {includes}/authgate-protect.conf; }}"
    return f"""
        include {includes}/authgate-http.conf;
        {bare}
        sendfile on; tcp_nopush on; keepalive_requests 1000000000;
        server {{ listen 127.0.0.1:{ports["authgate"]}; include {includes}/authgate-server.conf; {protected} }}
        server {{ listen 127.0.0.1:{ports["bare"]}; include {includes}/bare-server.conf; {protected} }}
        server {{ listen 127.0.0.1:{ports["direct"]}; location / {{ root {folder}/files; }} }}
        server {{ listen 127.0.0.1:{ports["return"]}; location / {{ return 200; }} }}
        server {{ listen 127.0.0.1:{ports["starlette"]}; location / {{
            proxy_pass http://unix:{folder}/starlette.sock; proxy_http_version 1.1; proxy_set_header Connection "";
        }} }}
    """


def _first_answer(settings: Settings) -> float:
    """Start authgate once for itself and return the seconds until it has answered a first question."""
    command = [sys.executable, "-m", "authgate", "serve", "--config", str(settings.path)]
    with servers.child(command, settings.path.with_suffix(".first.log")) as server:
        started = time.monotonic()
        servers.eventually(lambda: _answers(settings.check_socket), "a first answer", server)
        return time.monotonic() - started


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(str(path))
        connection.sendall(b"GET /check HTTP/1.1\r\nHost: authgate\r\n\r\n")
        return connection.recv(1024).startswith(b"HTTP/1.1 403")
    return False


@contextmanager
def _child(name: str, listen: Path, *arguments: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.bare", str(listen), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=servers.PACKAGE_ROOT)
    try:
        servers.eventually(listen.exists, f"{name} listens")
        yield process
    finally:
        process.terminate()
        process.wait(20)

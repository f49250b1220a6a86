"""X-Sendfile over a unix socket, behind the same Apache as a mod_python handler that only returns OK."""

import asyncio
import hashlib
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from authgate.config import Settings, load
from authgate.credentials.session import KIND, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.model import Subject
from authgate.stores.cache import CachedRecords
from authgate.stores.sqlite import SqliteStore
from benchmarks.pairs import median_ratio, requests_per_second
from tests import servers
from tests.delivery.site import LOADED, apache

SECONDS = 4
USERS = 100
SESSIONS = 2_000
RULES = 1_000

_HANDLER = """
from mod_python import apache

def accesshandler(request):
    return apache.OK
"""

_APACHE = """
ProxyAddHeaders Off
Listen 127.0.0.1:{python}
Listen 127.0.0.1:{direct}
MaxKeepAliveRequests 0
<VirtualHost 127.0.0.1:{deliver}>
    ServerName 127.0.0.1
    UseCanonicalName On
    ProxyPass / unix:{socket}|http://authgate-deliver/ retry=0 connectiontimeout=1 timeout=2
    <Location />
        RequestHeader set   X-Authgate-Host   "expr=%{{SERVER_NAME}}"
        RequestHeader set   X-Authgate-Scheme "expr=%{{REQUEST_SCHEME}}"
        RequestHeader set   X-Authgate-Client "expr=%{{REMOTE_ADDR}}"
        RequestHeader unset X-Authgate-User
        RequestHeader edit* Connection "(?i)x-authgate-" "x-"
        XSendFile On
        XSendFilePath {files}
        FileETag None
        AllowMethods GET HEAD
        Header note  X-Authgate-User ag_user
        Header unset X-Authgate-User
    </Location>
</VirtualHost>
<VirtualHost 127.0.0.1:{python}>
    DocumentRoot {files}
    <Directory {files}>
        PythonPath "sys.path + ['{handlers}']"
        PythonAccessHandler only_ok
    </Directory>
</VirtualHost>
<VirtualHost 127.0.0.1:{direct}>
    DocumentRoot {files}
</VirtualHost>
"""

# Every request names a file at random and a session: each once in the order of the list, then at random.
_LUA = """
local cookies, asked = {}, 0
for line in io.lines("FILE") do cookies[#cookies + 1] = "authgate=" .. line end
function init() math.randomseed(os.time()) end
function request()
  asked = asked + 1
  wrk.headers["Cookie"] = cookies[asked] or cookies[math.random(#cookies)]
  return wrk.format("GET", "/d" .. math.random(0, RULES - 1) .. "/file.txt")
end
"""


@dataclass(slots=True)
class _Site:
    ports: dict[str, int]
    script: Path

    def rate(self, what: str) -> float:
        return requests_per_second(f"http://127.0.0.1:{self.ports[what]}/", seconds=SECONDS, script=self.script)


def main(workers: int = 1) -> None:
    """Print the figures."""
    with _site(workers) as site:
        site.rate("deliver")  # every session into the cache
        for what in site.ports:
            print(f"Apache, {what}: {site.rate(what):,.0f}/s")
        ratio = median_ratio(lambda: site.rate("deliver"), lambda: site.rate("python"))
        print(f"X-Sendfile, {workers} worker(s) / a mod_python access handler that returns OK: {ratio}")


@contextmanager
def _site(workers: int) -> Iterator[_Site]:
    with servers.open_folder() as folder:
        ports = {name: servers.free_port() for name in ("deliver", "python", "direct")}
        files = folder / "files"
        for number in range(RULES):
            (files / f"d{number}").mkdir(parents=True)
            (files / f"d{number}" / "file.txt").write_bytes(b"x" * 1024)
        (folder / "handlers").mkdir(mode=0o755)
        (folder / "handlers" / "only_ok.py").write_text(_HANDLER)
        settings = _configure(folder, files, ports["deliver"], workers)
        (folder / "cookies").write_text("\n".join(asyncio.run(_log_in(settings))))
        script = folder / "random.lua"
        script.write_text(_LUA.replace("FILE", str(folder / "cookies")).replace("RULES", str(RULES)))
        text = _APACHE.format(**ports, socket=settings.deliver_socket, files=files, handlers=folder / "handlers")
        with (
            servers.authgate(settings.path),
            apache(folder, text, ports["deliver"], (*LOADED, "python")),
        ):
            yield _Site(ports, script)


def _configure(folder: Path, files: Path, port: int, workers: int) -> Settings:
    group = servers.nginx_group()
    deliver = f'deliver = {{ root = "{files}" }}\n'
    rules = "".join(
        f'[[rules]]\nname = "r{n}"\npaths = ["/d{n}/**"]\nallow = ["group:g{n % 10}", "user:root"]\n{deliver}'
        for n in range(RULES)
    )
    (folder / "authgate.toml").write_text(
        f'workers = {workers}\n[[sites]]\norigin = "http://127.0.0.1:{port}"\n'
        '[users]\nhtpasswd = "users"\ngroups = "groups"\n[listen]\ndeliver = "unix:run/deliver.sock"\n'
        + (f'group = "{group}"\n' if group else "")
        + rules
    )
    names = [f"user{n}" for n in range(USERS)]
    digest = b64encode(hashlib.sha1(b"secret").digest()).decode()
    (folder / "users").write_text("".join(f"{name}:{{SHA}}{digest}\n" for name in names))
    (folder / "groups").write_text("".join(f"g{n}: {' '.join(names)}\n" for n in range(10)))
    (folder / "state").mkdir()
    return load(folder / "authgate.toml")


async def _log_in(settings: Settings) -> list[str]:
    users = LocalUsers(settings.htpasswd, settings.groups)
    users.load()
    store = SqliteStore(Path(settings.store.removeprefix("sqlite:")), time.time)
    records = CachedRecords(store, KIND, decode, 1)
    sessions = Sessions(records, store, users, settings.idle_timeout, settings.lifetime, time.time)
    cookies = [await sessions.begin(Subject("", f"user{n % USERS}"), settings.sites[0]) for n in range(SESSIONS)]
    await store.aclose()
    return cookies


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

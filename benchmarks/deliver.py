"""X-Sendfile over a unix socket, behind the same Apache as a mod_python handler that only returns OK."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from authgate.config import Settings, load
from benchmarks.pairs import median_ratio, requests_per_second
from benchmarks.site import log_in, write_people
from tests import servers
from tests.delivery.site import LOADED, apache

SECONDS = 4
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
        (folder / "cookies").write_text("\n".join(asyncio.run(log_in(settings, SESSIONS))))
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
        '[users]\nhtpasswd = "users.htpasswd"\ngroups = "groups"\n[listen]\ndeliver = "unix:run/deliver.sock"\n'
        + (f'group = "{group}"\n' if group else "")
        + rules
    )
    write_people(folder)
    (folder / "state").mkdir()
    return load(folder / "authgate.toml")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

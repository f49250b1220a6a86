"""Apache asking authgate over FastCGI, and the same Apache asking an authorizer that only says 200."""

import asyncio
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from authgate.config import Settings, load
from benchmarks.pairs import median_ratio, requests_per_second
from benchmarks.site import log_in, write_people
from tests import servers

SECONDS = 5
RULES = 1_000
SESSIONS = 1_000
SECRET = "s" * 32

# version 1, FCGI_PARAMS, request 1, no content: what Apache ends its questions with.
_END_OF_PARAMETERS = b"\x01\x04\x00\x01\x00\x00\x00\x00"
_TEXT = b"Status: 200\r\nVariable-AUTH_USER: user0\r\n\r\n"
_ANSWER = (
    b"\x01\x06\x00\x01\x00%c\x00\x00%b" % (len(_TEXT), _TEXT)
    + b"\x01\x06\x00\x01\x00\x00\x00\x00"
    + b"\x01\x03\x00\x01\x00\x08\x00\x00"
    + bytes(8)
)


class LooksAtNothing(asyncio.Protocol):
    """Waits until Apache has asked, and says 200."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # what a stream has
        self._read = b""

    def data_received(self, data: bytes) -> None:
        """Answer when everything is here."""
        self._read += data
        if self._read.endswith(_END_OF_PARAMETERS):
            self.asked()

    def asked(self) -> None:
        """Say 200."""
        self._transport.write(_ANSWER)
        self._transport.close()


class Only200(LooksAtNothing):
    """The reference: reads the parameters it is asked with, as every authorizer does, and says 200."""

    def asked(self) -> None:
        """Read what was asked."""
        self.parameters = _parameters(self._read)
        super().asked()


def _parameters(data: bytes) -> dict[bytes, bytes]:
    content, at = b"", 0
    while at < len(data):
        _, kind, _, length, padding = struct.unpack_from(">BBHHB", data, at)
        if kind == 4:
            content += data[at + 8 : at + 8 + length]
        at += 8 + length + padding
    found, at = {}, 0
    while at < len(content):
        sizes = []
        for _ in range(2):
            size, width = content[at], 1
            if size > 127:
                size, width = int.from_bytes(content[at : at + 4], "big") & 0x7FFFFFFF, 4
            sizes.append(size)
            at += width
        middle = at + sizes[0]
        found[content[at:middle]] = content[middle : middle + sizes[1]]
        at = middle + sizes[1]
    return found


STUBS = {"stub": Only200, "idle stub": LooksAtNothing}


def main() -> None:
    """Print the figure."""
    with _site() as (ports, script):

        def rate(what: str) -> float:
            return requests_per_second(f"http://127.0.0.1:{ports[what]}", seconds=SECONDS, script=script)

        rate("authgate")  # every session into the cache, as on a server that has run for a while
        print(", ".join(f"{what} {rate(what):,.0f}/s" for what in ("authgate", *STUBS, "none")))
        for stub in STUBS:
            print(f"FastCGI: authgate / {stub}: {median_ratio(lambda: rate('authgate'), lambda: rate(stub))}")  # noqa: B023


@contextmanager
def _site() -> Iterator[tuple[dict[str, int], Path]]:
    """Run Apache, authgate and the stub; give Apache's ports and a script for wrk."""
    with servers.open_folder() as folder, ExitStack() as stack:
        asked = ("authgate", *STUBS)
        ports = {name: servers.free_port() for name in (*asked, "none", *(f"{name}-fastcgi" for name in asked))}
        settings = _configure(folder, ports)
        cookies = asyncio.run(log_in(settings, SESSIONS))
        for n in range(RULES):
            (folder / "files" / f"d{n}").mkdir(parents=True)
            (folder / "files" / f"d{n}" / "file.txt").write_bytes(b"x" * 1024)
        script = folder / "random.lua"
        (folder / "cookies").write_text("\n".join(cookies))
        script.write_text(_LUA.replace("FILE", str(folder / "cookies")).replace("RULES", str(RULES)))
        stack.enter_context(servers.authgate(settings.path))
        for stub in STUBS:
            port = ports[f"{stub}-fastcgi"]
            command = [sys.executable, "-m", "benchmarks.fastcgi", stub, str(port)]
            running = stack.enter_context(servers.child(command, folder / f"{stub}.log"))
            servers.eventually(lambda: servers.listens(port), f"the {stub} listens", running)  # noqa: B023
        config = folder / "httpd.conf"
        config.write_text(_apache(folder, ports))
        apache = [servers.require("apache2"), "-f", str(config), "-DFOREGROUND"]
        running = stack.enter_context(servers.child(apache, folder / "apache.log"))
        servers.eventually(lambda: servers.listens(ports["none"]), "Apache listens", running)
        yield ports, script


# Every request names a file at random and a session.
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


def _configure(folder: Path, ports: dict[str, int]) -> Settings:
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    rules = "".join(
        f'[[rules]]\nname = "r{n}"\npaths = ["/d{n}/**"]\nallow = ["group:g{n % 10}", "user:root"]\n'
        for n in range(RULES)
    )
    (folder / "authgate.toml").write_text(
        'workers = 1\n[[sites]]\norigin = "http://127.0.0.1"\n'
        '[users]\nhtpasswd = "users.htpasswd"\ngroups = "groups"\n'
        f'[listen]\nfastcgi = "127.0.0.1:{ports["authgate-fastcgi"]}"\nfastcgi_secret_file = "secret"\n{rules}'
    )
    write_people(folder)
    (folder / "state").mkdir()
    return load(folder / "authgate.toml")


def _apache(folder: Path, ports: dict[str, int]) -> str:
    group = servers.nginx_group()
    modules = ("mpm_event", "authn_core", "authz_core", "authnz_fcgi", "allowmethods", "rewrite", "mime")
    loaded = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules)
    hosts = "".join(
        f"Listen 127.0.0.1:{ports[what]}\n"
        f"<VirtualHost 127.0.0.1:{ports[what]}>\nServerName 127.0.0.1\nDocumentRoot {folder}/files\n{check}\n"
        f"</VirtualHost>\n"
        for what, check in ((what, _check(what)) for what in ("authgate", *STUBS, "none"))
    )
    providers = "\n".join(
        f"AuthnzFcgiDefineProvider authnz {_provider(what)} fcgi://127.0.0.1:{ports[f'{what}-fastcgi']}/"
        for what in ("authgate", *STUBS)
    )
    return f"""
        {loaded}
        ServerRoot {folder}
        ServerName 127.0.0.1
        UseCanonicalName On
        PidFile {folder}/apache.pid
        ErrorLog {folder}/error.log
        TypesConfig /etc/mime.types
        {f"User {group}" if group else ""}
        {f"Group {group}" if group else ""}
        TraceEnable off
        MaxKeepAliveRequests 0
        EnableSendfile On
        {providers}
        {hosts}
    """


def _provider(what: str) -> str:
    return what.replace(" ", "-").upper()


def _check(what: str) -> str:
    if what == "none":
        return ""
    provider = _provider(what)
    return f"""
        RewriteEngine On
        RewriteRule ^(.*)$ - [E=AG_PATH:$1,E=AG_SECRET:{SECRET}]
        <Location />
            AllowMethods GET HEAD
            AuthType authgate
            AuthnzFcgiCheckAuthnProvider {provider} Authoritative On RequireBasicAuth Off \\
                UserExpr "%{{reqenv:AUTH_USER}}" DefaultUser "-"
            Require {provider}
            CGIPassAuth On
        </Location>
    """


async def _serve_stub(stub: type[LooksAtNothing], port: int) -> None:
    server = await asyncio.get_running_loop().create_server(stub, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_stub(STUBS[sys.argv[1]], int(sys.argv[2])))

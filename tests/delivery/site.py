"""A site whose files are sent by X-Accel-Redirect or X-Sendfile: a server's shipped example with other names in it."""

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from authgate.cli.snippet import nginx_files
from authgate.config import load
from tests import servers
from tests.credentials.people import sha
from tests.deploy.house import exchange, hidden_fields

NGINX = servers.PACKAGE_ROOT / "deploy" / "nginx" / "deliver.conf"
APACHE = servers.PACKAGE_ROOT / "deploy" / "apache" / "authgate-deliver.conf"
HOSTS = {"nginx": "reports.example.com", "apache": "files.example.com"}
FOLDERS = {"nginx": "/srv/web", "apache": "/srv/files"}
APACHE_MODULES = Path("/usr/lib/apache2/modules")
LOADED = ("mpm_event", "authz_core", "allowmethods", "proxy", "proxy_http", "headers", "mime", "xsendfile")

SECRET = b"not for you"
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
BIG = bytes(range(256)) * 8192
# What is written at its own end is not what is written without.
ODD_NAMES = (
    "q?.txt",
    "h#.txt",
    "p%41.txt",
    "pA.txt",
    "ä€😀.txt",
    "sp ace.txt",
    "a&b=c+d.txt",
    "'\"<>`.txt",
    " lead.txt",
)

FILES: Mapping[str, bytes] = {
    "public/letters.txt": LETTERS,
    "public/big.bin": BIG,
    "public/page.html": b"<!doctype html>",
    "public/include.shtml": b'<!--#include virtual="/reports/q3.csv" -->',
    "public/noext": LETTERS,
    "public/docs/index.html": b"index",
    "public/docs/plain.txt": b"plain",
    "public/docs/plain.txt ": b"another",
    "public/closed/index.html": SECRET,
    "reports/q3.csv": b"q3: " + SECRET,
    "denied/secret.txt": SECRET,
    "home/alice.txt": b"alice's: " + SECRET,
    "office/plan.txt": SECRET,
    **{f"public/odd/{name}": name.encode() for name in ODD_NAMES},
}

RULES = """
[[rules]]
name = "closed"
paths = ["/denied/**", "/public/closed/index.html"]
deny = ["anyone"]

[[rules]]
name = "public"
paths = ["/public/**"]
allow = ["anyone"]
deliver = {}

[[rules]]
name = "office"
paths = ["/office/**"]
allow = ["ip:10.0.0.0/8"]
deliver = {}

[[rules]]
name = "nothing to send"
paths = ["/undelivered/**"]
allow = ["anyone"]
"""


@dataclass(slots=True)
class Site:
    """A folder with everything in it, and a port. Nothing runs yet.

    Args:
        edits: what is written otherwise than in the shipped example.
    """

    kind: str
    folder: Path
    edits: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=servers.free_port)

    @property
    def host(self) -> str:
        return HOSTS[self.kind]

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def files(self) -> Path:
        return self.folder / FOLDERS[self.kind][1:]

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "deliver.sock"

    @property
    def log(self) -> Path:
        return self.folder / "authgate-deliver.log"

    def build(self) -> None:
        """Write files, people and rules."""
        for name, content in FILES.items():
            servers.make_file(f"{self.files}/{name}".encode(), content)
        # Long ago, as most files: Apache calls a date of this minute a weak validator.
        for path in self.files.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))
        (self.files / "public" / "inside.txt").symlink_to("letters.txt")
        (self.files / "public" / "outside.txt").symlink_to(self.folder / "outside.txt")
        (self.folder / "outside.txt").write_bytes(SECRET)
        (self.folder / "users").write_text("".join(f"{user}:{sha(password(user))}\n" for user in ("alice", "bob")))
        (self.folder / "groups").write_text("staff: alice\n")
        (self.folder / "state").mkdir()
        group = servers.nginx_group()
        rules = self._placed(_toml(self._example()))
        deliver = re.findall(r"^deliver = (.*)", rules, re.MULTILINE)[-1]
        found = re.search(r"deliver += (\{ root[^\n]*\})\n*\Z", rules)
        if found is None:
            raise LookupError(f"the example for {self.kind} does not end with a rule that delivers: {deliver}")
        self.config.write_text(
            'workers = 2\n[users]\nhtpasswd = "users"\ngroups = "groups"\n'
            '[listen]\nweb = "unix:run/web.sock"\ndeliver = "unix:run/deliver.sock"\n'
            + (f'group = "{group}"\n' if group else "")
            + RULES.replace("{}", found[1])
            + rules
        )

    def server_config(self) -> str:
        """Return the shipped example for this folder and this port."""
        text = self._example()
        for written, instead in self.edits.items():
            if written not in text:
                raise LookupError(f"the example for {self.kind} does not hold {written!r} any more")
            text = text.replace(written, instead)
        return self._placed(text)

    def _example(self) -> str:
        return (NGINX if self.kind == "nginx" else APACHE).read_text()

    def _placed(self, text: str) -> str:
        text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
        for written, real in {
            f'"http://{self.host}"': f'"{self.origin}"',
            "listen 80": f"listen 127.0.0.1:{self.port}",
            "*:80": f"127.0.0.1:{self.port}",
            "/run/authgate": str(self.folder / "run"),
            "/var/log/nginx": str(self.folder),
            "${APACHE_LOG_DIR}": str(self.folder),
            FOLDERS[self.kind]: str(self.files),
        }.items():
            text = text.replace(written, real)
        return text


def _toml(example: str) -> str:
    """Return sites and rules that stand in the comment of an example."""
    text = "".join(re.findall(r"^#(?:   (.*\n)|\n)", example, re.MULTILINE))
    tables = re.split(r"^(?=\[\[?\w+\]\]?$)", text, flags=re.MULTILINE)
    return "".join(table for table in tables if table.startswith("[["))


def password(user: str) -> str:
    return f"{user}-demo"


def basic(user: str) -> str:
    return "Basic " + b64encode(f"{user}:{password(user)}".encode()).decode()


@dataclass(slots=True)
class Running:
    """A site whose servers run."""

    site: Site
    authgate: servers.Server
    server: servers.Server

    def ask(self, target: str, user: str | None = None, *, method: str = "GET", **headers: str) -> httpx.Response:
        """Ask as a program does, with a target that is sent as it stands."""
        sent = {"Host": f"{self.site.host}:{self.site.port}", **({"Authorization": basic(user)} if user else {})}
        with httpx.Client(trust_env=False) as client:
            client.headers.clear()
            request = client.build_request(
                method,
                f"http://127.0.0.1:{self.site.port}/",
                headers={**sent, **{name.replace("_", "-"): value for name, value in headers.items()}},
            )
            request.extensions["target"] = target.encode()
            return client.send(request)

    def browse(
        self, target: str, cookies: Mapping[str, str] = {}, form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Go somewhere as a browser does, or send a form."""
        headers = {
            "Host": f"{self.site.host}:{self.site.port}",
            "Accept": "text/html,*/*;q=0.8",
            "Sec-Fetch-Site": "none" if form is None else "same-origin",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            **({} if form is None else {"Origin": self.site.origin}),
        }
        url = f"http://127.0.0.1:{self.site.port}{target}"
        return httpx.request("GET" if form is None else "POST", url, headers=headers, data=form, trust_env=False)

    def log_in(self, user: str, page: str = "/authgate/login") -> tuple[dict[str, str], str]:
        """Fill in the login form; return the cookies and where it leads."""
        shown = self.browse(page)
        fields = {**hidden_fields(shown.text), "username": user, "password": password(user)}
        answer = self.browse("/authgate/login", _cookies(shown), fields)
        assert answer.status_code == 303, answer.text
        return _cookies(answer), answer.headers["location"]

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return everything that comes back."""
        return exchange(self.site.port, request)

    def logged(self, decision: str) -> str:
        """Return the access log's line with a decision in it."""

        def lines() -> list[str]:
            return [line for line in self.site.log.read_text().splitlines() if decision in line]

        servers.eventually(lines, f"a line with {decision} in the access log")
        return lines()[0]


def _cookies(answer: httpx.Response) -> dict[str, str]:
    pairs = (line.partition(";")[0].partition("=") for line in answer.headers.get_list("set-cookie"))
    return {name: value for name, _, value in pairs if value}


@contextmanager
def served(kind: str, folder: Path, edits: Mapping[str, str] = {}) -> Iterator[Running]:
    """Build a site and run authgate and its web server until the end of the block."""
    site = Site(kind, folder, edits)
    site.build()
    with ExitStack() as stack:
        authgate = stack.enter_context(servers.authgate(site.config))
        server = stack.enter_context(web_server(site))
        yield Running(site, authgate, server)


@contextmanager
def web_server(site: Site) -> Iterator[servers.Server]:
    """Run the web server of a site, whoever is behind it."""
    if site.kind == "nginx":
        (site.folder / "authgate").mkdir(exist_ok=True)
        for name, text in nginx_files(load(site.config)).items():
            (site.folder / "authgate" / name).write_text(text)
        block = f"include authgate/authgate-http.conf;\n{site.server_config()}"
        with servers.nginx(site.folder, block, site.port) as server:
            yield server
        return
    with apache(site.folder, site.server_config(), site.port) as server:
        yield server


@contextmanager
def apache(folder: Path, config: str, port: int, modules: tuple[str, ...] = LOADED) -> Iterator[servers.Server]:
    """Run Apache with a configuration of its own until it answers on `port`."""
    program = servers.require("apache2")
    root = folder / "apache"
    root.mkdir(exist_ok=True)
    loaded = {name: APACHE_MODULES / f"mod_{name}.so" for name in modules}
    missing = [name for name, path in loaded.items() if not path.exists()]
    if missing:
        servers.lacking(f"Apache has no {', '.join(missing)}")
    group = servers.nginx_group()
    (root / "httpd.conf").write_text(
        f"ServerRoot {root}\nServerName localhost\nPidFile {root}/pid\nDefaultRuntimeDir {root}\n"
        f"ErrorLog {root}/error.log\nListen 127.0.0.1:{port}\n"
        + "".join(f"LoadModule {name}_module {path}\n" for name, path in loaded.items())
        + (f"User {group}\nGroup {group}\n" if group else "")
        + "TypesConfig /etc/mime.types\n"
        + config
    )
    command = [program, "-f", str(root / "httpd.conf"), "-D", "FOREGROUND"]
    with servers.child(command, root / "output.log") as server:
        servers.eventually(lambda: servers.listens(port), "Apache listens", server)
        yield server

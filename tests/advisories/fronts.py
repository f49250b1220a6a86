"""One site with a policy that is open wherever it is not closed, behind each web server.

``/**`` is for anyone at the end: whatever makes authgate and the web server read two different requests falls through
to it, and opens the file. That is the policy that the published bypasses were found with.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests import servers
from tests.deploy import house as nginx_house
from tests.deploy.applications import Applications, applications
from tests.deploy.house import CHEAP, GROUPS, HTTP_HOST, NO_TLS, OPEN, RULES, SECRET, House, Visitor, exchange, password
from tests.deploy.house import status_of as status_of  # noqa: PLC0414 - for the tests of this package
from tests.deploy_apache import house as apache_house
from tests.deploy_apache.house import ApacheHouse
from tests.deploy_caddy import house as caddy_house
from tests.deploy_caddy.house import CaddyHouse
from tests.servers import Server

# Another site, one whose rules name its host by a pattern, and one that the web server has and authgate does not know.
OTHER_HOST, TEAM_HOST, UNKNOWN_HOST = "other.example.com", "red.teams.example.com", "unknown.example.com"

# Beside those of every house. Two have names that whoever compares the part after the first or last "@" confuses.
MAIL, FORGED_MAIL = "zoe@corp.example", "zoe@evil@corp.example"
USERS = ("dora", "erin", "frank", MAIL, FORGED_MAIL)

FILES: Mapping[str, bytes] = {
    "api/status": OPEN,
    "api/private/x": SECRET,
    "foo/open/bar": OPEN,
    "foo/secret": SECRET,
    "foo/secret#/bar": OPEN,
    "mail/letter.txt": SECRET,
    "press/draft.txt": SECRET,
    "staff/public/plan.txt": SECRET,
    "upload/list.txt": SECRET,
    "vault/key.txt": SECRET,
    "public/100%25.txt": OPEN,
    "public/100%.txt": OPEN,
}

POLICY = r"""
[audit]
file = "audit.log"
allows = true

[[rules]]
name = "teams"
hosts = ["*.teams.example.com"]
paths = ["/**"]
allow = ["group:staff"]

[[rules]]
name = "other"
hosts = ["other.example.com"]
paths = ["/staff/**"]
allow = ["user:alice"]

[[rules]]
name = "status"
paths = ["re:/api/(?:.*/)?status"]
allow = ["anyone"]

[[rules]]
name = "bars"
paths = ["re:/foo/.*/bar"]
allow = ["anyone"]

[[rules]]
name = "for staff"
paths = ["/api/**", "/foo/**", "/upload/**"]
allow = ["group:staff"]

[[rules]]
name = "mail"
paths = ["/mail/**"]
allow = ["user:zoe@corp.example"]

[[rules]]
name = "press"
paths = ["/press/**"]
allow = ["group:press"]

[[rules]]
name = "vault"
paths = ["/vault/**"]
allow = ["user:alice & mfa"]

[[rules]]
name = "administration"
paths = ["/admin/**"]
allow = ["group:admin"]
"""
REST = '\n[[rules]]\nname = "rest"\npaths = ["/**"]\nallow = ["anyone"]\n'


@dataclass(frozen=True, slots=True)
class Front:
    """A web server with authgate beside it.

    Args:
        name: ``nginx``, ``fastcgi``, ``rewritemap`` or ``caddy``.
        behind: applications at ``/pub/`` and ``/admin/`` of OTHER_HOST, in FastCGI or CGI at ``/php/``; with rewrite
            maps none.
        sessions: cookies of those who logged in, by name.
    """

    name: str
    house: House
    authgate: Server
    server: Server
    behind: Applications
    sessions: dict[str, str] = field(default_factory=dict)

    @property
    def normalises(self) -> bool:
        """Whether rules see the path as the web server has tidied it; else authgate refuses what is not tidy."""
        return self.name != "caddy"

    def send(
        self,
        target: str | bytes,
        *fields: str | bytes,
        method: str = "GET",
        host: str | None = None,
        user: str | None = None,
        body: bytes = b"",
    ) -> bytes:
        """Send a request as it is written here and return every byte of the answer.

        Args:
            host: the whole field, port included.
            user: whose session goes along.
        """
        cookie = [f"Cookie: authgate={self.session(user)}"] if user else []
        length = [f"Content-Length: {len(body)}"] if body else []
        head = [f"Host: {host or f'{HTTP_HOST}:{self.house.http_port}'}", "Connection: close", *cookie, *length]
        line = b"%s %s HTTP/1.1" % (method.encode(), _bytes(target))
        request = b"\r\n".join([line, *map(_bytes, (*head, *fields)), b"", body])
        answer = exchange(self.house.http_port, request)
        end = time.monotonic() + servers.DEADLINE
        # What the map program has not answered within 50 ms it refuses, which a busy machine sees; it opens nothing.
        while self.name == "rewritemap" and status_of(answer) == 503 and time.monotonic() < end:
            answer = exchange(self.house.http_port, request)
        return answer

    def session(self, user: str) -> str:
        """Return the session cookie's value of somebody who logged in by the form."""
        if user not in self.sessions:
            self.sessions[user] = self.browser(user).cookies["authgate"]
        return self.sessions[user]

    def browser(self, user: str | None = None) -> Visitor:
        """Return somebody with a browser, logged in if a user is given."""
        visitor = Visitor(self.house)
        if user:
            visitor.login(user)
        return visitor

    def client(self, address: str = "127.0.0.1") -> httpx.Client:
        """Return a program that asks from an address of this machine."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.house.http_port}",
            headers={"Host": f"{HTTP_HOST}:{self.house.http_port}"},
            transport=httpx.HTTPTransport(local_address=address, verify=NO_TLS),
            trust_env=False,
            timeout=servers.DEADLINE,
        )

    def refuses(
        self,
        target: str | bytes,
        *fields: str | bytes,
        method: str = "GET",
        host: str | None = None,
        user: str | None = None,
        body: bytes = b"",
    ) -> bytes:
        """Send a request that has to open nothing, and return the answer."""
        answer = self.send(target, *fields, method=method, host=host, user=user, body=body)
        assert status_of(answer) in {302, 400, 401, 403, 404, 405, 421}, answer[:400]
        assert SECRET not in answer, answer
        return answer

    def opens(
        self, target: str | bytes, *fields: str | bytes, host: str | None = None, user: str | None = None
    ) -> bytes:
        """Send a request that has to be answered with a file, and return the answer."""
        answer = self.send(target, *fields, host=host, user=user)
        assert status_of(answer) == 200, answer[:400]
        assert SECRET in answer or OPEN in answer, answer
        return answer

    def reasons(self, ask: Callable[[], object]) -> list[str]:
        """Return the reasons of the decisions that `ask` led to, as the audit has them."""
        return [str(line["reason"]) for line in self.audited(ask) if line["event"] == "decision"]

    def audited(self, ask: Callable[[], object]) -> list[Mapping[str, object]]:
        """Return what the audit has about all that was decided in `ask`."""
        # One worker writes in the order in which it decided: between two requests of our own is what was asked between.
        first = self._mark()
        ask()
        last = self._mark()
        log = self.house.folder / "audit.log"
        servers.eventually(lambda: f"/{last}".encode() in log.read_bytes(), "the last line in the audit")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        lines = [line for line in lines if self.name != "rewritemap" or line.get("reason") != "busy"]
        paths = [line.get("path") for line in lines]
        return lines[paths.index(f"/{first}") + 1 : paths.index(f"/{last}")]

    def _mark(self) -> str:
        marker = f"marker-{len(self._marks)}"
        self._marks.append(marker)
        self.send(f"/{marker}")
        return marker

    _marks: list[str] = field(default_factory=list)


def basic(user: str, secret: str | None = None) -> str:
    """Return the field of a name and a password, the right one if none is given."""
    pair = f"{user}:{password(user) if secret is None else secret}"
    return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def furnish(house: House) -> None:
    """Write the files and people of these tests into a house that is built."""
    for name, content in FILES.items():
        servers.make_file(str(house.files / name).encode(), content)
    with (house.folder / "users.htpasswd").open("a") as stream:
        stream.writelines(f"{user}:{CHEAP.hash(password(user))}\n" for user in USERS)
    (house.folder / "groups").write_text(f"{GROUPS}press: erin frank\n")


@contextmanager
def behind_nginx() -> Iterator[Front]:
    """Run the site behind nginx until the end of the block."""
    with servers.open_folder() as folder, applications(folder) as behind:
        house = House(folder, sites=(OTHER_HOST, TEAM_HOST), rules=POLICY, rules_of_files=RULES + REST)
        house.build()
        furnish(house)
        protected = "include authgate/authgate-protect"
        more = f"""
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{house.http_port};
            server_name {OTHER_HOST} {UNKNOWN_HOST} *.teams.example.com;
            location ^~ / {{ root {house.files}; {protected}.conf; }}
            location ^~ /short/ {{
                root {house.files};
                rewrite ^/short/(.*)$ /staff/$1;
                {protected}.conf;
            }}
            location ^~ /pub/ {{ proxy_pass http://127.0.0.1:{behind.http}/pub/; {protected}-app.conf; }}
            location ^~ /admin/ {{ proxy_pass http://127.0.0.1:{behind.http}/admin/; {protected}-app.conf; }}
            location ^~ /php/ {{
                include /etc/nginx/fastcgi_params;
                fastcgi_pass unix:{behind.fastcgi};
                {protected}-app.conf;
            }}
        }}
        """
        with nginx_house.inhabited(house, more) as running:
            yield Front("nginx", house, running.authgate, running.nginx, behind)


SCRIPT = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
env
"""


@contextmanager
def behind_apache(wiring: str) -> Iterator[Front]:
    """Run the site behind Apache until the end of the block."""
    with servers.open_folder() as folder, applications(folder) as behind:
        fastcgi = wiring == "fastcgi"
        shortened = "RewriteEngine On\nRewriteRule ^/short/(.*)$ /staff/$1\n"
        if fastcgi:
            servers.make_file(str(folder / "cgi" / "env.php").encode(), SCRIPT.encode())
            (folder / "cgi" / "env.php").chmod(0o755)
        house = ApacheHouse(
            folder,
            sites=(OTHER_HOST, TEAM_HOST),
            rules=POLICY,
            rules_of_files=RULES + REST,
            wiring=wiring,
            modules=("cgid",) if fastcgi else (),
            above=f"ScriptSock {folder}/cgid" if fastcgi else shortened,
            below=_virtual_hosts(folder, shortened, behind.http) if fastcgi else _mapped_hosts(),
        )
        house.build()
        furnish(house)
        with apache_house.inhabited(house) as running:
            yield Front(wiring, house, running.authgate, running.apache, behind)


def _virtual_hosts(folder: Path, shortened: str, port: int) -> str:
    protected = "Include authgate/authgate-protect-app.conf"
    more = (f"{shortened}ScriptAlias /php {folder}/cgi\n") + "".join(
        f"ProxyPass /{name}/ http://127.0.0.1:{port}/{name}/\n<Location /{name}/>\n{protected}\n</Location>\n"
        for name in ("pub", "admin")
    )
    hosts = "".join(
        f"<VirtualHost *:80>\nServerName {host}\nDocumentRoot /srv/files\n{more}"
        "Include authgate/authgate-site.conf\n</VirtualHost>\n"
        for host in (OTHER_HOST, UNKNOWN_HOST, TEAM_HOST)
    )
    return f"{hosts}<Directory {folder}/cgi>\n{protected}\n</Directory>\n"


def _mapped_hosts() -> str:
    return "".join(
        f"<VirtualHost *:80>\nServerName {host}\nUseCanonicalName On\nDocumentRoot /srv/files\n"
        "RewriteOptions InheritBefore\nInclude authgate/authgate-login.conf\n"
        "ErrorDocument 403 /authgate/refused\n</VirtualHost>\n"
        for host in (OTHER_HOST, UNKNOWN_HOST, TEAM_HOST)
    )


@contextmanager
def behind_caddy() -> Iterator[Front]:
    """Run the site behind Caddy until the end of the block."""
    with servers.open_folder() as folder, applications(folder) as behind:
        house = CaddyHouse(folder, sites=(OTHER_HOST, TEAM_HOST), rules=POLICY, rules_of_files=RULES + REST)
        application = f"import authgate_app\nreverse_proxy 127.0.0.1:{behind.http}\n"
        script = (
            f"root * /srv/files\nimport authgate_app\nphp_fastcgi unix/{behind.fastcgi} {{\ntry_files {{path}}\n}}\n"
        )
        shortened = "root * /srv/files\nuri replace /short/ /staff/\nimport authgate_protect\nfile_server\n"
        hosts = ", ".join(
            f"http://{host}:{house.http_port}" for host in (OTHER_HOST, UNKNOWN_HOST, "*.teams.example.com")
        )
        house.below = (
            f"{hosts} {{\nimport authgate_site\n"
            f"handle /pub/* {{\n{application}}}\nhandle /admin/* {{\n{application}}}\n"
            f"handle /php/* {{\n{script}}}\nhandle /short/* {{\n{shortened}}}\n"
            "handle {\nroot * /srv/files\nimport authgate_protect\nfile_server\n}\n}\n"
        )
        house.build()
        furnish(house)
        with caddy_house.inhabited(house) as running:
            yield Front("caddy", house, running.authgate, running.caddy, behind)

"""The FastCGI listener asked by a real Apache, in both of its forms."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.credentials.people import sha

SECRET = "0123456789abcdef0123456789abcdef"
MODULES = (
    "mpm_event", "authn_core", "authz_core", "auth_basic", "authn_file", "authnz_fcgi", "alias", "allowmethods",
    "rewrite", "mime", "headers",
)  # fmt: skip
BROWSER = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


@dataclass(frozen=True, slots=True)
class Apache:
    """A running Apache before a running authgate."""

    url: str
    authgate: servers.Server

    def get(self, path: str, user: str = "", headers: Mapping[str, str] = {}) -> httpx.Response:
        """Ask for a path, as a person with the password ``secret`` or as nobody."""
        return httpx.get(f"{self.url}{path}", auth=(user, "secret") if user else None, headers=headers)


def _apache(folder: Path, port: int, fastcgi: int) -> str:
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES)
    group = servers.nginx_group()
    return f"""
        {modules}
        {f"User {group}" if group else ""}
        {f"Group {group}" if group else ""}
        ServerRoot {folder}
        ServerName http://127.0.0.1:{port}
        UseCanonicalName On
        Listen 127.0.0.1:{port}
        PidFile {folder}/apache.pid
        ErrorLog {folder}/error.log
        TypesConfig /etc/mime.types
        TraceEnable off
        DocumentRoot {folder}/files
        AuthnzFcgiDefineProvider authnz AUTHGATE fcgi://127.0.0.1:{fastcgi}/
        AuthnzFcgiDefineProvider authz AUTHGATE-BEHIND fcgi://127.0.0.1:{fastcgi}/
        RewriteEngine On
        RewriteRule ^/(?!wrong/)(.*)$ - [E=AG_PATH:/$1,E=AG_SECRET:{SECRET}]
        RewriteRule ^(/wrong/.*)$ - [E=AG_PATH:$1,E=AG_SECRET:{SECRET[::-1]}]
        <Directory {folder}/files>
            AuthType authgate
            AuthnzFcgiCheckAuthnProvider AUTHGATE Authoritative On RequireBasicAuth Off \\
                UserExpr "%{{reqenv:AUTH_USER}}" DefaultUser "-"
            Require AUTHGATE
            CGIPassAuth On
            Header set X-Environment "%{{AUTH_USER}}e %{{REMOTE_GROUPS}}e [%{{AG_SECRET}}e] %{{AUTHGATE_CACHE}}e"
        </Directory>
        Alias /behind {folder}/behind
        <Directory {folder}/behind>
            AuthType Basic
            AuthName files
            AuthBasicProvider file
            AuthUserFile {folder}/users.htpasswd
            AuthzSendForbiddenOnFailure On
            Require AUTHGATE-BEHIND
        </Directory>
    """


@pytest.fixture(scope="module")
def apache() -> Iterator[Apache]:
    with servers.open_folder() as folder, running(folder) as made:
        yield made


@contextmanager
def running(folder: Path) -> Iterator[Apache]:
    port, fastcgi = servers.free_port(), servers.free_port()
    for name in ("public/x.txt", "staff/x.txt", "wrong/x.txt"):
        servers.make_file(bytes(folder / "files" / name), b"content")
    for name in ("staff/x.txt", "bob/x.txt"):
        servers.make_file(bytes(folder / "behind" / name), b"content")
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    (folder / "users.htpasswd").write_text("".join(f"{name}:{sha('secret')}\n" for name in ("alice", "mallory")))
    (folder / "groups").write_text("staff: alice\n")
    config = folder / "authgate.toml"
    config.write_text(
        f'[[sites]]\norigin = "http://127.0.0.1:{port}"\n[users]\nhtpasswd = "users.htpasswd"\ngroups = "groups"\n'
        f'server_login = true\n[listen]\nfastcgi = "127.0.0.1:{fastcgi}"\nfastcgi_secret_file = "secret"\n'
        '[[rules]]\nname = "public"\npaths = ["/public/**", "/wrong/**"]\nallow = ["anyone"]\n'
        '[[rules]]\nname = "staff"\npaths = ["/staff/**"]\nallow = ["group:staff"]\ncache = "private, max-age=5"\n'
        '[[rules]]\nname = "behind"\npaths = ["/behind/staff/**"]\nallow = ["group:staff & via:server"]\n'
    )
    httpd = folder / "httpd.conf"
    httpd.write_text(_apache(folder, port, fastcgi))
    command = [servers.require("apache2"), "-f", str(httpd), "-DFOREGROUND"]
    with servers.authgate(config) as authgate, servers.child(command, folder / "apache.log") as server:
        servers.eventually(lambda: servers.listens(port), "Apache listens", server)
        yield Apache(f"http://127.0.0.1:{port}", authgate)


def test_apache_serves_what_is_allowed_and_sends_nothing_of_the_answer(apache: Apache) -> None:
    public, staff = apache.get("/public/x.txt"), apache.get("/staff/x.txt", "alice")

    assert (public.status_code, public.text) == (200, "content")
    assert (staff.status_code, staff.text) == (200, "content")
    # What applications behind Apache find; the secret is gone, which Apache's log writes as a dash or nothing.
    assert staff.headers["x-environment"] == "alice staff [] private, max-age=5"
    for response in (public, staff):
        assert not [name for name in response.headers if name.startswith(("variable-", "status", "x-authgate-"))]
        assert "cache-control" not in response.headers


def test_apache_hands_on_a_login(apache: Apache) -> None:
    redirect, challenge = apache.get("/staff/x.txt", headers=BROWSER), apache.get("/staff/x.txt")

    assert redirect.status_code == 302
    assert redirect.headers["location"] == f"{apache.url}/authgate/login?next=/staff/x.txt"
    assert challenge.status_code == 401
    assert challenge.headers["www-authenticate"].startswith("Basic ")
    for response in (redirect, challenge):
        assert response.headers["cache-control"] == "no-store"
        assert "x-authgate-decision" in response.headers


def test_apache_hands_on_a_refusal(apache: Apache) -> None:
    assert apache.get("/staff/x.txt", "mallory").status_code == 403
    assert apache.get("/wrong/x.txt").status_code == 403


def test_apache_answers_a_request_with_too_many_fields(apache: Apache) -> None:
    fields = {f"X-Field-{n}": "x" * 8000 for n in range(10)}

    assert apache.get("/public/x.txt", headers=fields).status_code == 403


def test_login_of_apaches_own_is_believed_in_its_form_alone(apache: Apache) -> None:
    assert apache.get("/behind/staff/x.txt", "alice").text == "content"
    assert apache.get("/behind/staff/x.txt", "mallory").status_code == 403
    assert apache.get("/behind/bob/x.txt", "alice").status_code == 403
    assert apache.get("/behind/staff/x.txt").status_code == 401


def test_apache_serves_nothing_while_authgate_is_away() -> None:
    with servers.open_folder() as folder, running(folder) as apache:
        apache.authgate.stop()

        assert apache.get("/public/x.txt").status_code == 500
        assert apache.get("/behind/staff/x.txt", "alice").status_code == 500

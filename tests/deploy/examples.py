"""The files of deploy/nginx/examples, all at once in one nginx, with the rules that stand in their comments."""

import json
import re
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests import servers
from tests.deploy.applications import Applications, applications
from tests.deploy.house import NO_TLS, OPEN, SECRET, House, Running, inhabited, password

FOLDER = servers.PACKAGE_ROOT / "deploy" / "nginx" / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.conf"))

_TOML = re.compile(r"authgate\.toml:\n#\n((?:#.*\n)+)")

# Below the folder that stands for /srv.
FILES: Mapping[str, bytes] = {
    "php/page.txt": SECRET,
    "php/admin.php": SECRET,
    "php/index.php": SECRET,
    "php/picture.jpg": SECRET,
    "spa/index.html": b"<!doctype html><title>spa</title>" + OPEN,
    "spa/assets/app.js": OPEN,
    "spa/staff/plan.txt": SECRET,
    "web/page.txt": SECRET,
    "web/manual/index.html": b"<!doctype html><title>manual</title>" + OPEN,
    "web/manual/names-a-file.txt": OPEN,
    "web/manual/bare/names-a-file.txt": OPEN,
    "web/manual/drafts/index.html": SECRET,
    "web/office/plan.txt": SECRET,
    "web/staff/plan.txt": SECRET,
    "web/ordinary/plan.txt": SECRET,
    "one/page.txt": SECRET,
    "two/page.txt": SECRET,
    "docs/page.txt": SECRET,
}

# What the examples call machines that are not there.
ADDRESSES: Mapping[str, str] = {
    "[2001:db8::1]": "[::1]",
    "2001:db8::/32": "::1/128",
    "192.0.2.10": "127.0.0.1",
}


@dataclass(frozen=True, slots=True)
class Examples:
    """All examples, running."""

    running: Running
    applications: Applications

    @property
    def house(self) -> House:
        return self.running.house

    def origin(self, host: str) -> str:
        """Return the origin of a site, with the port that it has here."""
        return placed(f"{scheme(host)}://{host}", self.house, None)

    def client(self, host: str, user: str | None = None, **headers: str) -> httpx.Client:
        """Return a program that asks a site, with Basic credentials if a user is given."""
        origin = self.origin(host)
        port = origin.rpartition(":")[2]
        tls = origin.startswith("https:")
        client = httpx.Client(
            base_url=f"{'https' if tls else 'http'}://{'[::1]' if host.startswith('[') else '127.0.0.1'}:{port}",
            headers={"Host": origin.partition("://")[2], **headers},
            auth=(user, password(user)) if user else None,
            verify=trusting(self.house) if tls else NO_TLS,
            trust_env=False,
        )
        if tls:
            client.event_hooks["request"] = [_sni(host)]
        return client


def trusting(house: House) -> ssl.SSLContext:
    """Return what trusts the certificate of this house."""
    return ssl.create_default_context(cafile=str(house.folder / "cert.pem"))


def _sni(host: str) -> Any:
    def name(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = host

    return name


def scheme(host: str) -> str:
    """Return how the site with this host is reached."""
    (found,) = {origin.partition(":")[0] for name in NAMES for origin in origins(name) if origin.endswith(f"//{host}")}
    return found


def toml(name: str) -> str:
    """Return what an example says that authgate.toml holds."""
    found = _TOML.search((FOLDER / f"{name}.conf").read_text())
    if found is None:
        raise LookupError(f"{name}.conf names no authgate.toml")
    return re.sub(r"^#(?:   )?", "", found[1], flags=re.MULTILINE)


def origins(name: str) -> list[str]:
    """Return the origins of an example's sites."""
    return [site["origin"] for site in tomllib.loads(toml(name))["sites"]]


def hosts(name: str) -> list[str]:
    """Return the hosts of an example's sites."""
    return [origin.partition("://")[2] for origin in origins(name)]


def placed(text: str, house: House, behind: Applications | None) -> str:
    """Return a text of an example with the names and ports that things have here."""
    for written, real in ADDRESSES.items():
        text = text.replace(written, real)
    text = re.sub(r"^ *listen \[::\]:.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"listen (\[::1\]:)?(80|443)", lambda found: _listen(house, found), text)
    text = re.sub(
        r"(https?)://((?:[\w.]+\.example\.com|\[::1\]))(?![\w.:])",
        lambda found: f"{found[0]}:{house.tls_port if found[1] == 'https' else house.http_port}",
        text,
    )
    names: dict[str, object] = {
        "/etc/ssl/example.com/fullchain.pem": house.folder / "cert.pem",
        "/etc/ssl/example.com/privkey.pem": house.folder / "key.pem",
        "/var/log/nginx/authgate.log": house.log,
        "include fastcgi_params": "include /etc/nginx/fastcgi_params",
        "include uwsgi_params": "include /etc/nginx/uwsgi_params",
        "/etc/nginx/users.htpasswd": house.folder / "nginx.htpasswd",
        "/srv/": f"{house.folder}/srv/",
    }
    if behind is not None:
        names |= {
            "http://127.0.0.1:8000/": f"http://127.0.0.1:{behind.http}/",
            "/run/php/php-fpm.sock": behind.fastcgi,
            "/run/app/uwsgi.sock": behind.uwsgi,
        }
    for name, place in names.items():
        text = text.replace(name, str(place))
    return text


def _listen(house: House, found: re.Match[str]) -> str:
    return f"listen {found[1] or '127.0.0.1:'}{house.tls_port if found[2] == '443' else house.http_port}"


def merged_rules(house: House) -> str:
    """Return sites and rules of all examples as one configuration: each rule for the sites of its own example only."""
    lines = []
    for name in NAMES:
        text = placed(toml(name), house, None)
        own = json.dumps([placed(host, house, None).strip("[]") for host in hosts(name)])
        for table in re.split(r"^(?=\[\[?\w+\]\]?$)", text, flags=re.MULTILINE):
            if table.startswith("[[rules]]") and "\nhosts" not in table:
                lines.append(f"{table}hosts = {own}\n")
            elif not table.startswith("[users]"):
                lines.append(table)
    return "".join(lines)


def build(folder: Path, rules_of_files: str = "") -> House:
    """Write the files, people and rules of all examples."""
    house = House(folder, rules_of_files=rules_of_files, users="server_login = true\n")
    house.rules = merged_rules(house)
    house.build()
    for name, content in FILES.items():
        path = folder / "srv" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    # nginx reads what crypt(3) of the machine knows, and {SHA} by itself: the file is its own, not authgate's.
    lines = [f"{user}:{{PLAIN}}{password(user)}\n" for user in ("alice", "bob")]
    (folder / "nginx.htpasswd").write_text("".join(lines))
    return house


def server_blocks(house: House, behind: Applications) -> str:
    """Return what goes beside example.conf."""
    return "\n".join(placed((FOLDER / f"{name}.conf").read_text(), house, behind) for name in NAMES)


@contextmanager
def standing(folder: Path) -> Iterator[Examples]:
    """Run all examples until the end of the block."""
    house = build(folder)
    with applications(folder) as behind, inhabited(house, server_blocks(house, behind)) as running:
        yield Examples(running, behind)

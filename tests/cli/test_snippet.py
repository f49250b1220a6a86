"""`authgate snippet`: what is printed is what nginx or Apache takes, for the configured sites and sockets."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.snippet import nginx_files, snippet
from authgate.config import load
from tests import servers

INCLUDES = [
    "authgate-http.conf",
    "authgate-server.conf",
    "authgate-protect.conf",
    "authgate-protect-app.conf",
    "authgate-protect-server.conf",
]

SITES = """
[[sites]]
origin = "https://media.example.org"
[[sites]]
origin = "https://files.example.org:8443"
[[sites]]
origin = "http://[::1]:8080"
"""


def write_config(folder: Path, more: str = SITES) -> Path:
    path = folder / "authgate.toml"
    path.write_text(more)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(snippet, [str(argument) for argument in arguments])


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *(servers.require("openssl"), "req", "-x509", "-nodes", "-subj", "/CN=x", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )


def test_prints_each_file_under_the_place_where_it_goes(tmp_path: Path) -> None:
    result = run("nginx", "--config", write_config(tmp_path))

    assert result.exit_code == 0, result.output
    places = re.findall(r"^# ======== (\S+)", result.stdout, re.MULTILINE)
    assert places == [*(f"/etc/nginx/authgate/{name}" for name in INCLUDES), "for"]


def test_names_the_configured_sockets(tmp_path: Path) -> None:
    config = write_config(tmp_path, f'{SITES}[listen]\ncheck = "unix:/srv/ag/c.sock"\nweb = "unix:w.sock"\n')

    http = nginx_files(load(config))["authgate-http.conf"]

    assert re.findall(r"server unix:(\S+);", http) == ["/srv/ag/c.sock", f"{tmp_path}/w.sock"]


@pytest.mark.parametrize("name", ["a b", "a;b", "a$b", "a{b", 'a"b', "a'b", "a\\b"])
def test_socket_path_that_nginx_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    config = write_config(tmp_path, f"{SITES}[listen]\ncheck = '''unix:{name}'''\n")

    result = run("nginx", "--config", config)

    assert result.exit_code == 2
    assert "authgate: authgate.toml: listen.check: nginx cannot read this path" in result.stderr
    assert result.stdout == ""


def test_every_site_has_a_server_block_and_every_port_a_default_one(tmp_path: Path) -> None:
    out = tmp_path / "out"

    assert run("nginx", "--out", out, "--config", write_config(tmp_path)).exit_code == 0

    assert {path.name for path in out.iterdir()} == {*INCLUDES, "example.conf"}
    example = (out / "example.conf").read_text()
    assert "example.com" not in example
    assert set(re.findall(r"server_name (\S+);", example)) == {"_", "media.example.org", "files.example.org", "[::1]"}
    defaults = re.findall(r"listen (\d+)( ssl)? default_server;", example)
    assert defaults == [("80", ""), ("443", " ssl"), ("8080", ""), ("8443", " ssl")]
    assert "return 301 https://files.example.org:8443$request_uri;" in example
    assert example.count("include authgate/authgate-protect.conf;") == 3


@pytest.mark.parametrize(
    "sites", [SITES, '[[sites]]\norigin = "http://only.example.org"\n'], ids=["three", "http only"]
)
def test_nginx_takes_what_is_printed(tmp_path: Path, sites: str) -> None:
    config = write_config(tmp_path, sites)
    assert run("nginx", "--out", tmp_path / "authgate", "--config", config).exit_code == 0
    example = tmp_path / "authgate" / "example.conf"
    make_certificate(tmp_path)
    text = re.sub(r"(ssl_certificate(?:_key)? +)\S+/(fullchain|privkey)\.pem;", r"\1\2;", example.read_text())
    text = text.replace("fullchain;", f"{tmp_path}/cert.pem;").replace("privkey;", f"{tmp_path}/key.pem;")
    # Ports that need no privilege; `nginx -t` does bind them, and takes those in use for good.
    text = re.sub(r"listen (\d+)", lambda found: f"listen 127.0.0.1:{20000 + int(found[1])}", text)
    text = re.sub(r" *listen \[::\].*\n", "", text)
    example.write_text(text.replace("/var/log/nginx", str(tmp_path)))
    temporary = "".join(
        f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{ }}\n"
        f"http {{ access_log off; {temporary} include authgate/example.conf; }}"
    )

    tested = subprocess.run(
        [servers.require("nginx"), "-t", "-p", tmp_path, "-c", main, "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr


def test_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = run("nginx", "--out", tmp_path / "file" / "x", "--config", write_config(tmp_path))

    assert result.exit_code == 1
    assert "not a directory" in result.stderr


def test_unknown_web_server_is_a_usage_error(tmp_path: Path) -> None:
    assert run("lighttpd", "--config", write_config(tmp_path)).exit_code == 2


# Apache

# Apache knows no site by an IPv6 address.
NAMED = SITES.replace("[::1]", "lan.example.org")
LISTENERS = """
[listen]
web = "unix:/srv/ag/w.sock"
fastcgi = "127.0.0.1:1950"
fastcgi_secret_file = "secret"
deliver = "unix:/srv/ag/d.sock"
"""
FOR_APACHE = sorted(path.name for path in (servers.PACKAGE_ROOT / "deploy" / "apache").iterdir())


def write_apache_config(folder: Path, sites: str = NAMED, listeners: str = LISTENERS) -> Path:
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text("x" * 32)
    return write_config(folder, sites + listeners)


def test_every_file_for_apache_is_printed_but_the_secret(tmp_path: Path) -> None:
    result = run("apache", "--config", write_apache_config(tmp_path))

    assert result.exit_code == 0, result.output
    places = re.findall(r"^# ======== (.+)$", result.stdout, re.MULTILINE)
    includes = [name for name in FOR_APACHE if not name.startswith(("example", "authgate-deliver"))]
    assert {place for place in places if place.endswith((".conf", ".asis"))} == {
        f"/etc/apache2/authgate/{name}" for name in includes
    }
    assert len(places) == len(FOR_APACHE) + 1
    assert "authgate-secret.conf: written by --out only" in places[-1]
    assert "x" * 32 not in result.stdout


def test_files_for_apache_name_what_is_configured(tmp_path: Path) -> None:
    config = write_apache_config(tmp_path)
    out = tmp_path / "out"

    assert run("apache", "--out", out, "--config", config).exit_code == 0

    assert {path.name for path in out.iterdir()} == {*FOR_APACHE, "authgate-secret.conf"}
    text = "\n".join(path.read_text() for path in out.iterdir())
    for written in ("127.0.0.1:950", "/run/authgate/", "/etc/authgate/authgate.toml"):
        assert written not in re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
    assert text.count("fcgi://127.0.0.1:1950/") == 2
    assert "unix:/srv/ag/w.sock|" in (out / "authgate-login.conf").read_text()
    assert "unix:/srv/ag/d.sock|" in (out / "authgate-deliver.conf").read_text()
    assert f'rewritemap --config {config}"' in (out / "authgate-rewritemap.conf").read_text()
    secret = out / "authgate-secret.conf"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == (f"Define AUTHGATE_SECRET {'x' * 32}\n", 0o600)


def test_secret_is_closed_to_others_where_it_was_open(tmp_path: Path) -> None:
    config, out = write_apache_config(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "authgate-secret.conf").write_text("")
    (out / "authgate-secret.conf").chmod(0o644)

    assert run("apache", "--out", out, "--config", config).exit_code == 0

    assert (out / "authgate-secret.conf").stat().st_mode & 0o777 == 0o600


def test_every_site_has_a_virtual_host_and_every_port_a_default_one(tmp_path: Path) -> None:
    result = run("apache", "--config", write_apache_config(tmp_path))

    example = result.stdout.partition("one virtual host per site, to be completed\n")[2].partition("# ========")[0]
    assert "example.com" not in example
    hosts = re.findall(r"<VirtualHost \*:(\d+)>\n    ServerName (\S+)", example)
    assert sorted(hosts) == sorted(
        [
            *((port, "default.invalid") for port in ("80", "443", "8080", "8443")),
            *(("443", "media.example.org"), ("80", "media.example.org"), ("8443", "files.example.org")),
            *(("80", "files.example.org"), ("8080", "lan.example.org")),
        ]
    )
    # The first of a port is the one for every other name.
    assert dict(reversed(hosts)) == dict.fromkeys(("80", "443", "8080", "8443"), "default.invalid")
    assert re.findall(r"^Listen .*$", example, re.MULTILINE) == ["Listen 8080", "Listen 8443 https"]
    assert "https://files.example.org:8443$1" in example
    assert example.count("Include authgate/authgate-site.conf") == 3


def test_without_the_listeners_only_what_needs_none_is_printed(tmp_path: Path) -> None:
    result = run("apache", "--config", write_config(tmp_path, NAMED))

    assert result.exit_code == 0
    assert "fastcgi" not in result.stdout.lower().replace("fastcgi authorizer or by", "")
    assert "authgate-rewritemap.conf" in result.stdout
    assert "nothing for FastCGI: authgate.toml has no [listen] fastcgi" in result.stderr


@pytest.mark.parametrize("name", ["a b", "a|b", "a%b", "a$b", 'a"b', "a'b", "a\\b"])
def test_socket_path_that_apache_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    config = write_config(tmp_path, f"{NAMED}[listen]\nweb = '''unix:{name}'''\n")

    result = run("apache", "--config", config)

    assert result.exit_code == 2
    assert "authgate: authgate.toml: listen.web: Apache cannot read this path" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "sites", [NAMED, '[[sites]]\norigin = "http://only.example.org"\n'], ids=["three", "http only"]
)
def test_apache_takes_what_is_printed(tmp_path: Path, sites: str) -> None:
    apache = servers.require("apache2")
    config = write_apache_config(tmp_path, sites)
    assert run("apache", "--out", tmp_path / "authgate", "--config", config).exit_code == 0
    loaded = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in (
            *("mpm_event", "authn_core", "authz_core", "auth_basic", "alias", "dir", "env", "mime", "authnz_fcgi"),
            *("rewrite", "unique_id", "allowmethods", "headers", "proxy", "proxy_http", "asis", "ssl"),
        )
    )
    make_certificate(tmp_path)
    # The program that Apache starts is there, and the user it is to be.
    rewritemap = tmp_path / "authgate" / "authgate-rewritemap.conf"
    shipped = rewritemap.read_text()
    rewritemap.write_text(
        shipped.replace("/opt/authgate/bin/authgate", "/bin/true").replace('" authgate:authgate', '"')
    )
    for example in ("example-fastcgi.conf", "example-rewritemap.conf"):
        text = (tmp_path / "authgate" / example).read_text()
        # As for nginx: certificates that are there, ports that need no privilege.
        text = re.sub(r"/etc/ssl/\S+/fullchain.pem", f"{tmp_path}/cert.pem", text)
        text = re.sub(r"/etc/ssl/\S+/privkey.pem", f"{tmp_path}/key.pem", text)
        text = text.replace("${APACHE_LOG_DIR}", str(tmp_path)).replace("/srv/files", str(tmp_path))
        text = re.sub(r"^Listen .*\n", "", text, flags=re.MULTILINE)
        main = tmp_path / "httpd.conf"
        main.write_text(
            f"ServerRoot {tmp_path}\nPidFile {tmp_path}/pid\nErrorLog {tmp_path}/error.log\nServerName x\n"
            f"Listen 127.0.0.1:{servers.free_port()}\nTypesConfig /dev/null\n{loaded}{text}"
        )

        tested = subprocess.run([apache, "-t", "-f", main], capture_output=True, text=True, check=False)

        assert tested.returncode == 0, tested.stderr
        assert "warn" not in tested.stderr


def test_site_that_apache_cannot_name_is_refused(tmp_path: Path) -> None:
    result = run("apache", "--config", write_apache_config(tmp_path, SITES))

    assert result.exit_code == 2
    assert "authgate: authgate.toml: sites: Apache takes no ::1 for a ServerName" in result.stderr


# Caddy


def test_files_for_caddy_name_what_is_configured(tmp_path: Path) -> None:
    listen = '[listen]\ncheck = "unix:/run/other/check.sock"\nweb = "unix:/run/other/web.sock"\n'
    out = tmp_path / "out"
    result = run("caddy", "--config", write_config(tmp_path, listen + SITES), "--out", out)

    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(out / "authgate.caddy"), str(out / "Caddyfile")]
    text = (out / "authgate.caddy").read_text()
    assert re.findall(r"unix/\S+", text) == [f"unix//run/other/{name}.sock" for name in ("check", "web", "web")]
    example = (out / "Caddyfile").read_text()
    assert re.findall(r"^(https?://\S*) \{", example, re.MULTILINE) == [
        "http://",
        "https://media.example.org",
        "https://files.example.org:8443",
        "http://[::1]:8080",
    ]


def test_caddy_takes_what_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("caddy", "--config", write_config(tmp_path), "--out", out / "authgate").exit_code == 0
    (out / "authgate" / "Caddyfile").rename(out / "Caddyfile")

    command = [servers.require("caddy"), "adapt", "--adapter", "caddyfile", "--config", str(out / "Caddyfile")]
    subprocess.run(command, check=True, capture_output=True, timeout=30, env={"HOME": str(tmp_path)})


@pytest.mark.parametrize("name", ["a b", "a`b", "a{b}", 'a"b'])
def test_socket_path_that_caddy_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    result = run("caddy", "--config", write_config(tmp_path, f"[listen]\nweb = '''unix:/run/{name}/w.sock'''\n{SITES}"))

    assert result.exit_code == 2
    assert "listen.web: Caddy cannot read this path" in result.stderr


@pytest.mark.parametrize(
    ("server", "keys"), [("nginx", ["check", "web"]), ("apache", ["web"]), ("caddy", ["check", "web"])]
)
def test_what_is_shipped_speaks_to_unix_sockets(tmp_path: Path, server: str, keys: list[str]) -> None:
    ports = 'trusted_proxies = ["10.0.0.5"]\n[listen]\ncheck = "127.0.0.1:9091"\nweb = "127.0.0.1:9092"\n'
    result = run(server, "--config", write_config(tmp_path, ports + SITES))

    assert result.exit_code == 2
    for key in keys:
        assert f"listen.{key}: what is shipped for " in result.stderr
        assert f'hint: write {key} = "unix:run/{key}.sock"' in result.stderr

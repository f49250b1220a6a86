"""`authgate snippet nginx`: what is printed is what nginx takes, for the configured sites and sockets."""

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
    subprocess.run(
        [
            *(servers.require("openssl"), "req", "-x509", "-nodes", "-subj", "/CN=x", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
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

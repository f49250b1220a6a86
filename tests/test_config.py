"""A configuration is read whole or refused with everything that is wrong in it."""

import tomllib
from pathlib import Path

import pytest

from authgate.config import Settings, load, parse
from authgate.errors import ConfigError
from authgate.model import Site

SITE = '[[sites]]\norigin = "https://files.example.com"\n'
RULE = '[[rules]]\nname = "r"\npaths = ["/**"]\nallow = ["anyone"]\n'
FOLDER = Path("/etc/authgate")


def read(text: str) -> Settings:
    return parse(tomllib.loads(text), FOLDER / "authgate.toml")


def report(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem).removeprefix("authgate.toml: ") for problem in caught.value.problems]


def test_defaults_need_only_a_site() -> None:
    settings = read(SITE)

    assert settings.sites == (Site("https", "files.example.com"),)
    assert settings.store == "sqlite:/etc/authgate/state/authgate.db"
    assert settings.check_socket == FOLDER / "run/check.sock"
    assert (settings.idle_timeout, settings.lifetime) == (1800, 43200)


def test_relative_paths_are_relative_to_the_file() -> None:
    settings = read(f'store = "sqlite:x.db"\n[users]\nhtpasswd = "u"\ngroups = "/g"\n{SITE}')

    assert settings.store == "sqlite:/etc/authgate/x.db"
    assert (settings.htpasswd, settings.groups) == (FOLDER / "u", Path("/g"))


def test_under_systemd_relative_paths_are_in_the_directories_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/authgate:/run/other")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/authgate")

    settings = read(
        'store = "sqlite:x.db"\n[listen]\nweb = "unix:/srv/web.sock"\n'
        '[users]\nhtpasswd = "u"\n[audit]\nfile = "a.log"\n' + SITE
    )

    assert (settings.check_socket, settings.web_socket) == (Path("/run/authgate/check.sock"), Path("/srv/web.sock"))
    assert (settings.store, settings.audit_file) == ("sqlite:/var/lib/authgate/x.db", Path("/var/lib/authgate/a.log"))
    assert settings.htpasswd == FOLDER / "u"


def test_a_node_without_a_name_has_one_that_tells_visitors_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "files-1.internal.example.com")

    first, again = read(SITE).node, read(SITE).node

    assert first == again
    assert len(first) == 4
    assert read(f'node = "web1"\n{SITE}').node == "web1"


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://files.example.com", Site("https", "files.example.com")),
        ("HTTPS://Files.Example.COM", Site("https", "files.example.com")),
        ("https://files.example.com:443", Site("https", "files.example.com")),
        ("http://127.0.0.1:8080", Site("http", "127.0.0.1", 8080)),
        ("http://[::1]:8080", Site("http", "::1", 8080)),
    ],
)
def test_an_origin_becomes_a_site(origin: str, site: Site) -> None:
    assert read(f'[[sites]]\norigin = "{origin}"\n').sites == (site,)


@pytest.mark.parametrize(
    "origin",
    ["files.example.com", "ftp://files.example.com", "https://", "https://a/", "https://a/b", "https://a?b", "https://a#b",
     "https://u@a", "https://u:p@a", "https://a:b", "https://a:99999", "https://a b", "https://ä.example", "https://*.a.b",
     "//a", "https://a..b", "https://[::1", "https://a\\\\b"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: str) -> None:
    (problem,) = report(f'[[sites]]\norigin = "{origin}"\n')

    assert "is no origin" in problem
    assert problem.startswith("sites[0]: ")


REPORTS = [
    ("", ['sites: there is none; write [[sites]] and origin = "https://files.example.com"']),
    (f'stor = "memory:"\n{SITE}', ['stor: unknown key; did you mean "store"?']),
    (f"{SITE}[session]\nlifetim = 1\n", ['session.lifetim: unknown key; did you mean "lifetime"?']),
    (f"{SITE}[sesion]\n", ['sesion: unknown key; did you mean "session"?']),
    (
        f'{SITE}[listen]\nforward = "x"\n',
        [
            (
                "listen.forward: unknown key; the keys here are check, check_secret_file, web, api, fastcgi, "
                "fastcgi_secret_file, deliver, group"
            )
        ],
    ),
    (f'store = "postgres:"\n{SITE}', ['store: not valid; write "memory:" or "sqlite:state/authgate.db"']),
    (
        f'store = "memory:"\n{SITE}',
        ['store: memory: is within one process; set workers = 1, or use "sqlite:PATH"'],
    ),
    (f"workers = 0\n{SITE}", ["workers: input should be greater than or equal to 1"]),
    (f'workers = "2"\n{SITE}', ["workers: input should be a valid integer"]),
    (
        f"realm = 'a\"b'\n{SITE}",
        ["realm: not valid; at most 64 printable ASCII characters, without quotes and backslashes"],
    ),
    (
        f'{SITE}[session]\nidle_timeout = "30"\n',
        ["session.idle_timeout: not a duration; write a number and s, m, h or d, such as 30m"],
    ),
    (
        f"{SITE}[session]\nidle_timeout = 30\n",
        ["session.idle_timeout: not a duration; write a number and s, m, h or d, such as 30m"],
    ),
    (
        f'{SITE}[session]\nidle_timeout = "2h"\nlifetime = "1h"\n',
        ["session.idle_timeout: longer than session.lifetime"],
    ),
    (
        f'{SITE}[listen]\ncheck = "localhost:9000"\n',
        ['listen.check: not valid; write "unix:run/check.sock", or an address and a port'],
    ),
    (f'{SITE}[listen]\nweb = "unix:run/check.sock"\n', ["listen.web: the same socket as listen.check"]),
    (f'{SITE}[listen]\napi = "unix:run/web.sock"\n', ["listen.api: the same socket as listen.web"]),
    (f'{SITE}[listen]\napi = "127.0.0.1:9000"\n', ['listen.api: not valid; write "unix:run/api.sock"']),
    (f'node = "Web 1"\n{SITE}', ["node: not valid; 1 to 16 of a-z and 0-9"]),
    (f'{SITE}[users]\nverify = "people"\n', ['users.verify: not valid; write "package.module::function"']),
    (
        f'{SITE}[users]\nlookup = "people::lookup"\n',
        ["users.lookup: asked only about people of users.verify or users.server_login"],
    ),
    (f'{SITE}[audit]\nallows = "yes"\n', ["audit.allows: input should be a valid boolean"]),
    (
        f'{SITE}[listen]\ncheck = "unix:/{"x" * 100}"\n',
        ["listen.check: the path is over 100 bytes; choose a shorter folder"],
    ),
    (
        f"{SITE}{SITE}",
        ['sites[1]: a second site with the host "files.example.com"; a host is one site'],
    ),
    (
        f'{SITE}[[sites]]\norigin = "http://files.example.com:81"\n',
        ['sites[1]: a second site with the host "files.example.com"; a host is one site'],
    ),
    (
        '[[sites]]\norigin = "http://a.example.com"\ncookie_domain = "example.com"\n',
        ["sites[0]: cookie_domain on an http site; a shared login needs https"],
    ),
    (
        '[[sites]]\norigin = "https://a.example.com"\ncookie_domain = "ample.com"\n',
        ['sites[0]: cookie_domain "ample.com" does not cover "a.example.com"'],
    ),
    (
        '[[sites]]\norigin = "https://a.com"\ncookie_domain = "com"\n',
        ['sites[0]: cookie_domain "com" does not cover "a.com"'],
    ),
    (
        f'{SITE}[networks]\noffice = ["10.0.0.1/8"]\n',
        ["networks.office: 10.0.0.1/8 has host bits set; write 10.0.0.0/8 or one address"],
    ),
    (
        f'{SITE}[networks]\n"10.0.0.0" = []\n',
        ["networks.10.0.0.0: not a network name; letters, digits, - and _, a letter first"],
    ),
    (f"{SITE}[rules]\n", ["rules: not a list of tables; write [[rules]], in double brackets"]),
    (
        f'{SITE}[[rules]]\npaths = ["/a"]\nallow = ["anyone"]\n',
        ['rules[0]: a rule has a name; write name = "..."; it is shown in decisions and logs'],
    ),
    (
        f'{SITE}[[rules]]\nname = "a\\nb"\npaths = ["/a"]\nallow = ["anyone"]\n',
        ["rules[0]: name is not valid; letters, digits, spaces and . _ / -, at most 64, a letter or digit first"],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\nallow = ["anyone"]\n',
        ['rules[0] "r": a rule has paths; write paths = ["/reports/**"]; "/**" is every path'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = "/a"\nallow = ["anyone"]\n',
        ['rules[0] "r": paths is not a list of texts; write paths = ["/reports/**"]'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\n',
        ['rules[0] "r": a rule allows or denies; write allow = ["authenticated"], for example'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\nalow = ["anyone"]\n',
        [
            'rules[0] "r": unknown key "alow"; did you mean "allow"?',
            'rules[0] "r": a rule allows or denies; write allow = ["authenticated"], for example',
        ],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\nallow = [1]\n',
        ['rules[0] "r": allow is not a list of texts; write allow = ["group:staff"]'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["a"]\nallow = ["anyone"]\n',
        ['rules[0] "r": "a" in paths: a path starts with /'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\nhosts = ["file.example.com"]\npaths = ["/a"]\nallow = ["anyone"]\n',
        ['rules[0] "r": no site has the host "file.example.com"; did you mean "files.example.com"?'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\nmethods = ["get"]\npaths = ["/a"]\nallow = ["anyone"]\n',
        ['rules[0] "r": "get" in methods is no method; did you mean "GET"?'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\nallow = ["user:{{owner}}"]\n',
        [
            'rules[0] "r": "/a" in paths captures no {owner}, which a term asks for; every path of the rule needs it; write a second rule for the other paths',  # noqa: E501
        ],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\nallow = ["!group:contractors"]\n',
        ['rules[0] "r": "!group:contractors" in allow admits strangers; write "authenticated & !group:contractors"'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\ncache = "a\\nb"\nallow = ["anyone"]\n',
        ['rules[0] "r": cache is not valid; write a Cache-Control value, such as "private, max-age=60"'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\npreflight = "yes"\nallow = ["anyone"]\n',
        ['rules[0] "r": preflight is not true or false; write preflight = true'],
    ),
    (
        f'{SITE}[[rules]]\nname = "r"\npaths = ["/a"]\npreflight = true\ndeny = ["user:bob"]\n',
        [
            'rules[0] "r": preflight in a rule without allow; a guard admits nothing; write it into the rule that does',
        ],
    ),
    (f"{SITE}{RULE}{RULE}", ['rules[1] "r": the name "r" is taken by rules[0] "r"; names are unique']),
]


@pytest.mark.parametrize(("text", "wanted"), REPORTS)
def test_report(text: str, wanted: list[str]) -> None:
    assert [line.replace("authgate.toml: ", "") for line in report(text)] == wanted


def test_everything_wrong_is_in_one_report() -> None:
    problems = report(
        "workers = 0\n" + SITE + '[networks]\nx = 1\n[[rules]]\nname = "a"\npaths = ["/a"]\nallow = ["usr:x"]\n'
        '[[rules]]\nname = "b"\npaths = ["/b"]\nallow = ["ip:x"]\ndeny = ["grp:y"]\n'
    )

    assert [line.split(":")[0] for line in problems] == ["workers", "networks.x", 'rules[0] "a"', 'rules[1] "b"']


def test_a_bad_site_does_not_put_the_blame_on_rules_that_name_its_host() -> None:
    problems = report(
        '[[sites]]\norigin = "files.example.com"\n'
        '[[rules]]\nname = "r"\nhosts = ["files.example.com"]\npaths = ["/a"]\nallow = ["anyone"]\n'
    )

    assert len(problems) == 1


def test_a_wildcard_host_is_one_label() -> None:
    rule = '[[rules]]\nname = "r"\nhosts = ["*.example.com"]\npaths = ["/**"]\nallow = ["anyone"]\n'
    sites = "".join(
        f'[[sites]]\norigin = "https://{host}"\n' for host in ("a.example.com", "example.com", "b.a.example.com")
    )

    assert read(sites + rule).policy.rules[0].hosts == frozenset({"a.example.com"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "authgate.toml: not TOML: Invalid value (at end of document)"),
        (b"a = \xff", "authgate.toml: byte 4 is not UTF-8; save the file as UTF-8"),
        (b"a = " + b"[" * 100_000, "authgate.toml: not TOML: nested too deeply"),
        (b"\x00", "authgate.toml: not TOML: Invalid statement (at line 1, column 1)"),
    ],
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "authgate.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value) == message


def test_a_missing_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file or directory; name the file with --config FILE"):
        load(tmp_path / "authgate.toml")


def test_version_names_the_content_of_all_files(tmp_path: Path) -> None:
    config, included = tmp_path / "authgate.toml", tmp_path / "more.toml"

    def version(text: str, more: str) -> str:
        config.write_text(text)
        included.write_text(more)
        return load(config).version

    main = f'include = ["more.toml"]\n{SITE}'
    first = version(main, RULE)

    assert version(main, RULE) == first
    assert len(first) == 12
    others = [version(f"{main}\n", RULE), version(main, f"{RULE}\n"), version(f"{main}{RULE}", ""), version(SITE, RULE)]
    assert len({first, *others}) == 5


def test_check_and_web_may_be_ports(tmp_path: Path) -> None:
    secret = tmp_path / "check.secret"
    secret.touch(0o600)
    secret.write_text("x" * 32 + "\n")
    text = f'[listen]\ncheck = "127.0.0.1:9091"\nweb = "[::1]:9092"\ncheck_secret_file = "check.secret"\n{SITE}'

    settings = parse(tomllib.loads(text), tmp_path / "authgate.toml")

    assert (settings.check_port, settings.web_port) == (("127.0.0.1", 9091), ("::1", 9092))
    assert settings.check_secret == b"x" * 32
    # Where the files that say who serves are.
    assert settings.check_socket == tmp_path / "run/check.sock"


def test_trusted_proxies_are_addresses_networks_and_names() -> None:
    settings = read(
        f'trusted_proxies = ["192.0.2.1", "gateways"]\n[networks]\ngateways = ["10.1.0.0/16", "::1"]\n{SITE}'
    )

    assert sorted(map(str, settings.trusted_proxies)) == ["10.1.0.0/16", "192.0.2.1/32", "::1/128"]
    assert list(read(SITE).trusted_proxies) == []
    assert (read(SITE).check_port, read(SITE).web_port, read(SITE).check_secret) == (None, None, b"")

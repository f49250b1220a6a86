"""The documents name everything there is and nothing that is not, and what they show as an example works.

In ``toml`` examples a line ``# expect: METHOD URL [as NAME [in GROUP, GROUP] [by KIND] [with CLAIM=VALUE|mfa]] [from
ADDRESS] [at MOMENT] = OUTCOME [REASON]`` is asked of the rules above it, and ``[[tests]]`` are run. An example without
``[[sites]]`` is about `SITES` and `NETWORKS`. The last column of the tables of directives asks the rule of its row:
``[METHOD] [PATH] [NAME] [from ADDRESS] [at MOMENT] = OUTCOME``; left out: GET, `ASKED`, nobody, 192.0.2.1.
The method PREFLIGHT is OPTIONS as a CORS preflight.
"""

import asyncio
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from authgate.cli import main
from authgate.cli.reload import LIMIT
from authgate.config import PolicyTest, Settings, parse
from authgate.credentials.hashes import SCHEMES
from authgate.engine import decide
from authgate.errors import ConfigError
from authgate.handlers import Handlers
from authgate.model import NOBODY, AccessRequest, CredentialKind, Decision, Facts, Identity, Outcome, Reason, Subject
from authgate.networks import parse_address
from authgate.policy import Policy
from authgate.policy.parsing import ATOM_KINDS, MAX_ATOMS, MAX_TEXT
from authgate.rehearsal import prepare, run_tests
from authgate.server.status import State, Status

ROOT = Path(__file__).parent.parent
README, POLICY, CONFIGURATION, COMMANDS, NGINX = (
    ROOT / name
    for name in ("README.md", "docs/policy.md", "docs/configuration.md", "docs/commands.md", "docs/nginx.md")
)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

SITES = ("https://files.example.com", "https://docs.example.com", "http://intranet.example.com")
NETWORKS = {"office": ["10.0.0.0/8", "2001:db8::/32"]}
PEOPLE = {
    "alice": {"staff"},
    "bob": set[str](),
    "carol": {"staff", "finance", "admin"},
    "dave": {"staff", "contractors"},
    "mallory": set[str](),
}

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_EXPECT = re.compile(
    r"# expect: (?P<method>[A-Z]+) https?://(?P<host>[^/\s]+)(?P<path>/\S*)"
    r"(?: as (?P<name>\S+)(?: in (?P<groups>.+?))?(?: by (?P<kind>[a-z]+))?(?: with (?P<extra>\S+))?)?"
    r"(?: from (?P<address>\S+))?(?: at (?P<at>\S+))?"
    r" = (?P<outcome>allow|login|refuse)(?: (?P<reason>\w+))?"
)
CASE = re.compile(
    r"(?:(?P<method>[A-Z]+) )?(?://(?P<host>[a-z.]+))?(?:(?P<path>/\S*) )?(?:(?P<name>[a-z]+) )?"
    r"(?:from (?P<address>\S+) )?(?:at (?P<at>\S+) )?= (?P<outcome>allow|login|refuse)"
)
ASKED = "/x/a.pdf"
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(document: Path, *languages: str) -> list[Block]:
    text = document.read_text()
    found = [
        Block(document, text.count("\n", 0, match.start()) + 1, match[2], textwrap.dedent(match[3]))
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if block.language in languages]


def every_block(*languages: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document, *languages)]


def prose(document: Path) -> str:
    return _FENCE.sub("", document.read_text())


def table(document: Path, first_header: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this header."""
    found = re.search(rf"^\| {re.escape(first_header)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", prose(document), re.MULTILINE)
    assert found, f"{document.name} has no table {first_header}"
    return [[cell.strip() for cell in row.strip("|").split(" |")] for row in found[1].splitlines()]


def names(rows: list[list[str]]) -> set[str]:
    """Return what stands as code in the first column."""
    return {name for row in rows for name in SPAN.findall(row[0])}


def compiled(document: Mapping[str, object]) -> Settings:
    given = {"sites": [{"origin": origin} for origin in SITES], "networks": NETWORKS, **document}
    return parse(given, Path("/etc/authgate/authgate.toml"))


def hints(document: Mapping[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        compiled(document)
    return "\n".join(problem.hint for problem in caught.value.problems)


def keys_in(hint: str) -> list[str]:
    found = re.search(r"the keys(?: here)? are (.+)", hint)
    return found[1].split(", ") if found else []


# Examples


@pytest.mark.parametrize("block", every_block("toml"), ids=str)
def test_example_is_a_configuration_and_answers_as_it_says(block: Block) -> None:
    policy = compiled(tomllib.loads(block.text)).policy
    for line in block.text.splitlines():
        if not line.startswith("# expect"):
            continue
        asked = _EXPECT.fullmatch(line)
        assert asked, line
        who = identity(asked["name"], asked["groups"], asked["kind"], asked["extra"])
        decision = ask(policy, (asked["method"], asked["host"], asked["path"]), who, asked["address"], asked["at"])
        assert decision.outcome is Outcome[asked["outcome"].upper()], line
        assert asked["reason"] in {None, decision.reason.value}, line


@pytest.mark.parametrize("block", [*blocks(POLICY, "toml"), *blocks(CONFIGURATION, "toml")], ids=str)
def test_tests_in_examples_pass(block: Block) -> None:
    settings = compiled(tomllib.loads(block.text))
    for one in asyncio.run(run_tests(settings.policy, Handlers({}), prepare(settings, None, 0.0))):
        assert one.passed, one.test.request


def ask(
    policy: Policy, target: tuple[str, str, str], who: Identity, address: str | None, moment: str | None
) -> Decision:
    method, host, path = target
    preflight = method == "PREFLIGHT"
    method = "OPTIONS" if preflight else method
    instant = datetime.fromisoformat(moment).timestamp() if moment else 0.0
    client = parse_address(address or "192.0.2.1")
    decision = decide(
        policy, AccessRequest(method, host, path, "https", client, instant, preflight=preflight), Facts(who)
    )
    assert isinstance(decision, Decision)
    return decision


def identity(
    name: str | None, groups: str | None = None, kind: str | None = None, extra: str | None = None
) -> Identity:
    if name is None or name == "nobody":
        return NOBODY
    source, slash, own = name.rpartition("/")
    named = [group.removeprefix(f"{source}/") for group in groups.split(", ")] if groups else ()
    of = set(named) if groups or slash else PEOPLE[name]
    claim, equals, value = (extra or "").partition("=")
    claims = frozenset({(claim, value)} if equals else ())
    return Identity(
        Subject(source, own, frozenset(of), claims), CredentialKind(kind or "session"), second_factor=extra == "mfa"
    )


def test_policy_of_the_readme_has_at_most_ten_lines_and_shows_each_outcome() -> None:
    (block,) = blocks(README, "toml")
    lines = block.text.splitlines()

    assert sum(1 for line in lines if line.strip() and not line.startswith("#")) <= 10
    assert {match["outcome"] for match in map(_EXPECT.fullmatch, lines) if match} == {"allow", "login", "refuse"}


def test_path_patterns_cover_what_the_table_says() -> None:
    for pattern, covered, others in table(POLICY, "Pattern"):
        rule = {"name": "r", "paths": SPAN.findall(pattern), "allow": ["anyone"]}
        policy = compiled({"rules": [rule]}).policy
        for cell, expected in ((covered, True), (others, False)):
            for path in SPAN.findall(cell):
                assert any(policy.matching("docs.example.com", path, "GET")) is expected, (pattern, path)


@pytest.mark.parametrize(
    "row",
    [row for header in ("nginx", "Apache", "oauth2-proxy", "Authelia") for row in table(POLICY, header)],
    ids=lambda row: row[0],
)
def test_rule_decides_as_the_directive_does(row: list[str]) -> None:
    directive, cell, cases = row
    written = [tomllib.loads("\n".join(SPAN.findall(part))) for part in cell.split("; then ")]
    if written[0].keys() & {"realm", "users", "session", "networks"}:
        compiled(written[0])
        assert not cases, directive
        return
    rules = [
        {
            "name": f"r{index}",
            "paths": ["/**"],
            **({} if {"allow", "deny"} & given.keys() else {"allow": ["anyone"]}),
            **given,
        }
        for index, given in enumerate(written)
        if given
    ]
    assert rules or cell.startswith("nothing to write"), directive
    policy = compiled({"rules": rules}).policy
    assert SPAN.findall(cases), directive
    for case in SPAN.findall(cases):
        asked = CASE.fullmatch(case)
        assert asked, case
        target = (asked["method"] or "GET", asked["host"] or "files.example.com", asked["path"] or ASKED)
        decision = ask(policy, target, identity(asked["name"]), asked["address"], asked["at"])
        assert decision.outcome is Outcome[asked["outcome"].upper()], case


@pytest.mark.parametrize("block", every_block("sh", ""), ids=str)
def test_commands_in_examples_exist(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.text.splitlines():
        if block.language != "sh" and not line.startswith("authgate "):
            continue
        words = shlex.split(line.replace("[", "").replace("]", ""), comments=True)
        if words[:1] == ["make"]:
            assert words[1] in targets, line
        if block.document == README:
            assert words[0] in {"make", "curl"}, line
        if "authgate" in words and "adduser" not in words:
            after = words[len(words) - words[::-1].index("authgate") :]
            command = main.get_command(click.Context(main), after[0]) if after[0] != "--version" else main
            assert command, line
            if isinstance(command, click.Group) and command is not main:
                command = command.commands[after[1]]
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in after if word.startswith("--")} <= known, line


def test_transcripts_are_what_the_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (configuration,) = blocks(COMMANDS, "toml")
    (tmp_path / "authgate.toml").write_text(configuration.text)
    (tmp_path / "groups").write_text("finance: carol\nstaff: carol\n")
    (tmp_path / "users.htpasswd").write_text("carol:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    monkeypatch.chdir(tmp_path)
    shown = 0
    for block in blocks(COMMANDS, "console"):
        line, _, printed = block.text.partition("\n")
        words = shlex.split(line.removeprefix("$ authgate "))
        if words[0] != "reload":  # needs a service: see tests/cli/test_reload.py
            assert CliRunner().invoke(main, words).output == printed, line
            shown += 1
    assert shown >= 2


# Everything is documented


def settings() -> Iterator[str]:
    for key in keys_in(hints({"0": 0})):
        if key in {"rules", "tests"}:
            yield key
            continue
        table = {"0": 0}
        inner = keys_in(hints({key: [table] if key in {"sites", "issuers", "applications"} else table}))
        yield from [f"{key}.{name}" for name in inner] or [key]


def test_every_setting_is_documented() -> None:
    assert names(table(CONFIGURATION, "Setting")) == set(settings())


def test_documented_defaults_are_the_defaults() -> None:
    lines = []
    for row in table(CONFIGURATION, "Setting"):
        # Those of tables that somebody has to write first have none by themselves.
        needs_a_table = row[0].startswith(("`issuers.", "`applications.", "`certificates."))
        if not needs_a_table and (found := re.fullmatch(r"`(?P<text>[^`]+)`|(?P<number>[0-9]+)", row[1])):
            (name,) = SPAN.findall(row[0])
            lines.append(f"{name} = " + (found["number"] or f'"{found["text"]}"'))
    assert len(lines) >= 7

    stated, default = compiled(tomllib.loads("\n".join(lines))), compiled({})

    same = ("store", "realm", "workers", "check_socket", "web_socket", "idle_timeout", "lifetime")
    assert [getattr(stated, name) for name in same] == [getattr(default, name) for name in same]


def test_every_key_of_a_rule_is_documented() -> None:
    assert names(table(POLICY, "Key")) == set(keys_in(hints({"rules": [{"0": 0}]})))


def test_every_key_of_a_test_is_documented() -> None:
    keys = {field.alias or name for name, field in PolicyTest.model_fields.items()}

    assert names(table(POLICY, "Test key")) == keys - {"place"}


def test_every_kind_of_credential_is_documented() -> None:
    assert names(table(POLICY, "Kind")) == {kind.value for kind in CredentialKind} - {"none"}


def test_every_field_of_the_status_file_is_documented() -> None:
    assert names(table(CONFIGURATION, "Status field")) == set(Status.model_fields)
    (row,) = (row for row in table(CONFIGURATION, "Status field") if row[0] == "`state`")
    assert set(SPAN.findall(row[1])) == set(State)


def test_keys_of_json_are_documented() -> None:
    """What the commands say about themselves and what the page says are the same names."""
    text = COMMANDS.read_text()
    for module in ("check", "explanation"):
        keys = re.findall(r"``(\w+)``", (ROOT / f"authgate/cli/{module}.py").read_text().partition("import")[0])
        assert not [key for key in keys if f"`{key}`" not in text], module


def test_limits_are_the_limits() -> None:
    text = POLICY.read_text() + COMMANDS.read_text()
    for limit in (f"{MAX_TEXT:,} characters", f"{MAX_ATOMS} atoms", f"{LIMIT:.0f} s"):
        assert limit in text


def test_every_atom_is_documented() -> None:
    assert {name.partition(":")[0] for name in names(table(POLICY, "Atom"))} == ATOM_KINDS


def test_every_reason_is_documented() -> None:
    assert names(table(POLICY, "Reason")) == {reason.value for reason in Reason}


def test_every_kind_of_hash_is_documented() -> None:
    assert names(table(CONFIGURATION, "Hash")) == {scheme.name for scheme in SCHEMES}


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


@pytest.mark.parametrize(("path", "command"), list(commands(main, "authgate")), ids=str)
def test_every_command_and_option_is_documented(path: str, command: click.Command) -> None:
    section = COMMANDS.read_text().partition(f"\n## {' '.join(path.split()[:2])}\n")[2].partition("\n## ")[0]
    general = COMMANDS.read_text().partition("\n## ")[0]

    assert path in section
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            assert option in (general if option == "--config" else section), (path, option)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "deploy/nginx").iterdir()))
def test_every_file_for_nginx_is_documented(name: str) -> None:
    assert f"**`{name}`**" in prose(NGINX)


def test_every_field_of_the_log_is_documented() -> None:
    log_format = (ROOT / "deploy/nginx/authgate-http.conf").read_text().partition("log_format")[2].partition(";")[0]

    assert names(table(NGINX, "Field")) == set(re.findall(r'"(\w+)":', log_format))


# What is pointed at exists


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the usual hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for link in _LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_named_tests_and_files_exist() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    wrong = []
    for document in DOCUMENTS:
        for span in SPAN.findall(prose(document)):
            if re.fullmatch(r"test_\w+", span) and span not in tests and span != "test_expired_cookie_is_refused":
                wrong.append(f"{document.name}: {span}")
            if re.fullmatch(r"(?:tests|deploy|docs|benchmarks|\.ci)/[\w./]*", span) and not (ROOT / span).exists():
                wrong.append(f"{document.name}: {span}")
    assert not wrong

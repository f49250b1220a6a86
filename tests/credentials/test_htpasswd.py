import pytest

from authgate.credentials.htpasswd import name_problem, parse_groups, parse_htpasswd
from authgate.errors import ConfigError
from tests.credentials.people import cheap, sha

LINE = sha("geheim")


def refused(content: bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_htpasswd(content, "users.htpasswd")
    return [str(problem) for problem in caught.value.problems]


def refused_groups(content: bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_groups(content, "groups")
    return [str(problem) for problem in caught.value.problems]


def test_names_and_hashes_are_read_as_apache_and_nginx_read_them() -> None:
    content = f"""# staff
alice:{LINE}

   \t
  # an indented comment
bob smith:{LINE}:a comment: with colons
käthe:{LINE}  \r
last:{LINE}"""

    assert parse_htpasswd(content.encode(), "f") == dict.fromkeys(("alice", "bob smith", "käthe", "last"), LINE)


def test_empty_file_has_nobody() -> None:
    assert parse_htpasswd(b"", "f") == {}
    assert parse_groups(b"", "f") == {}


def test_every_bad_line_is_reported_with_file_line_and_user() -> None:
    content = f"alice:{LINE}\nbob:plaintext\ncarol\nalice:{LINE}\ndave:$2y$31${'a' * 53}\n".encode()

    problems = refused(content)

    assert [problem.partition(": this")[0].partition(": no")[0].partition(": bcrypt")[0] for problem in problems] == [
        'users.htpasswd: line 2, user "bob"',
        "users.htpasswd: line 3",
        'users.htpasswd: line 4, user "alice"',
        'users.htpasswd: line 5, user "dave"',
    ] or problems[3].startswith('users.htpasswd: line 5, user "dave": ')


@pytest.mark.parametrize(
    "line",
    [
        b":" + LINE.encode(),
        b" alice:" + LINE.encode(),
        b"alice :" + LINE.encode(),
        "alice\u00a0:".encode() + LINE.encode(),
        b"partner/alice:" + LINE.encode(),
        b"/:" + LINE.encode(),
        b"al\x00ice:" + LINE.encode(),
        b"al\x1bice:" + LINE.encode(),
        "al\u0085ice:".encode() + LINE.encode(),
        b"al\xffice:" + LINE.encode(),
        b"alice:",
        b"alice:geheim",
        b"alice: " + LINE.encode(),
        b"alice:" + LINE.encode() + b"\0",
        b"alice:" + LINE.encode() + b" \\",
        b"alice",
        b"alice:realm:" + b"0" * 32,
    ],
)
def test_bad_line_is_refused(line: bytes) -> None:
    good = f"good:{LINE}\n".encode()

    problems = refused(good + line + b"\n" + good.replace(b"good", b"fine"))

    assert len(problems) == 1
    assert problems[0].startswith("users.htpasswd: line 2")


def test_line_is_not_split_where_only_python_sees_a_line_end() -> None:
    """Two lines for Python's splitlines, one for Apache: the second half would be a user of the attacker's."""
    for separator in ("\u2028", "\u0085", "\x0b", "\x1c", "\r"):
        assert len(refused(f"alice:{LINE}{separator}root:{LINE}\n".encode())) == 1


def test_no_problem_shows_a_hash_or_a_password() -> None:
    strong = cheap("x")
    content = f"alice:geheim\n{strong}:alice\nbob:{strong}x\n{'p' * 100}:x\nnocolongeheim\n"

    problems = "\n".join(refused(content.encode()))

    assert "geheim" not in problems
    assert "$argon2id" not in problems
    assert "p" * 100 not in problems


def test_groups_are_read_as_apache_reads_them() -> None:
    content = """# comment
staff: alice   bob\t carol
finance:bob "john smith" 'o"neil' o'brien
empty:
staff: dave
domain users: alice
"""

    assert parse_groups(content.encode(), "groups") == {
        "alice": {"staff", "domain users"},
        "bob": {"staff", "finance"},
        "carol": {"staff"},
        "dave": {"staff"},
        "john smith": {"finance"},
        'o"neil': {"finance"},
        "o'brien": {"finance"},
    }


@pytest.mark.parametrize(
    "line",
    [
        b"staff alice bob",
        b": alice",
        b"partner/staff: alice",
        b" staff: alice",
        b"staff : alice",
        b"st\x07aff: alice",
        b"staff: alice \\",
        b"staff: alice\\ bob",
        b'staff: "alice',
        b'staff: "alice"bob',
        b"staff: 'alice bob",
        b"staff: \xff",
    ],
)
def test_bad_group_line_is_refused(line: bytes) -> None:
    problems = refused_groups(b"good: alice\n" + line + b"\ngood: bob\n")

    assert len(problems) == 1
    assert problems[0].startswith("groups: line 2: ")


@pytest.mark.parametrize("name", ["alice", "käthe", "a.b_c-d@e", "john smith", "o'brien", "x" * 200])
def test_ordinary_name_may_be_used(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "a:b", "#a", "a\nb", "a\x7f", "\u2003a"])
def test_name_that_would_mean_something_else_may_not(name: str) -> None:
    assert name_problem(name) is not None

"""How terms are read, and what they mean when something is unknown."""

import pytest

from authgate.model import ANONYMOUS, AccessRequest, CredentialKind, Identity, Subject
from authgate.networks import parse_address
from authgate.policy.atoms import Question, Truth
from authgate.policy.parsing import TermError, parse_term
from tests.policies import NETWORKS

# `ip:` and `group:` are the two atoms of this part that can be true, false and unknown independently of each other.
ADDRESSES: dict[Truth, str | None] = {True: "10.0.0.1", False: "192.0.2.1", None: None}
GROUPS: dict[Truth, frozenset[str] | None] = {True: frozenset({"staff"}), False: frozenset(), None: None}


def asked(ip: Truth, group: Truth) -> Question:
    text = ADDRESSES[ip]
    address = parse_address(text) if text else None
    request = AccessRequest("GET", "h", "/x", "https", address, 0.0)
    return Question(request, Identity(Subject("", "alice", GROUPS[group]), CredentialKind.SESSION), {}, "r", {}, {})


def truth(text: str, question: Question) -> Truth:
    """What a term is worth: in allow only true holds, in deny all but false refuses."""
    term = parse_term(text, NETWORKS)
    holds, refuses = term.holds(question), term.refuses(question)
    assert isinstance(holds, bool)
    assert isinstance(refuses, bool)
    return True if holds else None if refuses else False


@pytest.mark.parametrize("text", ["authenticated", "user:alice", "group:staff", "!user:alice"])
def test_a_subject_that_cannot_be_known_leaves_identity_unknown(text: str) -> None:
    question = asked(True, True)._replace(identity=Identity(None, CredentialKind.BASIC))

    assert truth(text, question) is None


@pytest.mark.parametrize(("text", "wanted"), [("authenticated", False), ("group:staff", False), ("!group:staff", True)])
def test_anonymous_is_nobody_and_in_no_group(text: str, wanted: bool) -> None:
    question = asked(True, True)._replace(identity=Identity(ANONYMOUS, CredentialKind.NONE))

    assert truth(text, question) is wanted


def test_an_empty_capture_is_not_anonymous() -> None:
    question = asked(True, True)._replace(identity=Identity(ANONYMOUS, CredentialKind.NONE), captures={"who": ""})

    assert truth("user:{who}", question) is False


@pytest.mark.parametrize(
    "text",
    ["user:alice&ip:office", " user:alice & ip:office ", "\tip:office  &  user:alice\n"],
)
def test_space_around_atoms_means_nothing(text: str) -> None:
    assert truth(text, asked(True, True)) is True


def test_a_quoted_name_may_hold_spaces_and_ampersands() -> None:
    question = asked(True, True)._replace(
        identity=Identity(Subject("", "a b & c", frozenset({"x & !y"})), CredentialKind.SESSION)
    )

    assert truth('user:"a b & c" & group:"x & !y" & ip:office', question) is True


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no term", "joined by &"),
        ("&", "no term", ""),
        ("user:alice &", "no term", ""),
        ("& user:alice", "no term", ""),
        ("user:alice && ip:office", "no term", ""),
        ("user:alice | ip:office", 'holds a space', "double quotes"),
        ("user:alice ip:office", "holds a space", "double quotes"),
        ("!!user:alice", "no term", ""),
        ('user:"alice', "no term", ""),
        ('user:"al"ice', "quoted only in part", "the whole name"),
        ("!", "no term", ""),
        ("user", '"user" needs a name', 'write "user:NAME"'),
        ("user:", '"user" needs a name', ""),
        ('user:""', '"user" needs a name', ""),
        ("group: & ip:office", '"group" needs a name', ""),
        ("user:{", "holds a brace", "a capture is"),
        ("user:{Owner}", "holds a brace", "a capture is"),
        ("grp:finance", 'unknown atom "grp:finance"', 'did you mean "group:finance"?'),
        ("User:alice", 'unknown atom "User:alice"', 'did you mean "user:alice"?'),
        ("everyone", 'unknown atom "everyone"', 'did you mean "anyone"?'),
        ("zzz:1", 'unknown atom "zzz:1"', "the atoms are"),
        ("anyone:x", '"anyone" takes no value', 'write "anyone"'),
        ("authenticated:yes", '"authenticated" takes no value', ""),
        ("!anyone", '"!anyone" never holds', "leave the term out"),
        ("ip", '"ip" needs a network', ""),
        ("ip:offise", '"ip:offise" is neither', 'did you mean "ip:office"?'),
        ("ip:10.0.0.1/8", "is neither", "10.0.0.0/8"),
        ("ip:10.0.0.0/33", "is neither", ""),
        ("user:alice\nbob", "holds a space", ""),
    ],
)  # fmt: skip
def test_text_that_is_no_term_is_refused_with_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(TermError) as caught:
        parse_term(text, NETWORKS)

    assert message in str(caught.value)
    assert hint in caught.value.hint

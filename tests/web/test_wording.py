"""Words for people."""

import pytest

from authgate.model import CredentialKind, Reason
from authgate.web.wording import (
    CREDENTIALS,
    FAILED_LOGIN,
    LINK_REFUSALS,
    LOGIN_NOTICES,
    LOGIN_TROUBLES,
    REFUSALS,
    TEMPORARY,
    UNKNOWN_REFUSAL,
    too_many_attempts,
)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_own_words(reason: Reason) -> None:
    assert list(REFUSALS.values()).count(REFUSALS[reason]) == 1


def test_a_link_that_is_refused_does_not_lead_to_the_login() -> None:
    assert not any("log in" in words.lower() for words in LINK_REFUSALS.values())


def test_words_are_sentences_without_names_of_reasons() -> None:
    said = [
        *REFUSALS.values(),
        *LINK_REFUSALS.values(),
        *LOGIN_NOTICES.values(),
        *LOGIN_TROUBLES.values(),
        UNKNOWN_REFUSAL,
        FAILED_LOGIN,
    ]
    for words in [*said, too_many_attempts(600)]:
        assert words.endswith(".")
        assert "_" not in words


def test_every_kind_of_credential_has_words() -> None:
    assert set(CREDENTIALS) == set(CredentialKind)


def test_only_our_own_trouble_is_temporary() -> None:
    assert set(TEMPORARY) == {Reason.BUSY, Reason.STORE_UNAVAILABLE}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (600, "in about 10 minutes."),
        (485, "in about 8 minutes."),
        (90.5, "in about 2 minutes."),
        (89, "in about a minute."),
        (60, "in about a minute."),
        (59.9, "in less than a minute."),
        (0.1, "in less than a minute."),
    ],
)
def test_time_to_wait_is_said_in_words(seconds: float, words: str) -> None:
    assert too_many_attempts(seconds).endswith(words)

"""Words for people."""

import pytest

from authgate.model import CredentialKind, Reason
from authgate.web.wording import CREDENTIALS, LOGIN_NOTICES, REFUSALS, TEMPORARY, UNKNOWN_REFUSAL


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_own_words(reason: Reason) -> None:
    assert list(REFUSALS.values()).count(REFUSALS[reason]) == 1


def test_words_are_sentences_without_names_of_reasons() -> None:
    for words in [*REFUSALS.values(), *LOGIN_NOTICES.values(), UNKNOWN_REFUSAL]:
        assert words.endswith(".")
        assert "_" not in words


def test_every_kind_of_credential_has_words() -> None:
    assert set(CREDENTIALS) == set(CredentialKind)


def test_only_our_own_trouble_is_temporary() -> None:
    assert set(TEMPORARY) == {Reason.BUSY, Reason.STORE_UNAVAILABLE}

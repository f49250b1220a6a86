"""What a site's own code makes of the vocabulary."""

import pytest

from authgate import user


def test_groups_given_as_one_text_are_refused_instead_of_becoming_letters() -> None:
    with pytest.raises(TypeError, match=r"groups is a text; write \[\"staff\"\]"):
        user("alice", groups="staff")


def test_somebody_without_groups_is_not_somebody_whose_groups_are_elsewhere() -> None:
    assert user("alice", groups=[]).groups == frozenset()
    assert user("alice").groups is None

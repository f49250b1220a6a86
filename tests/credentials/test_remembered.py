"""Who was proven lately is remembered within bounds of number and of size."""

from authgate.credentials.remembered import RememberedIdentities
from authgate.model import CredentialKind, Identity, Subject


def identity(name: str) -> Identity:
    return Identity(Subject("shop", name), CredentialKind.APPLICATION)


def filled(known: RememberedIdentities, *values: str, size: int = 0) -> RememberedIdentities:
    for value in values:
        known.keep(value, identity(value), 100.0, 200.0, size)
    return known


def found(known: RememberedIdentities, *values: str) -> list[str]:
    return [value for value in values if known.find(value, 150.0) == identity(value)]


def test_what_is_remembered_counts_within_its_time() -> None:
    for now, counts in ((99.9, False), (100.0, True), (200.0, True), (200.1, False)):
        assert (filled(RememberedIdentities(10, 10), "a").find("a", now) == identity("a")) is counts


def test_what_has_ended_is_forgotten() -> None:
    known = filled(RememberedIdentities(10, 10), "a", size=10)

    assert known.find("a", 201.0) is None
    assert len(known) == 0
    assert found(filled(known, "b", size=10), "b") == ["b"]


def test_least_used_is_forgotten_first() -> None:
    known = filled(RememberedIdentities(2, 10), "a", "b")
    found(known, "a")

    assert found(filled(known, "c"), "a", "b", "c") == ["a", "c"]


def test_all_together_are_not_larger_than_the_budget() -> None:
    known = RememberedIdentities(100, 30)

    assert found(filled(known, "a", "b", "c", "d", size=10), "a", "b", "c", "d") == ["b", "c", "d"]
    assert found(filled(known, "e", size=25), "b", "c", "d", "e") == ["e"]
    # Kept once more, it counts once.
    for _ in range(5):
        filled(known, "e", size=25)
    assert found(known, "e") == ["e"]
    assert found(filled(known, "f", size=31), "e", "f") == []
    known.clear()
    assert found(filled(known, "g", size=30), "g") == ["g"]


def test_value_itself_is_not_kept() -> None:
    assert "s3cret" not in repr(vars(filled(RememberedIdentities(10, 10), "s3cret"))["_entries"].keys())

"""The mutations of ``make mutations`` are still where they were planted, and so are the tests that are to notice."""

import re
from functools import cache

import pytest

from tests.mutations.mutation import ROOT, Moved, Mutation, plant
from tests.mutations.planted import PLANTED


@cache
def text_of(path: str) -> str:
    return (ROOT / path).read_text()


def by_name(mutation: Mutation) -> str:
    return mutation.name


@pytest.mark.parametrize("mutation", PLANTED, ids=by_name)
def test_mutation_has_its_place_and_is_a_program(mutation: Mutation) -> None:
    mutated = mutation.apply(text_of(str(mutation.place)))

    assert mutated != text_of(str(mutation.place))
    compile(mutated, mutation.file, "exec")


@pytest.mark.parametrize("target", sorted({target for mutation in PLANTED for target in mutation.targets}))
def test_target_is_there(target: str) -> None:
    path, _, name = target.partition("::")

    assert (ROOT / path).exists()
    assert not name or re.search(rf"^def {re.escape(name)}\(", text_of(path), re.MULTILINE)


def test_names_are_unique() -> None:
    names = [mutation.name for mutation in PLANTED]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["", "a = 2\n", "a = 1\na = 1\n"])
def test_code_that_has_moved_is_noticed(text: str) -> None:
    (mutation,) = plant("x.py", "test_x.py", {"one is two": ("a = 1", "a = 2")})

    with pytest.raises(Moved, match="one is two"):
        mutation.apply(text)

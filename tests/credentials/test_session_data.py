"""What a session holds is bounded in size and depth, whoever wrote it."""

import zlib

import pytest

from authgate.credentials.session_data import MAX_DEPTH, MAX_SIZE, UnusableData, freeze, inflate


def nested(depth: int) -> dict[str, object]:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return {"x": value}


def test_compressed_data_is_unpacked_up_to_its_bound() -> None:
    for size in (0, 1, 1000, MAX_SIZE - 1):
        assert inflate(zlib.compress(b"x" * size)) == b"x" * size
    for size in (MAX_SIZE + 1, 2 * MAX_SIZE, 100 * MAX_SIZE):
        with pytest.raises(ValueError, match="too much"):
            inflate(zlib.compress(b"x" * size))


def test_compressed_data_has_to_be_whole_and_alone() -> None:
    packed = zlib.compress(b"hello" * 100)

    for changed in (packed[:-1], packed[:5], b"", packed + b"x", packed[:-1] + bytes([packed[-1] ^ 1]), b"hello"):
        with pytest.raises(ValueError, match="not"):
            inflate(changed)


def test_depth_has_its_bound() -> None:
    assert freeze(nested(MAX_DEPTH)).members["x"] != ()
    with pytest.raises(UnusableData, match="nested too deeply"):
        freeze(nested(MAX_DEPTH + 1))
    deep: dict[str, object] = {}
    for _ in range(MAX_DEPTH + 1):
        deep = {"x": deep}
    with pytest.raises(UnusableData, match="nested too deeply"):
        freeze(deep)


def test_size_counts_names_texts_and_every_value() -> None:
    one = freeze({"x": None}).size

    assert freeze({"x": "y" * 100}).size == one + 100
    assert freeze({"x" * 101: None}).size == one + 100
    assert freeze({"x": [None, None, None]}).size == one + 3 * 16
    with pytest.raises(UnusableData, match="too large"):
        freeze({"x" * MAX_SIZE: None})

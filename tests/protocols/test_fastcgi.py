"""FastCGI records: what they mean whole and byte by byte, and that nothing that arrives is more than an event."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authgate.protocols.fastcgi import (
    MAX_PARAMETERS,
    MAX_REQUEST,
    Asked,
    Broken,
    Ended,
    Event,
    Incoming,
    Refused,
    Reply,
    answer,
    select,
)
from tests import fastcgi

NAMES = {b"A": b"a", b"B": b"b", b"": b"empty"}
PAIRS = {"A": "1", "OTHER": "x" * 200, "B": "2" * 300}
BODY = fastcgi.encoded(PAIRS)
WHOLE = fastcgi.question(PAIRS)


def received(data: bytes, size: int = 0) -> list[Event]:
    """Receive data at once, or in pieces."""
    incoming = Incoming()
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    return [event for piece in pieces for event in incoming.receive(piece)]


STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    "nothing": (b"", []),
    "a request": (WHOLE, [Asked(BODY)]),
    "parameters in many records": (fastcgi.question(PAIRS, size=7), [Asked(BODY)]),
    "padding": (
        fastcgi.begin() + fastcgi.record(4, 1, BODY, padding=255) + fastcgi.record(4, 1, padding=8),
        [Asked(BODY)],
    ),
    "no parameters": (fastcgi.question({}), [Asked(b"")]),
    "a request id of two bytes": (fastcgi.question(PAIRS, 0xFFFE), [Asked(BODY)]),
    "a body, which nobody reads": (WHOLE + fastcgi.record(5, 1, b"x" * 99) + fastcgi.record(5, 1), [Asked(BODY)]),
    "a body before the parameters end": (
        fastcgi.begin() + fastcgi.record(5, 1, b"x") + fastcgi.record(8, 1, b"x") + WHOLE[16:],
        [Asked(BODY)],
    ),
    "parameters of nobody": (fastcgi.record(4, 7, BODY) + fastcgi.record(4, 7) + WHOLE, [Asked(BODY)]),
    "abort": (fastcgi.begin() + fastcgi.record(2, 1), [Ended()]),
    "abort after the question": (WHOLE + fastcgi.record(2, 1), [Asked(BODY), Ended()]),
    "abort of nobody": (fastcgi.begin() + fastcgi.record(2, 9), []),
    "a second request at the same time": (
        fastcgi.begin(1) + fastcgi.question(PAIRS, 2) + WHOLE[16:],
        [Reply(fastcgi.record(3, 2, struct.pack(">IB3x", 0, fastcgi.CANT_MULTIPLEX))), Asked(BODY)],
    ),
    "another role": (
        fastcgi.begin(role=fastcgi.RESPONDER),
        [Refused(fastcgi.record(3, 1, struct.pack(">IB3x", 0, fastcgi.UNKNOWN_ROLE)), keep=False)],
    ),
    "another role on a kept connection": (
        fastcgi.begin(role=3, keep=True),
        [Refused(fastcgi.record(3, 1, struct.pack(">IB3x", 0, fastcgi.UNKNOWN_ROLE)), keep=True)],
    ),
    "values": (
        fastcgi.record(9, 0, fastcgi.encoded({"FCGI_MPXS_CONNS": "", "X": "", "FCGI_MAX_CONNS": ""})),
        [Reply(fastcgi.record(10, 0, fastcgi.encoded({"FCGI_MAX_CONNS": "512", "FCGI_MPXS_CONNS": "0"})))],
    ),
    "values that nobody has": (fastcgi.record(9, 0, fastcgi.encoded({"X": ""})), [Reply(fastcgi.record(10, 0))]),
    "a type that nobody knows": (fastcgi.record(99, 0, b"x"), [Reply(fastcgi.record(11, 0, b"\x63" + bytes(7)))]),
    "the same within a request": (
        fastcgi.begin() + fastcgi.record(12, 1) + WHOLE[16:],
        [Reply(fastcgi.record(11, 0, b"\x0c" + bytes(7))), Asked(BODY)],
    ),
    "wrong version": (fastcgi.record(1, 1, bytes(8), version=0), [Broken()]),
    "wrong version later": (WHOLE + fastcgi.record(2, 1, version=2), [Asked(BODY), Broken()]),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", [Broken()]),
    "nothing more is read after garbage": (b"\xff" * 8 + WHOLE, [Broken()]),
    "begin of no length": (fastcgi.record(1, 1), [Broken()]),
    "begin that is too long": (fastcgi.record(1, 1, bytes(9)), [Broken()]),
    "begun twice": (fastcgi.begin() + fastcgi.begin(), [Broken()]),
    "begin with the id of management": (fastcgi.begin(0), [Broken()]),
    "an answer instead of a question": (fastcgi.record(6, 1, b"x"), [Broken()]),
    "parameters with the id of management": (fastcgi.begin() + fastcgi.record(4, 0, BODY), [Broken()]),
    "parameters after their end": (WHOLE + fastcgi.record(4, 1, b"x"), [Asked(BODY), Broken()]),
    "values that do not add up": (fastcgi.record(9, 0, b"\x05"), [Broken()]),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [0, 1, 8, 13])
def test_stream_means_the_same_whole_and_in_pieces(name: str, size: int) -> None:
    data, events = STREAMS[name]

    assert received(data, size) == events


@pytest.mark.parametrize("name", STREAMS)
def test_beginning_of_a_stream_asks_nothing_that_the_whole_does_not(name: str) -> None:
    data, events = STREAMS[name]

    for end in range(len(data)):
        begun = received(data[:end])
        assert begun == events[: len(begun)]


def test_record_that_is_shorter_than_it_says_is_waited_for() -> None:
    assert received(fastcgi.begin() + struct.pack(">BBHHBB", 1, 4, 1, 65535, 255, 0) + b"x" * 65000) == []


@pytest.mark.parametrize("size", [0, 4096])
def test_parameters_up_to_64_kib_are_kept(size: int) -> None:
    body = fastcgi.encoded({"A": "x" * (MAX_PARAMETERS - 6)})
    assert len(body) == MAX_PARAMETERS

    assert received(fastcgi.question({"A": "x" * (MAX_PARAMETERS - 6)}), size) == [Asked(body)]


@pytest.mark.parametrize("size", [0, 4096])
def test_more_parameters_are_read_to_their_end_and_not_kept(size: int) -> None:
    assert received(fastcgi.question({"A": "x" * MAX_PARAMETERS}), size) == [Asked(None)]
    assert received(fastcgi.question({"A": "x" * (MAX_REQUEST - 6)}), size) == [Asked(None)]


def test_parameters_without_end_are_broken_off() -> None:
    assert received(fastcgi.question({"A": "x" * MAX_REQUEST})) == [Broken()]


def test_next_request_on_a_kept_connection_starts_from_nothing() -> None:
    incoming = Incoming()
    first = incoming.receive(fastcgi.question({"A": "1"}, 5, keep=True))
    assert (incoming.active, incoming.keep) == (5, True)

    incoming.finish()
    late = incoming.receive(fastcgi.record(5, 5) + fastcgi.record(2, 5) + fastcgi.record(4, 5, b"x"))
    second = incoming.receive(fastcgi.question({"B": "2"}, 5))

    assert (first, late) == ([Asked(fastcgi.encoded({"A": "1"}))], [])
    assert second == [Asked(fastcgi.encoded({"B": "2"}))]
    assert not incoming.keep


SELECTIONS: dict[bytes, tuple[dict[bytes, bytes], set[bytes]]] = {
    b"": ({}, set()),
    fastcgi.encoded({"A": "1", "C": "3"}): ({b"a": b"1"}, set()),
    fastcgi.encoded({"A": ""}): ({b"a": b""}, set()),
    fastcgi.encoded({"": "x"}): ({b"empty": b"x"}, set()),
    fastcgi.encoded([("B", b"\r\n\0\xff" * 100), ("N" * 200, "A\x01B")]): ({b"b": b"\r\n\0\xff" * 100}, set()),
    fastcgi.encoded([("A", "1"), ("C", "x"), ("A", "1")]): ({b"a": b"1"}, {b"a"}),
    fastcgi.encoded([("A", ""), ("A", "1"), ("C", ""), ("C", "")]): ({b"a": b"1"}, {b"a"}),
    b"\x80\0\0\x01\x80\0\0\x01A1": ({b"a": b"1"}, set()),
    # Another name in what is a value.
    b"\x01\x05C" + fastcgi.encoded({"A": "111"})[:5]: ({}, set()),
}


@pytest.mark.parametrize("content", SELECTIONS)
def test_only_names_that_count_are_selected(content: bytes) -> None:
    assert select(content, NAMES) == SELECTIONS[content]


@pytest.mark.parametrize(
    "content",
    [
        b"\x01",
        b"\x01\x01A",
        b"\x01\x02A1",
        b"\x7f\x7f",
        b"\x80",
        b"\x01\x80\0\0",
        b"\x80\0\0\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xffA",
        b"\x01\xff\xff\xff\xffA" + b"x" * 500,
        fastcgi.encoded({"A": "1"}) + b"\x00",
        fastcgi.encoded({"A": "1" * 300})[:-1],
    ],
)
def test_lengths_that_do_not_add_up_select_nothing(content: bytes) -> None:
    assert select(content, NAMES) is None


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, 200_000])
def test_answer_is_records_that_end_the_request(length: int) -> None:
    *stdout, last, end = fastcgi.records(answer(0x1234, b"x" * length))

    assert b"".join(content for _, _, content in stdout) == b"x" * length
    assert last == (fastcgi.STDOUT, 0x1234, b"")
    assert end == (fastcgi.END, 0x1234, bytes(8))


ANY_RECORD = st.builds(
    lambda kind, number, content, padding, version: fastcgi.record(
        kind, number, content, padding=padding, version=version
    ),
    st.integers(0, 13),
    st.integers(0, 2),
    st.one_of(
        st.binary(max_size=20), st.sampled_from([bytes([0, 2, 0, 0, 0, 0, 0, 0]), bytes([0, 2, 1, 0, 0, 0, 0, 0])])
    ),
    st.integers(0, 9),
    st.sampled_from([1, 1, 1, 1, 1, 1, 1, 1, 0]),
)


@settings(max_examples=300)
@given(st.lists(st.one_of(ANY_RECORD, ANY_RECORD, st.binary(max_size=12))), st.integers(1, 40))
@example([b""], 1)
def test_whatever_arrives_ends_in_the_same_events_however_it_is_cut(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)

    events = received(data)

    assert received(data, size) == events
    assert sum(isinstance(event, Broken) for event in events) <= 1
    for event in events:
        if isinstance(event, Asked) and event.parameters is not None:
            select(event.parameters, NAMES)
        elif isinstance(event, Reply | Refused):
            fastcgi.records(event.data)


@given(st.binary(max_size=300))
def test_any_bytes_are_parameters_or_none(content: bytes) -> None:
    selected = select(content, NAMES)

    assert selected is None or set(selected.values) <= set(NAMES.values())


@given(st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=300)), unique_by=lambda pair: pair[0]))
def test_what_was_written_is_what_is_read(pairs: list[tuple[str, bytes]]) -> None:
    wanted = {name.encode(): name.encode() for name, _ in pairs}

    assert select(fastcgi.encoded(pairs), wanted) == ({name.encode(): value for name, value in pairs}, set())

"""What tells a web server which file to send, and a client what to do with it."""

import re
from email.message import EmailMessage
from email.policy import HTTP
from urllib.parse import unquote_to_bytes

import pytest

from authgate.delivery.headers import content_disposition, sending
from authgate.policy.delivery import Delivery

NGINX = Delivery("/srv/files", "/_files/")
APACHE = Delivery("/srv/files")


@pytest.mark.parametrize(
    ("inside", "place"),
    [
        (b"/a/b.txt", b"/_files/a/b.txt"),
        (b"/q?.txt", b"/_files/q%3F.txt"),
        (b"/h#.txt", b"/_files/h%23.txt"),
        (b"/p%41.txt", b"/_files/p%2541.txt"),
        ("/ä b".encode(), b"/_files/%C3%A4%20b"),
        (b"/\xff", b"/_files/%FF"),
        (b"/a\r\nX: y", b"/_files/a%0D%0AX%3A%20y"),
        (b"/trailing ", b"/_files/trailing%20"),
    ],
)
def test_nginx_gets_an_encoded_path(inside: bytes, place: bytes) -> None:
    assert sending(NGINX, inside) == [(b"x-accel-redirect", place)]
    assert unquote_to_bytes(place) == b"/_files" + inside


def test_nginx_gets_the_rate() -> None:
    headers = sending(Delivery("/srv", "/_/", limit_rate=2048), b"/x")

    assert headers == [(b"x-accel-redirect", b"/_/x"), (b"x-accel-limit-rate", b"2048")]


@pytest.mark.parametrize("inside", [b"/a/b.txt", b"/q?.txt", b"/p%41.txt", "/ä b".encode(), b"/\xff", b"/ x"])
def test_apache_gets_the_name_as_it_is(inside: bytes) -> None:
    assert sending(APACHE, inside) == [(b"x-sendfile", b"/srv/files" + inside)]


@pytest.mark.parametrize(
    "inside", [b"/a\r\nX: y", b"/a\nb", b"/a\0b", b"/a\tb", b"/\x7f", b"/plan ", b"/plan\t", b"/x\n"]
)
def test_apache_gets_no_name_that_a_header_would_change(inside: bytes) -> None:
    assert sending(APACHE, inside) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("q3.csv", b'attachment; filename="q3.csv"'),
        ("a b (1).txt", b'attachment; filename="a b (1).txt"'),
        ('"quoted".txt', b"attachment; filename=\"_quoted_.txt\"; filename*=UTF-8''%22quoted%22.txt"),
        ("back\\slash", b"attachment; filename=\"back_slash\"; filename*=UTF-8''back%5Cslash"),
        # Some browsers decode what looks encoded.
        ("100%41.txt", b"attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ("€ rates.txt", b"attachment; filename=\"_ rates.txt\"; filename*=UTF-8''%E2%82%AC%20rates.txt"),
        ("a*'b", b"attachment; filename=\"a_'b\"; filename*=UTF-8''a%2A%27b"),
        ("a;b", b'attachment; filename="a;b"'),
    ],
)
def test_names_are_written_for_old_and_for_new_readers(name: str, expected: bytes) -> None:
    assert content_disposition("attachment", name) == expected


@pytest.mark.parametrize("name", ["ä€😀", 'a"; filename="evil.exe', "x'y*z", "~!#$&+^`|{}[]()=@,;:/?<>%"])
def test_a_reader_of_the_header_gets_the_name_back(name: str) -> None:
    value = content_disposition("inline", name).decode("ascii")
    message = EmailMessage(HTTP)
    message["Content-Disposition"] = re.sub(r'filename="[^"]*"; (?=filename\*)', "", value)

    assert message.get_content_disposition() == "inline"
    assert message.get_filename() == name
    # Nothing but the two parameters, and nothing a header could not hold.
    assert re.fullmatch(r"inline; filename=\"[^\"\\]*\"(?:; filename\*=UTF-8''[!#$&+.^_`|~0-9A-Za-z%-]+)?", value)

"""An application's login counts as long as its own cookie would count there; anything else is as good as absent."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import threading
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from itsdangerous import TimestampSigner

from authgate.config.sources import ApplicationSettings
from authgate.credentials.applications import AHEAD, FRESH, MAX_COOKIE, ApplicationCookie, wanted_by_applications
from authgate.credentials.session_data import MAX_DEPTH, MAX_SIZE
from authgate.errors import ConfigError
from authgate.handlers.bounded import RUNNING, WAITING
from authgate.model import NOBODY, CredentialKind, Identity, Reason, Subject
from tests import servers
from tests.clock import MovableClock
from tests.stores.following import until

NOW = 1_790_000_000.0
YEAR = 365 * 86400.0
SECRET = "the shop's own secret key"
KINDS: Mapping[str, tuple[str, str, str, float, str]] = {
    "flask": ("session", "cookie-session", "sha1", 31 * 86400, "login"),
    "starlette": ("session", "", "sha1", 14 * 86400, "login"),
    "django": ("sessionid", "django.contrib.sessions.backends.signed_cookies", "sha256", 14 * 86400, "django"),
}
USER: Mapping[str, tuple[str, ...]] = {
    "flask": ("_user_id",),
    "starlette": ("_user_id",),
    "django": ("_auth_user_id",),
    "function": ("user",),
}
OLD = tomllib.loads((Path(__file__).parent.parent / "vectors" / "applications.toml").read_text())


def settings(kind: str, folder: Path, *secrets: str | bytes, **other: Any) -> ApplicationSettings:
    files = []
    for number, secret in enumerate(secrets or [SECRET]):
        files.append(folder / f"{kind}{number}.secret")
        files[-1].write_bytes(secret if isinstance(secret, bytes) else secret.encode() + b"\n")
        files[-1].chmod(0o600)
    cookie, salt, digest, max_age, _ = KINDS[kind]
    usual = {"cookie": cookie, "secrets": tuple(files), "salt": salt, "digest": digest, "max_age": max_age}
    return _settings(kind, **{**usual, "groups": None, "function": "", **other})


def _settings(kind: str, **other: Any) -> ApplicationSettings:
    place = "authgate.toml: applications[0]"
    return ApplicationSettings(**{"place": place, "source": "shop", "kind": kind, "user": USER[kind], **other})


def reader(
    kind: str, folder: Path, *secrets: str | bytes, clock: MovableClock | None = None, **other: Any
) -> ApplicationCookie:
    cookie = ApplicationCookie(settings(kind, folder, *secrets, **other), clock or MovableClock(NOW))
    cookie.load()
    return cookie


def made(*specifications: Mapping[str, object]) -> list[str]:
    """Return cookies made by the real libraries."""
    text = "".join(
        json.dumps({"moment": NOW, "secrets": [SECRET], "data": KINDS[str(one["library"])][4], **one}) + "\n"
        for one in specifications
    )
    command = [sys.executable, "-m", "tests.credentials.make_cookies"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=servers.PACKAGE_ROOT)
    assert run.returncode == 0, run.stderr
    _, *values = run.stdout.splitlines()
    return values


@pytest.fixture(scope="module")
def current() -> dict[str, str]:
    return dict(zip(KINDS, made(*({"library": kind} for kind in KINDS)), strict=True))


def shop(user: str = "7", groups: frozenset[str] | None = None) -> Subject:
    return Subject("shop", user, groups)


def flask(payload: bytes, key: str = SECRET, moment: float = NOW, salt: str = "cookie-session") -> str:
    """Sign any payload as Flask does."""

    class At(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(moment)

    return At(key, salt, key_derivation="hmac", digest_method=hashlib.sha1).sign(payload).decode()


def base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def session(data: object, packed: bool = False) -> str:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    return flask(b"." + base64url(zlib.compress(content)) if packed else base64url(content))


# Cookies as the libraries make them


@pytest.mark.parametrize("kind", KINDS)
def test_cookie_of_the_real_library_says_who_is_logged_in(kind: str, tmp_path: Path, current: dict[str, str]) -> None:
    identity = reader(kind, tmp_path).peek(current[kind])

    assert identity is not None
    assert (identity.subject, identity.credential, identity.failure) == (shop(), CredentialKind.APPLICATION, None)
    assert identity.session["_auth_user_id" if kind == "django" else "_user_id"] == "7"


@pytest.mark.parametrize("old", OLD["cookies"], ids=lambda old: f"{old['versions']} {old['data']} {old.get('digest')}")
def test_cookie_of_two_years_ago_is_read_and_too_old(old: Mapping[str, str], tmp_path: Path) -> None:
    clock = MovableClock(OLD["moment"])
    digest = old.get("digest", KINDS[old["kind"]][2])
    user = USER["django" if old["data"] == "django" else "flask"]
    cookie = reader(old["kind"], tmp_path, OLD["secret"], clock=clock, digest=digest, user=user)
    who = NOBODY.subject if old["data"] == "nobody" else shop()

    then = cookie.peek(old["value"])
    clock.advance(2 * YEAR)

    assert then is not None
    assert then.subject == who
    assert cookie.peek(old["value"]) is NOBODY
    assert (
        reader(old["kind"], tmp_path, OLD["secret"], clock=clock, digest=digest, user=user).peek(old["value"]) is NOBODY
    )


@pytest.mark.parametrize("value", [one["value"] for one in OLD["cookies"] if one["data"] == "tagged"] + [None])
def test_what_flask_has_tagged_is_what_it_was(value: str | None, tmp_path: Path) -> None:
    value = value or made({"library": "flask", "data": "tagged", "moment": OLD["moment"]})[0]

    identity = reader("flask", tmp_path, clock=MovableClock(OLD["moment"])).peek(value)

    assert identity is not None
    assert identity.session == {
        "_user_id": "7",
        "tuple": (1, (2,)),
        "bytes": b"\x00\xff",
        "markup": "<b>",
        "uuid": UUID(int=7),
        "moment": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        "looks like a tag": {" t": (1,)},
        "looks twice like one": {" di": {" b": "x"}},
        "two": {" t": 1, " b": 2},
        "no tag": {" x": 1},
    }


def test_compressed_cookies_are_read(tmp_path: Path) -> None:
    values = made({"library": "flask", "data": "long"}, {"library": "django", "data": "long"})
    for kind, value in zip(("flask", "django"), values, strict=True):
        identity = reader(kind, tmp_path, user=("_user_id",)).peek(value)

        assert value.startswith(".")
        assert identity is not None
        assert identity.subject == shop()
        assert identity.session["cart"] == tuple(f"article {number}" for number in range(200))


@pytest.mark.parametrize("kind", ["flask", "django"])
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_digest_of_the_library_has_to_be_the_configured_one(kind: str, digest: str, tmp_path: Path) -> None:
    (value,) = made({"library": kind, "digest": digest})

    for configured in ("sha1", "sha256", "sha512"):
        identity = reader(kind, tmp_path, digest=configured).peek(value)
        assert identity is not None
        assert (identity is NOBODY) is (configured != digest)


@pytest.mark.parametrize("kind", ["flask", "django"])
def test_cookie_for_another_purpose_with_the_same_key_proves_nothing(kind: str, tmp_path: Path) -> None:
    (value,) = made({"library": kind, "salt": "password-reset"})

    assert reader(kind, tmp_path).peek(value) is NOBODY
    assert reader(kind, tmp_path, salt="password-reset").peek(value) is not NOBODY


def test_cookie_of_another_kind_with_the_same_key_proves_nothing(tmp_path: Path, current: dict[str, str]) -> None:
    for kind in KINDS:
        for other, value in current.items():
            if other != kind:
                assert reader(kind, tmp_path, user=USER[other]).peek(value) is NOBODY


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_rotation_counts(kind: str, tmp_path: Path) -> None:
    keys = [f"key number {number} of the shop" for number in range(3)]
    values = made(*({"library": kind, "secrets": [key]} for key in keys))

    assert [reader(kind, tmp_path, *keys).peek(value) is NOBODY for value in values] == [False, False, False]
    assert [reader(kind, tmp_path, *keys[:2]).peek(value) is NOBODY for value in values] == [False, False, True]


def test_secret_of_any_bytes_but_for_a_line_end_after_it(tmp_path: Path) -> None:
    secret = b'_5#y2L"F4Q8z\n\xec]/'
    value = TimestampSigner(secret, "cookie-session", key_derivation="hmac").sign(base64url(b'{"_user_id": "7"}'))

    for content in (secret, secret + b"\n"):
        assert reader("flask", tmp_path, content, max_age=1e12).peek(value.decode()) is NOBODY
        clock = MovableClock(TimestampSigner(secret).get_timestamp())
        assert reader("flask", tmp_path, content, clock=clock).peek(value.decode()) is not NOBODY


# Its time


@pytest.mark.parametrize("kind", KINDS)
def test_cookie_counts_for_its_age_and_not_from_the_future(kind: str, tmp_path: Path, current: dict[str, str]) -> None:
    age = KINDS[kind][3]
    counts = {-AHEAD - 1: False, -AHEAD: True, -1: True, 0: True, age: True, age + 1: False, 2 * YEAR: False}

    for seconds, expected in counts.items():
        assert (reader(kind, tmp_path, clock=MovableClock(NOW + seconds)).peek(current[kind]) is not NOBODY) is expected
    # The same for one that was verified before.
    clock = MovableClock(NOW)
    cookie = reader(kind, tmp_path, clock=clock)
    for seconds, expected in counts.items():
        clock.now = NOW
        cookie.peek(current[kind])
        clock.now = NOW + seconds
        assert (cookie.peek(current[kind]) is not NOBODY) is expected


def test_signed_moment_that_no_calendar_has_proves_nothing(tmp_path: Path) -> None:
    for moment in (0.0, 2.0**40, 2.0**63):
        assert reader("flask", tmp_path).peek(flask(base64url(b'{"_user_id": "7"}'), moment=moment)) is NOBODY


# What attackers send


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_character_counts(kind: str, tmp_path: Path, current: dict[str, str]) -> None:
    cookie, value = reader(kind, tmp_path), current[kind]
    assert cookie.peek(value) is not NOBODY
    for place, character in enumerate(value):
        for bit in range(8):
            changed = value[:place] + chr(ord(character) ^ 1 << bit) + value[place + 1 :]
            assert cookie.peek(changed) is NOBODY, (place, bit)


@pytest.mark.parametrize("kind", KINDS)
def test_no_part_of_a_cookie_and_nothing_added_counts(kind: str, tmp_path: Path, current: dict[str, str]) -> None:
    cookie, value = reader(kind, tmp_path), current[kind]
    for length in range(len(value)):
        assert cookie.peek(value[:length]) is NOBODY
        assert cookie.peek(value[length + 1 :]) is NOBODY
    for added in ("=", "==", "A", "!", ".", ":", "\n", " ", "\xe9", "\x00", f".{value}"):
        assert cookie.peek(value + added) is NOBODY
        assert cookie.peek(added + value) is NOBODY
    assert cookie.peek(f'"{value}"') is NOBODY


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value",
    [
        "", ".", "..", ":", "::", "null", "deleted", "a.b", "a.b.c", "a:b:c", ".a:b:c", "\x00", "\xff" * 100, "..a.b",
        "." * 8000, "A" * 8192, "A" * 8193, "." * 1_000_000, "a.b." + "A" * 8000, "a:" + "z" * 8000 + ":a", "\ud800",
    ],
    ids=lambda value: f"{value[:9]!a}x{len(value)}",
)  # fmt: skip
def test_nonsense_is_absent_and_never_an_error(kind: str, value: str, tmp_path: Path) -> None:
    cookie = reader(kind, tmp_path)

    assert cookie.peek(value) is NOBODY
    assert asyncio.run(cookie.verify(value)) is NOBODY


def test_cookie_over_its_bound_is_absent_even_when_it_is_signed(tmp_path: Path) -> None:
    def sized(size: int) -> str:
        return session({"_user_id": "7", "x": "x" * size})

    fits = next(size for size in range(6200, 0, -1) if len(sized(size)) <= MAX_COOKIE)

    assert reader("flask", tmp_path).peek(sized(fits)) is not NOBODY
    assert reader("flask", tmp_path).peek(sized(fits + 2)) is NOBODY


def test_bomb_is_absent(tmp_path: Path) -> None:
    for size, expected in ((MAX_SIZE // 2, True), (MAX_SIZE, False), (5_000_000, False)):
        value = session({"_user_id": "7", "x": "x" * size}, packed=True)
        assert len(value) < MAX_COOKIE
        assert (reader("flask", tmp_path).peek(value) is not NOBODY) is expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"7",
        b"null",
        b'["_user_id"]',
        b'{"_user_id": "7"',
        b'{"_user_id": "7"} {}',
        b'{"_user_id": "7", "_user_id": "8"}',
        b'{"_user_id": "7", "x": NaN}',
        b'{"_user_id": "7", "x": "\xff"}',
        b'{"_user_id": "7", "x": "\\ud800"}',
        b'{"_user_id": "7", "\\ud800": 1}',
        b'\xef\xbb\xbf{"_user_id": "7"}',
        '{"_user_id": "7"}'.encode("utf-16"),
        b'{"_user_id": "7", "x": ' + b"[" * MAX_DEPTH * 2 + b"]" * MAX_DEPTH * 2 + b"}",
        b'{"_user_id": "7", "x": ' + b"[" * 600 + b"]" * 600 + b"}",
        b'{"_user_id": "7", "x": ' + b"[" * 2900 + b"]" * 2900 + b"}",
        b'{"_user_id": "7", "x": ' + b"9" * 5000 + b"}",
        b'{"_user_id": "7", "x": {" b": "!"}}',
        b'{"_user_id": "7", "x": {" b": {" b": "AA=="}}}',
        b'{"_user_id": "7", "x": {" u": "7"}}',
        b'{"_user_id": "7", "x": {" u": "{00000000-0000-0000-0000-000000000007}"}}',
        b'{"_user_id": "7", "x": {" d": "yesterday"}}',
        b'{"_user_id": "7", "x": {" d": 7}}',
        b'{"_user_id": "7", "x": {" t": 7}}',
        b'{"_user_id": "7", "x": {" m": 7}}',
        b'{"_user_id": "7", "x": {" di": {"a": 1}}}',
        b'{"_user_id": "7", "x": {" di": {"a__": 1}}}',
        b'{"_user_id": "7", "x": {" di": {" t__": 1, " b__": 2}}}',
        b'{" di": {" t__": 1}}',
        b'{" t": ["_user_id"]}',
    ],
    ids=lambda content: repr(content[:60]),
)
def test_signed_content_that_nobody_can_read_is_absent(content: bytes, tmp_path: Path) -> None:
    assert reader("flask", tmp_path).peek(session(content)) is NOBODY


@pytest.mark.parametrize("payload", [b"eyJ9=", b"e", b".eyJ9", b"..", b"e y", b"."])
def test_signed_payload_that_nobody_can_decode_is_absent(payload: bytes, tmp_path: Path) -> None:
    assert reader("flask", tmp_path).peek(flask(payload)) is NOBODY
    signer = TimestampSigner(SECRET)
    assert reader("starlette", tmp_path, max_age=1e12).peek(signer.sign(payload).decode()) is NOBODY
    message = payload + b":1zzzzz"
    key = hashlib.sha256(KINDS["django"][1].encode() + b"signer" + SECRET.encode()).digest()
    signature = base64url(hmac.digest(key, message, "sha256"))
    assert reader("django", tmp_path, clock=MovableClock(1.8e9)).peek((message + b":" + signature).decode()) is NOBODY


def test_pickles_of_old_django_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return print, ("it ran",)

    import pickle  # noqa: PLC0415

    message = base64url(pickle.dumps({"_auth_user_id": "7", "x": Bomb()})) + b":1zzzzz"
    key = hashlib.sha256(KINDS["django"][1].encode() + b"signer" + SECRET.encode()).digest()
    value = (message + b":" + base64url(hmac.digest(key, message, "sha256"))).decode()

    assert reader("django", tmp_path, clock=MovableClock(1.8e9)).peek(value) is NOBODY


# Who it is about


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"_user_id": "7"}, "7"),
        ({"_user_id": 7}, "7"),
        ({"_user_id": -(2**63)}, str(-(2**63))),
        ({"_user_id": "sales/alice"}, "sales/alice"),
        ({"_user_id": "Ünal O'Neill"}, "Ünal O'Neill"),
        ({"_user_id": {" u": "0" * 31 + "7"}}, str(UUID(int=7))),
        ({"_user_id": 2**64}, None),
        ({"_user_id": 10**4000}, None),
        ({"_user_id": True}, None),
        ({"_user_id": 7.0}, None),
        ({"_user_id": None}, None),
        ({"_user_id": ["7"]}, None),
        ({"_user_id": {"a": "7"}}, None),
        ({"_user_id": {" b": "Nw=="}}, None),
        ({"_user_id": ""}, None),
        ({"_user_id": " 7"}, None),
        ({"_user_id": "a\nb"}, None),
        ({"_user_id": "a\x85b"}, None),
        ({"_user_id": "x" * 257}, None),
        ({"user": "7"}, None),
        ({}, None),
    ],
)
def test_name_in_the_session(data: object, name: str | None, tmp_path: Path) -> None:
    identity = reader("flask", tmp_path).peek(session(data))

    assert identity is not None
    assert identity.subject == (NOBODY.subject if name is None else shop(name))
    assert (identity is NOBODY) is (name is None)


@pytest.mark.parametrize(
    ("roles", "groups"),
    [
        (["staff", "editors"], {"staff", "editors"}),
        (["staff", "staff"], {"staff"}),
        ("staff", {"staff"}),
        ([], set()),
        ({" t": ["staff"]}, {"staff"}),
        (["a/b"], {"a/b"}),
    ],
)
def test_groups_in_the_session(roles: object, groups: set[str], tmp_path: Path) -> None:
    value = session({"_user_id": "7", "shop": {"roles": roles}})
    identity = reader("flask", tmp_path, groups=("shop", "roles")).peek(value)

    assert identity is not None
    assert identity.subject == shop("7", frozenset(groups))


@pytest.mark.parametrize("data", [{}, {"shop": {}}, {"shop": None}, {"shop": {"roles": None}}, {"shop": "roles"}])
def test_groups_that_the_session_does_not_say_are_unknown(data: dict[str, object], tmp_path: Path) -> None:
    value = session({"_user_id": "7", **data})

    for path in (("shop", "roles"), None):
        identity = reader("flask", tmp_path, groups=path).peek(value)
        assert identity is not None
        assert identity.subject == shop("7", None)


@pytest.mark.parametrize(
    "roles", [7, True, [7], ["staff", None], [["staff"]], [{}], {"staff": 1}, "", [""], ["a\n"], [" a"]]
)
def test_groups_that_are_none_make_a_session_of_nobody(roles: object, tmp_path: Path) -> None:
    assert reader("flask", tmp_path, groups=("roles",)).peek(session({"_user_id": "7", "roles": roles})) is NOBODY


def test_nobody_changes_what_the_next_request_finds(tmp_path: Path) -> None:
    cookie = reader("flask", tmp_path)
    value = session({"_user_id": "7", "albums": {"harbour": [1, 2]}, "roles": ["staff"]})
    identity = cookie.peek(value)
    assert identity is not None

    changes: list[Callable[[Any], object]] = [
        lambda found: found.update(x=1),
        lambda found: found["albums"].update(wedding=[1]),
        lambda found: found["albums"]["harbour"].append(3),
        lambda found: found["roles"].append("admin"),
    ]
    for change in changes:
        with pytest.raises(AttributeError):
            change(identity.session)
    with pytest.raises(TypeError):
        identity.session["_user_id"] = "8"  # type: ignore[index] # that is what is tried
    assert cookie.peek(value) is identity


# Memory, secrets


def test_what_was_verified_is_not_verified_again_and_what_failed_is_not_remembered(tmp_path: Path) -> None:
    cookie = reader("flask", tmp_path)
    value = session({"_user_id": "7"})

    assert cookie.peek(value) is cookie.peek(value)
    for number in range(100):
        cookie.peek(f"{value}{number}")
        cookie.peek(session({"cart": number}))
    assert len(cookie._known) == 1


def settle(cookie: ApplicationCookie, seconds: float = 1.5) -> None:
    """Poll four times a second, as a worker does."""
    for tick in range(int(seconds * 4) + 1):
        cookie.poll(1000.0 + tick / 4)


def test_changed_secret_acts_and_what_the_old_one_signed_is_forgotten(tmp_path: Path) -> None:
    cookie = reader("flask", tmp_path)
    value = session({"_user_id": "7"})
    known = cookie.peek(value)
    settle(cookie)
    assert cookie.peek(value) is known

    (tmp_path / "flask0.secret").write_text("another key of the shop\n")
    settle(cookie)

    assert cookie.peek(value) is NOBODY
    assert cookie.peek(flask(base64url(b'{"_user_id": "7"}'), "another key of the shop")) is not NOBODY


@pytest.mark.parametrize("change", ["open", "short", "gone"])
def test_secret_that_became_unusable_leaves_the_one_before_in_force(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = reader("flask", tmp_path)
    file = tmp_path / "flask0.secret"
    settle(cookie)
    if change == "open":
        file.chmod(0o640)
    elif change == "short":
        file.write_text("hidden-x")
    else:
        file.unlink()
    settle(cookie)

    assert cookie.peek(session({"_user_id": "7"})) is not NOBODY
    assert "what was read before stays in force" in caplog.text
    assert "hidden-x" not in caplog.text


def test_secrets_have_to_be_private_long_enough_and_few(tmp_path: Path) -> None:
    one = settings("flask", tmp_path, "short", "x" * 16, b"x" * 15 + b"\n", b"y" * 5000, *["x" * 16] * 5)
    one.secrets[1].chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        ApplicationCookie(one, MovableClock()).load()

    problems = [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]
    assert [problem.partition(";")[0] for problem in problems] == [
        "authgate.toml: applications[0].secrets: more than 8",
        "flask0.secret: holds no secret key of 16 to 4096 bytes",
        "flask1.secret: open to others than its owner",
        "flask2.secret: holds no secret key of 16 to 4096 bytes",
        "flask3.secret: holds no secret key of 16 to 4096 bytes",
    ]
    assert "short" not in str(caught.value)
    assert "chmod 600" in problems[2]


def test_no_repr_holds_a_secret_or_a_cookie(tmp_path: Path) -> None:
    cookie = reader("flask", tmp_path)
    cookie.peek(session({"_user_id": "7"}))

    assert SECRET not in repr(vars(cookie))
    assert session({"_user_id": "7"}).partition(".")[0] not in repr(vars(cookie._known))


# The site's own function


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


BEHIND = _settings(
    "function",
    cookie="PHPSESSID",
    secrets=(),
    salt="",
    digest="",
    max_age=0.0,
    groups=("roles",),
    function="php::session",
)


def function(asked: Callable[..., object], clock: MovableClock | None = None) -> ApplicationCookie:
    cookie = ApplicationCookie(BEHIND, clock or MovableClock(NOW), asked)
    cookie.load()
    return cookie


def both(asked: Callable[[str], object]) -> list[Callable[..., object]]:
    """Return a function as it is and as one with ``async``."""

    async def asynchronous(value: str) -> object:
        return asked(value)

    return [asked, asynchronous]


def said(asked: Callable[..., object], value: str = "abc") -> Identity:
    async def run() -> Identity:
        cookie = function(asked)
        assert cookie.peek(value) is None
        try:
            return await cookie.verify(value)
        finally:
            cookie.close()

    return asyncio.run(run())


def test_function_says_what_the_session_holds() -> None:
    data = {
        "user": 7,
        "roles": {"staff"},
        "cart": {0: "x", 1: ["y", {"z": b"1"}]},
        "since": datetime(2026, 5, 4, tzinfo=UTC),
    }
    for kind in both({"abc": data, "other": None}.get):
        identity = said(kind)
        assert identity.subject == shop("7", frozenset({"staff"}))
        assert identity.credential is CredentialKind.APPLICATION
        assert identity.session == {**data, "roles": {"staff"}, "cart": {0: "x", 1: ("y", {"z": b"1"})}}
        assert said(kind, "other") is NOBODY
        assert said(kind, "unknown") is NOBODY
    assert said(lambda _: MappingProxyType({"user": "a"})).subject == shop("a", None)
    assert said(lambda _: {"cart": []}) is NOBODY


class _Odd(dict[str, object]):
    def items(self) -> Any:
        raise ValueError("".join(reversed("cba t3rc3s")))


ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


def _exit(_: str) -> None:
    sys.exit("bye")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda value: 1 / 0, "ZeroDivisionError"),
        (_exit, "SystemExit"),
        (lambda value: _Odd(user="7"), "ValueError"),
        (lambda value: "7", "returned str, not a mapping or None"),
        (lambda value: ["7"], "returned list, not a mapping or None"),
        (lambda value: False, "returned bool, not a mapping or None"),
        (lambda value: {7: "7"}, "returned a mapping with names that are not text"),
        (lambda value: {"user": "7", "x": {(): 1}}, "returned a mapping with names that are not text"),
        (lambda value: {"user": "7", "x": object()}, "returned a mapping that holds a object"),
        (lambda value: {"user": "7", "x": "\ud800"}, "returned a mapping that holds text that is none"),
        (lambda value: {"user": "7", "x": "x" * MAX_SIZE}, "returned a mapping that is too large"),
        (lambda value: {"user": "7", "x": [None] * 5000}, "returned a mapping that is too large"),
        (lambda value: {"user": "7", "x": 1 << (8 * MAX_SIZE)}, "returned a mapping that is too large"),
        (lambda value: {"user": "7", "x": ENDLESS}, "returned a mapping that is nested too deeply"),
    ],
)  # fmt: skip
def test_function_that_fails_leaves_everybody_unknown(
    asked: Callable[[str], object], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in both(asked):
        identity = said(kind)
        assert (identity.subject, identity.failure) == (None, Reason.HANDLER_ERROR)
        assert identity.credential is CredentialKind.APPLICATION

    assert len(caplog.records) == 2
    for record in caplog.records:
        assert record.message.startswith("authgate.toml: applications[0]: php::session ")
        assert words in record.message
        assert "s3cret" not in record.message


def test_value_of_the_cookie_is_never_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fails(value: str) -> None:
        raise LookupError(f"no file sess_{value}")

    said(fails, "k2v9r0")

    assert "LookupError" in caplog.text
    assert "k2v9r0" not in caplog.text


@pytest.mark.parametrize("value", ["", "a b", "a\x00b", "a\nb", "\xe9", "a" * (MAX_COOKIE + 1)])
def test_function_is_not_asked_about_what_no_application_sends(value: str, tmp_path: Path) -> None:
    asked: list[str] = []

    assert function(asked.append).peek(value) is NOBODY
    assert asyncio.run(function(asked.append).verify(value)) is NOBODY
    assert not asked


def test_answer_counts_for_two_seconds_from_the_question_on() -> None:
    clock = MovableClock(NOW)
    sessions: dict[str, object] = {"abc": {"user": "7"}}

    async def slow(value: str) -> object:
        found = sessions.get(value)
        clock.advance(0.5)
        return found

    async def run() -> None:
        cookie = function(slow, clock)
        first = await cookie.verify("abc")
        sessions.clear()
        clock.now = NOW + FRESH
        assert cookie.peek("abc") is first
        clock.now = NOW + FRESH + 0.01
        assert cookie.peek("abc") is None
        assert await cookie.verify("abc") is NOBODY
        cookie.close()

    asyncio.run(run())


def test_login_acts_at_once() -> None:
    sessions: dict[str, object] = {"abc": {"cart": 1}}

    async def run() -> None:
        cookie = function(sessions.get)
        assert await cookie.verify("abc") is NOBODY
        assert await cookie.verify("new") is NOBODY
        sessions.update(abc={"user": "7"}, new={"user": "8"})
        assert [(await cookie.verify(value)).subject for value in ("abc", "new")] == [shop("7"), shop("8")]
        cookie.close()

    asyncio.run(run())


def test_failure_counts_for_two_seconds_too() -> None:
    clock = MovableClock(NOW)
    asked = []

    def fails(value: str) -> object:
        asked.append(value)
        raise OSError("away")

    async def run() -> None:
        cookie = function(fails, clock)
        for _ in range(5):
            assert (await cookie.verify("abc")).failure is Reason.HANDLER_ERROR
        assert asked == ["abc"]
        clock.advance(FRESH + 0.01)
        await cookie.verify("abc")
        assert asked == ["abc", "abc"]
        cookie.close()

    asyncio.run(run())


def test_fifty_images_of_one_page_are_one_question(gate: threading.Event) -> None:
    asked = []

    def waits(value: str) -> object:
        asked.append(value)
        gate.wait(10)
        return {"user": "7"}

    async def run() -> None:
        cookie = function(waits)
        requests = [asyncio.create_task(cookie.verify("abc")) for _ in range(50)]
        await until(lambda: bool(asked))
        requests[0].cancel()
        gate.set()
        assert [(await request).subject for request in requests[1:]] == [shop("7")] * 49
        assert asked == ["abc"]
        assert not cookie._site._asking  # type: ignore[union-attr]
        cookie.close()

    asyncio.run(run())


def test_function_that_hangs_is_busy_for_all_others(monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> None:
    monkeypatch.setattr("authgate.credentials.site_sessions.DEADLINE", 0.05)

    async def run() -> None:
        cookie = function(lambda value: gate.wait(10))
        ends = await asyncio.gather(*(cookie.verify(f"s{number}") for number in range(RUNNING + WAITING + 5)))
        failures = [identity.failure for identity in ends]
        assert all(identity.subject is None for identity in ends)
        assert (failures.count(Reason.HANDLER_ERROR), failures.count(Reason.BUSY)) == (RUNNING, WAITING + 5)
        assert (await cookie.verify("another")).failure is Reason.BUSY
        # That there was no time is not remembered.
        gate.set()
        await until(lambda: cookie._site._function._threads._free._value == RUNNING)  # type: ignore[union-attr]
        assert cookie.peek("another") is None
        cookie.close()

    asyncio.run(run())


def test_settings_name_what_is_to_be_imported(tmp_path: Path) -> None:
    (wanted,) = wanted_by_applications([BEHIND, settings("flask", tmp_path)])

    assert (wanted.reference, wanted.arguments) == ("php::session", ("value",))
    assert wanted.place == "authgate.toml: applications[0]: php::session"


def test_without_its_function_nobody_is_known() -> None:
    cookie = ApplicationCookie(BEHIND, MovableClock())
    cookie.load()

    assert asyncio.run(cookie.verify("abc")) is NOBODY


def test_nothing_is_logged_about_cookies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, current: dict[str, str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for kind, value in current.items():
        reader(kind, tmp_path).peek(value)
        reader(kind, tmp_path).peek(value + "x")

    assert not caplog.records

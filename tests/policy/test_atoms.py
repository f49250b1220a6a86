"""What atoms about identity, claims and time say, and when they do not know."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject
from authgate.policy.atoms import LocalTime, Question, Truth
from authgate.policy.parsing import TermError, parse_term
from tests.policies import UNKNOWN, request

SALES = frozenset({("department", "sales"), ("department", "export"), ("note", "")})


def asked(identity: Identity, **captures: str) -> Question:
    return Question(request(), identity, captures, "r", {}, {})


def truth(text: str, question: Question) -> Truth:
    (part,) = parse_term(text, {}).parts
    said = part.evaluate(question)
    assert said is None or isinstance(said, bool)
    return said


def somebody(kind: CredentialKind = CredentialKind.SESSION, *, mfa: bool = False) -> Identity:
    return Identity(Subject("partner", "sam", frozenset(), SALES), kind, None, mfa)


@pytest.mark.parametrize("text", ["claim:department=sales", "via:session", "mfa", "!claim:a=b", "!via:basic", "!mfa"])
def test_a_subject_that_cannot_be_known_leaves_it_unknown(text: str) -> None:
    assert truth(text, asked(UNKNOWN)) is None


@pytest.mark.parametrize("kind", [kind for kind in CredentialKind if kind is not CredentialKind.NONE])
def test_anonymous_came_by_no_credential_even_when_a_bad_one_was_sent(kind: CredentialKind) -> None:
    bad = Identity(ANONYMOUS, kind, Reason.BAD_CREDENTIAL, second_factor=True)

    assert truth(f"via:{kind}", asked(bad)) is False
    assert truth("mfa", asked(bad)) is False


@pytest.mark.parametrize("kind", [kind for kind in CredentialKind if kind is not CredentialKind.NONE])
def test_via_is_true_for_exactly_its_kind(kind: CredentialKind) -> None:
    assert [truth(f"via:{kind}", asked(somebody(other))) for other in CredentialKind] == [
        other is kind for other in CredentialKind
    ]


def test_mfa_is_what_the_credential_says() -> None:
    assert truth("mfa", asked(somebody(mfa=True))) is True
    assert truth("mfa", asked(somebody())) is False


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("claim:department=sales", True),
        ("claim:department=export", True),
        ("claim:department=legal", False),
        ("claim:department=", False),
        ("claim:note=", True),
        ('claim:note=""', True),
        ("claim:departmen=sales", False),
        ("claim:department={d}", True),
        ("claim:department=ex{p}", True),
        ("claim:department={p}", False),
    ],
)
def test_a_claim_holds_for_exactly_its_name_and_one_of_its_values(text: str, wanted: bool) -> None:
    assert truth(text, asked(somebody(), d="sales", p="port")) is wanted


@pytest.mark.parametrize(
    ("days", "wanted"),
    [
        ("", "1234567"),
        ("Mon ", "1"),
        ("mon,SUN ", "17"),
        ("Mon-Fri ", "12345"),
        ("Sat-Mon ", "167"),
        ("Wed-Wed ", "3"),
        ("Mon-Tue,Thu-Fri,Fri ", "1245"),
    ],
)
def test_days(days: str, wanted: str) -> None:
    # The first of June 2026 is a Monday.
    found = [
        str(day)
        for day in range(1, 8)
        if truth(f"time:{days}00:00-24:00 UTC", at(datetime(2026, 6, day, 12, tzinfo=UTC)))
    ]

    assert "".join(found) == wanted


def at(moment: datetime) -> Question:
    question = asked(somebody())
    return question._replace(request=question.request._replace(instant=moment.timestamp()))


WINDOWS = [
    "Mon-Fri 08:00-18:00", "00:00-24:00", "Sat,Sun 00:00-24:00", "Fri 22:00-06:00", "Sun 23:30-00:15",
    "Sat 18:00-00:00", "Sun 12:00-24:00", "02:00-03:00", "Sat 02:30-02:00", "Mon 00:00-00:15",
]  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.parametrize("window", WINDOWS)
def test_time_is_that_of_the_clock_on_the_wall_between_beginning_and_end(window: str, zone: str) -> None:
    (part,) = parse_term(f"time:{window} {zone}", {}).parts
    assert isinstance(part.atom, LocalTime)
    begin, _, end = window.rpartition(" ")[2].partition("-")

    # Through the weekends of the changes to and from daylight saving time, by quarters of an hour.
    for first in (
        datetime(2026, 3, 6, tzinfo=UTC),
        datetime(2026, 3, 27, tzinfo=UTC),
        datetime(2026, 10, 23, tzinfo=UTC),
    ):
        for quarter in range(4 * 24 * 11):
            moment = first + timedelta(minutes=15 * quarter)
            wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            # Written anew: is there a day of those named whose window holds what the clock shows?
            within = False
            for back in (0, 1):
                day = wall.replace(hour=0, minute=0) - timedelta(days=back)
                opens, closes = day + span(begin), day + span(end)
                if closes <= opens:
                    closes += timedelta(days=1)
                within = within or (day.weekday() in part.atom.days and opens <= wall < closes)
            assert part.evaluate(at(moment)) is within, moment


def span(clock: str) -> timedelta:
    hours, _, minutes = clock.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


@pytest.mark.parametrize("instant", [-62_135_596_800.0, 253_402_300_799.0])
def test_time_at_the_ends_of_the_calendar_is_still_a_time(instant: float) -> None:
    question = asked(somebody())

    assert truth("time:00:00-24:00 UTC", question._replace(request=question.request._replace(instant=instant))) is True


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("claim", "names no claim and value", 'write "claim:department=sales"'),
        ("claim:department", "names no claim and value", ""),
        ("claim:=sales", "names no claim and value", ""),
        ("claim:a b=c", "names no claim and value", ""),
        ("claim:department=R D", "holds a space", "double quotes"),
        ('claim:department="R"D', "quoted only in part", ""),
        ("claim:department={", "holds a brace", "a capture is"),
        ("via", "no kind of credential", "session, basic, server, jwt, token, certificate, application"),
        ("via:none", "no kind of credential", ""),
        ("via:Session", "no kind of credential", ""),
        ("mfa:yes", "takes no value", 'write "mfa"'),
        ("time", "is no time", 'write "time:Mon-Fri 08:00-18:00 Europe/Berlin"'),
        ("time:08:00-18:00", "is no time", ""),
        ("time:8:00-18:00 UTC", "is no time", ""),
        ("time:08:00-18:00 Europe/Berlln", '"Europe/Berlln" is no time zone', "such as Europe/Berlin"),
        ("time:08:00-18:00 ../../etc/passwd", "is no time zone", ""),
        ("time:08:00-18:00 /etc/localtime", "is no time zone", ""),
        ("time:08:00-18:00 Europe", "is no time zone", ""),
        ("time:08:60-18:00 UTC", '"08:60" is no time of day', "00:00 to 24:00"),
        ("time:08:00-25:00 UTC", '"25:00" is no time of day', ""),
        ("time:24:00-08:00 UTC", "has no length", ""),
        ("time:08:00-08:00 UTC", "has no length", "00:00-24:00 for the whole day"),
        ("time:Mon-Frei 08:00-18:00 UTC", '"Mon-Frei" are no days', "Mon-Fri"),
        ("time:Mon, 08:00-18:00 UTC", "are no days", ""),
        ("time:Mon- 08:00-18:00 UTC", "are no days", ""),
        ("time:Mon Tue 08:00-18:00 UTC", "is no time", ""),
        ("handler", "names no function", 'write "handler:package.module::function"'),
        ("handler:rights", "names no function", ""),
        ("handler:rights.f", "names no function", ""),
        ("handler:rights:f", "names no function", ""),
        ("handler:../rights::f", "names no function", ""),
        ("handler:rights::f()", "names no function", ""),
        ("handler:rights::a.b", "names no function", ""),
        ("handler:rechte::prüfen", "names no function", ""),
        ("!handler:rights::f", "a handler cannot be negated", "let the handler return deny()"),
    ],
)  # fmt: skip
def test_text_that_is_no_atom_is_refused_with_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(TermError) as caught:
        parse_term(text, {})

    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["time:Mon-Fri 08:00-18:00 UTC and Sat", "time:08:00-18:00 UTC 20:00-22:00 UTC"])
def test_a_second_time_is_not_left_out(text: str) -> None:
    with pytest.raises(TermError) as caught:
        parse_term(text, {})

    assert "is no time" in str(caught.value)

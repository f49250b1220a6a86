"""Published bypasses by a path that the check and the web server read differently."""

from collections.abc import Iterator

import pytest

from tests.advisories.fronts import OTHER_HOST, Front, basic, status_of
from tests.deploy.house import FILES, SECRET

HANDBOOK = "/staff/handbook.txt"


def test_cve_2025_54576_query_does_not_widen_a_path(front: Front) -> None:
    """GHSA-7rh7-c77v-6434: a pattern for open paths was matched against path and query."""
    queries = ("?path=/status", "?/status", "?/api/status", "?a=b&c=/status", "?x=%2fstatus")
    answers: list[bytes] = []
    reasons = front.reasons(lambda: answers.extend(front.refuses(f"/api/private/x{query}") for query in queries))

    assert ({*map(status_of, answers)}, reasons) == ({401}, ["login_required"] * len(queries))
    # As part of the path it is another file's name.
    front.refuses("/api/private/x%3fpath=/status")

    front.opens("/api/status?path=/private/x")
    front.opens("/api/private/x?path=/status", user="alice")


def test_cve_2026_41059_fragment_does_not_widen_a_path(front: Front) -> None:
    """GHSA-pxq7-h93f-9jrg: `#` and `%23` made a closed path match the pattern of an open one."""
    for target in ("/foo/secret#/x/bar", "/foo/secret%23/x/bar", "/foo/secret%2523/bar"):
        front.refuses(target)
    # In a name it is a byte like any other: this file exists, and is another one.
    for target in ("/foo/secret#/bar", "/foo/secret%23/bar"):
        assert SECRET not in front.send(target), target

    front.opens("/foo/open/bar")
    front.opens("/foo/secret", user="alice")


MALFORMED = [
    *(b"/staff/handbook.txt%", b"/staff/handbook.txt%zz", b"/staff/handbook.txt%00", b"/staff/%2", b"/%"),
    *(b"/staff/handbook.txt\xff", b"/\xc0\xaestaff/handbook.txt", b"/staff%c0%afhandbook.txt", b"/%ff/../staff/x"),
    *(b"/staff/handbook.txt%0d%0aX:%20y", b"/staff/handbook.txt%0a", b"/%7f/../staff/handbook.txt%7f"),
    *(b"http://[/staff/handbook.txt", b"http://[::1", b"http:///staff/handbook.txt", b"://staff/handbook.txt"),
    *(b"staff/handbook.txt", b"*", b"///staff/handbook.txt:80", b"/staff/handbook.txt:%", b"/\\staff/x"),
]


@pytest.mark.parametrize("target", MALFORMED, ids=repr)
def test_cve_2021_32637_malformed_target_opens_nothing(front: Front, target: bytes) -> None:
    """GHSA-68wm-pfjf-wqp6: a target that could not be parsed was an error, and the error a 200."""
    answer = front.send(target)

    assert SECRET not in answer
    assert status_of(answer) != 200


def test_cve_2021_32637_well_formed_odd_target_is_served(front: Front) -> None:
    front.opens("/public/100%25.txt")
    front.opens("/public/100%2525.txt")


# Each leads to HANDBOOK for somebody, and begins with or looks like something open.
NOT_NORMALISED = [
    *("/staff/./handbook.txt", "/staff//handbook.txt", "//staff/handbook.txt", "/./staff/handbook.txt"),
    *("/staff/../staff/handbook.txt", "/x/y/../../staff/handbook.txt", "/staff/x/../handbook.txt", "/.//staff/./x"),
]
TRAVERSALS = [
    *("/public/../staff/handbook.txt", "/public/%2e%2e/staff/handbook.txt", "/public/.%2e/staff/handbook.txt"),
    *("/public/..%2fstaff/handbook.txt", "/public%2f..%2fstaff/handbook.txt", "/public/..%5cstaff/handbook.txt"),
    *("/public/..\\staff/handbook.txt", "/public/..;/staff/handbook.txt", "/public/%252e%252e/staff/handbook.txt"),
    *("/public/./../staff/handbook.txt", "/public//../staff/handbook.txt", "/public/x/../../staff/handbook.txt"),
    *("/public/%2e%2e%2fstaff/handbook.txt", "/public/../../../staff/handbook.txt", "/public/hello.txt/../../staff/x"),
]
ENCODED = [
    *("/%73taff/handbook.txt", "/staff/%68andbook.txt", "/s%74aff/handbook%2etxt", "/%2fstaff/handbook.txt"),
    *("/staff%2fhandbook.txt", "/staff/handbook.tx%74", "/%73%74%61%66%66/%68%61%6e%64%62%6f%6f%6b%2e%74%78%74"),
    "/%2573taff/handbook.txt",
]
DOTS_AND_SLASHES = [
    *("//upload/list.txt", "///upload//list.txt", "/upload/./list.txt", "/x/../upload/list.txt"),
    *("/x/%2e%2e/upload/list.txt", "/x/..%2fupload/list.txt", "/./upload/list.txt", "/upload/x/../list.txt"),
]
CASES = ["/UPLOAD/list.txt", "/Upload/list.txt", "/upload/LIST.TXT", "/%55pload/list.txt", "/uploa%44/list.txt"]


def forms(targets: list[str]) -> Iterator[str]:
    """Give each target with ends that change the reading for some."""
    for target in targets:
        yield from (target, f"{target}?", f"{target}?/public/")


@pytest.mark.parametrize("target", NOT_NORMALISED)
def test_authelia_3661_path_that_is_not_normalised_is_no_other_path(front: Front, target: str) -> None:
    """Fix 3661 of 2022: rules looked at the path as it was written."""
    for written in forms([target]):
        front.refuses(written)


@pytest.mark.parametrize("target", TRAVERSALS)
def test_ghsa_p224_6x5r_fjpm_way_through_an_open_folder_is_not_open(front: Front, target: str) -> None:
    """Oathkeeper: `/public/../admin/secrets` was taken for public."""
    for written in forms([target]):
        front.refuses(written)


@pytest.mark.parametrize("target", ENCODED)
def test_cve_2026_63177_encoded_bytes_are_the_path_that_is_served(front: Front, target: str) -> None:
    """Malcolm: rules looked at `$request_uri`, nginx served `$uri`."""
    for written in forms([target]):
        front.refuses(written)


@pytest.mark.parametrize("target", DOTS_AND_SLASHES)
def test_malcolm_1055_dots_and_slashes_lead_to_the_same_rule(front: Front, target: str) -> None:
    for written in forms([target]):
        front.refuses(written)


@pytest.mark.parametrize("target", CASES)
def test_malcolm_1081_upper_and_lower_case_are_two_paths_to_both(front: Front, target: str) -> None:
    for written in forms([target]):
        front.refuses(written)


def test_innocent_twins_of_the_paths_are_served(front: Front) -> None:
    """So that nothing above passes by everything being refused."""
    of_staff = [HANDBOOK, "/%73taff/handbook.txt", "/upload/list.txt", "/upload/l%69st.txt?/../x"]
    open_to_all = ["/public/hello.txt", "/%70ublic/hello.txt?x=/staff/"]
    if front.normalises:
        of_staff += ["/staff/./handbook.txt", "/public/../staff/handbook.txt", "/x/../upload/list.txt"]
        open_to_all += ["/staff/../public/hello.txt", "/public//./hello.txt"]
    for target in of_staff:
        assert SECRET in front.opens(target, user="alice"), target
    for target in open_to_all:
        front.opens(target)


def test_tinyauth_1044_pattern_is_not_looked_for_inside_target_or_query(front: Front) -> None:
    """Pull requests 1044 and 1055: a pattern without anchors met `/admin?x=/allowed`."""
    for target in (
        *("/staff/handbook.txt?x=/public/hello.txt", "/staff/handbook.txt?/public/"),
        *("/staff/public/plan.txt", "/staff/public/plan.txt?/index.html", "/staff/handbook.txt?x=/api/status"),
    ):
        answer = front.refuses(target)
        assert status_of(answer) == 401, target

    front.opens("/public/hello.txt?x=/staff/handbook.txt")
    front.opens("/staff/public/plan.txt", user="alice")


def test_ingress_nginx_8644_rewritten_path_is_the_one_that_is_asked_about(front: Front) -> None:
    """Issue 8644: the check saw the path before the rewrite, the files were those after it."""
    host, alice = (None, f"Cookie: authgate={front.session('alice')}")
    if front.name != "rewritemap":
        host, alice = OTHER_HOST, basic("alice")

    asked = front.audited(lambda: front.refuses("/short/handbook.txt", host=host))

    if front.normalises:
        assert [line["path"] for line in asked] == [HANDBOOK]
        assert FILES["staff/handbook.txt"] in front.opens("/short/handbook.txt", alice, host=host)
    else:
        # Caddy tells which path the client wrote, and one that has become another is for nobody.
        assert [line["reason"] for line in asked] == ["ambiguous_path"]
        front.refuses("/short/handbook.txt", alice, host=host)
        assert FILES["staff/handbook.txt"] in front.opens(HANDBOOK, alice, host=host)

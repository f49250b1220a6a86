"""Which credential counts when two come together through Apache: the table of tests/credentials/claimants.py."""

from collections.abc import Iterator

import pytest

from tests.credentials.claimants import Believed, cases
from tests.deploy.order import ALL, Town, is_as_the_table_says, settle
from tests.deploy_apache.house import ApacheHouse, inhabited
from tests.deploy_apache.test_certificates import asking
from tests.servers import open_folder

CARRIED = ("basic", "bearer", "certificate", "session", "jwt", "application")
BESIDE_A_LOGIN = ("certificate", "session", "jwt", "application")


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with open_folder() as folder:
        login = f"""
            Alias /login {folder}/login
            <Directory {folder}/login>
                AuthBasicProvider file
                AuthUserFile {folder}/of-the-server
                Include authgate/authgate-protect-server.conf
            </Directory>
        """
        (folder / "login").mkdir()
        house = ApacheHouse(
            folder, rules=ALL, users="server_login = true\n", change=asking(folder / "clients"), below=login
        )
        house.build()
        settled = settle(house)
        with inhabited(house):
            yield settled


def test_the_first_that_is_present_decides(town: Town) -> None:
    found = town.believed(cases(*CARRIED))

    # What is sent in one field cannot be sent twice.
    assert len(found) == 15 * 9 - 4
    for case, believed in found:
        assert is_as_the_table_says(case, believed), str(case)


def test_a_login_of_apache_comes_before_everything_else(town: Town) -> None:
    for kind in BESIDE_A_LOGIN:
        for case, believed in town.believed(cases("server", kind), f"/login/{kind}"):
            if "server" not in case.states:
                # Apache asks for the password by itself.
                assert believed == Believed(401, 401, None), str(case)
            else:
                # Behind a login of Apache's own 401 would make a browser ask for a password that was right.
                assert is_as_the_table_says(case, believed, refused=403), str(case)

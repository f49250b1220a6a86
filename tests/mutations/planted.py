"""Every mutation that is planted, by the rooms of docs/layout.md."""

from tests.mutations.credentials import CREDENTIALS
from tests.mutations.deciding import DECIDING
from tests.mutations.doors import DOORS
from tests.mutations.reading import READING

PLANTED = (*READING, *DECIDING, *CREDENTIALS, *DOORS)

"""How much is tried: the same examples each time, or with HYPOTHESIS_PROFILE=long many more and others each time."""

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def tried(times: int) -> settings:
    """Return the settings of a property that is tried so many times."""
    return settings(
        max_examples=times * 20 if LONG else times,
        derandomize=not LONG,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )

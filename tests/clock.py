"""Time that tests move by hand."""


class MovableClock:
    """A clock that stands still until it is moved.

    Args:
        now: seconds since the epoch, UTC.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward, or back for a negative number."""
        self.now += seconds

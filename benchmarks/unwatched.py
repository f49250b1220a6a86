"""The command ``authgate`` as it would be without figures and without an audit, to compare with."""

import authgate.app
from authgate.cli import main
from authgate.observe.audit import Audit


class _Silent(Audit):
    """An audit to which nothing is said."""

    def decided(self, *_: object) -> None:
        """Do nothing."""


authgate.app.Audit = _Silent  # type: ignore[attr-defined] # the point of it

if __name__ == "__main__":
    main()

"""Files that are shipped with authgate for other programs."""

from pathlib import Path

import authgate
from authgate.cli.output import fail


def shipped(folder: str, name: str) -> str:
    """Return the content of ``deploy/FOLDER/NAME``; say what is wrong and exit when it is missing."""
    package = Path(authgate.__file__).parent
    # In an installed wheel the files are inside the package, in a checkout beside it.
    for root in (package, package.parent):
        path = root / "deploy" / folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return fail(f"deploy/{folder}/{name} is missing from this installation", "install authgate again")

"""Where ``authgate explain ID`` finds a decision of the past: the audit's files, or a log that is named."""

import sys
from collections.abc import Mapping
from pathlib import Path

from authgate.cli.output import fail
from authgate.config import Settings
from authgate.observe.records import ID, Record, RecordError, find, find_in_file, log_files, read_record

STDIN = Path("-")

_PIPE = "journalctl -u authgate | authgate explain {} --log -"


def find_record(id_: str, settings: Settings, log: Path | None) -> Record:
    """Return what the audit says about a decision; say why it cannot and exit when it cannot.

    Args:
        log: STDIN or a file to look into instead of the audit's.
    """
    found = ID.fullmatch(id_)
    if found is None:
        hint = f'write "authgate explain GET {id_}"' if "://" in id_ else "such as 3fa1-c6bfff4b5cd9"
        fail(f'"{id_}" is no id of a decision', hint, code=2)
    if log is None and settings.audit_file is None:
        fail("the audit is written to stderr here, not to a file", f"pipe the log in: {_PIPE.format(id_)}")
    if log == STDIN:
        fields, looked = find(id_, sys.stdin.buffer), ["what was piped in"]
    else:
        fields, looked = _find_in_files(id_, settings, log)
    if fields is None:
        fail(f"{id_} is not in {', '.join(looked)}", _hint(found[1], settings, elsewhere=log is not None))
    try:
        return read_record(fields)
    except RecordError as error:
        fail(str(error), "another version of authgate may have written it")


def _find_in_files(id_: str, settings: Settings, log: Path | None) -> tuple[Mapping[str, object] | None, list[str]]:
    """Return the line, and the names of the files that were looked at."""
    named = log or settings.audit_file or STDIN
    path = named
    looked: list[str] = []
    try:
        for path in [named] if log is not None else log_files(named):
            fields = find_in_file(id_, path)
            looked.append(str(path))
            if fields is not None:
                return fields, looked
    except OSError as error:
        hint = "run this as root, or as the user of the service" if isinstance(error, PermissionError) else ""
        fail(f"cannot read {error.filename or path}: {(error.strerror or str(error)).lower()}", hint)
    if not looked:
        fail(
            f"there is no audit file {named}",
            "audit.file is relative to the configuration file, or to $STATE_DIRECTORY",
        )
    return None, looked


def _hint(node: str, settings: Settings, *, elsewhere: bool) -> str:
    if node != settings.node and not elsewhere:
        return f"node {node} is not this one ({settings.node}): look at its audit"
    if not settings.audit_allows:
        return "requests that may pass are only in it with `allows = true` under [audit]; or it was rotated away"
    return 'it may have been rotated away, or dropped: lines with "dropped" say how many are missing'

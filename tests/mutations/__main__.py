"""``make mutations``: the core with one mistake in it at a time. Each has to make a test fail.

A mistake that no test notices is a test that is missing. One that breaks an import or a fixture proves nothing, so that
fails the run as well; and so does one whose place in the code is no longer there.

    python -m tests.mutations            all of them
    python -m tests.mutations session    those with this in the name or the file
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutations.mutation import ROOT, Mutation
from tests.mutations.planted import PLANTED

# As many as there are cores where this has to be done in five minutes.
AT_A_TIME = 2

# Seconds; the slowest of them takes ten.
_PATIENCE = 300
_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
_A_TEST_FAILED = 1


def main() -> None:
    wanted = " ".join(sys.argv[1:])
    chosen = [mutation for mutation in PLANTED if wanted in f"{mutation.name} {mutation.file}"]
    if not chosen:
        sys.exit(f'no mutation has "{wanted}" in its name or file')
    with tempfile.TemporaryDirectory(prefix="authgate-mutations-") as name:
        folders = _copies(Path(name))
        # It also compiles every module, in the first folder alone: what is mutated is never written as bytecode.
        whole = _run(folders[0], dict.fromkeys(target for mutation in chosen for target in mutation.targets), {})
        if whole.returncode != 0:
            sys.exit(f"{whole.stdout}\nthe tests fail without any mutation")
        free: SimpleQueue[Path] = SimpleQueue()
        for folder in folders:
            free.put(folder)

        def judge(mutation: Mutation) -> str | None:
            folder = free.get()
            try:
                return _judge(folder, mutation)
            finally:
                free.put(folder)

        with ThreadPoolExecutor(len(folders)) as pool:
            caught = [_say(mutation, said) for mutation, said in zip(chosen, pool.map(judge, chosen), strict=True)]
    sys.stdout.write(f"{len(caught)} planted, {sum(caught)} caught\n")
    sys.exit(not all(caught))


def _copies(folder: Path) -> list[Path]:
    copies = [folder / str(number) for number in range(AT_A_TIME)]
    for copy in copies:
        # Without .git, .venv and caches.
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return copies


def _judge(folder: Path, mutation: Mutation) -> str | None:
    """Return what is wrong with the tests, or the mutation; None when a test failed."""
    path = folder / mutation.place
    original = path.with_suffix(".original")
    mutated = mutation.apply(path.read_text())
    # Moved and not written again: bytecode is good for as long as the time stamp is.
    path.rename(original)
    try:
        path.write_text(mutated)
        run = _run(folder, mutation.targets, {"PYTHONDONTWRITEBYTECODE": "1"})
    finally:
        original.replace(path)
    if run.returncode == 0:
        return "SURVIVED"
    # Nothing but an error in a fixture is status 1 as well.
    if run.returncode != _A_TEST_FAILED or not any(line.startswith("FAILED ") for line in run.stdout.splitlines()):
        return f"{run.stdout}\nBROKEN, pytest ended with status {run.returncode}"
    return None


def _run(folder: Path, targets: Iterable[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), **more}
    return subprocess.run(
        [*_PYTEST, "-x", *targets],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


def _say(mutation: Mutation, said: str | None) -> bool:
    sys.stdout.write(f"{mutation.file}: {mutation.name}: {'caught' if said is None else said}\n")
    sys.stdout.flush()
    return said is None


if __name__ == "__main__":
    main()

"""Who holds a home now, asked without taking it."""

from __future__ import annotations

import fcntl
from pathlib import Path


def holder(root: Path) -> str | None:
    """The run on this machine that holds the home (or its mirror) in this folder, in its own words; None: nobody does."""
    path = root / ".lock"
    if not path.is_file():
        return None
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another run"
    return None

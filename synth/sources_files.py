"""Which files a path, a glob or an address of a source names."""

from __future__ import annotations

import difflib
import glob
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synth.errors import SourceError, SynthError, fail

LISTED_NAMES = 1000  # of a folder's, at most, when looking for one that the user may have meant


@contextmanager
def within_reach() -> Iterator[None]:
    """What the system says of a file that is not there or not ours becomes a SourceError."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        do = "check the source's paths, and that you may read them"
        raise fail(SourceError, f"{error.filename} cannot be read: {error.strerror}", do=do) from error


def matches(pattern: str, base: Path, wanted: Callable[[Path], bool] = Path.is_file, what: str = "file") -> list[Path]:
    """The files (or what `wanted` says) that a path or a glob names; one of exactly that name wins over its reading as a glob."""
    if wanted(base / pattern):
        return [absolute(base / pattern)]
    found = {absolute(path) for path in _expanded(*_rooted(pattern, base)) if wanted(path)}
    if not found:
        raise _no_match(pattern, base / pattern, what)
    return sorted(found)


def absolute(path: Path) -> Path:
    """The path from the root as it was written; resolve() would show where links lead."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _rooted(pattern: str, base: Path) -> tuple[Path, tuple[str, ...]]:
    parts = Path(pattern).parts
    return (Path(parts[0]), parts[1:]) if Path(pattern).is_absolute() else (base, parts)


def _expanded(root: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """What a glob matches under `root`. `**` goes into each folder once: links may make circles."""
    if "**" not in parts:
        for hit in glob.glob("/".join(parts), root_dir=root) if parts else ():  # noqa: PTH207 (a Path knows no root_dir)
            yield root / hit
        return
    at = parts.index("**")
    starts = _expanded(root, parts[:at]) if at else iter([root])
    for start in starts:
        for folder in _folders(start):
            yield from _expanded(folder, parts[at + 1 :] or ("*",))


def _folders(start: Path) -> Iterator[Path]:
    """A folder and all below it, each once however many links lead there; hidden ones are left out, as in every glob."""
    seen: set[tuple[int, int]] = set()
    left = [start]
    while left:
        folder = left.pop()
        try:
            status = folder.stat()
            entries = sorted(folder.iterdir())
        except (NotADirectoryError, FileNotFoundError):  # a file, or a link to nothing
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder
        left.extend(entry for entry in reversed(entries) if not entry.name.startswith(".") and entry.is_dir())


def _no_match(pattern: str, path: Path, what: str) -> SynthError:
    """The error for a path or glob that names nothing: where it was looked for, and what lies there."""
    is_glob = glob.escape(pattern) != pattern
    folder = path if path.is_dir() else next(parent for parent in path.parents if parent.is_dir())
    names = sorted(entry.name + "/" * entry.is_dir() for entry in itertools.islice(folder.iterdir(), LISTED_NAMES))
    wanted = "" if folder == path else path.relative_to(folder).parts[0]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or names[:3]
    problem = "is a folder" if folder == path else f"matches no {what}" if is_glob else "does not exist"
    return fail(
        SourceError,
        f"the path {pattern!r} of a source {problem}",
        given=f"{pattern!r}, looked for in {absolute(folder)}",
        allowed=f"a {what} or a glob; nearest there: {', '.join(near) or '(the folder is empty)'}",
        do="correct `paths`; they are relative to the recipe's folder",
    )

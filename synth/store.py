"""A home: the folder where everything durable lies. Published means manifest.

Files are written in scratch, flushed to disk and moved into their object's folder; `manifest.json` is created last,
put-if-absent, and is completion: an object without one does not exist. Paths inside a home are relative, with `/`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson

from synth.errors import HomeError, IntegrityError, SpaceError, fail

HOME_FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_MARK = "home.json"
_LOCK = ".lock"
_TEMPORARY = "tmp"


class Store:
    """A home in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def open(cls, root: Path) -> Store:
        """The home at `root`, made if the folder is missing or empty; a newer format or a foreign folder is refused."""
        store = cls(root)
        if not store.exists(_MARK):
            store._make()
        try:
            version = orjson.loads(store.read(_MARK))["format_version"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise fail(
                HomeError, f"{root}/{_MARK} is not readable: {error}", do="restore it or use another --home"
            ) from error
        if version > HOME_FORMAT_VERSION:
            raise fail(
                HomeError,
                f"the home {root} was written by a newer version of synth",
                given=f"format {version}",
                allowed=f"format up to {HOME_FORMAT_VERSION}",
                do="upgrade synth, or use another --home",
            )
        return store

    def _make(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise fail(HomeError, f"the home {self.root} is a file", do="give a folder with --home")
        strangers = (
            sorted(path.name for path in self.root.iterdir() if path.name != _TEMPORARY) if self.root.exists() else []
        )
        if set(strangers) - {_LOCK}:
            raise fail(
                HomeError,
                f"{self.root} is not a home of synth and not empty",
                given=", ".join(strangers[:5]),
                do="give an empty or new folder with --home",
            )
        self.create(_MARK, orjson.dumps({"format_version": HOME_FORMAT_VERSION}))

    @contextlib.contextmanager
    def lock(self, who: str) -> Iterator[None]:
        """Hold the home for one run. The lock dies with its process, so a killed run leaves nothing to clean up by hand."""
        with writing(self.root):
            make_folders(self.root)
        with (self.root / _LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise fail(
                    HomeError,
                    f"the home {self.root} is in use by another run",
                    given=file.read().strip() or "unknown process",
                    do="wait for it, stop it, or use another --home",
                ) from None
            with writing(self.root):
                file.truncate(0)
                file.write(f"process {os.getpid()}: {who}")
                file.flush()
            shutil.rmtree(self.root / _TEMPORARY, ignore_errors=True)  # what killed runs left half written
            yield

    def local(self, path: str) -> Path:
        """A local path to read; absolute paths (seed files outside the home) stay as they are."""
        return self.root / path

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return (self.root / path).exists()

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        return (self.root / path).read_bytes()

    def names(self, path: str) -> list[str]:
        """Sorted names inside a folder; a missing folder is empty."""
        folder = self.root / path
        return sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []

    def objects(self, prefix: str) -> list[str]:
        """Sorted paths of the published objects under a folder: those that have a manifest."""
        base = self.root / prefix
        found = (Path(folder) for folder, _, files in os.walk(base) if MANIFEST in files)
        return sorted(folder.relative_to(self.root).as_posix() for folder in found)

    def create(self, path: str, data: bytes) -> bool:
        """Put-if-absent: True when this call created the file, durable on return; False when it was there."""
        target = self.root / path
        temporary = self._write_temporary(target, data)
        try:
            with writing(target.parent):
                os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        sync_folder(target.parent)
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a file whole, over an older one: for a run's own reports, never for anything that is committed."""
        target = self.root / path
        self._write_temporary(target, data).replace(target)
        sync_folder(target.parent)

    def _write_temporary(self, target: Path, data: bytes) -> Path:
        """A durable file beside nothing, to be moved to `target`, whose folder is made."""
        temporary = self._temporary()
        with writing(temporary):
            make_folders(target.parent)
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        return temporary

    def publish(self, place: str, folder: Path, manifest: bytes) -> bool:
        """Move the files of `folder` to the object `place`, then create its manifest. False when it was published before."""
        if self.exists(f"{place}/{MANIFEST}"):
            return False
        target = self.root / place
        make_folders(target)
        for file in sorted(folder.iterdir()):
            sync_file(file)
            self._move(file, target / file.name)
        sync_folder(target)
        return self.create(f"{place}/{MANIFEST}", manifest)

    def _move(self, source: Path, target: Path) -> None:
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            temporary = self._temporary()  # scratch lies on another disk
            with writing(temporary):
                shutil.copyfile(source, temporary)
            sync_file(temporary)
            temporary.replace(target)

    def _temporary(self) -> Path:
        with writing(self.root):
            make_folders(self.root / _TEMPORARY)
        return self.root / _TEMPORARY / secrets.token_hex(8)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk into a SpaceError that says where, and removes the partial file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if path.is_file():
            path.unlink()
        raise no_space(path) from error


def no_space(path: Path) -> SpaceError:
    """The error for a full disk."""
    error = fail(
        SpaceError,
        f"no space left on the disk of {path}",
        do="free some space and run the same command again: everything finished so far is kept, nothing is paid twice",
    )
    assert isinstance(error, SpaceError)
    return error


def has_room(folder: Path) -> bool:
    """Whether a small file can be written there, tried by writing one."""
    probe = folder / f".room-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(bytes(4096))
    except OSError as error:
        return error.errno not in (errno.ENOSPC, errno.EDQUOT)
    finally:
        probe.unlink(missing_ok=True)
    return True


def make_folders(folder: Path) -> None:
    """Create a folder and its parents, each one's entry made durable."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Flush a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk: a rename alone is not durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_json(data: bytes, where: str) -> dict[str, object]:
    """A stored JSON object; a torn or edited file is named."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise fail(IntegrityError, f"{where} is not valid JSON: {error}", do="restore it from a copy") from error
    if not isinstance(value, dict):
        raise fail(IntegrityError, f"{where} is not a JSON object", do="restore it from a copy")
    return value

"""A home: the folder, or the prefix in an S3 bucket, where everything durable lies. Published means manifest.

Files are written in scratch, flushed to disk and moved into their object's folder; `manifest.json` is created last,
put-if-absent, and is completion: an object without one does not exist. Paths inside a home are relative, with `/`.

`Store` is a home in a local folder, and the door to both kinds: `Store.open` and `Store.at` give a `synth.store_s3.S3Store`,
which has the same methods, for an s3:// URL.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson

from synth.errors import HomeError, HomeInUseError, IntegrityError, SpaceError, fail

HOME_FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MARK = "home.json"
"""The file that makes a folder a home."""
_LOCK = ".lock"
_TEMPORARY = "tmp"
MIRROR = "mirror.json"
"""In a local folder that mirrors a home on S3: which one. Whoever opens that folder opens the home on S3."""


class Store:
    """A home in a local folder."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        """A local folder: the home itself, or the mirror of one on S3."""
        self.name = str(self.root)
        """What people call this home: the folder's path, or the URL."""

    @classmethod
    def at(cls, home: Path | str, tell: Callable[[str], None] = lambda text: None) -> Store:
        """The home at a folder or an s3:// URL, as it is: nothing is made. `tell` gets a line when something takes long."""
        if url := _url_of(home):
            from synth.store_s3 import S3Store

            return S3Store(url, tell)
        return cls(Path(home))

    @classmethod
    def open(cls, home: Path | str, tell: Callable[[str], None] = lambda text: None) -> Store:
        """The same, made if the folder is missing or empty; a newer format or a foreign folder is refused."""
        store = cls.at(home, tell)
        if not store.exists(MARK):
            store._make()
        try:
            version = orjson.loads(store.read(MARK))["format_version"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise fail(
                HomeError, f"{store.name}/{MARK} is not readable: {error}", do="restore it or use another --home"
            ) from error
        if version > HOME_FORMAT_VERSION:
            raise fail(
                HomeError,
                f"the home {store.name} was written by a newer version of synth",
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
        self.create(MARK, self._first_mark())

    @staticmethod
    def _first_mark() -> bytes:
        return orjson.dumps({"format_version": HOME_FORMAT_VERSION})

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
                    HomeInUseError,
                    f"the home {self.name} is in use by another run",
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

    def fetch(self, paths: Iterable[str]) -> None:
        """Make sure that `local` has these at hand: what is not here is copied here, several files at a time."""

    def recheck(self, places: Iterable[str]) -> None:
        """Throw copies away that are not what the home holds now, before all of these objects are verified."""

    def refetch(self, path: str) -> bool:
        """Whether `local` gives another copy of a file whose bytes turned out to be wrong; here there is only this one."""
        return False

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

    def manifests(self, prefix: str) -> dict[str, bytes]:
        """The manifests of the published objects under a folder, by their paths."""
        return {place: self.read(f"{place}/{MANIFEST}") for place in self.objects(prefix)}

    def files(self, prefix: str) -> dict[str, int]:
        """Every file under a folder, published or not, and its size in bytes."""
        found = [Path(folder) / name for folder, _, names in os.walk(self.root / prefix) for name in names]
        return {path.relative_to(self.root).as_posix(): path.lstat().st_size for path in sorted(found)}

    def modified_at(self, path: str) -> float | None:
        """When a file was last written, in seconds since 1970; None when it is not there."""
        try:
            return (self.root / path).stat().st_mtime
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        """Remove a file, or an object: its manifest first, so that what is half removed does not exist, then the rest."""
        target = self.root / path
        if target.is_dir():
            manifest = target / MANIFEST
            if manifest.exists():
                manifest.unlink()
                sync_folder(target)
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        parent = target.parent
        while parent != self.root and parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent

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


def home_name(home: Path | str) -> str:
    """What people call a home: the folder, or the URL that it mirrors."""
    return _url_of(home) or str(home)


def _url_of(home: Path | str) -> str | None:
    """The s3:// URL that is meant; a path that went through pathlib has lost a slash."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(/|$)|s3:", str(home))
    if scheme and scheme[1] == "s3":
        return "s3://" + str(home)[len("s3:") :].strip("/")
    if scheme:
        raise fail(
            HomeError,
            "the home is neither a folder nor on S3",
            given=str(home),
            allowed="a folder, or s3://BUCKET/PREFIX",
            do="give a folder whose name has a colon by its absolute path",
        )
    try:
        return str(orjson.loads((Path(home) / MIRROR).read_bytes())["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None


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

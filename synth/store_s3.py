"""A home below an S3 prefix, worked on through its mirror: a local folder with copies of what was read or written here.

The bucket is the truth and has the layout of a local home. Files of objects never change, so a copy of one is good as long
as the object's manifest is the one it came with; everything else is asked for again, by its ETag. The mirror also holds
what is local in any case: scratch, with the open journals. All of it but scratch may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from synth.digest import digest, file_sha256, short
from synth.errors import HomeError, IntegrityError, fail
from synth.lease import LEASE, Lease
from synth.s3 import Bucket, Entry, etag_of, md5_hex, side_by_side
from synth.store import MANIFEST, MARK, MIRROR, Store, make_folders, parse_json, writing
from synth.weights import cache_folder

_OBJECTS = "objects/"
_TELL_BYTES = 32 << 20  # a download of less needs no line
_QUESTIONS = 32
"""After so many questions about the objects of one step a listing of all of them is cheaper than more questions."""
_TIGHT_SHARE, _ROOMY_SHARE = 0.1, 0.2  # of the disk: with less than the first free, copies go until the second is
_FRESH_SECONDS = 3600.0  # copies that somebody may be reading stay


class S3Store(Store):
    """A home on S3. `root` is its mirror."""

    is_local = False

    def __init__(self, url: str, tell: Callable[[str], None] = lambda text: None) -> None:
        self._bucket = Bucket(url.rstrip("/"), tell)
        self._tell = tell
        place = {"url": self._bucket.url, "endpoint": self._bucket.endpoint}
        super().__init__(cache_folder() / "homes" / short(digest(place)))
        self.name = self._bucket.url
        self._mirror = self._make_mirror()
        self._lease: Lease | None = None
        self._published: set[str] = set()  # paths of manifests that are known to be there
        self._places: list[str] = []  # the folders of the same, sorted
        self._knowing = threading.Lock()
        self._asked: Counter[str] = Counter()  # questions by step
        self._listed: set[str] = set()  # steps of which all published objects are known
        self._copying = [threading.Lock() for _ in range(64)]

    def _make_mirror(self) -> str:
        """The mirror's own name: no other folder has it."""
        with writing(self.root):
            make_folders(self.root)
        value = {"url": self._bucket.url, "id": secrets.token_hex(8)}
        Store.create(self, MIRROR, orjson.dumps(value))
        return str(parse_json((self.root / MIRROR).read_bytes(), str(self.root / MIRROR))["id"])

    def _make(self) -> None:
        strangers = set(self._bucket.names("")) - {LEASE}
        if strangers and not self._bucket.head(MARK):  # not made by somebody else just now
            raise fail(
                HomeError,
                f"{self.name} is not a home of synth and not empty",
                given=", ".join(sorted(strangers)[:5]),
                do="give an empty or new prefix with --home",
            )
        self.create(MARK, self._first_mark())
        if self.create(MARK, b"{}"):
            self._bucket.put(MARK, self._first_mark())
            raise fail(
                HomeError,
                f"the S3 server of {self.name} overwrites objects that it was told not to (If-None-Match: *)",
                do="use a server that knows conditional writes: AWS, MinIO, Ceph and others of 2025 or later do",
            )

    @contextlib.contextmanager
    def lock(self, who: str) -> Iterator[None]:
        """Hold the home for one run, and its mirror for the processes of this machine."""
        with super().lock(who):
            lease = Lease(self._bucket, self._mirror, who)
            lease.acquire()
            self._lease = lease
            try:
                self._bucket.abort_uploads("objects")  # what killed runs left half uploaded
                self._make_room()
                yield
            finally:
                self._lease = None
                lease.release()

    def _make_room(self) -> None:
        """On a disk that is nearly full, remove copies of published files, oldest first; they can be fetched again."""
        disk = shutil.disk_usage(self.root)
        if disk.free >= _TIGHT_SHARE * disk.total:
            return
        copies = [path for path in (self.root / _OBJECTS).rglob("*") if path.is_file() and path.name != MANIFEST]
        by_age = sorted(((path.stat().st_mtime, path) for path in copies), key=lambda one: one[0])
        removed = 0
        for modified_at, path in by_age:
            if disk.free + removed >= _ROOMY_SHARE * disk.total or modified_at > time.time() - _FRESH_SECONDS:
                break
            removed += path.stat().st_size
            path.unlink()
        if removed:
            self._tell(f"the disk of {self.root} is nearly full: {removed / 1e6:,.0f} MB of copies were removed")

    # Reading

    def local(self, path: str) -> Path:
        """A local copy to read, fetched when it is not here."""
        target = self.root / path
        if path.startswith("/"):
            return Path(path)
        with self._copying[hash(path) % len(self._copying)], contextlib.suppress(FileNotFoundError):
            if not path.startswith(_OBJECTS):
                self._copy_changed(path, target)
            elif target.exists():
                pass
            elif path.endswith(f"/{MANIFEST}"):
                self.read(path)
            else:
                self._copy_object_file(path, target)
        return target

    def _copy_changed(self, path: str, target: Path) -> None:
        """Bring a file that may be written anew up to date."""
        etag = f'"{md5_hex(target.read_bytes())}"' if target.exists() else None
        temporary = self._temporary()
        try:
            with writing(temporary):
                if self._bucket.download(path, temporary, etag):
                    self._take(temporary, target)
        except FileNotFoundError:
            target.unlink(missing_ok=True)
        finally:
            temporary.unlink(missing_ok=True)

    def _copy_object_file(self, path: str, target: Path) -> None:
        """Copy a published file; bytes that are not what the manifest says are fetched once more, then refused."""
        place, _, name = path.rpartition("/")
        entry = self._entry(place, name)
        if entry is None:
            return
        for _ in range(2):
            temporary = self._temporary()
            try:
                with writing(temporary):
                    self._bucket.download(path, temporary)
                found = file_sha256(temporary)
                if found == entry["sha256"]:
                    self._take(temporary, target)
                    return
            finally:
                temporary.unlink(missing_ok=True)
        raise fail(
            IntegrityError,
            f"{self.name}/{path} is not what its manifest says",
            given=f"sha256 {found}",
            allowed=f"sha256 {entry['sha256']}",
            do="restore it from a copy, or delete its folder and run again: only that object is made again",
        )

    def _entry(self, place: str, name: str) -> dict[str, Any] | None:
        """What the object's manifest says of one of its files."""
        mirrored = self.root / place / MANIFEST
        data = mirrored.read_bytes() if mirrored.exists() else self.read(f"{place}/{MANIFEST}")
        files: Any = parse_json(data, f"{place}/{MANIFEST}")["files"]
        found: dict[str, Any] | None = files.get(name)
        return found

    def _take(self, temporary: Path, target: Path) -> None:
        """Move a complete file into the mirror."""
        with writing(target.parent):
            make_folders(target.parent)
        temporary.replace(target)

    def fetch(self, paths: Iterable[str]) -> None:
        """Copy what is not here, several files at a time."""
        inside = [path for path in dict.fromkeys(paths) if not path.startswith("/")]
        side_by_side(self.local, [path for path in inside if not path.startswith(_OBJECTS)])
        missing = [path for path in inside if path.startswith(_OBJECTS) and not (self.root / path).exists()]
        side_by_side(self._mirror_manifest, sorted({path.rpartition("/")[0] for path in missing}))
        entries = [self._entry(*path.rsplit("/", 1)) for path in missing]
        size = sum(entry["bytes"] for entry in entries if entry)
        if size > _TELL_BYTES:
            self._tell(f"copying {len(missing):,} files, {size / 1e6:,.0f} MB, from {self.name}")
        side_by_side(self.local, missing)

    def _mirror_manifest(self, place: str) -> None:
        if not (self.root / place / MANIFEST).exists():
            with contextlib.suppress(FileNotFoundError):
                self.read(f"{place}/{MANIFEST}")

    def recheck(self, places: Iterable[str]) -> None:
        """Compare copies with what S3 lists, by ETag; those that differ are fetched again when they are wanted."""

        def compare(place: str) -> None:
            for entry in self._bucket.entries(place):
                copy = self.root / entry.key
                if copy.is_file() and etag_of(copy) != entry.etag:
                    copy.unlink()

        side_by_side(compare, places)

    def refetch(self, path: str) -> bool:
        """Throw a local copy away whose bytes are wrong, for `local` to fetch another."""
        target = self.root / path
        if path.startswith("/") or not target.exists():
            return False
        target.unlink()
        return True

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        if path in self._published or (path.endswith(f"/{MANIFEST}") and self._whole_step(path)):
            return path in self._published
        found = self._bucket.head(path) is not None
        if found and path.endswith(f"/{MANIFEST}"):
            self._know([path])
        return found

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        data = self._bucket.get(path).data
        if path.startswith(_OBJECTS) and path.endswith(f"/{MANIFEST}"):
            self._mirrored(path, data)
        return data

    def _mirrored(self, path: str, manifest: bytes) -> None:
        """Remember a manifest; copies that came with another one are of an object that was removed and made again."""
        target = self.root / path
        if target.exists():
            if target.read_bytes() == manifest:
                return
            shutil.rmtree(target.parent)
        Store.replace(self, path, manifest)

    def names(self, path: str) -> list[str]:
        """Sorted names inside a folder; a missing folder is empty."""
        return self._bucket.names(path)

    def objects(self, prefix: str) -> list[str]:
        """Sorted paths of the published objects under a folder."""
        if self._whole_step(f"{prefix}/"):
            with self._knowing:
                places = self._places
                return places[bisect_left(places, f"{prefix}/") : bisect_left(places, f"{prefix}0")]  # 0 follows /
        return sorted(entry.key.removesuffix(f"/{MANIFEST}") for entry in self._listed_manifests(prefix))

    def _whole_step(self, path: str) -> bool:
        """Whether all published objects of the path's step are known: after some questions they are listed once, and what
        is published from then on is published here, because this run holds the home."""
        root, _, rest = path.partition("/")
        step, inside, _ = rest.partition("/")
        if f"{root}/" != _OBJECTS or not inside:
            return False
        self._asked[step] += 1
        if step not in self._listed and self._asked[step] > _QUESTIONS:
            self._listed_manifests(f"{_OBJECTS}{step}")
            self._listed.add(step)
        return step in self._listed

    def _listed_manifests(self, prefix: str) -> list[Entry]:
        found = [entry for entry in self._bucket.entries(prefix) if entry.key.endswith(f"/{MANIFEST}")]
        self._know(entry.key for entry in found)
        return found

    def _know(self, manifests: Iterable[str]) -> None:
        with self._knowing:
            new = set(manifests) - self._published
            self._published |= new
            self._places += [path.removesuffix(f"/{MANIFEST}") for path in new]
            self._places.sort()  # nearly sorted already: one pass

    def manifests(self, prefix: str) -> dict[str, bytes]:
        """The manifests of the published objects under a folder, by their paths; only new ones are asked for."""
        listed = sorted(self._listed_manifests(prefix), key=lambda entry: entry.key.removesuffix(f"/{MANIFEST}"))
        found = side_by_side(self._manifest, listed)
        return {entry.key.removesuffix(f"/{MANIFEST}"): data for entry, data in zip(listed, found, strict=True)}

    def _manifest(self, entry: Entry) -> bytes:
        mirrored = self.root / entry.key
        if mirrored.exists():
            data = mirrored.read_bytes()
            if entry.etag == f'"{md5_hex(data)}"':
                return data
        return self.read(entry.key)

    def files(self, prefix: str) -> dict[str, int]:
        """Every file under a folder, published or not, and its size in bytes."""
        return {entry.key: entry.size_bytes for entry in self._bucket.entries(prefix)}

    def modified_at(self, path: str) -> float | None:
        """When a file was last written, in seconds since 1970; None when it is not there."""
        head = self._bucket.head(path)
        return head["LastModified"].timestamp() if head else None

    # Writing

    def create(self, path: str, data: bytes) -> bool:
        """Put-if-absent: True when this call created the file, also when S3's answer to that was lost on its way."""
        if self._lease:
            self._lease.check()
        return self._bucket.put(path, data, absent=True) is not None

    def replace(self, path: str, data: bytes) -> None:
        """Write a file whole, over an older one."""
        self._bucket.put(path, data)

    def publish(self, place: str, folder: Path, manifest: bytes) -> bool:
        """Upload the files of `folder`, then create the manifest; the files stay in the mirror."""
        path = f"{place}/{MANIFEST}"
        if self._bucket.head(path):
            return False
        files = sorted(folder.iterdir())
        if not all(side_by_side(lambda file: self._upload(place, file), files)):
            return False
        self._refuse_torn(place, files)
        if not self.create(path, manifest):
            return False
        self._know([path])
        shutil.rmtree(self.root / place, ignore_errors=True)
        for file in files:
            make_folders(self.root / place)
            self._move(file, self.root / place / file.name)
        Store.replace(self, path, manifest)
        return True

    def _upload(self, place: str, file: Path) -> bool:
        """Upload one file of an object that is being published; False when somebody else has published it.

        What lies there already is the same file of a run that died, is left by one that made other bytes, or belongs to a
        run that goes on although it lost its lease: only who holds the lease writes over it.
        """
        path, sha256 = f"{place}/{file.name}", file_sha256(file)
        if self._bucket.upload(path, file, sha256):
            return True
        there = self._bucket.head(path)
        if there and there["Metadata"].get("sha256") == sha256 and there["ContentLength"] == file.stat().st_size:
            return True
        if self._bucket.head(f"{place}/{MANIFEST}"):
            return False
        if self._lease:
            self._lease.check()
        return self._bucket.upload(path, file, sha256, absent=False)

    def _refuse_torn(self, place: str, files: Iterable[Path]) -> None:
        """Before an object exists, what S3 lists must be what was uploaded."""
        listed = {entry.key: entry.size_bytes for entry in self._bucket.entries(place)}
        wanted = {f"{place}/{file.name}": file.stat().st_size for file in files}
        if any(listed.get(path) != size for path, size in wanted.items()):
            raise fail(
                IntegrityError,
                f"{self.name}/{place} is not as it was uploaded",
                given=str({path: listed.get(path) for path in wanted}),
                allowed=str(wanted),
                do="run the same command again",
            )

    def remove(self, path: str) -> None:
        """Remove a file, or an object: its manifest first, so that what is half removed does not exist, then the rest."""
        keys = [entry.key for entry in self._bucket.entries(path)]
        manifests = [key for key in keys if key.endswith(f"/{MANIFEST}")]
        self._bucket.delete(manifests)
        self._bucket.delete([path, *(key for key in keys if key not in manifests)])
        with self._knowing:
            self._published.difference_update(manifests)
            self._places = sorted(one.removesuffix(f"/{MANIFEST}") for one in self._published)
        Store.remove(self, path)

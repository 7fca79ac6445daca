"""The one driver: computes keys, skips what exists, runs a step in scratch and publishes. `synth plan` is this without `run`."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from synth.config import Config
from synth.digest import digest, file_sha256, short
from synth.errors import IntegrityError, fail
from synth.rows import FORMAT_VERSION
from synth.step import Counts, Step
from synth.store import MANIFEST, Store, make_folders, parse_json, writing


@dataclass(frozen=True, slots=True)
class File:
    """A published file, or a seed file outside the home (absolute path), by its content."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """What an object is and holds. `place` is its folder in the home."""

    place: str
    key: str
    step: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Any]
    sha256: str  # of manifest.json itself

    def file(self, name: str) -> File:
        """One of its files."""
        entry = self.files[name]
        return File(f"{self.place}/{name}", entry["sha256"], entry["bytes"])

    def tables(self, table: str) -> list[File]:
        """Its files of one table: `seeds` finds seeds-00000.parquet, seeds-00001.parquet …"""
        return [self.file(name) for name in sorted(self.files) if Path(name).stem.partition("-")[0] == table]

    def itself(self) -> File:
        """The manifest as a file that a step may read."""
        return File(f"{self.place}/{MANIFEST}", self.sha256, -1)


@dataclass(frozen=True)
class Work:
    """One application of a step. `memo` files may be used but change nothing in the result, so they are not in the key."""

    step: Step[Any]
    config: Config
    inputs: Mapping[str, File]
    group: str = ""  # folders between the step's name and the key
    memo: Mapping[str, File] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Digest of the step, its declared version, its config and the content of exactly the files it reads."""
        inputs = {name: file.sha256 for name, file in self.inputs.items()}
        return digest(
            {"step": self.step.name, "version": self.step.version, "config": self.config.content(), "inputs": inputs}
        )

    @property
    def place(self) -> str:
        """The object's folder in the home."""
        return "/".join(filter(None, ["objects", self.step.name, self.group, short(self.key)]))


class Driver:
    """Runs works against one home. Safe to call from several threads; the same work runs once."""

    def __init__(self, store: Store, scratch: Path, on_done: Callable[[Work, Manifest], None] | None = None) -> None:
        self.store = store
        self.scratch = scratch
        self._on_done = on_done
        self._known: dict[str, Manifest] = {}
        self._verified: set[tuple[str, int, int, str]] = set()
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def find(self, work: Work) -> Manifest | None:
        """The published object of this work, or None."""
        place = work.place
        if place not in self._known and not self.store.exists(f"{place}/{MANIFEST}"):
            return None
        found = self.load(place)
        if found.key != work.key:
            raise fail(
                IntegrityError,
                f"{place} holds another object than its name says",
                given=found.key,
                allowed=work.key,
                do="delete that folder and run again",
            )
        return found

    def load(self, place: str) -> Manifest:
        """The manifest of an object that is known to be published."""
        if place not in self._known:
            data = self.store.read(f"{place}/{MANIFEST}")
            self._known[place] = read_manifest(place, data)
        return self._known[place]

    def run(self, work: Work) -> Manifest:
        """Make the work's object unless it exists; return its manifest."""
        with self._guard:
            lock = self._locks.setdefault(work.key, threading.Lock())
        with lock:
            done = self.find(work)
            if done is None:
                done = self._make(work)
        if self._on_done:
            self._on_done(work, done)
        return done

    def _make(self, work: Work) -> Manifest:
        folder = self.scratch / work.place.removeprefix("objects/")
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        with writing(out):
            make_folders(out)
        files = {**work.inputs, **work.memo}
        self.store.fetch(file.path for file in files.values())
        paths = {name: self.verified(file) for name, file in sorted(files.items())}
        with writing(out):
            counts = work.step.run(paths, work.config, out)
        check_counts(counts, work.place)
        with writing(out):
            self.store.publish(work.place, out, _manifest(work, counts, out))
        shutil.rmtree(folder, ignore_errors=True)
        return self.load(work.place)

    def verified(self, file: File) -> Path:
        """The local path of an input whose bytes are what their manifest says: a flipped bit is found before use."""
        path = self.store.local(file.path)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise fail(
                IntegrityError, f"{path} is missing", do="restore it, or delete its object's folder and run again"
            ) from None
        seen = (file.path, status.st_mtime_ns, status.st_size, file.sha256)
        if seen not in self._verified:
            found = file_sha256(path)
            if found != file.sha256 and self.store.refetch(file.path):
                return self.verified(file)  # a copy here was damaged; should the truth be, there is no copy
            if found != file.sha256:
                raise fail(
                    IntegrityError,
                    f"{path} is not what its manifest says",
                    given=f"sha256 {found}",
                    allowed=f"sha256 {file.sha256}",
                    do="restore it from a copy, or delete its folder and run again: only that object is made again",
                )
            self._verified.add(seen)
        return path


def read_manifest(place: str, data: bytes) -> Manifest:
    """Parse a manifest; a newer format or torn file is refused."""
    import hashlib

    value: dict[str, Any] = parse_json(data, f"{place}/{MANIFEST}")
    if value.get("format_version", 0) > FORMAT_VERSION:
        raise fail(
            IntegrityError,
            f"{place} was written by a newer version of synth",
            given=f"format {value['format_version']}",
            allowed=f"format up to {FORMAT_VERSION}",
            do="upgrade synth",
        )
    names = ("key", "step", "config", "inputs", "files", "counts")
    return Manifest(place=place, sha256=hashlib.sha256(data).hexdigest(), **{name: value[name] for name in names})


def check_counts(counts: Counts, where: str) -> None:
    """in = kept + dropped; a difference of one is an error."""
    accounted = counts.kept + sum(counts.dropped.values())
    if counts.items != accounted:
        raise fail(
            IntegrityError,
            f"{where}: counts do not add up",
            given=f"{counts.items} in; {counts.kept} kept + {sum(counts.dropped.values())} dropped = {accounted}",
            do="this is a fault in the step: please report it",
        )


def _manifest(work: Work, counts: Counts, out: Path) -> bytes:
    files = {
        path.name: {"rows": _rows(path), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(out.iterdir())
    }
    value = {
        "format_version": FORMAT_VERSION,
        "step": work.step.name,
        "version": work.step.version,
        "key": work.key,
        "config": work.config.content(),
        "inputs": {name: file.sha256 for name, file in sorted(work.inputs.items())},
        "files": files,
        "counts": counts.content(),
    }
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def _rows(path: Path) -> int | None:
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            return int(sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches)))
    return None

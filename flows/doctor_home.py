"""What `synth doctor` says of a home: its format, who holds it, its disk and file system, its catalogue."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson

from flows.doctor import Check, Line, Patient, broken, ok, warning
from flows.doctor_packages import nearest
from flows.holder import holder
from synth.audit.copies import CATALOG
from synth.store import HOME_FORMAT_VERSION, MARK, Store, home_name

DISK_FLOOR_BYTES = 5 << 30
DISK_LEAST_BYTES = 256 << 20
LEFT_OVER_BYTES = 1 << 30
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"}
_MOUNTS = Path("/proc/self/mounts")
_AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)


def is_remote(home: Path | str) -> bool:
    """Whether the home lies on S3."""
    return home_name(home).startswith("s3://")


def home_format(patient: Patient) -> Iterator[Line]:
    """Whether it is a home that this version can use."""
    if is_remote(patient.home):
        return
    root = Path(patient.home)
    if not root.exists():
        yield ok("home", f"{root} is not there yet: the first run makes it")
        return
    if not root.is_dir():
        yield broken("home", f"{root} is a file", "give a folder with --home")
        return
    strangers = sorted(path.name for path in root.iterdir() if path.name not in ("tmp", ".lock"))
    if not (root / MARK).is_file():
        if strangers:
            what = f"{root} is not a home of synth and not empty ({', '.join(strangers[:5])})"
            yield broken("home", what, "give an empty or new folder with --home")
        else:
            yield ok("home", f"{root} is empty: the first run makes a home of it")
        return
    yield _version(root)


def _version(root: Path) -> Line:
    try:
        version = orjson.loads((root / MARK).read_bytes())["format_version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return broken("home", f"{root}/{MARK} cannot be read", "restore it from a copy, or use another --home")
    if version > HOME_FORMAT_VERSION:
        what = f"{root} has format {version}, this version reads up to {HOME_FORMAT_VERSION}"
        return broken("home", what, "upgrade synth, or use another --home")
    return ok("home", f"{root}, format {version}")


def home_lock(patient: Patient) -> Iterator[Line]:
    """Who holds it, and what killed runs left."""
    if is_remote(patient.home):
        return
    root = Path(patient.home)
    held = holder(root)
    if held:
        yield ok("home lock", f"held by {held}")
        return
    left = _bytes(root / "tmp")
    if left > LEFT_OVER_BYTES:
        yield warning("home lock", f"free; {left / 1e9:.1f} GB of half-written files", "the next run removes them")
    elif (root / MARK).is_file():
        yield ok("home lock", "free")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def open_work(patient: Patient) -> Iterator[Line]:
    """Journals of partitions that were begun and are not complete: answers that are paid."""
    scratch = _scratch(patient)
    journals = sorted(scratch.rglob("journal.sqlite")) if scratch and scratch.is_dir() else []
    if journals:
        size = sum(path.stat().st_size for path in journals)
        what = f"{len(journals):,} partitions are open ({size / 1e6:.1f} MB of paid answers in {scratch})"
        yield ok("open work", f"{what}: the same command goes on with them")


def catalogue(patient: Patient) -> Iterator[Line]:
    """Whether it is there, and as new as the newest release."""
    if is_remote(patient.home) or not (Path(patient.home) / MARK).is_file():
        return
    root = Path(patient.home)
    path = root / CATALOG
    releases = [file.stat().st_mtime for file in root.glob("releases/*/*.json")]
    if not path.is_file():
        if releases:
            yield warning("catalogue", "missing", "run the recipe again (it builds it), or ask synth explain")
        return
    built = path.stat().st_mtime
    said = f"of {datetime.fromtimestamp(built, UTC):%Y-%m-%d %H:%M} UTC"
    if releases and max(releases) > built:
        yield warning("catalogue", f"{said}, older than the newest release", "run the recipe again: it builds it anew")
    else:
        yield ok("catalogue", said)


def disk(patient: Patient) -> Iterator[Line]:
    """Room for the home and for work in progress."""
    places = {"home": None if is_remote(patient.home) else Path(patient.home), "scratch": _scratch(patient)}
    seen: dict[int, str] = {}
    for name, folder in places.items():
        if folder is None:
            continue
        there = nearest(folder.absolute())
        device = there.stat().st_dev
        if device in seen:
            yield ok(f"disk of {name}", f"the same as that of {seen[device]}")
            continue
        seen[device] = name
        free = shutil.disk_usage(there).free
        said, do = (
            f"{free / 1e9:,.1f} GB free at {folder}",
            "free some space, or use another disk (--home, run.scratch)",
        )
        if free < DISK_LEAST_BYTES:
            yield broken(f"disk of {name}", said, do)
        elif free < DISK_FLOOR_BYTES:
            yield warning(f"disk of {name}", f"{said}: a run stops cleanly when it is full", do)
        else:
            yield ok(f"disk of {name}", said)


def scratch_disk(patient: Patient) -> Iterator[Line]:
    """Journals are SQLite files, which a network file system may damage."""
    folder = _scratch(patient)
    if folder is None:
        return
    kind = file_system(folder)
    if kind in _REMOTE or kind.startswith("fuse."):
        do = "set run.scratch (or --set run.scratch=…) to a folder on a disk of this machine"
        yield broken("scratch", f"{folder} lies on {kind}: journals must be on a local disk", do)
    else:
        yield ok("scratch", f"{folder} lies on {kind}, on this machine")


def file_system(folder: Path) -> str:
    """The kind of file system that a folder, or the nearest one above it, lies on."""
    there = os.path.realpath(nearest(folder.absolute()))
    best, kind = "", "an unknown file system"
    for line in _MOUNTS.read_text().splitlines():
        _, where, found, *_ = line.split()
        where = where.encode().decode("unicode_escape")
        inside = there == where or there.startswith(f"{where.rstrip('/')}/")
        if inside and len(where) >= len(best):
            best, kind = where, found
    return kind


def links(patient: Patient) -> Iterator[Line]:
    """What publishing needs of the home's file system: a small file is written, flushed, linked, and removed again."""
    if is_remote(patient.home):
        return
    there = nearest(Path(patient.home).absolute())
    probe = there / f".doctor-{secrets.token_hex(4)}"
    linked = probe.with_suffix(".link")
    try:
        with probe.open("xb") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
        os.link(probe, linked)
    except OSError as error:
        what = f"{there}: {error.strerror} ({'link' if probe.exists() else 'write'})"
        yield broken("file system", what, "use a folder that you may write, on a file system with hard links (--home)")
    else:
        yield ok("file system", f"{there} can be written and flushed, and has hard links")
    finally:
        for path in (linked, probe):
            path.unlink(missing_ok=True)


def bucket(patient: Patient) -> Iterator[Line]:
    """A home on S3: whether there are credentials, and, where that is wanted, whether the bucket answers."""
    if not is_remote(patient.home):
        return
    given = [name for name in _AWS_VARIABLES if os.environ.get(name)]
    files = [
        path for path in (Path("~/.aws/credentials").expanduser(), Path("~/.aws/config").expanduser()) if path.is_file()
    ]
    where = ", ".join([*given, *map(str, files)])
    if not where:
        do = "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; on a node with a role this is fine"
        yield warning("credentials", "no AWS credentials in the environment or ~/.aws", do)
    else:
        yield ok("credentials", f"given by {where} (not looked into)")
    if not patient.network:
        yield ok("bucket", f"{home_name(patient.home)} was not asked (--network asks)")
        return
    there = Store.at(patient.home).exists(MARK)
    said = "answers, and holds a home" if there else "answers; the first run makes a home there"
    yield ok("bucket", f"{home_name(patient.home)} {said}")


def _scratch(patient: Patient) -> Path | None:
    """Where work in progress lies; None where only the store knows."""
    if patient.recipe is not None and patient.recipe.run.scratch:
        return Path(patient.recipe.run.scratch)
    return None if is_remote(patient.home) else Path(patient.home) / "scratch"


CHECKS: tuple[Check, ...] = (home_format, home_lock, open_work, catalogue, disk, scratch_disk, links, bucket)

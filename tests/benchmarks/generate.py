"""Documents per second through the step `generate`, families and tables included, on an instant server.

    python -m tests.benchmarks.generate [--seeds 10000] [--profile]

Seeds of some 90 words, three families (distill, diverse_qa, textbook), partitions of 2,000, eight open at once, 256 in flight.
This process runs on one core; the scripted server, which thinks up each answer, on another, and is asked everything once
before: its answers then come from its cache, so that ours is what is measured. Prints documents per second and CPU per document.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flows.recipe import load
from flows.session import Session
from synth.store import Store
from tests.benchmarks.engine import serving
from tests.corpora import engine_for, write_recipe, write_seeds

FAMILIES = ("distill", "diverse_qa", "textbook")
BAR_PER_SECOND = 500


def measure(folder: Path, url: str, seeds: int, profile: bool) -> None:
    """One run over fresh seeds in a fresh home; prints its line."""
    write_seeds(folder / "seeds/a.jsonl", range(seeds))
    blocks = "\n\n".join(f'[[families]]\nname = "{name}"' for name in FAMILIES)
    run = f'[run]\n[run.models.m]\nbase_url = "{url}"\nin_flight = 256'
    recipe = load(write_recipe(folder, url, families=blocks, ingest="[ingest]\npartition_rows = 2000", run=run))
    store = Store.open(folder / "home")
    engine = engine_for(recipe, store)
    try:
        session = Session.open(recipe, folder, store, "bench", engine)
        session.ingest()
        pairs = list(itertools.product(session.partitions(), session.works.families))
        screened = {file.sha256: session._run(session.works.screen(file)) for file in session.partitions()}
        start, used = time.monotonic(), _cpu_seconds()
        profiler = cProfile.Profile()
        if profile:
            engine._loop.call_soon_threadsafe(profiler.enable)
        with ThreadPoolExecutor(recipe.run.open_partitions) as pool:
            made = list(
                pool.map(
                    lambda pair: session._run(session.works.generate(pair[1], pair[0], screened[pair[0].sha256], {})),
                    pairs,
                )
            )
        seconds, cpu = time.monotonic() - start, _cpu_seconds() - used
        if profile:
            engine._loop.call_soon_threadsafe(profiler.disable)
            time.sleep(0.5)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
        documents = sum(one.counts["items"] for one in made)
        kept = sum(one.counts["kept"] for one in made)
        verdict = "met" if documents / seconds >= BAR_PER_SECOND else "NOT MET"
        print(
            f"generate | {documents:,} documents ({kept:,} without a defect) of {seeds:,} seeds, {len(FAMILIES)} families | "
            f"{documents / seconds:,.0f} a second, {1e3 * cpu / documents:.2f} ms CPU each | bar >= {BAR_PER_SECOND}: {verdict}",
            flush=True,
        )
    finally:
        engine.stop()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Two runs: the first fills the server's cache."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with serving() as server:
        cores = sorted(os.sched_getaffinity(0))
        if server.process.pid and len(cores) > 1:
            os.sched_setaffinity(server.process.pid, {cores[1]})
            os.sched_setaffinity(0, {cores[0]})
        for number in range(2):
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder), server.base_url, options.seeds, options.profile and number == 1)


if __name__ == "__main__":
    main()

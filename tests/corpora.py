"""Small corpora for tests that drive the whole pipeline: seed files, recipes, runs, and what a home holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from flows import loop
from flows.recipe import Recipe, load
from flows.session import Session
from synth import releases
from synth.engine.engine import Engine, Settings
from synth.releases import Release
from synth.store import Store

SUBJECTS = ("river", "bridge", "comet", "violin", "harbour", "orchard", "glacier", "lantern", "market", "compass")


def passage(number: int) -> str:
    """A text of about 80 words that screens well; different numbers give different texts."""
    words = [SUBJECTS[(number * step + step) % len(SUBJECTS)] for step in range(1, 9)]
    year = 1500 + 7 * number
    sentences = [
        f"The {words[0]} of district {number} was first described in {year} by a traveller who kept a careful diary.",
        f"It lies to the north of the old {words[1]}, and the people of the valley have used it for many generations.",
        f"In {year + 40} a {words[2]} was added, which made the journey to the {words[3]} shorter by {number + 3} days.",
        f"Visitors now come with their own {words[4]} to see how the {words[5]} was built and what it has become.",
        f"The keeper says that the {words[6]} and the {words[7]} are opened to the public on day {number} of each month.",
    ]
    return " ".join(sentences)


def write_seeds(path: Path, numbers: Sequence[int], **texts: str) -> None:
    """A JSONL file of passages; `texts` (s3="…") override single ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"id": f"s{number}", "text": texts.get(f"s{number}", passage(number))} for number in numbers]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_recipe(folder: Path, base_url: str, **changes: str) -> Path:
    """A recipe over folder/seeds/*.jsonl and a server that runs; `changes` replace or add whole TOML blocks by name."""
    blocks = {
        "head": 'name = "small"',
        "sources": '[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["seeds/*.jsonl"]\nlicense = "CC0-1.0"\ncolumns.id = "id"',
        "ingest": "[ingest]\npartition_rows = 4",
        "models": '[models.m]\nbackend = "openai"\nmodel = "scripted"\nrevision = "1"',
        "roles": '[roles.writer]\nmodels = ["m"]',
        "families": '[[families]]\nname = "diverse_qa"\n\n[[families]]\nname = "distill"',
        # Scripted texts know nothing of their seeds: what looks for the seed's facts in them would drop them all.
        "keep": '[keep]\nwithout = ["facts_lost", "content_lost", "half_lost", "wrong_length"]',
        "run": f'[run]\ngrace_seconds = 2\n[run.models.m]\nbase_url = "{base_url}"\nin_flight = 8\n'
        "max_attempts = 3\noutage_seconds = 1",
    } | changes
    path = folder / "recipe.toml"
    path.write_text("\n\n".join(blocks.values()) + "\n")
    return path


def engine_for(recipe: Recipe, store: Store, run_id: str = "test-run") -> Engine:
    """An engine, started."""
    scratch = store.root / "scratch/servers"
    engine = Engine(Settings(recipe.models, recipe.run.models, recipe.roles, run_id, scratch, recipe.run.grace_seconds))
    engine.start()
    return engine


def run_recipe(
    path: Path, home: Path, assignments: Sequence[str] = (), run_id: str = "test-run"
) -> tuple[list[Release], Engine]:
    """Run to the end in this process, without Prefect; the releases made, and the engine for its totals."""
    recipe = load(path, assignments)
    store = Store.open(home)
    with store.lock("test"):
        engine = engine_for(recipe, store, run_id)
        try:
            session = Session.open(recipe, path.parent, store, run_id, engine)
            return loop.run_directly(session), engine
        finally:
            engine.stop()


def shard_files(home: Path, recipe: str = "small") -> dict[str, str]:
    """Name -> sha256 of the files of all shards of the newest release, as they lie on disk."""
    release = releases.newest(Store(home), recipe)
    assert release is not None
    paths = [home / shard["path"] for shard in release.shards]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def shard_rows(home: Path, recipe: str = "small") -> list[dict[str, Any]]:
    """All rows of the newest release."""
    release = releases.newest(Store(home), recipe)
    assert release is not None
    rows: list[dict[str, Any]] = []
    for shard in release.shards:
        with pa.memory_map(str(home / shard["path"])) as source:
            rows.extend(pa.ipc.open_file(source).read_all().to_pylist())
    return rows

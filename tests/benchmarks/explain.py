"""How long `synth explain` takes on a large home: the real pipeline with a model that answers at once, then the command.

python -m tests.benchmarks.explain [DOCUMENTS]
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows import loop
from flows.recipe import load
from flows.runs import RunRecord
from flows.session import Session
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.digest import digest
from synth.rows import SEED_MARK, Draft, Part, Seed
from synth.store import Store
from tests.corpora import write_recipe

FAMILIES = ("diverse_qa", "distill")
WORDS = 90
REPEATS = 3
VOCABULARY = [
    f"{a}{b}{c}" for a in ("tor", "mel", "sina", "ka", "vor") for b in "aeiou" for c in ("n", "lt", "rd", "m", "st")
]


@dataclass
class Made:
    drafts: list[list[Draft]]
    answers: dict[str, dict[str, Any]]
    attempts: list[dict[str, Any]]


class Instant:
    """Answers with random words, at once."""

    def make(
        self,
        journal: Path,
        abandoned: Sequence[Path],
        memo: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[Seed],
        family: Any,
        options: Any,
    ) -> Made:
        made = Made([], {}, [])
        for seed in seeds:
            ask_id = digest(["ask", seed.id, family.__module__])
            text = words_of(ask_id)
            made.answers[ask_id] = answer(ask_id, seed.id, text)
            made.attempts.append(attempt(ask_id))
            made.drafts.append([Draft(text, (Part("generated", 0, len(text.encode())),), (ask_id,))])
        return made


def words_of(seed: str) -> str:
    """A text that screens well and is like no other."""
    chosen = random.Random(seed).choices(VOCABULARY, k=WORDS)
    return f"The {' '.join(chosen[: WORDS // 2])}, and that {' '.join(chosen[WORDS // 2 :])}."


def answer(ask_id: str, seed_id: str, text: str) -> dict[str, Any]:
    prompt = json.dumps([{"role": "user", "content": f"Say it in other words: {SEED_MARK}"}])
    counts = {"prompt_tokens": 120, "completion_tokens": 90, "reasoning_tokens": 0, "escaped": 0, "budget_hit": False}
    asked = {"ask_id": ask_id, "role": "writer", "seed_id": seed_id, "prompt_id": digest(prompt), "prompt": prompt}
    said = {"outcome": "ok", "completion": text, "accepted_attempt": f"{ask_id}-1", "model": "instant"}
    return {**asked, "sampling": "{}", "sample_index": 0, **said, **counts}


def attempt(ask_id: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    sent = {"attempt_id": f"{ask_id}-1", "ask_id": ask_id, "run": "bench", "endpoint": "m/0", "model": "instant"}
    ended = {"step": 0, "rung": "first", "started_at": now, "ended_at": now, "status": "ok", "verdict": "accepted"}
    return {**sent, **ended, "usage_prompt_tokens": 120, "usage_completion_tokens": 90}


def make_home(folder: Path, documents: int) -> Path:
    """A home with one release of about so many documents."""
    (folder / "seeds").mkdir()
    with (folder / "seeds/a.jsonl").open("w") as file:
        for number in range(documents // len(FAMILIES)):
            file.write(json.dumps({"id": f"s{number}", "text": words_of(f"seed {number}")}) + "\n")
    families = "\n\n".join(f'[[families]]\nname = "{name}"' for name in FAMILIES)
    blocks = {"families": families, "ingest": "", "screen": "[screen]\ngates = []", "keep": "[keep]\ngates = []"}
    path = write_recipe(folder, "http://127.0.0.1:9/v1", **blocks, audit="[audit]\nmin_documents = 100000000")
    store = Store.open(folder / "home")
    session = Session.open(load(path), folder, store, "bench", Instant())  # type: ignore[arg-type]
    record = RunRecord(store, session, path)
    loop.run_directly(session)
    record.finish("released", None, {})
    build_catalog(store.root)
    return store.root


def took(command: Sequence[str]) -> str:
    """Seconds of a command, and of them on a core: on a busy machine it waits."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{time.monotonic() - began:.2f} s ({cpu:.2f} s on cores)"


def main() -> None:
    documents = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="explain-") as folder:
        home = make_home(Path(folder), documents)
        counted = "SELECT count(*) AS n, sum(strlen(text))::BIGINT AS bytes FROM documents"
        print(query(home, counted).to_pylist()[0], f"{len(Store(home).objects('objects'))} objects")
        for what, view in (("document", "documents"), ("seed", "seeds")):
            ids = [row["id"] for row in query(home, f"SELECT id FROM {view} ORDER BY id LIMIT {REPEATS}").to_pylist()]
            for one in ids:
                command = [sys.executable, "-m", "flows.cli", "explain", one[:12], "--home", str(home)]
                print(f"synth explain {what} {one[:12]}: {took(command)}")


if __name__ == "__main__":
    main()

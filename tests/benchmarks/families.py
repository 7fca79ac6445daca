"""Every family on the embedded model: what is kept of what it writes, and why the rest is dropped.

    python -m tests.benchmarks.families [NAME ...] [--seeds 24] [--gsm8k 24] [--keep HOME]

Seeds are packaged passages, chosen by hash; math_problem also gets problems of GSM8K where they are (its gold mode). The model
is SmolLM2-135M-Instruct: a figure says whether the machinery works and what so small a model can do at all, nothing more.
Prints one line per family: documents, kept, tokens of kept text, the first reasons of drops. Some minutes per family.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from generators.registry import families
from synth.audit import sql
from synth.digest import hash_share
from tests.gsm8k import problems

PASSAGES = Path(__file__).parents[2] / "synth/data/passages.jsonl"
SMALL = {  # short answers and little freedom, as in the quickstart
    "diverse_qa": "max_pairs = 2, max_tokens = 170, temperature = 0.2, anchored = true",
    "distill": "max_tokens = 180, temperature = 0.3",
    "textbook": "words = 80, max_tokens = 220, temperature = 0.4",
    "faq": "max_tokens = 300, temperature = 0.2",
    "table_qa": "max_tokens = 260, temperature = 0.2",
    "tutorial": "max_tokens = 260, temperature = 0.3, vary = []",
    "wiki_clean": "max_tokens = 220, temperature = 0.3, vary = []",
    "guided_rewrite": "max_tokens = 320, temperature = 0.3, vary = []",
    "math_problem": "max_tokens = 260, temperature = 0.3, vary = []",
    "gap_dialogue": "max_tokens = 320, temperature = 0.5, vary = []",
    "thought_aug": "max_tokens = 320, temperature = 0.5, vary = []",
}
RECIPE = """
name = "families"
[[sources]]
id = "seeds"
kind = "jsonl"
paths = ["seeds.jsonl"]
license = "CC0-1.0"
columns = { id = "id", text = "text", answer = "answer" }
[ingest]
partition_rows = 100
[models.small]
backend = "llama-cpp"
weights = "smollm2-135m-instruct-q4_1"
context_tokens = 2048
[roles.writer]
models = ["small"]
[screen]
gates = []
[audit]
max_dropped_share = 1.0
max_failed_share = 1.0
[run.models.small]
in_flight = 16
"""
QUESTION = """
SELECT d.family, count(*) AS documents, count(k.id) AS kept, coalesce(sum(k.written_tokens), 0)::BIGINT AS tokens
FROM documents d LEFT JOIN kept k ON k.id = d.id GROUP BY ALL ORDER BY d.family
"""
REASONS = """
SELECT d.family, x.counted_as AS reason, count(*) AS items FROM dropped x JOIN documents d ON d.id = x.item_id
GROUP BY ALL ORDER BY items DESC, reason
"""


def write(folder: Path, names: list[str], seeds: int, gsm8k: int) -> Path:
    """Seeds and recipe."""
    passages = [json.loads(line) for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    chosen = sorted(passages, key=lambda row: hash_share("families", row["id"]))[:seeds]
    lines = [{"id": row["id"], "text": row["text"], "answer": None} for row in chosen]
    if "math_problem" in names and gsm8k:
        try:
            given = sorted(problems("test"), key=lambda one: hash_share("families", one.question))[:gsm8k]
            lines += [{"id": f"gsm{at}", "text": one.question, "answer": one.gold} for at, one in enumerate(given)]
        except pytest.skip.Exception as skipped:
            print(skipped)
    (folder / "seeds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    blocks = [f'[[families]]\nname = "{name}"\noptions = {{ {SMALL[name]} }}' for name in names]
    path = folder / "recipe.toml"
    path.write_text(RECIPE + "\n".join(blocks) + "\n")
    return path


def run(folder: Path, names: list[str], seeds: int, gsm8k: int) -> None:
    """One run of these families over the same seeds; prints a line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe, home, start = write(folder, names, seeds, gsm8k), folder / "home", time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "run", str(recipe), "--home", str(home), "--no-prefect", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    summary = json.loads(done.stdout)
    reasons: dict[str, list[str]] = {}
    for row in sql.query(home, REASONS).to_pylist():
        reasons.setdefault(row["family"], []).append(f"{row['reason']} {row['items']}")
    for row in sql.query(home, QUESTION).to_pylist():
        share = row["kept"] / row["documents"]
        print(
            f"{row['family']} | {row['documents']} documents | {row['kept']} kept ({share:.0%}) | {row['tokens']:,} tokens | "
            f"{', '.join(reasons.get(row['family'], [])[:5])}",
            flush=True,
        )
    print(
        f"{summary['asks']} asks, {summary['tokens_per_second']} tokens/s, {time.monotonic() - start:.0f} s", flush=True
    )


def main() -> None:
    """Run and print: math_problem apart, because its seeds are others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[spec.name for spec in families])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--gsm8k", type=int, default=24)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if others := [name for name in options.names if name != "math_problem"]:
            run(folder / "texts", others, options.seeds, 0)
        if "math_problem" in options.names:
            run(folder / "problems", ["math_problem"], options.seeds, options.gsm8k)


if __name__ == "__main__":
    main()

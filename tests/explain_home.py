"""A home made by the real pipeline in which something happened to every seed: what `synth explain` is asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.cli import main
from synth import rows
from synth.digest import file_sha256
from synth.store import Store
from tests.corpora import passage, write_recipe, write_seeds

QUESTION = "How many eggs do 16 ducks lay in 3 weeks, if each lays one on every other day?"
EMAIL = "marta.jonsson@fjordmail.no"
SEEDS = {
    "s1": f"{passage(1)} [[scripted: outcome=refuse]]",
    "s2": f"{passage(2)} [[scripted: near=5]]",
    "s3": f"{passage(3)} [[scripted: near=5]]",
    "s4": f"{passage(4)} [[scripted: fault=500*1]]",
    "s5": f"{passage(5)} [[scripted: outcome=truncate]]",
    "s6": "Far too short.",
    "s7": f"{passage(7)} [[scripted: outcome=copy]]",
    "s8": f"{passage(8)} Write to {EMAIL} before you come.",
    "s9": f"{passage(9)} {QUESTION}",
    "s10": f"{passage(10)} A keeper wrote \x1b[31mred\x1b[0m on the gate.",
    "s11": passage(0),
}
FAMILIES = """[[families]]
name = "diverse_qa"

[[families]]
name = "distill"
options = { candidates = 2, select = "shortest_valid" }

[[families]]
name = "textbook"
route = { column = "words", min = 96 }
"""
PRICES = (
    "usd_per_million_prompt_tokens = 1.0\nusd_per_million_completion_tokens = 10.0\nusd_per_gpu_hour = 3.6\ngpus = 1"
)


def write_corpus(folder: Path, base_url: str) -> Path:
    """Twelve seeds and a recipe over them."""
    write_seeds(folder / "seeds/a.jsonl", range(12), **SEEDS)
    item = folder / "eval/eggs.jsonl"
    item.parent.mkdir(parents=True, exist_ok=True)
    item.write_text(json.dumps({"question": QUESTION, "answer": "168"}) + "\n", "utf-8")
    benchmark = f'{{ name = "eggs", path = "eval/eggs.jsonl", sha256 = "{file_sha256(item)}", answer = "answer" }}'
    return write_recipe(
        folder,
        base_url,
        families=FAMILIES,
        ingest="[ingest]\npartition_rows = 6",
        roles='[roles.writer]\nmodels = ["m"]\nretry = { truncated_answer = ["larger_budget"] }',
        keep='[keep]\nwithout = ["facts_lost", "content_lost", "half_lost", "wrong_length"]\n'
        'presets = [{ name = "c4", families = ["distill"] }]\n'
        'more_gates = [{ column = "words", min = 30, families = ["diverse_qa"], reason = "few_words" }]',
        pii='[pii]\nemail = "mask"',
        decontamination=f'[decontamination]\nbenchmarks = [{benchmark}]\nseeds = "label"\ndocuments = "label"',
        audit="[audit]\nmax_failed_share = 1.0\nmax_dropped_share = 1.0\nmin_documents = 1000\nmax_duplicate_share = 1.0",
        run=f'[run]\ngrace_seconds = 2\n[run.models.m]\nbase_url = "{base_url}"\nin_flight = 8\nmax_attempts = 3\n'
        f"outage_seconds = 5\n{PRICES}",
    )


def run_corpus(folder: Path, *assignments: str) -> None:
    """`synth run` with records and catalogue, in this process."""
    sets = [word for one in assignments for word in ("--set", one)]
    home = ["--home", str(folder / "home"), "--no-prefect", "--json"]
    assert main(["run", str(folder / "recipe.toml"), *home, *sets]) == 0


STRICTER = 'keep.more_gates=[{column="words", min=70, reason="short"}]'
"""Another policy: some of what the first one released is dropped."""


def made_of(home: Path, name: str, family: str) -> str:
    """The id of the document that a family made of a seed."""
    seed_id = seed_of(home, name)
    (found,) = {
        row["id"]
        for row in table(home, "generate", "documents")
        if row["family"] == family and row["seed_ids"] == [seed_id]
    }
    return found


def seed_of(home: Path, name: str) -> str:
    """The id of a seed."""
    (found,) = {row["id"] for row in table(home, "ingest", "seeds") if json.loads(row["meta"])["id"] == name}
    return found


def table(home: Path, step: str, name: str) -> list[dict[str, Any]]:
    """All rows of one table of a step, read from the files."""
    places = Store(home).objects(f"objects/{step}")
    paths = [path for place in places for path in sorted((home / place).glob(f"{name}*.parquet"))]
    return [row for path in paths for row in rows.read_table(path).to_pylist()]

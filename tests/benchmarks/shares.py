"""Families' shares of the kept tokens against the weights that a recipe asks for, on the instant server.

    python -m tests.benchmarks.shares [--seeds 10000]

Three families with weights 0.5, 0.3 and 0.2. A first run over 1,000 seeds measures what a seed yields for each family
(`kept_tokens_per_seed` in family_shares); a second one over other seeds is given those numbers. Prints both runs' shares.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from synth.audit import sql
from synth.audit.catalog import build_catalog
from tests.benchmarks.engine import serving
from tests.corpora import run_recipe, write_recipe, write_seeds

WEIGHTS = {"diverse_qa": 0.5, "distill": 0.3, "textbook": 0.2}
CALIBRATION_SEEDS = 1000
TOLERANCE_POINTS = 2.0


def measure(folder: Path, url: str, numbers: range, yields: Mapping[str, float]) -> dict[str, float]:
    """One run over these seeds; prints its shares and returns what a seed yielded."""
    write_seeds(folder / "seeds/a.jsonl", numbers)
    blocks = "\n\n".join(
        f'[[families]]\nname = "{name}"\nweight = {weight}\nkept_tokens_per_seed = {yields.get(name, 1.0)}'
        for name, weight in WEIGHTS.items()
    )
    run = f'[run]\n[run.models.m]\nbase_url = "{url}"\nin_flight = 256'
    path = write_recipe(folder, url, families=blocks, ingest="[ingest]\npartition_rows = 2000", run=run)
    run_recipe(path, folder / "home")
    build_catalog(folder / "home")
    shares = sql.query(folder / "home", "FROM family_shares ORDER BY family").to_pylist()
    off = max(abs(100 * (row["token_share"] - WEIGHTS[row["family"]])) for row in shares)
    parts = [f"{row['family']} {row['token_share']:.1%} (wanted {WEIGHTS[row['family']]:.0%})" for row in shares]
    verdict = "met" if off <= TOLERANCE_POINTS else "NOT MET"
    kept = sum(row["kept"] for row in shares)
    print(
        f"{len(numbers):,} seeds, {kept:,} kept documents: {', '.join(parts)} | {off:.2f} points off | bar <= 2: {verdict}"
    )
    return {row["family"]: round(row["kept_tokens_per_seed"], 1) for row in shares}


def main() -> None:
    """Measure the yields, then use them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10_000)
    options = parser.parse_args()
    with serving() as server, tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        yields = measure(Path(first), server.base_url, range(CALIBRATION_SEEDS), {})
        print("kept_tokens_per_seed:", yields)
        measure(Path(second), server.base_url, range(CALIBRATION_SEEDS, CALIBRATION_SEEDS + options.seeds), yields)


if __name__ == "__main__":
    main()

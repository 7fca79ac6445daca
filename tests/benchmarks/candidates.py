"""What candidates, selectors and a revision give and cost, on the embedded model: kept rate, and tokens generated per kept one.

    python -m tests.benchmarks.candidates [--seeds 24] [--family distill] [--keep HOME]

One home, one recipe whose options change: an answer that two settings share is asked for once and charged to both, as the
canned question `test_time_compute` counts. The model is SmolLM2-135M-Instruct, which also plays the judge. Some ten minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from synth.audit import sql
from tests.benchmarks.families import SMALL, write

SETTINGS = (
    "candidates = 1",
    "candidates = 2",
    "candidates = 4",
    'candidates = 4, select = "shortest_valid"',
    'candidates = 4, select = "score"',
    'candidates = 4, select = "judge"',
    "candidates = 1, revise = true",
    "candidates = 4, revise = true",
)


def main() -> None:
    """Run each setting and print what the catalogue says of all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--family", default="distill")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        recipe = write(folder, [options.family], options.seeds, 0)
        text = recipe.read_text().replace(
            '[roles.writer]\nmodels = ["small"]',
            '[roles.writer]\nmodels = ["small"]\n[roles.judge]\nmodels = ["small"]',
        )
        shown = {}
        for setting in SETTINGS:
            recipe.write_text(text.replace(SMALL[options.family], f"{SMALL[options.family]}, {setting}"))
            command = [
                sys.executable,
                "-m",
                "flows.cli",
                "run",
                str(recipe),
                "--home",
                str(folder / "home"),
                "--no-prefect",
                "--json",
            ]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            runs = sql.query(folder / "home", "SELECT run FROM runs ORDER BY started_at").to_pylist()
            shown[runs[-1]["run"]] = setting
        for row in sql.query(folder / "home", sql.canned("test_time_compute")).to_pylist():
            print(
                f"{shown.get(row['run'], row['run'])} | {row['kept']} of {row['documents']} kept ({row['kept_percent']}%) | "
                f"{row['kept_tokens']:,} kept tokens | {row['generated_per_kept']} tokens generated per kept one"
            )


if __name__ == "__main__":
    main()

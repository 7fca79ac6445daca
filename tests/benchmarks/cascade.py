"""A cascade against each of its models alone: right answers kept, and what they cost.

    python -m tests.benchmarks.cascade

Scripted servers: `weak` answers a share of the asks wrongly, `strong` never does; prices are 1 and 20 dollars per million
tokens. The family's own check (`accept`) knows what is right, as a parser or an arithmetic check would.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from synth.ask import Ask, Completion
from synth.rows import Draft, Seed
from tests.conftest import ROOT
from tests.engines import OUTSIDE, by_seed, drafted, engine_of, make, seed

ASKS, HARD = 4_000, 0.3
PRICES = {"cheap": 1.0, "dear": 20.0}


def is_right(answer: Completion) -> bool:
    """The family's cheap check."""
    return answer.text.startswith("RIGHT")


async def verified(one: Seed, ask: Ask, options: Any) -> list[Draft]:
    """One ask that is checked."""
    return drafted(await ask([{"role": "user", "content": one.text}], accept=is_right))


def start(folder: Path, script: str) -> tuple[subprocess.Popen[bytes], str]:
    """A scripted server and its URL."""
    ready = folder / f"{script}.json"
    command = [sys.executable, "-m", "synth.engine.scripted", "--ready-file", str(ready), "--script", script]
    process = subprocess.Popen(command, cwd=ROOT)
    while not ready.exists():
        time.sleep(0.05)
    return process, str(orjson.loads(ready.read_bytes())["base_url"])


def main() -> None:
    """Run all three and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = {"cheap": start(folder, "weak"), "dear": start(folder, "strong")}
        models = {"cheap": {**OUTSIDE, "model": "w"}, "dear": {**OUTSIDE, "model": "s"}}
        runs = {
            model: {"base_url": servers[model][1], "in_flight": 64, "usd_per_million_completion_tokens": PRICES[model]}
            for model in models
        }
        seeds = [seed(number, f"Problem {number}. [[scripted: hard={HARD}]]") for number in range(ASKS)]
        cases: dict[str, dict[str, Any]] = {
            "cheap alone": {"models": ["cheap"]},
            "dear alone": {"models": ["dear"]},
            "cascade": {"models": ["cheap", "dear"], "choose": "cascade"},
        }
        for case, role in cases.items():
            with engine_of(folder / case, models, runs, {"writer": role}) as engine:
                rows = by_seed(make(engine, folder / case, seeds, verified))
                dollars = engine.dollars()
            right = [row for row in rows.values() if row["completion"].startswith("RIGHT")]
            tokens = sum(row["completion_tokens"] for row in right)
            per_million = dollars / tokens * 1e6
            print(
                f"{case:<12} {len(right):,} of {ASKS:,} right, {tokens:,} verified tokens, ${dollars:.4f}, "
                f"${per_million:.2f} per million verified tokens"
            )
        for process, _ in servers.values():
            process.kill()


if __name__ == "__main__":
    main()

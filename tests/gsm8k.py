"""GSM8K (https://arxiv.org/abs/2110.14168, MIT), real problems with worked solutions, where the machine has it.

Tests skip where it is missing.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SYNTH_GSM8K", Path(__file__).parents[2] / "shared/data/gsm8k"))

_MARKS = re.compile(r"<<[^<>]*>>")


@dataclass(frozen=True)
class Problem:
    """One problem. `solution` is prose without calculator marks and without the line of the gold answer."""

    question: str
    solution: str
    gold: str


def problems(split: str) -> list[Problem]:
    """All problems of `train` or `test`; skips the test where the files are missing."""
    path = FOLDER / f"{split}.jsonl"
    if not path.is_file():
        pytest.skip(f"GSM8K is not here: set SYNTH_GSM8K to the folder of {path.name}")
    return [_problem(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _problem(row: dict[str, str]) -> Problem:
    solution, gold = row["answer"].rsplit("\n####", 1)
    return Problem(row["question"], _MARKS.sub("", solution), gold.strip())

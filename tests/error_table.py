"""What is said to wrong input: the cases of tests/test_cli.py and tests/test_typos.py, as they are answered now.

python -m tests.error_table > ERRORS.md
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

from tests import test_cli, test_typos
from tests.corpora import write_recipe, write_seeds


def answers() -> list[tuple[str, str, int]]:
    """Of each wrong input its name, what was printed, and the exit code."""
    found, before = [], Path.cwd()
    for case in test_cli.WRONG:
        prepare, arguments, _, _ = case.values
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()) as told:
            folder = Path(name).resolve()
            os.chdir(folder)
            try:
                write_seeds(folder / "seeds/a.jsonl", range(4))
                write_recipe(folder, test_cli.CLOSED)
                prepare(folder)
                code = test_cli.run("--set", "run.models.m.max_attempts=1", *arguments)
            finally:
                os.chdir(before)
            printed = told.getvalue().replace(f"{folder}/", "").replace(str(folder), "~/mine")
        found.append((str(case.id), printed[printed.index("synth: ") :].removeprefix("synth: "), code))
    return found


def slips() -> list[tuple[str, str]]:
    """Of each slip of the pen in a recipe its last line, and the answer."""
    found = []
    for right, wrong, _ in test_typos.TYPOS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recipe.toml"
            path.write_text(test_typos.RECIPE.replace(right, wrong, 1), encoding="utf-8")
            found.append(
                (wrong.split("\n")[-1], test_typos.refusal(path).replace(f"{folder}/", "").replace(folder, "~/mine"))
            )
    return found


def cell(text: str) -> str:
    """Lines of a message in one cell."""
    lines = [re.sub(r"\s+", " ", line).strip().replace("|", "\\|") for line in text.strip().splitlines()]
    return "<br>".join(line for line in lines if line)


def main() -> None:
    """Print the page."""
    print("# Errors\n\nWhat is said to wrong input, made by `python -m tests.error_table`; the same cases are tests")
    print("(`tests/test_cli.py`, `tests/test_typos.py`). Exit code 2: your input; 1: the world.\n\n## Input\n")
    print("| what is wrong | what is said | exit |\n|---|---|---|")
    for name, printed, code in answers():
        print(f"| {name} | {cell(printed)} | {code} |")
    print("\n## Slips in a recipe\n\n| written | answer |\n|---|---|")
    for wrong, answer in slips():
        print(f"| `{wrong.replace('|', chr(92) + '|')}` | {cell(answer)} |")


if __name__ == "__main__":
    main()

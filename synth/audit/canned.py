"""Canned questions to the catalogue: SQL that stands in `queries/`, by name."""

from __future__ import annotations

from importlib import resources

from synth.config import nearest
from synth.errors import UserError, fail


def canned(name: str) -> str:
    """A canned question by name, on one line, so that it can be pasted behind `synth sql` or into plain DuckDB."""
    questions = canned_titles()
    if name not in questions:
        raise fail(UserError, f"unknown question {name!r}{nearest(name, questions)}", allowed=", ".join(questions))
    text = (resources.files("synth.audit") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("--"))


def canned_titles() -> dict[str, str]:
    """The title of each canned question, by name."""
    folder = resources.files("synth.audit") / "queries"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    heads = {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8").splitlines()[0] for file in files}
    return {name: head.removeprefix("-- title: ") for name, head in heads.items()}

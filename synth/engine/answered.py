"""What an open journal holds, without opening it for writing: another process may be at work on it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

_ANSWERS = """
SELECT s.model_name, count(*), coalesce(sum(a.prompt_tokens), 0),
    coalesce(sum(a.completion_tokens), 0) + coalesce(sum(a.reasoning_tokens), 0), coalesce(sum(a.reasoning_tokens), 0)
FROM answers a JOIN sends s ON s.attempt_id = a.accepted_attempt GROUP BY s.model_name
"""


@dataclass(frozen=True)
class Answered:
    """Answers of one model in a journal. `completion_tokens` are all that it wrote, thoughts included."""

    model: str
    asks: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int


def answered(journal: Path) -> list[Answered]:
    """What was answered, by model; nothing where the journal cannot be read now."""
    try:
        connection = sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
    except sqlite3.Error:
        return []
    try:
        return [Answered(*row) for row in connection.execute(_ANSWERS)]
    except sqlite3.Error:  # just made, just removed, or of another version
        return []
    finally:
        connection.close()

"""The journal: durable, replayable, and it takes over what another policy left open."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synth.ask import Completion
from synth.engine.journal import Answer, Journal, Send, Writer


def answer(name: str, text: str = "text") -> Answer:
    done = Completion(f"ask-{name}", "ok", text, "small", prompt_tokens=3, completion_tokens=5)
    return Answer(done, "writer", "seed", "prompt-id", "[]", "{}", 0, f"attempt-{name}")


async def fill(journal: Journal, names: str) -> None:
    for name in names:
        await journal.send(Send(f"attempt-{name}", f"ask-{name}", "run", "small", "m", "1"))
        await journal.accept(answer(name), (3, 5))
    await journal.send(Send("attempt-lost", "ask-lost", "run", "small", "m", "1"))


def test_answers_and_attempts_come_back(tmp_path: Path) -> None:
    writer = Writer()
    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(fill(journal, "abc"))
    journal.close()
    again = Journal(tmp_path / "j.sqlite", writer)
    assert [row["ask_id"] for row in again.answers()] == ["ask-a", "ask-b", "ask-c"]
    assert again.answers()[0] == answer("a").row() | {"budget_hit": 0}
    statuses = {row["attempt_id"]: row["status"] for row in again.attempts()}
    assert statuses == {"attempt-a": "ok", "attempt-b": "ok", "attempt-c": "ok", "attempt-lost": "lost"}
    again.close()
    writer.close()


def test_the_first_accepted_answer_stays(tmp_path: Path) -> None:
    writer = Writer()
    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(journal.accept(answer("a", "first"), (None, None)))
    asyncio.run(journal.accept(answer("a", "second"), (None, None)))
    assert [row["completion"] for row in journal.answers()] == ["first"]
    journal.close()
    writer.close()


def test_a_journal_left_open_is_taken_over_whole(tmp_path: Path) -> None:
    writer = Writer()
    old = Journal(tmp_path / "old.sqlite", writer)
    asyncio.run(fill(old, "ab"))
    old.close()
    new = Journal(tmp_path / "new.sqlite", writer)
    asyncio.run(new.accept(answer("b", "mine"), (None, None)))
    new.adopt(tmp_path / "old.sqlite")
    assert {row["ask_id"]: row["completion"] for row in new.answers()} == {"ask-a": "text", "ask-b": "mine"}
    assert len(new.attempts()) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if "old" in path.name) == []
    new.close()
    writer.close()


KILLED = """
import asyncio, sys, os
from pathlib import Path
from tests.test_journal import answer
from synth.engine.journal import Journal, Writer
async def main():
    journal = Journal(Path(sys.argv[1]), Writer())
    for number in range(10_000):
        await journal.accept(answer(str(number)), (None, None))
        print(number, flush=True)
asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "j.sqlite")], stdout=subprocess.PIPE)
    assert child.stdout
    acknowledged = [int(child.stdout.readline()) for _ in range(50)]
    os.kill(child.pid, signal.SIGKILL)
    rest = child.communicate()[0].split()
    writer = Writer()
    journal = Journal(tmp_path / "j.sqlite", writer)
    held = {row["ask_id"] for row in journal.answers()}
    assert held >= {f"ask-{number}" for number in [*acknowledged, *(int(one) for one in rest)]}
    journal.close()
    writer.close()


def test_a_failed_write_reaches_whoever_waits(tmp_path: Path) -> None:
    writer = Writer()
    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(journal.send(Send("attempt", "ask", "run", "small", "m", "1")))
    with pytest.raises(Exception, match="UNIQUE"):
        asyncio.run(journal.send(Send("attempt", "ask", "run", "small", "m", "1")))
    asyncio.run(journal.accept(answer("a"), (None, None)))  # and the writer goes on
    assert len(journal.answers()) == 1
    journal.close()
    writer.close()

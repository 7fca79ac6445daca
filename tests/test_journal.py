"""The journal: durable, replayable, and it takes over what another policy left open."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth import rows
from synth.ask import Completion
from synth.engine.journal import Answer, End, Journal, Send, Writer, models_of, new_attempt_id
from synth.errors import HomeError, WorldError


def answer(name: str, text: str = "text") -> Answer:
    done = Completion(f"ask-{name}", "ok", text, "small", prompt_tokens=3, completion_tokens=5)
    end = End(f"attempt-{name}", "ok", "small/0", 1_000, 3, 5)
    return Answer(done, "writer", "seed", "prompt-id", "[]", "{}", 0, 2, end)


def send(name: str, step: int = 0, rung: str = "first") -> Send:
    return Send(f"attempt-{name}", f"ask-{name.split('-')[0]}", "run", "small", "m", "1", step, rung)


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.close()


async def fill(journal: Journal, names: str) -> None:
    for name in names:
        await journal.send(send(name))
        journal.accept(answer(name))
    await journal.send(send("lost"))


def test_answers_and_attempts_come_back(tmp_path: Path, writer: Writer) -> None:
    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(fill(journal, "abc"))
    journal.close()
    again = Journal(tmp_path / "j.sqlite", writer)
    assert [row["ask_id"] for row in again.answers()] == ["ask-a", "ask-b", "ask-c"]
    assert again.answers()[0] == answer("a").row()
    attempts = {row["attempt_id"]: row for row in again.attempts()}
    assert {name: row["status"] for name, row in attempts.items()} == {
        "attempt-a": "ok",
        "attempt-b": "ok",
        "attempt-c": "ok",
        "attempt-lost": "lost",
    }
    first = attempts["attempt-a"]
    assert (first["endpoint"], first["verdict"], first["started_at"]) == ("small/0", "accepted", 1_000)
    assert (first["usage_prompt_tokens"], first["usage_completion_tokens"]) == (3, 5)
    assert attempts["attempt-lost"]["endpoint"] == "small"
    again.close()


def test_attempts_are_rows_of_the_schema(tmp_path: Path, writer: Writer) -> None:
    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(fill(journal, "a"))
    assert sorted(journal.attempts()[0]) == sorted(rows.ATTEMPT.names)
    assert sorted(journal.answers()[0]) == sorted(rows.ASK.names)
    journal.close()


def test_the_first_accepted_answer_stays(tmp_path: Path, writer: Writer) -> None:
    journal = Journal(tmp_path / "j.sqlite", writer)
    journal.accept(answer("a", "first"))
    journal.accept(answer("a", "second"))
    assert [row["completion"] for row in journal.answers()] == ["first"]
    journal.close()


def test_steps_that_were_not_accepted_come_back_in_order(tmp_path: Path, writer: Writer) -> None:
    async def climb(journal: Journal) -> None:
        await journal.send(send("a-0"))
        refused = Completion("ask-a", "empty_answer", "", "small", reasoning="hm")
        journal.end(End("attempt-a-0", "ok", "small/0", 5, 3, 7), refused, "empty_answer")
        await journal.send(send("a-1", 1, "again"))
        journal.end(End("attempt-a-1", "timeout", "small/0", 6))
        await journal.send(send("a-2", 1, "again"))
        journal.end(End("attempt-a-2", "ok", "small/0", 7), refused, "not_accepted")

    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(climb(journal))
    assert journal.steps() == {"ask-a": [("first", "empty_answer"), ("again", "not_accepted")]}
    found = [(row["step"], row["rung"], row["status"], row["verdict"]) for row in journal.attempts()]
    assert found == [
        (0, "first", "ok", "empty_answer"),
        (1, "again", "timeout", None),
        (1, "again", "ok", "not_accepted"),
    ]
    assert journal.attempts()[0]["reasoning"] == "hm"
    journal.close()


def test_what_was_decided_but_never_sent_is_no_attempt(tmp_path: Path, writer: Writer) -> None:
    journal = Journal(tmp_path / "j.sqlite", writer)
    asyncio.run(journal.send(send("a")))
    journal.end(End("attempt-a", "not_sent"))
    assert journal.attempts() == []
    journal.close()


def test_a_journal_left_open_is_taken_over_whole(tmp_path: Path, writer: Writer) -> None:
    old = Journal(tmp_path / "old.sqlite", writer)
    asyncio.run(fill(old, "ab"))
    old.close()
    new = Journal(tmp_path / "new.sqlite", writer)
    new.accept(answer("b", "mine"))
    new.adopt(tmp_path / "old.sqlite")
    assert {row["ask_id"]: row["completion"] for row in new.answers()} == {"ask-a": "text", "ask-b": "mine"}
    assert len(new.attempts()) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if "old" in path.name) == []
    new.close()


def test_it_says_which_models_gave_its_answers(tmp_path: Path, writer: Writer) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path, writer)
    journal.describe({"small": {"weights_sha256": "aa"}})
    journal.describe({"small": {"weights_sha256": "bb"}})  # too late: the first word counts
    journal.close()
    assert models_of(path) is None  # nothing was answered yet
    journal = Journal(path, writer)
    journal.accept(answer("a"))
    journal.close()
    assert models_of(path) == {"small": {"weights_sha256": "aa"}}


def test_a_journal_of_another_version_is_refused(tmp_path: Path, writer: Writer) -> None:
    connection = sqlite3.connect(tmp_path / "j.sqlite")
    connection.executescript("CREATE TABLE answers (x); PRAGMA user_version=1;")
    connection.close()
    with pytest.raises(HomeError, match="another version"):
        Journal(tmp_path / "j.sqlite", writer)


def test_attempt_ids_are_unique_and_rise() -> None:
    ids = [new_attempt_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert [one[:14] for one in ids] == sorted(one[:14] for one in ids)


KILLED = """
import asyncio, sys, os
from pathlib import Path
from tests.test_journal import answer, send
from synth.engine.journal import Journal, Writer
async def main():
    journal = Journal(Path(sys.argv[1]), Writer())
    for number in range(10_000):
        journal.accept(answer(str(number)))
        await journal.send(send(str(number + 1)))  # durable, and with it what was put before
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


def test_a_failed_write_reaches_whoever_waits_and_no_other_journal(tmp_path: Path, writer: Writer) -> None:
    broken, well = Journal(tmp_path / "broken.sqlite", writer), Journal(tmp_path / "well.sqlite", writer)
    with sqlite3.connect(tmp_path / "broken.sqlite") as connection:
        connection.execute("DROP TABLE sends")
    with pytest.raises(WorldError, match=r"broken\.sqlite cannot be written"):
        asyncio.run(broken.send(send("a")))
    broken.accept(answer("a"))  # put, but never acknowledged
    with pytest.raises(WorldError):
        broken.close()
    asyncio.run(well.send(send("a")))
    assert len(well.attempts()) == 1
    well.close()

"""The journal of answers: an answer is paid for once.

One SQLite file per open generate partition, one writer thread for all of them. A send is written before it is made, an
answer is durable within milliseconds of its arrival: while one commit runs, what arrives meanwhile forms the next.
After a crash the file is simply opened again; sends without an end are attempts that were lost.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synth import rows
from synth.ask import Completion
from synth.errors import WorldError, fail
from synth.store import has_room, no_space

_BATCH = 256
_Item = tuple[sqlite3.Connection, str, Sequence[Any], Future[None]]

_TABLES = """
CREATE TABLE IF NOT EXISTS sends (
    attempt_id TEXT PRIMARY KEY, ask_id TEXT NOT NULL, run TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL,
    engine_version TEXT NOT NULL, started_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ends (
    attempt_id TEXT PRIMARY KEY, ended_at INTEGER NOT NULL, status TEXT NOT NULL,
    usage_prompt_tokens INTEGER, usage_completion_tokens INTEGER);
CREATE TABLE IF NOT EXISTS answers (
    ask_id TEXT PRIMARY KEY, role TEXT NOT NULL, seed_id TEXT NOT NULL, prompt_id TEXT NOT NULL, prompt TEXT NOT NULL,
    sampling TEXT NOT NULL, sample_index INTEGER NOT NULL, outcome TEXT NOT NULL, budget_hit INTEGER NOT NULL,
    completion TEXT NOT NULL, reasoning TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
    reasoning_tokens INTEGER, accepted_attempt TEXT NOT NULL, model TEXT NOT NULL);
"""
_SEND = "INSERT INTO sends VALUES (?, ?, ?, ?, ?, ?, ?)"
_END = "INSERT OR REPLACE INTO ends VALUES (?, ?, ?, ?, ?)"
_ANSWER_COLUMNS = tuple(rows.ASK.names)
_ANSWER = f"INSERT OR IGNORE INTO answers VALUES ({', '.join('?' * len(_ANSWER_COLUMNS))})"

_ATTEMPTS = """
SELECT s.attempt_id, s.ask_id, s.run, s.endpoint, s.model, s.engine_version, s.started_at, e.ended_at,
       coalesce(e.status, 'lost') AS status, e.usage_prompt_tokens, e.usage_completion_tokens
FROM sends s LEFT JOIN ends e USING (attempt_id) ORDER BY s.ask_id, s.started_at, s.attempt_id
"""


@dataclass(frozen=True, slots=True)
class Send:
    """An attempt about to be made."""

    attempt_id: str
    ask_id: str
    run: str
    endpoint: str
    model: str
    engine_version: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An accepted answer, with what is needed to show the question again."""

    completion: Completion
    role: str
    seed_id: str
    prompt_id: str
    prompt: str
    sampling: str
    sample_index: int
    attempt_id: str

    def row(self) -> dict[str, Any]:
        """As a row of synth.rows.ASK."""
        done = self.completion
        return {
            "ask_id": done.ask_id,
            "role": self.role,
            "seed_id": self.seed_id,
            "prompt_id": self.prompt_id,
            "prompt": self.prompt,
            "sampling": self.sampling,
            "sample_index": self.sample_index,
            "outcome": done.outcome,
            "budget_hit": done.budget_hit,
            "completion": done.text,
            "reasoning": done.reasoning,
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "reasoning_tokens": done.reasoning_tokens,
            "accepted_attempt": self.attempt_id,
            "model": done.model,
        }


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return int(datetime.now(UTC).timestamp() * 1_000_000)


class Writer:
    """The one thread that writes journals. Commits are grouped per round; a failed commit fails all that it held."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def put(self, connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Future[None]:
        """Queue one statement; the future is done when it is durable."""
        done: Future[None] = Future()
        self._queue.put((connection, statement, values, done))
        return done

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            self._commit([item for item in batch if item])
            if None in batch:
                return

    def _commit(self, batch: list[_Item]) -> None:
        for connection in {id(item[0]): item[0] for item in batch}.values():
            mine = [item for item in batch if item[0] is connection]
            try:
                with connection:
                    for _, statement, values, _ in mine:
                        connection.execute(statement, values)
            except sqlite3.Error as error:
                _settle(mine, error)
            else:
                _settle(mine, None)


def _settle(batch: list[_Item], error: Exception | None) -> None:
    for *_, done in batch:
        if not done.set_running_or_notify_cancel():
            continue  # nobody waits any more: the run is being stopped
        if error:
            done.set_exception(error)
        else:
            done.set_result(None)


class Journal:
    """The journal of one open partition."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self._writer = writer
        self._path = path
        with self._world():
            self._connection = sqlite3.connect(path, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)

    @contextmanager
    def _world(self) -> Iterator[None]:
        """A disk that is full or broken is a fault of the world: the partition stays open."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or not has_room(self._path.parent):  # SQLite often says just "unable to open"
                raise no_space(self._path) from error
            do = "see that the disk is well, then run the same command again: what was answered is kept"
            raise fail(WorldError, f"the journal {self._path} cannot be written: {error}", do=do) from error

    async def _write(self, statement: str, values: Sequence[Any]) -> None:
        with self._world():
            await asyncio.wrap_future(self._writer.put(self._connection, statement, values))

    async def send(self, send: Send) -> None:
        """Write that a request is about to be sent; returns when that is durable."""
        values = (send.attempt_id, send.ask_id, send.run, send.endpoint, send.model, send.engine_version, now_us())
        await self._write(_SEND, values)

    async def end(self, attempt_id: str, status: str, usage: tuple[int | None, int | None] = (None, None)) -> None:
        """Write how an attempt ended, for attempts without an accepted answer."""
        values = (attempt_id, now_us(), status, *usage)
        await self._write(_END, values)

    async def accept(self, answer: Answer, usage: tuple[int | None, int | None]) -> None:
        """Write an answer and the end of its attempt; returns when both are durable. A dead letter was `rejected`."""
        status = "rejected" if answer.completion.outcome == "dead_letter" else "ok"
        end = self._writer.put(self._connection, _END, (answer.attempt_id, now_us(), status, *usage))
        row = answer.row()
        values = [row[name] for name in _ANSWER_COLUMNS]
        await self._write(_ANSWER, values)
        with self._world():
            await asyncio.wrap_future(end)

    def adopt(self, other: Path) -> None:
        """Take over the rows of a journal that another policy left open, then delete it: nothing paid for is lost."""
        self._flush()
        self._connection.execute("ATTACH ? AS other", (str(other),))
        with self._world(), self._connection:
            for table in ("sends", "ends", "answers"):
                self._connection.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM other.{table}")
        self._connection.execute("DETACH other")
        for path in (other, other.with_name(f"{other.name}-wal"), other.with_name(f"{other.name}-shm")):
            path.unlink(missing_ok=True)

    def answers(self) -> list[dict[str, Any]]:
        """All accepted answers, rows as Answer.row gives them, by ask id."""
        return self._rows("SELECT * FROM answers ORDER BY ask_id")

    def attempts(self) -> list[dict[str, Any]]:
        """All attempts, rows of synth.rows.ATTEMPT; one that never ended is `lost`."""
        return self._rows(_ATTEMPTS)

    def close(self) -> None:
        """Wait for what is queued, then close the file."""
        self._flush()
        self._connection.close()

    def _flush(self) -> None:
        with self._world():
            self._writer.put(self._connection, "SELECT 1", ()).result()

    def _rows(self, query: str) -> list[dict[str, Any]]:
        self._flush()
        cursor = self._connection.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

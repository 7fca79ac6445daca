"""The journal of answers: an answer is paid for once.

One SQLite file per open generate partition, one writer thread for all of them. A send is durable before it is made; an
answer is durable some milliseconds after its arrival, and always before the next send of the same partition: rows are
committed in the order they were put. What arrives within a few milliseconds forms one transaction. After a crash the
file is simply opened again; sends without an end are attempts that were lost.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from synth import rows
from synth.ask import Completion
from synth.errors import HomeError, WorldError, fail
from synth.store import has_room, no_space

FORMAT = 2  # PRAGMA user_version
_LINGER_SECONDS = (
    0.025  # how long a transaction gathers rows: tens of them, and a fortieth of the second that is promised
)
_ROWS_AT_ONCE = (64, 8, 1)  # rows per INSERT: one step of SQLite, so one release of the GIL, for many rows

_Waiter = asyncio.Future[None] | Future[None] | None
_Item = tuple[sqlite3.Connection, str, Sequence[Any], _Waiter]

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sends (
    attempt_id TEXT PRIMARY KEY, ask_id TEXT NOT NULL, run TEXT NOT NULL, model_name TEXT NOT NULL, model TEXT NOT NULL,
    engine_version TEXT NOT NULL, step INTEGER NOT NULL, rung TEXT NOT NULL, decided_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ends (
    attempt_id TEXT PRIMARY KEY, endpoint TEXT, sent_at INTEGER, ended_at INTEGER NOT NULL, status TEXT NOT NULL,
    verdict TEXT, usage_prompt_tokens INTEGER, usage_completion_tokens INTEGER, completion TEXT, reasoning TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prompts (prompt_id TEXT PRIMARY KEY, prompt TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    ask_id TEXT PRIMARY KEY, role TEXT NOT NULL, seed_id TEXT NOT NULL, prompt_id TEXT NOT NULL,
    sampling TEXT NOT NULL, sample_index INTEGER NOT NULL, outcome TEXT NOT NULL, budget_hit INTEGER NOT NULL,
    completion TEXT NOT NULL, reasoning TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
    reasoning_tokens INTEGER, accepted_attempt TEXT NOT NULL, model TEXT NOT NULL, escaped INTEGER NOT NULL,
    endpoint TEXT, sent_at INTEGER, ended_at INTEGER NOT NULL, status TEXT NOT NULL,
    usage_prompt_tokens INTEGER, usage_completion_tokens INTEGER) WITHOUT ROWID;
"""
WIDTH = {"meta": 2, "sends": 9, "ends": 10, "prompts": 2, "answers": 22}

_ANSWERS = f"""
SELECT {", ".join(f"a.{name}" for name in rows.ASK.names if name != "prompt")}, p.prompt
FROM answers a JOIN prompts p USING (prompt_id) ORDER BY a.ask_id
"""
_ATTEMPTS = """
SELECT s.attempt_id, s.ask_id, s.run, coalesce(a.endpoint, e.endpoint, s.model_name) AS endpoint, s.model,
    s.engine_version, s.step, s.rung, coalesce(a.sent_at, e.sent_at, s.decided_at) AS started_at,
    coalesce(a.ended_at, e.ended_at) AS ended_at, coalesce(a.status, e.status, 'lost') AS status,
    CASE WHEN a.status = 'ok' THEN 'accepted' ELSE e.verdict END AS verdict,
    coalesce(a.usage_prompt_tokens, e.usage_prompt_tokens) AS usage_prompt_tokens,
    coalesce(a.usage_completion_tokens, e.usage_completion_tokens) AS usage_completion_tokens, e.completion, e.reasoning
FROM sends s LEFT JOIN ends e USING (attempt_id) LEFT JOIN answers a ON a.ask_id = s.ask_id AND a.accepted_attempt = s.attempt_id
WHERE e.status IS NULL OR e.status <> 'not_sent' ORDER BY s.ask_id, s.step, s.attempt_id
"""
_STEPS = """
SELECT s.ask_id, s.step, s.rung, e.verdict FROM sends s JOIN ends e USING (attempt_id)
WHERE e.verdict IS NOT NULL ORDER BY s.ask_id, s.step
"""

_numbers = count()
_process = os.urandom(4).hex()


@dataclass(frozen=True, slots=True)
class Send:
    """An attempt about to be made. `step` and `rung` say where in the ask's ladder it stands."""

    attempt_id: str
    ask_id: str
    run: str
    model_name: str
    model: str
    engine_version: str
    step: int = 0
    rung: str = "first"


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended. Where and when it was really sent is known only now: `sent_at` in microseconds since 1970.

    `status` as in synth.rows.ATTEMPT, or `not_sent`: it was decided but never made.
    """

    attempt_id: str
    status: str
    endpoint: str | None = None
    sent_at: int | None = None
    usage_prompt_tokens: int | None = None
    usage_completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An accepted answer, with what is needed to show the question again. `escaped` counts control tokens made harmless."""

    completion: Completion
    role: str
    seed_id: str
    prompt_id: str
    prompt: str
    sampling: str
    sample_index: int
    escaped: int
    end: End

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
            "accepted_attempt": self.end.attempt_id,
            "model": done.model,
            "escaped": self.escaped,
        }


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def new_attempt_id() -> str:
    """An id that no other process makes; later ones are greater, so that rows are appended, not scattered."""
    return f"{now_us():014x}{next(_numbers) & 0xFFFFFF:06x}{_process}"


class Writer:
    """The one thread that writes journals, in rounds. A failed transaction fails all that it held, and its journal for good."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._now = threading.Event()  # somebody waits who cannot do anything else: do not linger
        self._closing = False
        self._failed: dict[sqlite3.Connection, Exception] = {}
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def put(self, connection: sqlite3.Connection, table: str, values: Sequence[Any], waiter: _Waiter = None) -> None:
        """Queue one row of a table (`` for none: a mark in the queue). `waiter` is done once the row is durable."""
        with self._lock:
            self._items.append((connection, table, values, waiter))
        if not self._some.is_set():
            self._some.set()

    def flush(self, connection: sqlite3.Connection) -> None:
        """Wait until all that was put before is durable; blocks. Raises what went wrong with this journal."""
        done: Future[None] = Future()
        self.put(connection, "", (), done)
        self._now.set()
        done.result()

    def forget(self, connection: sqlite3.Connection) -> None:
        """The journal is closed."""
        self._failed.pop(connection, None)

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._closing = True
        self._some.set()
        self._now.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing or self._items:
            self._some.wait()
            self._now.wait(_LINGER_SECONDS)
            self._now.clear()
            self._some.clear()
            with self._lock:
                batch, self._items = self._items, []
            by_connection: dict[sqlite3.Connection, list[_Item]] = {}
            for item in batch:
                by_connection.setdefault(item[0], []).append(item)
            for connection, mine in by_connection.items():
                self._commit(connection, mine)

    def _commit(self, connection: sqlite3.Connection, items: list[_Item]) -> None:
        tables: dict[str, list[Sequence[Any]]] = {}
        for _, table, values, _ in items:
            if table:
                tables.setdefault(table, []).append(values)
        if tables and connection not in self._failed:
            try:
                with connection:
                    for table, values in tables.items():
                        insert_rows(connection, table, values)
            except sqlite3.Error as error:
                self._failed[connection] = error
        _settle([waiter for *_, waiter in items if waiter is not None], self._failed.get(connection))


def insert_rows(connection: sqlite3.Connection, table: str, many: Sequence[Sequence[Any]]) -> None:
    """The first row with a key stays."""
    one = f"({', '.join('?' * WIDTH[table])})"
    at = 0
    for size in _ROWS_AT_ONCE:
        while len(many) - at >= size:
            statement = f"INSERT OR IGNORE INTO {table} VALUES {', '.join([one] * size)}"
            connection.execute(statement, [value for row in many[at : at + size] for value in row])
            at += size


def _settle(waiters: Sequence[asyncio.Future[None] | Future[None]], error: Exception | None) -> None:
    """Tell all that wait; those of one event loop with a single call into it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        if isinstance(waiter, asyncio.Future):
            by_loop.setdefault(waiter.get_loop(), []).append(waiter)
        else:
            _finish(waiter, error)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_finish_all, futures, error)


def _finish_all(waiters: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for waiter in waiters:
        _finish(waiter, error)


def _finish(waiter: asyncio.Future[None] | Future[None], error: Exception | None) -> None:
    if waiter.done():
        return  # nobody waits any more: the run is being stopped
    if error:
        waiter.set_exception(error)
    else:
        waiter.set_result(None)


class Journal:
    """The journal of one open partition. Open and close it in a thread that may block; the rest is for the event loop."""

    def __init__(self, path: Path, writer: Writer) -> None:
        """Raises HomeError for a journal of another version of synth, WorldError when the disk fails."""
        self._writer = writer
        self._path = path
        self._prompts: set[str] = set()
        with self._world():
            self._connection = sqlite3.connect(path, check_same_thread=False)
            self.fresh = _check_format(self._connection, path)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version={FORMAT}; COMMIT;")

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

    async def send(self, send: Send) -> None:
        """Write that a request is about to be sent; returns when that, and all that was put before, is durable."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        values = (send.attempt_id, send.ask_id, send.run, send.model_name, send.model)
        self._put("sends", (*values, send.engine_version, send.step, send.rung, now_us()), waiter)
        with self._world():
            await waiter

    def end(self, end: End, refused: Completion | None = None, verdict: str | None = None) -> None:
        """Put how an attempt ended that gave no accepted answer; `refused` is the answer that it gave, `verdict` why not."""
        text, reasoning = (refused.text, refused.reasoning) if refused else (None, None)
        values = (end.attempt_id, end.endpoint, end.sent_at, now_us(), end.status, verdict)
        self._put("ends", (*values, end.usage_prompt_tokens, end.usage_completion_tokens, text, reasoning))

    def accept(self, answer: Answer) -> None:
        """Put an answer, and with it the end of its attempt."""
        if answer.prompt_id not in self._prompts:
            self._prompts.add(answer.prompt_id)
            self._put("prompts", (answer.prompt_id, answer.prompt))
        row, end = answer.row(), answer.end
        del row["prompt"]
        values = (end.endpoint, end.sent_at, now_us(), end.status, end.usage_prompt_tokens, end.usage_completion_tokens)
        self._put("answers", (*row.values(), *values))

    def _put(self, table: str, values: Sequence[Any], waiter: _Waiter = None) -> None:
        self._writer.put(self._connection, table, values, waiter)

    def describe(self, models: Mapping[str, Any]) -> None:
        """Write once what the models of the partition's roles are, for whoever opens it later: see `models_of`."""
        self._put("meta", ("models", orjson.dumps(models, option=orjson.OPT_SORT_KEYS).decode()))

    def adopt(self, other: Path) -> None:
        """Take over the rows of a journal that another policy left open, then delete it: nothing paid for is lost."""
        self._flush()
        with self._world():
            Journal(other, self._writer).close()  # whole, and of this version
            self._connection.execute("ATTACH ? AS other", (str(other),))
            with self._connection:
                for table in ("sends", "ends", "prompts", "answers"):
                    self._connection.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM other.{table}")
            self._connection.execute("DETACH other")
        for path in (other, other.with_name(f"{other.name}-wal"), other.with_name(f"{other.name}-shm")):
            path.unlink(missing_ok=True)

    def answers(self) -> list[dict[str, Any]]:
        """All accepted answers, rows as Answer.row gives them, by ask id."""
        return [{**row, "budget_hit": bool(row["budget_hit"])} for row in self._rows(_ANSWERS)]

    def attempts(self) -> list[dict[str, Any]]:
        """All attempts that were made, rows of synth.rows.ATTEMPT; one that never ended is `lost`."""
        return self._rows(_ATTEMPTS)

    def steps(self) -> dict[str, list[tuple[str, str]]]:
        """By ask id: (rung, verdict) of the answers that were not accepted, in order."""
        found: dict[str, list[tuple[str, str]]] = {}
        for row in self._rows(_STEPS):
            found.setdefault(row["ask_id"], []).append((row["rung"], row["verdict"]))
        return found

    def close(self) -> None:
        """Wait for what is queued, then close the file."""
        try:
            self._flush()
        finally:
            self._writer.forget(self._connection)
            self._connection.close()

    def _flush(self) -> None:
        with self._world():
            self._writer.flush(self._connection)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        self._flush()
        cursor = self._connection.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether it is empty. HomeError when it is of another version."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if found != FORMAT and not empty:
        raise fail(
            HomeError,
            f"the journal {path} was written by another version of synth",
            given=f"format {found}",
            allowed=f"format {FORMAT}",
            do="finish its run with that version, or delete the file: its answers would be paid for again",
        )
    return empty


def models_of(path: Path) -> dict[str, Any] | None:
    """What `Journal.describe` wrote into a journal that nobody has open, and None when it has no answer yet."""
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    try:
        _check_format(connection, path)
        found = connection.execute("SELECT value FROM meta WHERE name = 'models'").fetchone()
        some = connection.execute("SELECT 1 FROM answers LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        return None  # killed before its tables were there
    finally:
        connection.close()
    return dict(orjson.loads(found[0])) if found and some else None

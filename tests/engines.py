"""Engines over scripted servers, for tests below the pipeline: one family that asks once, rows by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synth.ask import Ask, Completion, Family
from synth.config import parse
from synth.engine.budget import Budget
from synth.engine.engine import Engine, Made, Settings
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig
from synth.rows import Draft, Seed, compose

OUTSIDE = {"backend": "openai", "model": "scripted", "revision": "7"}


def seed(number: int, text: str = "The harbour was dug in 1702 and is still in use.") -> Seed:
    return Seed(f"{number:064d}", "texts", f"{number:064d}", 0, text)


async def ask_once(one: Seed, ask: Ask, options: Any) -> list[Draft]:
    """A family: one question about the seed; the document is the answer, or a defect."""
    answer = await ask([{"role": "user", "content": f"About this: {one.text}"}])
    return drafted(answer)


def drafted(answer: Completion) -> list[Draft]:
    return [Draft(*compose([("generated", answer.text)]), (answer.ask_id,), defect=answer.defect())]


@contextmanager
def engine_of(
    folder: Path,
    models: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, Mapping[str, Any]],
    roles: Mapping[str, Mapping[str, Any]] | None = None,
    budget: Mapping[str, Any] | None = None,
    said: list[str] | None = None,
    grace_seconds: float = 5.0,
) -> Iterator[Engine]:
    """An engine, started; tables as in a recipe. Without roles, `writer` is the first model."""
    settings = Settings(
        {name: parse(ModelConfig, table) for name, table in models.items()},
        {name: parse(ModelRun, table) for name, table in runs.items()},
        {
            name: parse(RoleConfig, table)
            for name, table in (roles or {"writer": {"models": [next(iter(models))]}}).items()
        },
        "run",
        folder / "servers",
        grace_seconds,
        parse(Budget, budget or {}),
        (said if said is not None else []).append,
    )
    engine = Engine(settings)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def make(
    engine: Engine, folder: Path, seeds: Sequence[Seed], family: Family = ask_once, journal: str = "journal"
) -> Made:
    folder.mkdir(parents=True, exist_ok=True)
    return engine.make(folder / f"{journal}.sqlite", [], {}, seeds, family, None)


def by_seed(made: Made) -> dict[int, dict[str, Any]]:
    """The one ask of each seed, by the seed's number, with its attempts in order under `attempts`."""
    attempts: dict[str, list[Mapping[str, Any]]] = {}
    for attempt in made.attempts:
        attempts.setdefault(attempt["ask_id"], []).append(attempt)
    found: dict[int, dict[str, Any]] = {}
    for ask_id, row in made.answers.items():
        number = int(row["seed_id"])
        assert number not in found, "one ask per seed is expected"
        found[number] = {**row, "attempts": attempts.get(ask_id, [])}
    return found


def statuses(row: Mapping[str, Any]) -> list[str]:
    return [attempt["status"] for attempt in row["attempts"]]

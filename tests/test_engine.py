"""The engine below the pipeline: places by priority, one send per question, families that fail, roles that are missing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.ask import Ask
from synth.engine.engine import Engine, Settings
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig, Sampling
from synth.errors import Interrupted, RecipeError
from synth.rows import SEED_MARK, Draft, Seed, compose
from tests.conftest import ScriptedServer

MODEL = ModelConfig(backend="openai", model="scripted", revision="7")


def seed(number: int, text: str = "The harbour was dug in 1702 and is still in use.") -> Seed:
    return Seed(f"{number:064d}", "texts", f"{number:064d}", 0, text)


def draft(*texts: str) -> list[Draft]:
    return [Draft(*compose([("generated", text)]), ()) for text in texts]


@pytest.fixture
def engine(tmp_path: Path, scripted_server: ScriptedServer) -> Iterator[Engine]:
    run = ModelRun(base_url=scripted_server.base_url, in_flight=4, usd_per_million_completion_tokens=1e6)
    roles = {"writer": RoleConfig(models=("m",), sampling=Sampling(temperature=0.0))}
    made = Engine(Settings({"m": MODEL}, {"m": run}, roles, "run", tmp_path / "servers"))
    made.start()
    yield made
    made.stop()


def make(engine: Engine, folder: Path, family: Any, seeds: list[Seed], memo: dict[str, Any] | None = None) -> Any:
    return engine.make(folder / "journal.sqlite", [], memo or {}, seeds, family, None)


async def asking_twice(seed: Seed, ask: Ask, options: Any) -> list[Draft]:
    question = {"role": "user", "content": f"About this: {seed.text}"}
    same = await asyncio.gather(ask([question]), ask([question]), ask([question], sample_index=1))  # type: ignore[list-item]
    return draft(*(answer.text for answer in same))


def test_the_same_question_is_sent_once(engine: Engine, tmp_path: Path) -> None:
    made = make(engine, tmp_path, asking_twice, [seed(1)])
    texts = [one.text for one in made.drafts[0]]
    assert texts[0] == texts[1]
    assert engine.stats.attempts == 2
    assert [row["sample_index"] for row in made.answers.values()].count(1) == 1


def test_answers_are_replayed_from_the_journal_and_from_earlier_objects(engine: Engine, tmp_path: Path) -> None:
    first = make(engine, tmp_path, asking_twice, [seed(1)])
    again = make(engine, tmp_path, asking_twice, [seed(1)])
    (tmp_path / "other").mkdir()
    memo = make(engine, tmp_path / "other", asking_twice, [seed(1)], dict(first.answers))
    assert engine.stats.attempts == 2
    assert again.drafts == memo.drafts == first.drafts
    assert memo.answers.keys() == first.answers.keys()
    assert memo.attempts == []


def test_another_seed_is_another_ask(engine: Engine, tmp_path: Path) -> None:
    make(engine, tmp_path, asking_twice, [seed(1), seed(2)])
    assert engine.stats.attempts == 4


def test_stored_prompts_share_their_wording(engine: Engine, tmp_path: Path) -> None:
    made = make(engine, tmp_path, asking_twice, [seed(1), seed(2, "Another text, about a bridge.")])
    assert len({row["prompt_id"] for row in made.answers.values()}) == 1
    assert all(SEED_MARK in row["prompt"] for row in made.answers.values())


def test_what_was_paid_is_counted(engine: Engine, tmp_path: Path) -> None:
    made = make(engine, tmp_path, asking_twice, [seed(1)])
    written = sum(row["completion_tokens"] for row in made.answers.values())
    assert written > 0
    assert engine.dollars() == pytest.approx(written)
    assert [(row["endpoint"], row["model"]) for row in engine.sessions()] == [("m/0", "scripted@7")]


def test_a_family_that_raises_fails_its_seed_only(engine: Engine, tmp_path: Path) -> None:
    async def fragile(one: Seed, ask: Ask, options: Any) -> list[Draft]:
        if one.id == seed(2).id:
            raise ValueError("a bug")
        return draft("fine")

    made = make(engine, tmp_path, fragile, [seed(1), seed(2), seed(3)])
    assert [isinstance(one, ValueError) for one in made.drafts] == [False, True, False]


def test_a_family_that_gives_nothing_is_told_so(engine: Engine, tmp_path: Path) -> None:
    async def empty(one: Seed, ask: Ask, options: Any) -> list[Draft]:
        return []

    made = make(engine, tmp_path, empty, [seed(1)])
    assert "at least one" in str(made.drafts[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param("a text", "must give a list of Draft", id="a-text"),
        pytest.param(["a text"], "must give a list of Draft", id="texts"),
        pytest.param([Draft("a text", (), ("another seed's",))], "did not put.*another seed's", id="a-foreign-ask"),
    ],
)
def test_what_a_users_family_gives_is_looked_at(engine: Engine, tmp_path: Path, given: Any, words: str) -> None:
    async def careless(one: Seed, ask: Ask, options: Any) -> Any:
        return given

    (failed,) = make(engine, tmp_path, careless, [seed(1)]).drafts
    assert isinstance(failed, ValueError) and re.search(words, str(failed))


def test_a_role_that_the_recipe_lacks(engine: Engine, tmp_path: Path) -> None:
    async def judging(one: Seed, ask: Ask, options: Any) -> list[Draft]:
        await ask([{"role": "user", "content": "Is it good?"}], role="judge")
        return draft("x")

    with pytest.raises(RecipeError, match=r"(?s)role 'judge'.*writer.*\[roles\.judge\]"):
        make(engine, tmp_path, judging, [seed(1)])


def test_a_family_cannot_swallow_a_stop(engine: Engine, tmp_path: Path) -> None:
    async def stubborn(one: Seed, ask: Ask, options: Any) -> list[Draft]:
        try:
            await ask([{"role": "user", "content": one.text}])
        except Exception:
            return draft("swallowed")
        return draft("answered")

    engine.interrupt()
    with pytest.raises(Interrupted):
        make(engine, tmp_path, stubborn, [seed(1)])


def test_servers_are_stopped_even_when_the_engine_cannot_end_cleanly(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours must not leave a GPU held."""
    stopped: list[bool] = []
    monkeypatch.setattr("synth.engine.supervisor.stop_all", lambda: stopped.append(True))

    async def broken(self: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("synth.engine.model.Model.stop", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            engine.stop()
    assert stopped == [True]

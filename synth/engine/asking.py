"""One seed's way of asking: look up, wait for a place, write the send, send, judge, write the answer."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from synth.ask import Completion, Message
from synth.digest import digest
from synth.engine import outcomes
from synth.engine.client import Client, Fault, Misconfigured, Rejected, Reply
from synth.engine.journal import Answer, Journal, Send
from synth.engine.roles import RoleConfig
from synth.engine.slots import Priority
from synth.errors import EndpointError, RecipeError, fail
from synth.rows import SEED_MARK, Seed

if TYPE_CHECKING:
    from synth.engine.engine import Engine, Model

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0


class Asker:
    """The `ask` that a family gets (see synth.ask.Ask), bound to one seed of one open partition."""

    def __init__(
        self, engine: Engine, journal: Journal, known: dict[str, Mapping[str, Any]], seed: Seed, priority: Priority
    ) -> None:
        self.seed = seed
        self.asked: set[str] = set()
        self._engine = engine
        self._journal = journal
        self._known = known
        self._priority = priority
        self._running: dict[str, asyncio.Task[Completion]] = {}

    async def __call__(
        self,
        messages: Sequence[Message],
        role: str = "writer",
        sample_index: int = 0,
        schema: Mapping[str, Any] | None = None,
        thinking_tokens: int | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        accept: Callable[[Completion], bool] | None = None,
    ) -> Completion:
        """See synth.ask.Ask. A role with one model has nobody to escalate to, so `accept` is not consulted."""
        config = self._role(role)
        given = {
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "thinking_tokens": thinking_tokens,
        }
        sampling = {**config.sampling.content(), **{name: value for name, value in given.items() if value is not None}}
        question = {"messages": list(messages), "sampling": sampling, "schema": schema}
        identity = {
            "seed_id": self.seed.id,
            "policy": self._engine.policies[role],
            "question": question,
            "sample_index": sample_index,
        }
        ask_id = digest(identity)
        self.asked.add(ask_id)
        if ask_id in self._known:
            self._engine.stats.replayed += 1
            return _replayed(self._known[ask_id], schema)
        if ask_id not in self._running:
            work = self._answer(ask_id, role, config, question, sample_index)
            task = asyncio.get_running_loop().create_task(work)
            self._running[ask_id] = task
            self._engine.asks.add(task)
            task.add_done_callback(self._engine.asks.discard)
        return await self._running[ask_id]

    def _role(self, role: str) -> RoleConfig:
        roles = self._engine.settings.roles
        if role not in roles:
            raise fail(
                RecipeError,
                f"a family asks the role {role!r}, which the recipe does not define",
                allowed=", ".join(sorted(roles)),
                do=f"add [roles.{role}] to the recipe",
            )
        return roles[role]

    async def _answer(
        self, ask_id: str, role: str, config: RoleConfig, question: dict[str, Any], sample_index: int
    ) -> Completion:
        model = self._engine.models[config.models[0]]
        prompt, sampling = self._prompt(question), _json(question["sampling"])
        attempt_id, reply = await self._sent(model, ask_id, question)
        if isinstance(reply, Rejected):
            done = Completion(ask_id, "dead_letter", str(reply), model.title)  # what the endpoint said
            usage: tuple[int | None, int | None] = (None, None)
        else:
            done = _completion(ask_id, model.title, reply, question)
            usage = (reply.usage_prompt_tokens, reply.usage_completion_tokens)
        answer = Answer(done, role, self.seed.id, digest(prompt), prompt, sampling, sample_index, attempt_id)
        await self._journal.accept(answer, usage)
        self._known[ask_id] = answer.row()
        stats = self._engine.stats
        stats.asks += 1
        stats.prompt_tokens += done.prompt_tokens
        stats.completion_tokens += done.completion_tokens + done.reasoning_tokens
        model.prompt_tokens += done.prompt_tokens
        model.completion_tokens += done.completion_tokens + done.reasoning_tokens
        stats.last_answer = time.monotonic()
        return done

    async def _sent(self, model: Model, ask_id: str, question: dict[str, Any]) -> tuple[str, Reply | Rejected]:
        """Try until the endpoint gives a verdict; faults of the world are waited out, up to the model's max_attempts."""
        client = await self._engine.client(model)
        body = _body(client.endpoint.model, ask_id, question)
        for attempt in range(1, model.run.max_attempts + 1):
            attempt_id = uuid.uuid4().hex
            await model.slots.acquire(self._priority)
            self._enter(model)
            try:
                await self._journal.send(Send(attempt_id, ask_id, *self._provenance(model, client)))
                return attempt_id, await client.chat(body)
            except Rejected as verdict:
                return attempt_id, verdict
            except Misconfigured as error:
                await self._journal.end(attempt_id, "refused")
                raise self._give_up(
                    model, f"refuses our requests: {error}", "check base_url, model and the API key"
                ) from None
            except Fault as fault:
                await self._journal.end(attempt_id, fault.status)
                self._engine.stats.faults += 1
                last, wait = fault, fault.retry_after_seconds or _backoff_seconds(attempt)
            finally:
                self._leave(model)
            if attempt < model.run.max_attempts:
                await asyncio.sleep(wait)
        what = f"failed {model.run.max_attempts} times in a row on one ask; last: {last.status} ({last})"
        raise self._give_up(model, what, "see that the server runs")

    def _provenance(self, model: Model, client: Client) -> tuple[str, str, str, str]:
        return self._engine.settings.run_id, model.name, model.title, client.endpoint.engine_version

    def _enter(self, model: Model) -> None:
        stats, now = self._engine.stats, time.monotonic()
        stats.attempts += 1
        stats.in_flight += 1
        stats.first_send = stats.first_send or now
        model.in_flight += 1
        if model.in_flight == 1:
            model.busy_since = now

    def _leave(self, model: Model) -> None:
        self._engine.stats.in_flight -= 1
        model.in_flight -= 1
        if model.in_flight == 0:
            model.busy_seconds += time.monotonic() - model.busy_since
        model.slots.release()

    def _give_up(self, model: Model, what: str, do: str) -> EndpointError:
        endpoint = model.endpoint.result()
        lines = [f"the model {model.name!r} at {endpoint.base_url} {what}"]
        if endpoint.child and not endpoint.child.alive():
            lines = [f"the server of the model {model.name!r} died; its last lines:", *endpoint.child.last_lines(5)]
        advice = f"{do}, then run the same command again: what was answered is kept and not paid again"
        error = fail(EndpointError, "\n".join(lines), do=advice)
        assert isinstance(error, EndpointError)
        self._engine.fail(error)
        return error

    def _prompt(self, question: dict[str, Any]) -> str:
        """The messages as stored: the seed's text replaced by a mark, so that asks with one wording share one prompt."""
        messages = question["messages"]
        text = self.seed.text
        if not text or any(SEED_MARK in message["content"] for message in messages):
            return _json(messages)
        return _json([{**message, "content": message["content"].replace(text, SEED_MARK)} for message in messages])


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _backoff_seconds(attempt: int) -> float:
    longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)


def _body(model: str, ask_id: str, question: dict[str, Any]) -> dict[str, Any]:
    """The request. Its sampling seed comes from the ask, so that samples of one question differ and a replay would not."""
    sampling = question["sampling"]
    body: dict[str, Any] = {
        "model": model,
        "messages": question["messages"],
        "temperature": sampling["temperature"],
        "top_p": sampling["top_p"],
        "max_tokens": sampling["max_tokens"] + sampling["thinking_tokens"],
        "seed": int(ask_id[:7], 16),
    }
    if question["schema"] is not None:
        named = {"name": "answer", "schema": question["schema"], "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _completion(ask_id: str, model: str, reply: Reply, question: dict[str, Any]) -> Completion:
    judged = outcomes.judge(reply.message, reply.finish_reason, question["schema"])
    total = reply.usage_completion_tokens or 0
    thinking = _thinking_tokens(judged, total)
    budget = question["sampling"]["thinking_tokens"]
    return Completion(
        ask_id=ask_id,
        outcome=judged.outcome,
        text=judged.text,
        model=model,
        parsed=judged.parsed,
        reasoning=judged.reasoning,
        budget_hit=bool(budget) and thinking >= budget,
        prompt_tokens=reply.usage_prompt_tokens or 0,
        completion_tokens=total - thinking,
        reasoning_tokens=thinking,
    )


def _thinking_tokens(judged: outcomes.Judged, total: int) -> int:
    """The endpoint's completion tokens, shared out between thinking and answer by their bytes."""
    thinking_bytes = len((judged.reasoning or "").encode())
    if not thinking_bytes:
        return 0
    return round(total * thinking_bytes / (thinking_bytes + len(judged.text.encode())))


def _replayed(row: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Completion:
    parsed = outcomes.parse(row["completion"], schema) if schema is not None and row["outcome"] == "ok" else None
    return Completion(
        ask_id=row["ask_id"],
        outcome=row["outcome"],
        text=row["completion"],
        model=row["model"],
        parsed=parsed,
        reasoning=row["reasoning"],
        budget_hit=bool(row["budget_hit"]),
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
    )

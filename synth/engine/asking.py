"""One seed's way of asking: look up, write the send, take a place, send, judge, write the answer or climb the ladder."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from synth.ask import Completion, Message
from synth.digest import digest
from synth.engine import ladder, outcomes, probes
from synth.engine.client import Fault, Misconfigured, Rejected, Reply
from synth.engine.control import BREAKER, Controls
from synth.engine.journal import Answer, End, Journal, Send, new_attempt_id, now_us
from synth.engine.ladder import Step, Verdict
from synth.engine.pool import Priority, Replica, company
from synth.errors import EndpointError, RecipeError, SynthError, fail
from synth.rows import SEED_MARK, Seed

if TYPE_CHECKING:
    from synth.engine.engine import Engine
    from synth.engine.model import Model, Role

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0


class Asker:
    """The `ask` that a family gets (see synth.ask.Ask), bound to one seed of one open partition.

    `known` are accepted answers by ask id, `verdicts` those of answers that were not accepted, by ask id and in order.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        known: dict[str, Mapping[str, Any]],
        verdicts: Mapping[str, Sequence[tuple[str, str]]],
        seed: Seed,
        priority: Priority,
    ) -> None:
        self.seed = seed
        self.asked: set[str] = set()
        self._engine = engine
        self._journal = journal
        self._known = known
        self._verdicts = verdicts
        self.priority = priority
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
        """See synth.ask.Ask."""
        policy = self._role(role)
        given = {
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "thinking_tokens": thinking_tokens,
        }
        sampling = {**policy.sampling, **{name: value for name, value in given.items() if value is not None}}
        question = {"messages": list(messages), "sampling": sampling, "schema": schema}
        identity = {
            "seed_id": self.seed.id,
            "policy": policy.digest,
            "question": question,
            "sample_index": sample_index,
        }
        ask_id = digest(identity)
        self.asked.add(ask_id)
        if ask_id in self._known:
            self._engine.stats.replayed += 1
            return _replayed(self._known[ask_id], schema)
        if ask_id not in self._running:
            work = self._answer(ask_id, policy, question, sample_index, accept)
            task = asyncio.get_running_loop().create_task(work)
            self._running[ask_id] = task
            self._engine.asks.add(task)
            task.add_done_callback(self._engine.asks.discard)
        return await self._running[ask_id]

    def _role(self, role: str) -> Role:
        roles = self._engine.roles
        if role not in roles:
            raise fail(
                RecipeError,
                f"a family asks the role {role!r}, which the recipe does not define",
                allowed=", ".join(sorted(roles)),
                do=f"add [roles.{role}] to the recipe",
            )
        return roles[role]

    async def _answer(
        self,
        ask_id: str,
        role: Role,
        question: dict[str, Any],
        sample_index: int,
        accept: Callable[[Completion], bool] | None,
    ) -> Completion:
        """Climb the ladder until an answer stands. What earlier runs were told is not asked again."""
        sampling = question["sampling"]
        verdicts: list[Verdict] = [verdict for _, verdict in self._verdicts.get(ask_id, ())]  # type: ignore[misc]
        steps = ladder.replay(role.config, sampling, verdicts)
        while True:
            step = steps[-1]
            model = self._engine.models[role.config.models[step.model]]
            end, reply, escaped = await self._sent(model, ask_id, step, question)
            done = _completion(ask_id, model, reply, question, step)
            self._engine.answered(model, done)
            verdict = _verdict(done, accept if role.config.choose == "cascade" else None)
            following = ladder.after(role.config, sampling, steps, verdict)
            if following is None:
                break
            self._journal.end(end, done, verdict)
            steps.append(following)
        prompt, prompt_id = _stored_prompt(question["messages"], self.seed.text)
        sent = _json(ladder.spent_sampling(sampling, step))
        answer = Answer(done, role.name, self.seed.id, prompt_id, prompt, sent, sample_index, escaped, end)
        self._journal.accept(answer)
        self._known[ask_id] = answer.row()
        return done

    async def _sent(
        self, model: Model, ask_id: str, step: Step, question: dict[str, Any]
    ) -> tuple[End, Reply | Rejected, int]:
        """Try until the endpoint gives a verdict. Faults of the world are waited out; what the waits cost is no try.

        Returns how the attempt ended, what came back, and how many control tokens of the prompt were made harmless.
        """
        model.load(self._engine)
        await model.ready()
        body, escaped = model.body(ask_id, question, step)
        tries = _Tries(model)
        while True:
            attempt_id = new_attempt_id()
            reply = await self._attempt(
                model, Send(attempt_id, ask_id, *model.provenance, step.number, step.rung), body, tries
            )
            if isinstance(reply, Fault):
                await tries.wait()
            else:
                return tries.end, reply, escaped

    async def _attempt(self, model: Model, send: Send, body: dict[str, Any], tries: _Tries) -> Reply | Rejected | Fault:
        """One attempt. A Fault that comes back may be tried again; one that may not is raised as an EndpointError."""
        pool, deaths = model.pool, tries.deaths
        await pool.ticket(self.priority)
        try:
            await self._journal.send(send)
            try:
                replica = await pool.take(self.priority, deaths)
            except BaseException:
                self._journal.end(End(send.attempt_id, "not_sent"))
                raise
            self._engine.sending()
            tries.begin(send.attempt_id, replica)
            fault: Fault
            try:
                assert replica.client is not None
                reply = await replica.client.chat(body)
                pool.answered(replica, time.monotonic() - tries.sent_at, reply.usage_completion_tokens or 0)
                tries.ended("ok", reply)
                return reply
            except Rejected as verdict:
                tries.ended("rejected")
                return verdict
            except Misconfigured as error:
                self._journal.end(tries.ended("refused"))
                raise self._give_up(
                    model, f"refuses our requests: {error}", "check base_url, model and the API key"
                ) from None
            except Fault as error:
                fault = error.bare()
                model.keepers[replica.name].doubt(tries.life, fault.status)
            finally:
                self._engine.stats.in_flight -= 1
                pool.give(replica, deaths)
        finally:
            pool.done()
        return await self._failed(model, replica, fault, tries)

    async def _failed(self, model: Model, replica: Replica, fault: Fault, tries: _Tries) -> Rejected | Fault:
        """A fault of the world: whose was it, and what does it cost? A verdict when it is the ask's own fault."""
        self._engine.stats.faults += 1
        if await model.keepers[replica.name].died(tries.life, fault.status):
            return self._died(replica, fault, tries)
        if fault.overloaded:
            model.pool.overloaded(replica, tries.sent_at, fault.retry_after_seconds)
        charged = fault.status not in ("http_429", "http_503", "refused")
        tries.count(charged, fault)
        end = tries.ended(fault.status)
        silent_seconds = model.silent_seconds(tries.first_fault_at)
        if not charged and silent_seconds > model.run.outage_seconds:
            self._journal.end(end)
            what = f"has given no answer for {silent_seconds:.0f} s; last: {fault.status} ({fault})"
            raise self._give_up(model, what, "see that the server runs")
        if tries.charged < model.run.max_attempts:
            self._journal.end(end)
            return fault
        what = f"failed {tries.charged} times in a row on one ask; last: {fault.status} ({fault})"
        if replica.client and await probes.answers(replica.client):
            return Rejected(f"{what}, while it answered others")
        self._journal.end(end)
        raise self._give_up(model, what, "see that the server runs")

    def _died(self, replica: Replica, fault: Fault, tries: _Tries) -> Rejected | Fault:
        """The server died under this ask. Was it alone, and not for the first time, then it is why."""
        if tries.outside or fault.status == "refused":  # it had not reached the server
            self._journal.end(tries.ended(fault.status))
            return fault
        end = tries.ended("server_died")
        alone = company(replica.limit, tries.deaths) == 1 and tries.deaths > 0
        tries.deaths += 1
        if alone:
            return Rejected(
                f"the server died {tries.deaths} times while it worked on this ask, at last on nothing else"
            )
        self._journal.end(end)
        return fault

    def _give_up(self, model: Model, what: str, do: str) -> SynthError:
        where = ", ".join(sorted({keeper.where for keeper in model.keepers.values()}))
        advice = f"{do}, then run the same command again: what was answered is kept and not paid again"
        error = fail(EndpointError, f"the model {model.name!r} at {where} {what}", do=advice)
        self._engine.fail(error)
        return error


class _Tries:
    """The attempts of one step so far, and the clock of the present one."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pauses = 0
        self._pause_seconds = 0.0
        self.charged = 0
        self.deaths = 0
        self.first_fault_at = 0.0
        self.outside = False
        self.life = 0
        self.sent_at = 0.0
        self._sent_us = 0
        self._attempt_id = ""
        self._endpoint = ""
        self.end = End("", "")

    def begin(self, attempt_id: str, replica: Replica) -> None:
        """An attempt is sent now."""
        self._attempt_id, self._endpoint, self.life = attempt_id, replica.name, replica.life
        self.outside = replica.client is not None and replica.client.endpoint.child is None
        self.sent_at, self._sent_us = time.monotonic(), now_us()
        self._pause_seconds = 0.0

    def ended(self, status: str, reply: Reply | None = None) -> End:
        """The present attempt is over."""
        usage = (reply.usage_prompt_tokens, reply.usage_completion_tokens) if reply else (None, None)
        self.end = End(self._attempt_id, status, self._endpoint, self._sent_us, *usage)
        return self.end

    def count(self, charged: bool, fault: Fault) -> None:
        """A fault that was not the server's death: how long to wait, and whether it counts as a try of this ask."""
        self.charged += charged
        self._pauses += 1
        self.first_fault_at = self.first_fault_at or time.monotonic()
        self._pause_seconds = fault.retry_after_seconds or _backoff_seconds(self._pauses)

    async def wait(self) -> None:
        """Before the next attempt."""
        if self._pause_seconds:
            await self._model.pool.pause(self._pause_seconds + self._model.retries.delay_seconds())


def _verdict(done: Completion, accept: Callable[[Completion], bool] | None) -> Verdict:
    if not done.ok:
        return done.outcome
    return "accepted" if accept is None or accept(done) else "not_accepted"


def _stored_prompt(messages: Sequence[Message], text: str) -> tuple[str, str]:
    """The messages as stored, and their digest: the seed's text is a mark, so that asks with one wording share a prompt."""
    marked: Sequence[Mapping[str, object]] = messages
    if text and not any(SEED_MARK in message["content"] for message in messages):
        marked = [{**message, "content": message["content"].replace(text, SEED_MARK)} for message in messages]
    prompt = _json(marked)
    return prompt, _prompt_id(prompt)


_prompt_id = lru_cache(maxsize=4096)(digest)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _backoff_seconds(pauses: int) -> float:
    longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** (pauses - 1))
    return longest * random.uniform(0.5, 1.0)


def _completion(ask_id: str, model: Model, reply: Reply | Rejected, question: dict[str, Any], step: Step) -> Completion:
    if isinstance(reply, Rejected):
        return Completion(ask_id, "dead_letter", str(reply), model.title)  # what the endpoint said
    budget = ladder.spent_sampling(question["sampling"], step)["thinking_tokens"]
    judged = _judge(model.controls, reply, question["schema"], bool(budget))
    total = reply.usage_completion_tokens or 0
    thinking = _thinking_tokens(judged, total, reply.usage_reasoning_tokens)
    return Completion(
        ask_id=ask_id,
        outcome=judged.outcome,
        text=judged.text,
        model=model.title,
        parsed=judged.parsed,
        reasoning=judged.reasoning,
        budget_hit=bool(budget) and thinking >= budget,
        prompt_tokens=reply.usage_prompt_tokens or 0,
        completion_tokens=total - thinking,
        reasoning_tokens=thinking,
    )


def _judge(controls: Controls, reply: Reply, schema: Mapping[str, Any] | None, thinks: bool) -> outcomes.Judged:
    """The answer judged, with what was made harmless in the prompt put back where the model repeats it."""
    judged = outcomes.judge(reply.message, reply.finish_reason, schema, controls.leaked, thinks)
    if BREAKER in judged.text:
        text = controls.unescape(judged.text)
        judged = replace(
            judged, text=text, parsed=outcomes.parse(text, schema) if judged.parsed is not None and schema else None
        )
    if judged.parsed is not None and controls.leaked(
        orjson.dumps(judged.parsed).decode()
    ):  # JSON can spell < as \u003c
        return replace(judged, outcome="tag_leak", parsed=None)
    return judged


def _thinking_tokens(judged: outcomes.Judged, total: int, reported: int | None) -> int:
    """Tokens of the thought: as reported, or the endpoint's total shared out between thinking and answer by their bytes."""
    thinking_bytes = len((judged.reasoning or "").encode())
    if reported is not None and 0 < reported <= total:
        return reported
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

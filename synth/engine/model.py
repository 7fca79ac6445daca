"""A model in use: its replicas and their keepers, the requests it is sent, what it has been paid."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.digest import digest
from synth.engine import ladder, probes, servers
from synth.engine.control import Controls
from synth.engine.keeper import Keeper, Owner
from synth.engine.ladder import Step
from synth.engine.pool import Pool, Replica
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig
from synth.errors import Interrupted
from synth.weights import locate

_RETRIES_PER_SECOND = 10.0  # once the budget is used up
_RETRIES_PER_ASK = 0.2
_MOST_RETRIES = 100.0


@dataclass(frozen=True)
class Role:
    """A role as asks need it: its merged default sampling, and the digest of its whole policy."""

    name: str
    config: RoleConfig
    sampling: dict[str, Any]
    digest: str

    @classmethod
    def of(cls, name: str, config: RoleConfig, policy: Mapping[str, Any]) -> Role:
        """From the recipe's table and the policy as it is hashed."""
        return cls(name, config, config.sampling.content(), digest(policy))


class Retries:
    """A budget for retries: a share of the asks, and beyond it a trickle, so that a sick server is not beaten to death."""

    def __init__(self) -> None:
        self._left = _MOST_RETRIES
        self._next_at = 0.0

    def earn(self) -> None:
        """An ask was answered."""
        self._left = min(_MOST_RETRIES, self._left + _RETRIES_PER_ASK)

    def delay_seconds(self) -> float:
        """Take one retry out of the budget: how much longer than its backoff it has to wait."""
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        now = time.monotonic()
        self._next_at = max(now, self._next_at) + random.uniform(0.5, 1.5) / _RETRIES_PER_SECOND
        return self._next_at - now


class Model:
    """One model of the recipe. All but `price` and `sessions` is for the engine's loop."""

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        run: ModelRun,
        run_id: str,
        scratch: Path,
        thinks: bool,
        first_gpu: int = 0,
    ) -> None:
        self.name = name
        self.config = config
        self.run = run
        self.pool = Pool([Replica(f"{name}/{number}", run.in_flight) for number in range(run.copies)])
        self.keepers: dict[str, Keeper] = {}
        self.retries = Retries()
        self.controls = Controls.known()
        self.prompt_tokens = 0
        self.completion_tokens = 0  # reasoning included
        self._run_id = run_id
        self._scratch = scratch
        self.canaries = scratch / "canaries"
        self._thinks = thinks
        self._first_gpu = first_gpu
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def title(self) -> str:
        """What the model is called in documents and attempts."""
        return self.config.title

    def load(self, owner: Owner) -> None:
        """Start the keepers, unless they run."""
        if self.keepers:
            return
        for number, replica in enumerate(self.pool.replicas):
            keeper = Keeper(self, replica, self._starter(number), owner, self._thinks)
            self.keepers[replica.name] = keeper
            self._tasks.add(asyncio.ensure_future(keeper.run()))

    def _starter(self, number: int) -> Any:
        def start() -> servers.Endpoint:
            endpoint = servers.start(self.name, self.config, self.run, self._scratch, number, self._first_gpu)
            self.controls = controls_of(self.config)
            return endpoint

        return start

    def came_up(self) -> None:
        """A replica answers."""
        self._ready.set()

    async def ready(self) -> None:
        """Wait until a replica has answered once, or none ever will."""
        if not self._ready.is_set():
            await self._ready.wait()

    def close(self, reason: BaseException) -> None:
        """Nothing more is sent; all that wait get `reason`."""
        self.pool.close(reason)
        self._ready.set()

    async def stop(self) -> None:
        """End the keepers and close all connections; servers of our own are the supervisor's to stop."""
        self.close(Interrupted("the engine was stopped"))
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        for keeper in self.keepers.values():
            await keeper.close()

    @property
    def provenance(self) -> tuple[str, str, str, str]:
        """Run, model name, title and engine version, as sends are recorded."""
        lives = [keeper.lives[-1] for keeper in self.keepers.values() if keeper.lives]
        version = lives[0].endpoint.engine_version if lives else "unknown"
        return self._run_id, self.name, self.title, version

    def body(self, ask_id: str, question: Mapping[str, Any], step: Step) -> tuple[dict[str, Any], int]:
        """The request, and how many control tokens in it were made harmless.

        Its sampling seed comes from the ask and the sample, so that samples of one question differ and a replay would not.
        """
        sampling = ladder.spent_sampling(question["sampling"], step)
        messages, escaped = self._harmless(question["messages"])
        body: dict[str, Any] = {
            "model": next((one.endpoint.model for keeper in self.keepers.values() for one in keeper.lives), self.name),
            "messages": messages,
            "temperature": sampling["temperature"],
            "top_p": sampling["top_p"],
            "max_tokens": sampling["max_tokens"] + sampling["thinking_tokens"],
            "seed": (int(ask_id[:7], 16) + step.sample) % 2**28,
            **probes.switches(self.config, bool(sampling["thinking_tokens"])),
        }
        if sampling["thinking_tokens"] and all(one.enforces_thinking_budget for one in self.keepers.values()):
            body["thinking_token_budget"] = sampling["thinking_tokens"]
        if question["schema"] is not None:
            named = {"name": "answer", "schema": question["schema"], "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body, escaped

    def _harmless(self, messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], int]:
        """The messages with control tokens broken up, see synth.engine.control."""
        made = [self.controls.escape(message["content"]) for message in messages]
        if all(text is message["content"] for text, message in zip(made, messages, strict=True)):
            return messages, 0
        count = sum(self.controls.count(message["content"]) for message in messages)
        return [{**message, "content": text} for text, message in zip(made, messages, strict=True)], count

    def silent_seconds(self, since: float) -> float:
        """How long no replica has given an answer, counted from `since` (time.monotonic) at the earliest."""
        return time.monotonic() - max(since, *(replica.answered_at for replica in self.pool.replicas))

    def sessions(self) -> list[dict[str, Any]]:
        """Rows of synth.rows.ENGINE_SESSION: every start of every replica."""
        replicas = {replica.name: replica for replica in self.pool.replicas}
        return [
            life.row(self._run_id, self.title, replicas[name])
            for name, keeper in self.keepers.items()
            for life in list(keeper.lives)
        ]

    def price(self) -> tuple[float, float]:
        """US dollars paid so far for tokens and for GPU time, and hours of GPU time."""
        rows = self.sessions()
        hours = sum(row["gpus"] * (row["ended_at"] - row["started_at"]).total_seconds() / 3600 for row in rows)
        dollars = self.prompt_tokens * self.run.usd_per_million_prompt_tokens / 1e6
        dollars += self.completion_tokens * self.run.usd_per_million_completion_tokens / 1e6
        return dollars + hours * self.run.usd_per_gpu_hour, hours


def controls_of(config: ModelConfig) -> Controls:
    """The control tokens of a model: of its own tokenizer where that lies here, and those that are known of others."""
    if config.backend == "llama-cpp":
        return Controls.of_gguf(locate(str(config.weights)))
    path = tokenizer_path(config)
    return Controls.of_tokenizer_json(path) if path else Controls.known()


def tokenizer_path(config: ModelConfig) -> Path | None:
    """The tokenizer.json of a model: the one that the recipe names, or the one beside local weights; None when neither is."""
    if config.tokenizer is not None:
        return Path(config.tokenizer)
    beside = Path(str(config.weights)) / "tokenizer.json"
    return beside if config.backend == "vllm" and beside.is_file() else None

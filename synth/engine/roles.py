"""Models and roles as a recipe declares them: what they are (hashed), and where they run (never hashed)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from synth.ask import Outcome
from synth.config import Config, nearest

Backend = Literal["llama-cpp", "openai", "vllm", "scripted"]
_CONTROL_TOKENS = 1  # raise when synth.engine.control breaks other tokens, or breaks them otherwise
Rung = Literal["again", "larger_budget", "thinking_off", "next_model"]


_NEEDS: dict[Backend, tuple[str, ...]] = {
    "llama-cpp": ("weights",),
    "vllm": ("weights", "revision"),
    "openai": ("model", "revision"),
    "scripted": (),
}
_TAKES: dict[Backend, tuple[str, ...]] = {
    **_NEEDS,
    "vllm": (*_NEEDS["vllm"], "dtype", "trust_remote_code", "tokenizer"),
    "openai": (*_NEEDS["openai"], "tokenizer"),
    "scripted": ("script",),
}


class Sampling(Config):
    """Sampling of a role; a family or a single ask may override each value."""

    temperature: float = Field(0.7, ge=0.0, le=5.0, description="Softmax temperature; 0 is greedy.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling: smallest set with this probability.")
    max_tokens: int = Field(512, ge=1, description="Tokens of the answer, without reasoning.")
    thinking_tokens: int = Field(
        0, ge=0, description="Tokens of reasoning allowed before the answer; 0 = thinking off."
    )


class ModelConfig(Config):
    """What a model is: everything here is its identity and is hashed into every ask."""

    backend: Backend = Field(description="llama-cpp, vllm, openai (an endpoint that already runs) or scripted.")
    weights: str | None = Field(
        None, description="llama-cpp: a name from `synth weights` or a .gguf path. vllm: a model id or folder."
    )
    model: str | None = Field(None, description="openai: the name by which the endpoint knows the model.")
    revision: str | None = Field(
        None, description="openai, vllm: the declared revision (commit, date); part of the model's identity."
    )
    context_tokens: int = Field(4096, ge=256, description="Prompt and answer together, per request (tokens).")
    script: str = Field("plain", description="scripted: name of the answering script.")
    dtype: str | None = Field(None, description="vllm: number format of the weights in memory; none = as stored.")
    thinking_switch: str | None = Field(
        None,
        pattern=r"^[a-z_]{1,64}$",
        description="The chat template's argument that turns thinking on and off, such as enable_thinking; none = it has none.",
    )
    tokenizer: str | None = Field(
        None,
        description="openai, vllm: path of the model's tokenizer.json, to count tokens and to keep its control tokens out.",
    )
    trust_remote_code: bool = Field(
        False, description="vllm: run Python code that lies beside the weights. Only for weights you have read."
    )

    @property
    def title(self) -> str:
        """What the model is called in documents and attempts: its weights or name, and its revision."""
        name = self.weights or self.model or self.backend
        return f"{name}@{self.revision}" if self.revision else name

    @model_validator(mode="after")
    def _complete(self) -> ModelConfig:
        missing = [name for name in _NEEDS[self.backend] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"backend {self.backend!r} needs {' and '.join(missing)}")
        takes = (*_TAKES[self.backend], "context_tokens", "thinking_switch")
        fields = type(self).model_fields
        given = [name for name in fields if name != "backend" and getattr(self, name) != fields[name].default]
        useless = [name for name in given if name not in takes]
        if useless:
            raise ValueError(f"backend {self.backend!r} takes {', '.join(takes)}, not {' or '.join(useless)}")
        return self


# What the driver leaves to programs (GiB), which is less than the name says: torch's total_memory, as users report it.
GPU_MEMORY_GIB: Mapping[str, float] = {
    "h100-80gb": 79.1,
    "h200-141gb": 139.8,
    "b200-180gb": 178.3,
    "a100-80gb": 79.1,
    "a100-40gb": 39.4,
    "l40s-48gb": 44.4,
    "a6000-48gb": 47.4,
    "rtx-4090-24gb": 23.5,
    "rtx-3090-24gb": 23.6,
    "a10g-24gb": 22.0,
    "l4-24gb": 22.0,
}


class RoleConfig(Config):
    """A role names a policy over models; families know roles only."""

    models: tuple[str, ...] = Field(min_length=1, description="Names from [models], in the order they are asked.")
    sampling: Sampling = Field(Sampling(), description="Default sampling of the role.")
    choose: Literal["first", "cascade"] = Field(
        "first",
        description="first: the first model answers. cascade: what a model gets wrong (its outcome is not ok, or the family "
        "does not accept the answer) is asked of the next one; the last one's answer stands.",
    )
    retry: dict[Outcome, tuple[Rung, ...]] = Field(
        {},
        description="What to try, in order, when an answer has this outcome: again (another sample), larger_budget (twice the "
        "tokens), thinking_off, next_model. Each once per model; when none is left the outcome stands.",
    )

    @model_validator(mode="after")
    def _retries_make_sense(self) -> RoleConfig:
        final = {"ok", "dead_letter"} & set(self.retry)
        if final:
            raise ValueError(f"the outcome {' or '.join(sorted(final))} is final: nothing is tried after it")
        return self


class ModelRun(Config):
    """Where and how a model runs, `[run.models.NAME]`: never hashed."""

    base_url: str | None = Field(None, description="An endpoint that already runs, up to and including /v1.")
    base_urls: tuple[str, ...] = Field(
        (), description="Several such endpoints, on this or other nodes: one replica each."
    )
    api_key_env: str | None = Field(None, description="Name of the environment variable that holds the API key.")
    port: int = Field(
        0, ge=0, le=65535, description="Port of the first server that we start, the next one's is one higher; 0 = any."
    )
    replicas: int = Field(1, ge=1, le=1024, description="Servers that we start for this model, on this node.")
    in_flight: int = Field(
        16, ge=1, description="Requests kept in flight at each replica, at most: fewer while it is overloaded."
    )
    threads: int = Field(0, ge=0, description="llama-cpp: compute threads; 0 = one per core.")
    start_timeout_seconds: float = Field(600.0, gt=0, description="Time a server that we start may take to answer.")
    request_timeout_seconds: float = Field(600.0, gt=0, description="Deadline of one request.")
    stall_seconds: float = Field(
        120.0,
        gt=0,
        description="A server of ours that has requests and generates no token for so long is started anew.",
    )
    outage_seconds: float = Field(600.0, ge=0, description="Time without any answer after which a model is given up.")
    recycle_after_asks: int = Field(
        0, ge=0, description="Start a server anew after so many answers (it leaks memory); 0 = never."
    )
    max_attempts: int = Field(6, ge=1, description="Tries of one ask against faults of the world.")
    gpus: int = Field(0, ge=0, description="GPUs that each replica occupies: reserved for it, and paid for.")
    gpu: str | None = Field(
        None,
        description="vllm: what GPUs these are, such as h100-80gb: `synth plan` calculates whether the model fits.",
    )
    gpu_memory_gib: float | None = Field(
        None, gt=0, description="vllm: memory of one GPU, for one that `gpu` does not know (GiB)."
    )
    args: tuple[str, ...] = Field((), description="vllm, scripted: further command line arguments, passed as they are.")
    tensor_parallel: int = Field(1, ge=1, description="vllm: GPUs that share one copy of the weights.")
    data_parallel: int = Field(1, ge=1, description="vllm: copies of the weights behind one endpoint.")
    max_num_seqs: int | None = Field(None, ge=1, description="vllm: requests decoded together; none = vLLM's default.")
    max_num_batched_tokens: int | None = Field(None, ge=1, description="vllm: tokens per step; none = vLLM's default.")
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="vllm: share of GPU memory; none = vLLM's default."
    )
    reasoning_parser: str | None = Field(None, description="vllm: how the server takes thinking apart, such as qwen3.")
    speculative: dict[str, Any] = Field({}, description='vllm: its --speculative-config, such as {method = "suffix"}.')
    usd_per_million_prompt_tokens: float = Field(0.0, ge=0, description="Price (US dollars).")
    usd_per_million_completion_tokens: float = Field(0.0, ge=0, description="Price (US dollars), reasoning included.")
    usd_per_gpu_hour: float = Field(0.0, ge=0, description="Price of one GPU for an hour (US dollars), idle time too.")

    @field_validator("gpu")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is not None and value not in GPU_MEMORY_GIB:
            known = f"{', '.join(GPU_MEMORY_GIB)}; for another one give gpu_memory_gib"
            raise ValueError(f"{known}{nearest(value, GPU_MEMORY_GIB)}")
        return value

    @model_validator(mode="after")
    def _one_place(self) -> ModelRun:
        if self.base_url is not None and self.base_urls:
            raise ValueError("give base_url or base_urls, not both")
        if self.urls and self.replicas > 1:
            raise ValueError("replicas are servers that we start; endpoints that already run are listed in base_urls")
        if self.gpu is not None and self.gpu_memory_gib is not None:
            raise ValueError("give gpu or gpu_memory_gib, not both")
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """Endpoints that already run; empty when we start the servers."""
        return (self.base_url,) if self.base_url is not None else self.base_urls

    @property
    def copies(self) -> int:
        """Replicas in all, ours or not."""
        return len(self.urls) or self.replicas


def role_policy(role: RoleConfig, identities: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A role as it is hashed: its models by identity, in order, its default sampling, who is asked when, how prompts are made
    harmless."""
    return {**role.content(), "control_tokens": _CONTROL_TOKENS, "models": [identities[name] for name in role.models]}

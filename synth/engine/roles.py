"""Models and roles as a recipe declares them: what they are (hashed), and where they run (never hashed)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from synth.config import Config

Backend = Literal["llama-cpp", "openai", "vllm", "scripted"]


_NEEDS: dict[Backend, tuple[str, ...]] = {
    "llama-cpp": ("weights",),
    "vllm": ("weights", "revision"),
    "openai": ("model", "revision"),
    "scripted": (),
}
_TAKES: dict[Backend, tuple[str, ...]] = {**_NEEDS, "scripted": ("script",)}


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

    @model_validator(mode="after")
    def _complete(self) -> ModelConfig:
        missing = [name for name in _NEEDS[self.backend] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"backend {self.backend!r} needs {' and '.join(missing)}")
        unset = {"weights": None, "model": None, "revision": None, "script": "plain"}
        useless = [name for name in unset if name not in _TAKES[self.backend] and getattr(self, name) != unset[name]]
        if useless:
            takes = ", ".join(_TAKES[self.backend])
            raise ValueError(f"backend {self.backend!r} takes {takes} and context_tokens, not {' or '.join(useless)}")
        return self


class RoleConfig(Config):
    """A role names a policy over models; families know roles only."""

    models: tuple[str, ...] = Field(min_length=1, description="Names from [models]; the first one answers.")
    sampling: Sampling = Field(Sampling(), description="Default sampling of the role.")


class ModelRun(Config):
    """Where and how a model runs, `[run.models.NAME]`: never hashed."""

    base_url: str | None = Field(None, description="An endpoint that already runs, up to and including /v1.")
    api_key_env: str | None = Field(None, description="Name of the environment variable that holds the API key.")
    port: int = Field(0, ge=0, le=65535, description="Port of a server that we start; 0 = any free one.")
    in_flight: int = Field(16, ge=1, description="Requests kept in flight at this endpoint.")
    threads: int = Field(0, ge=0, description="llama-cpp: compute threads; 0 = one per core.")
    start_timeout_seconds: float = Field(600.0, gt=0, description="Time a server that we start may take to answer.")
    request_timeout_seconds: float = Field(600.0, gt=0, description="Deadline of one request.")
    max_attempts: int = Field(6, ge=1, description="Tries of one ask against faults of the world.")
    gpus: int = Field(0, ge=0, description="GPUs that the server occupies; for cost.")
    args: tuple[str, ...] = Field((), description="vllm, scripted: further command line arguments, passed as they are.")
    usd_per_million_prompt_tokens: float = Field(0.0, ge=0, description="Price (US dollars).")
    usd_per_million_completion_tokens: float = Field(0.0, ge=0, description="Price (US dollars), reasoning included.")
    usd_per_gpu_hour: float = Field(0.0, ge=0, description="Price of one GPU for an hour (US dollars), idle time too.")


def role_policy(role: RoleConfig, identities: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A role as it is hashed: its models by identity, in order, and its default sampling."""
    return {"models": [identities[name] for name in role.models], "sampling": role.sampling.content()}

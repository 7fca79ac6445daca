"""Endpoints: the model servers that we start as children, and those of others that already run.

`identity` says what a model is without starting anything; `start` gives an Endpoint that answers. Keys for our own
servers are made up for each start and handed over by file or environment: no key is ever in a command line, a log, a
message or a repr.
"""

from __future__ import annotations

import re
import secrets
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from synth import weights
from synth.config import nearest
from synth.digest import digest, file_sha256, short
from synth.engine import launch, outside, vllm
from synth.engine.roles import ModelConfig, ModelRun
from synth.engine.supervisor import Child
from synth.errors import RecipeError, fail
from synth.tokens import read_metadata

_LLAMA_SLOTS_MAX = 256  # LLAMA_MAX_SEQ in llama.cpp; more requests than slots wait inside the server


@dataclass
class Endpoint:
    """A replica of a model that answers at `base_url` (up to and including /v1) under the name `model`.

    `name` is the model's name in the recipe, a slash and the replica's number; `root` is the URL under which a server
    has /health and /metrics. `loading_seconds` is the time from the start until it answered; `child` is None for a
    server that is not ours.
    """

    name: str
    base_url: str
    root: str
    model: str
    api_key: str | None = field(repr=False)
    identity: dict[str, Any]
    engine_version: str
    started_at: datetime
    loading_seconds: float
    child: Child | None
    gpus: int

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Stop the server if it is ours; may be called again."""
        if self.child is not None:
            self.child.stop(grace_seconds)


def identity(config: ModelConfig) -> dict[str, Any]:
    """What the model is, as it is hashed into asks: weights by digest, or the name and revision that are declared.

    A GGUF file's digest covers its tokenizer, chat template and quantisation. Starts and fetches nothing.
    """
    declared: dict[str, Any] = {"context_tokens": config.context_tokens}
    for name in ("revision", "dtype", "thinking_switch", "trust_remote_code"):
        if getattr(config, name):
            declared[name] = getattr(config, name)
    if config.tokenizer is not None:
        declared["tokenizer_sha256"] = file_sha256(Path(config.tokenizer))
    if config.backend == "llama-cpp":
        return {**declared, "weights_sha256": weights.identity(str(config.weights))["sha256"]}
    if config.backend == "scripted":
        return {**declared, **_script_identity(config.script)}
    return {**declared, "model": _sent_name(config)}


def start(
    name: str, config: ModelConfig, run: ModelRun, scratch: Path, replica: int = 0, first_gpu: int = 0
) -> Endpoint:
    """The endpoint of one replica (0 to `run.copies` - 1); blocks until it answers.

    With `run.urls`, or the backend `openai`, the endpoint exists and is only checked. Otherwise a server is started
    under the supervisor: its log in `scratch`/NAME-REPLICA, `run.gpus` GPUs of its own, counted from `first_gpu` among
    those that are visible (what other models of this node occupy). Raises RecipeError for what the user must change,
    EndpointError when nobody answers, and what `synth.weights.locate` raises.
    """
    begin, started_at = time.monotonic(), datetime.now(UTC)
    if run.urls or config.backend == "openai":
        base_url, child, version = outside.base_url(name, run, replica), None, "unknown"
        key = outside.given_key(name, run)
        outside.check_answers(name, run, replica, base_url, key)
    else:
        key = outside.given_key(name, run) or secrets.token_hex(16)
        port, env = launch.port(name, run, replica), launch.environment(name, run, replica, first_gpu)
        plain = name if re.fullmatch(r"\w[\w.-]*", name) else short(digest(name))
        folder = scratch / f"{plain}-{replica}"
        if config.backend == "vllm":
            child, base_url, version = _vllm(name, config, run, folder, port, env, key)
        else:
            child, base_url, version = _ready_file(name, config, run, folder, port, env, key)
    return Endpoint(
        name=f"{name}/{replica}",
        base_url=base_url,
        root=base_url.removesuffix("/v1"),
        model=_sent_name(config),
        api_key=key,
        identity=identity(config),
        engine_version=version,
        started_at=started_at,
        loading_seconds=time.monotonic() - begin,
        child=child,
        gpus=run.gpus,
    )


def _script_identity(script: str) -> dict[str, Any]:
    from synth.engine.scripted_chat import SCRIPT_VERSION, SCRIPTS

    if script not in SCRIPTS:
        raise fail(
            RecipeError, f"unknown script{nearest(script, SCRIPTS)}", given=script, allowed=", ".join(sorted(SCRIPTS))
        )
    return {"script": script, "script_version": SCRIPT_VERSION}


def _sent_name(config: ModelConfig) -> str:
    """The name that stands in requests."""
    return config.model or config.weights or config.script


_Started = tuple[Child, str, str]  # with its base URL and version


def _vllm(
    name: str, config: ModelConfig, run: ModelRun, folder: Path, port: int, env: dict[str, str], key: str
) -> _Started:
    vllm.check(name, config, run)
    port = port or launch.free_port()
    root, options, env = f"http://{launch.LOOPBACK}:{port}", vllm.options(config, run), env | vllm.variables(key)
    with vllm.compiling(name, run, options, env):
        child, version = launch.launch(
            name,
            run,
            vllm.program(port, options),
            env,
            folder / "server.log",
            key,
            lambda: vllm.answering_version(root),
        )
    return child, f"{root}/v1", f"vllm {version}"


def _ready_file(
    name: str, config: ModelConfig, run: ModelRun, folder: Path, port: int, env: dict[str, str], key: str
) -> _Started:
    """Start one of our own programs, which say in a ready file when and where they answer."""
    arguments = (
        _llama_arguments(name, config, run) if config.backend == "llama-cpp" else _scripted_arguments(config, run)
    )
    ready, key_file = folder / "ready.json", folder / "key"
    folder.mkdir(parents=True, exist_ok=True)
    ready.unlink(missing_ok=True)
    key_file.unlink(missing_ok=True)
    key_file.touch(mode=0o600)
    key_file.write_text(key)
    argv = [sys.executable, "-P", "-m", *arguments, "--port", str(port)]
    argv += ["--ready-file", str(ready), "--api-key-file", str(key_file)]

    def answer() -> dict[str, str] | None:
        return dict(orjson.loads(ready.read_bytes())) if ready.exists() else None

    try:
        child, said = launch.launch(name, run, argv, env, folder / "server.log", key, answer)
    finally:
        key_file.unlink(missing_ok=True)
    return child, said["base_url"], said["engine_version"]


def _llama_arguments(name: str, config: ModelConfig, run: ModelRun) -> list[str]:
    path = weights.locate(str(config.weights))
    metadata = read_metadata(path)
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length", config.context_tokens)
    if config.context_tokens > trained:
        raise fail(
            RecipeError,
            f"models.{name}.context_tokens: more than the model was trained for",
            given=config.context_tokens,
            allowed=f"at most {trained}",
        )
    return [
        "synth.engine.llama_child",
        *("--weights", str(path.absolute())),
        *("--slots", str(min(run.in_flight, _LLAMA_SLOTS_MAX))),
        *("--context-tokens", str(config.context_tokens)),
        *("--threads", str(run.threads or launch.cores())),
    ]


def _scripted_arguments(config: ModelConfig, run: ModelRun) -> list[str]:
    _script_identity(config.script)
    return ["synth.engine.scripted", "--host", launch.LOOPBACK, "--script", config.script, *run.args]

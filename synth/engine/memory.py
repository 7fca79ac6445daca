"""Whether a model fits on its GPUs: weights and KV cache per GPU, calculated before anything starts, without a GPU.

vLLM takes gpu_memory_utilization of a GPU's memory: the weights lie there, and what its start-up needs; the rest is cache for
keys and values. What is certain is refused: weights that are larger than that, or that leave no room for one request of full
length. What its start-up needs is an estimate, and only warned of. How many requests fit is what decides the speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from synth.engine.architectures import GIB, Architecture, find
from synth.engine.roles import GPU_MEMORY_GIB, ModelConfig, ModelRun
from synth.errors import RecipeError, fail

_UTILIZATION = 0.9  # vLLM's default up to the versions we know; newer ones take a little more
_FIXED_BYTES = (
    0.35 * GIB
)  # CUDA's context, cuBLAS, the collectives: what logs of vLLM call non-torch memory, 0.2 to 0.4
_BYTES = {"float32": 4.0, "float": 4.0}
_LARGE_GIB = 70  # from here on vLLM's defaults for a server are larger


@dataclass(frozen=True)
class Fit:
    """One model on one of its GPUs. Everything in GiB is per GPU. `requests` is how many of full length (context_tokens) fit at
    the same time, `asked_requests` how many of the longest that the recipe's families ask (asked_tokens); per copy."""

    model: str
    weights: str
    gpu: str
    source: str
    gpu_gib: float
    usable_gib: float
    weights_gib: float
    overhead_gib: float
    cache_gib: float
    cache_bytes_per_token: int
    cache_tokens: int
    request_gib: float
    requests: float
    context_tokens: int
    asked_requests: float
    asked_tokens: int
    in_flight: int
    remarks: tuple[str, ...] = ()


def check_memory(name: str, config: ModelConfig, run: ModelRun, asked_tokens: int | None = None) -> Fit | None:
    """How the model fits. None: it is not started by us, or its GPU or architecture is not known. `asked_tokens`: of the longest
    request that is expected, prompt and answer; none: the context.

    RecipeError: it cannot be started like this.
    """
    if config.backend != "vllm" or run.urls:
        return None
    architecture = find(str(config.weights), config.revision)
    if architecture is None:
        return None
    _check_shape(name, config, run, architecture)
    memory = run.gpu_memory_gib or (GPU_MEMORY_GIB[run.gpu] if run.gpu else None)
    if memory is None:
        return None
    asked = min(asked_tokens or config.context_tokens, config.context_tokens)
    fit = _fit(name, config, run, architecture, memory, asked)
    _refuse(name, config, run, architecture, fit)
    return fit


def unknown(name: str, config: ModelConfig, run: ModelRun) -> str | None:
    """Why nothing was calculated, and what would change that; None where there is nothing to calculate."""
    if config.backend != "vllm" or run.urls:
        return None
    if find(str(config.weights), config.revision) is None:
        return (
            f"models.{name}: {config.weights} is not known here, and its config.json is not in the hub's cache on this "
            f"machine (or its attention is of a kind that is not calculated)"
        )
    if not (run.gpu or run.gpu_memory_gib):
        return f'run.models.{name}: say gpu = "h100-80gb" (or gpu_memory_gib) to have its memory checked'
    return None


def check_ranks(name: str, run: ModelRun) -> None:
    """RecipeError when a replica has fewer GPUs than its copies of the weights are spread over."""
    ranks = run.tensor_parallel * run.data_parallel
    if run.gpus and ranks > run.gpus:
        raise fail(
            RecipeError,
            f"run.models.{name}: tensor_parallel x data_parallel needs more GPUs than a replica has",
            given=f"{run.tensor_parallel} x {run.data_parallel} = {ranks}",
            allowed=f"at most gpus = {run.gpus}",
            do="raise gpus, or lower one of the others",
        )


def _check_shape(name: str, config: ModelConfig, run: ModelRun, one: Architecture) -> None:
    """What vLLM would refuse whatever the GPU."""
    check_ranks(name, run)
    if one.heads % run.tensor_parallel:
        allowed = [str(number) for number in range(1, one.heads + 1) if one.heads % number == 0]
        raise fail(
            RecipeError,
            f"run.models.{name}.tensor_parallel: does not divide the {one.heads} attention heads of {config.weights}",
            given=run.tensor_parallel,
            allowed=", ".join(allowed),
        )
    stretched = any("rope" in word or "hf-overrides" in word.replace("_", "-") for word in run.args)
    if config.context_tokens > one.max_tokens and not stretched:
        raise fail(
            RecipeError,
            f"models.{name}.context_tokens: more than {config.weights} was made for",
            given=config.context_tokens,
            allowed=f"at most {one.max_tokens}",
        )


def _fit(name: str, config: ModelConfig, run: ModelRun, one: Architecture, memory_gib: float, asked: int) -> Fit:
    width = _BYTES.get(config.dtype or "", 2.0)
    cache_width = 1.0 if "fp8" in (_argument(run.args, "--kv-cache-dtype") or "") else width
    usable = memory_gib * GIB * (run.gpu_memory_utilization or _UTILIZATION)
    weights = one.stored_bytes(width) / run.tensor_parallel
    overhead = _overhead_bytes(run, one, memory_gib)
    cache = usable - weights - overhead
    per_request = _request_bytes(config.context_tokens, run, one, cache_width, memory_gib)
    requests = max(0.0, cache / per_request)
    asked_requests = max(0.0, cache / _request_bytes(asked, run, one, cache_width, memory_gib))
    in_flight = math.ceil(run.in_flight / run.data_parallel)
    return Fit(
        model=name,
        weights=str(config.weights),
        gpu=run.gpu or f"{memory_gib:g} GiB",
        source=one.source,
        gpu_gib=memory_gib,
        usable_gib=usable / GIB,
        weights_gib=weights / GIB,
        overhead_gib=overhead / GIB,
        cache_gib=cache / GIB,
        cache_bytes_per_token=int(_cache_bytes(run, one, cache_width) * one.layers),
        cache_tokens=int(requests * config.context_tokens),
        request_gib=per_request / GIB,
        requests=requests,
        context_tokens=config.context_tokens,
        asked_requests=asked_requests,
        asked_tokens=asked,
        in_flight=in_flight,
        remarks=tuple(_remarks(name, run, requests, asked_requests, asked, in_flight)),
    )


def _argument(args: Sequence[str], option: str) -> str | None:
    """The value of an option among vLLM's own arguments: `--x y` or `--x=y`."""
    for position, word in enumerate(args):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and position + 1 < len(args):
            return args[position + 1]
    return None


def _cache_bytes(run: ModelRun, one: Architecture, width: float) -> float:
    """Keys and values of one token in one layer, on one GPU. Heads are dealt out; each GPU holds one at least."""
    return 2 * max(1, one.kv_heads / run.tensor_parallel) * one.head_dim * width


def _request_bytes(tokens: int, run: ModelRun, one: Architecture, width: float, memory_gib: float) -> float:
    """Cache of one request of so many tokens. A layer with a window holds the window and what is read at once."""
    batched, _ = _batch(run, memory_gib)
    windowed = one.window_layers * min(tokens, one.window_tokens + batched)
    return _cache_bytes(run, one, width) * ((one.layers - one.window_layers) * tokens + windowed)


def _batch(run: ModelRun, memory_gib: float) -> tuple[int, int]:
    """Tokens per step and requests per step: the recipe's, else what vLLM's server takes on a GPU of this size."""
    large = memory_gib >= _LARGE_GIB
    return run.max_num_batched_tokens or (8192 if large else 2048), run.max_num_seqs or (1024 if large else 256)


def _overhead_bytes(run: ModelRun, one: Architecture, memory_gib: float) -> float:
    """What a step needs beside weights and cache, by the largest tensors: gate and up of the MLP, some of hidden size, and
    the logits of all requests in four bytes. An estimate: see tests/test_gpu_memory.py for logs it is held against.
    """
    batched, requests = _batch(run, memory_gib)
    step = batched * 2 * (2 * one.intermediate / run.tensor_parallel + 4 * one.hidden)
    return _FIXED_BYTES + step + requests * one.vocabulary * 4


def _remarks(
    name: str, run: ModelRun, requests: float, asked_requests: float, asked: int, in_flight: int
) -> Iterator[str]:
    if requests < 1:
        yield (
            f"run.models.{name}: by our estimate too little is left beside the weights, expect vLLM to refuse to start: raise "
            "tensor_parallel or gpu_memory_utilization, or lower context_tokens or max_num_batched_tokens"
        )
    elif asked_requests < in_flight:
        yield (
            f"run.models.{name}: {in_flight:,} requests in flight, of {asked:,} tokens (the longest asked) {asked_requests:,.0f} "
            "fit. Shorter ones take less; if vLLM's log speaks of preemption, lower max_num_seqs and in_flight"
        )
    if run.max_num_seqs and run.max_num_seqs < in_flight:
        yield f"run.models.{name}: {in_flight:,} in flight, but max_num_seqs lets {run.max_num_seqs:,} be decoded together"


def _refuse(name: str, config: ModelConfig, run: ModelRun, one: Architecture, fit: Fit) -> None:
    """RecipeError when even without any overhead there is no room."""
    request_gib = fit.request_gib
    if fit.weights_gib + request_gib <= fit.usable_gib:
        return
    weights_alone = fit.weights_gib >= fit.usable_gib
    what = "the weights do not fit" if weights_alone else "beside the weights, not one request of full length fits"
    raise fail(
        RecipeError,
        f"run.models.{name}: {what} on the GPU",
        given=f"{config.weights}: weights {fit.weights_gib:.1f} GiB per GPU (tensor_parallel = {run.tensor_parallel}), and "
        f"{request_gib:.2f} GiB of KV cache for one request of {config.context_tokens} tokens",
        allowed=f"together {fit.usable_gib:.1f} GiB: {fit.gpu_gib:g} GiB x gpu_memory_utilization "
        f"{run.gpu_memory_utilization or _UTILIZATION:g}",
        do=_advice(config, run, one, fit, weights_alone),
    )


def _advice(config: ModelConfig, run: ModelRun, one: Architecture, fit: Fit, weights_alone: bool) -> str:
    total = fit.weights_gib * run.tensor_parallel
    wider = [
        number
        for number in (2, 4, 8, 16)
        if number > run.tensor_parallel and one.heads % number == 0 and total / number < 0.9 * fit.usable_gib
    ]
    advice = [f"tensor_parallel = {wider[0]} and gpus = {wider[0]}"] if wider else []
    advice.append("weights of 8 bits (a model whose name ends in -FP8)")
    if not weights_alone:
        advice.insert(0, f"a context_tokens smaller than {config.context_tokens}")
    return ", or ".join(advice) + ", or a smaller model"


def as_json(fit: Fit) -> dict[str, Any]:
    """For `--json`."""
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in vars(fit).items()}

"""Why a model server did not start: what its last words mean, and what the user can do about it."""

from __future__ import annotations

import re

from synth.engine.supervisor import Child
from synth.errors import EndpointError, SynthError, fail

_SAID_LINES = 400  # one failed start of vLLM writes several tracebacks, the telling one first
_SHOWN_LINES = 12
_SHOWN_CHARACTERS = 300

_MEMORY_CURE = "lower run.models.{name}.in_flight or models.{name}.context_tokens, or take smaller weights"

# What a server's last words mean, the most specific first: pattern, cause, cure.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"errno 98\]|address already in use$|address already in use\b(?!\. Retrying)|couldn't bind|cannot listen",
        "its port was taken by another program",
        "set run.models.{name}.port to 0 or to a free port",
    ),
    (
        r"KV cache is needed, which is larger than the available|no available memory for the cache blocks|"
        r"larger than the maximum number of tokens that can be stored in KV cache",
        "what the weights leave of the memory holds no request of this length",
        "lower models.{name}.context_tokens, raise run.models.{name}.gpu_memory_utilization (without GPU: "
        "VLLM_CPU_KVCACHE_SPACE), or give it more GPUs (gpus and tensor_parallel)",
    ),
    (
        r"is less than (desired (GPU|CPU) memory utilization|requested memory for kv)",
        "other programs hold the memory that it wants to reserve",
        "stop what else runs there (another server of this model?), or lower run.models.{name}.gpu_memory_utilization",
    ),
    (
        r"World size \(\d+\) is larger than the number of available GPUs|invalid device ordinal",
        "there are fewer GPUs than it shall use",
        "lower run.models.{name}.tensor_parallel, data_parallel or gpus",
    ),
    (
        r"must be divisible by tensor parallel size",
        "this model cannot be shared by so many GPUs",
        "take another run.models.{name}.tensor_parallel; 1, 2, 4 and 8 suit most models",
    ),
    (
        r"Found no NVIDIA driver|No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device|"
        r"NVIDIA driver on your system is too old|driver version is insufficient",
        "it finds no GPU, or a driver too old for it",
        "check nvidia-smi and CUDA_VISIBLE_DEVICES on this node, and that vLLM was built for this device",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory",
        "there is not enough memory for it on the GPU",
        "lower run.models.{name}.gpu_memory_utilization, max_num_seqs or max_num_batched_tokens, or give it more GPUs",
    ),
    (
        r"out of memory|bad_alloc|cannot allocate memory|failed to (re)?allocate|insufficient memory|no available memory",
        "there is not enough memory for it",
        _MEMORY_CURE,
    ),
    (
        r"Reasoning parser '[^']*' not found|invalid reasoning parser",
        "it has no such reasoning parser",
        "take one of those that it names for run.models.{name}.reasoning_parser",
    ),
    (
        r"validation errors? for SpeculativeConfig|required for suffix decoding|argument --speculative-config|"
        r"unsupported speculative method|num_speculative_tokens .{0,40}(must|should|cannot)",
        "it cannot use what run.models.{name}.speculative says",
        "correct run.models.{name}.speculative; without it answers come slower, and are the same",
    ),
    (
        r"architectures? .{0,200}not supported for now|does not recognize this architecture|unsupported architecture",
        "it cannot run models of this architecture",
        "check models.{name}.weights, or install a newer vLLM",
    ),
    (
        r"contains custom code|set the option `?trust_remote_code=True|pass the argument `?trust_remote_code=True",
        "the model brings Python code of its own",
        "read that code; then set models.{name}.trust_remote_code = true, or take another model",
    ),
    (
        r"User-specified max_model_len .{0,80}is greater than the derived max_model_len",
        "the model was trained for shorter texts",
        "lower models.{name}.context_tokens",
    ),
    (
        r"invalid magic|corrupted or incomplete|error loading model|failed to load model",
        "the weights are not a whole GGUF file that this llama.cpp can read",
        "check models.{name}.weights, or download the file again",
    ),
    (
        r"is not a valid JSON file|safetensors_rust\.SafetensorError|Error while deserializing header",
        "the weights are not whole",
        "download models.{name}.weights again",
    ),
    (
        r"revision ?not ?found|not a valid git identifier|invalid rev id",
        "the model hub has no such revision of this model",
        "correct models.{name}.revision: a commit, tag or branch of the model's page",
    ),
    (
        r"gated ?repo|401 client error|403 client error|is restricted|awaiting a review",
        "the model hub does not hand out these weights to you",
        "ask for access on the model's page, and give your hub token in the environment (HF_TOKEN)",
    ),
    (
        r"couldn't connect to 'https?://|outgoing traffic has been disabled|offline mode is enabled|LocalEntryNotFoundError|"
        r"check your (internet )?connection",
        "the model hub cannot be reached, and the weights are not in its cache here",
        "check the network and HF_HUB_OFFLINE, or put the weights on this node and give their folder as models.{name}.weights",
    ),
    (
        r"repository ?not ?found|is not a local folder|not a valid model identifier|repo id must|"
        r"Invalid repository ID or local directory|does not appear to have (a file|files) named|"
        r"Cannot find any model weights|no safetensors|no such file or directory.{0,80}config\.json",
        "the weights are not there: neither a folder with a whole model, nor a model of the hub",
        "check models.{name}.weights",
    ),
    (
        r"unrecognized arguments|error: argument|invalid choice|ambiguous option",
        "it does not know an argument",
        "check run.models.{name}.args",
    ),
    (r"^ModuleNotFoundError|: No module named", "a Python package is missing", "install the package named below"),
)


def not_up(name: str, child: Child, key: str, what: str, cure: str | None) -> SynthError:
    """The error for a server that does not come up: `what` happened, the likely cause, its last words, what to do.

    `cure` is what to do when the words tell nothing. The key is taken out of the words.
    """
    words = [line.replace(key, "(key)") for line in child.last_lines(_SAID_LINES)]
    cause, known_cure, telling = likely_cause(name, words, child.exit_code())
    shown = words[-_SHOWN_LINES:]
    if telling is not None and telling not in shown:
        shown = [telling, "…", *shown[2:]]
    said = "".join(f"\n  | {line[:_SHOWN_CHARACTERS]}" for line in shown)
    return fail(
        EndpointError,
        f"the server of model {name!r} {what}{f': {cause}' if cause else ''}{said}",
        do=f"{known_cure or cure or 'read the log'}; the log is {child.log}",
    )


def likely_cause(name: str, words: list[str], exit_code: int | None) -> tuple[str | None, str | None, str | None]:
    """Cause, cure and the line that tells it, from what the server wrote (its lines) and how it ended; None: unknown."""
    for pattern, cause, cure in _CAUSES:
        telling = next((line for line in reversed(words) if re.search(pattern, line, re.IGNORECASE)), None)
        if telling is not None:
            return cause.format(name=name), cure.format(name=name), telling
    if exit_code == 137:
        why = "it was killed, which the system does when memory runs out"
        return why, _MEMORY_CURE.format(name=name), None
    return None, None, None

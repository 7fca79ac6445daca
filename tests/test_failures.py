"""What servers wrote when they did not start, in their own words, and what we make of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from synth.engine.failures import likely_cause, not_up
from synth.engine.supervisor import Child

# Last lines of vLLM 0.14 to 0.32 and llama.cpp, as they were written; then words of the cause, and the field to change.
WORDS = [
    ("OSError: [Errno 98] Address already in use", "port was taken", "run.models.m.port"),
    ("start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080", "port was taken", "run.models.m.port"),
    (
        "(EngineCore_DP0 pid=1094) ValueError: To serve at least one request with the models's max seq len (262144), (24.0 "
        "GiB KV cache is needed, which is larger than the available KV cache memory (3.18 GiB). Based on the available "
        "memory, the estimated maximum model length is 34736. Try increasing `gpu_memory_utilization` or decreasing "
        "`max_model_len` when initializing the engine.",
        "holds no request of this length",
        "models.m.context_tokens",
    ),
    (
        "ValueError: The model's max seq len (4096) is larger than the maximum number of tokens that can be stored in KV "
        "cache (3664). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
        "holds no request of this length",
        "models.m.context_tokens",
    ),
    (
        "(EngineCore_DP0 pid=6940) ValueError: Free memory on device cuda:1 (19.77/22.05 GiB) on startup is less than "
        "desired GPU memory utilization (0.9, 19.84 GiB). Decrease GPU memory utilization or reduce GPU memory used by "
        "other processes.",
        "other programs hold the memory",
        "run.models.m.gpu_memory_utilization",
    ),
    (
        "RuntimeError: Worker failed with error 'Available memory on node 0 (11.19/14.09 GiB) on kv cache allocation is less "
        "than requested memory for kv (64.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU "
        "memory used by other processes.', please check the stack trace above for the root cause",
        "other programs hold the memory",
        "run.models.m.gpu_memory_utilization",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 11.53 GiB of "
        "which 187.75 MiB is free. Including non-PyTorch memory, this process has 11.34 GiB memory in use.",
        "not enough memory for it on the GPU",
        "run.models.m.gpu_memory_utilization",
    ),
    ("terminate called after throwing an instance of 'std::bad_alloc'", "not enough memory", "models.m.context_tokens"),
    (
        "  Value error, World size (8) is larger than the number of available GPUs (4) in this node. If this is intentional "
        "and you are using:",
        "fewer GPUs than it shall use",
        "run.models.m.tensor_parallel",
    ),
    (
        "  Value error, Total number of attention heads (9) must be divisible by tensor parallel size (2).",
        "cannot be shared by so many GPUs",
        "run.models.m.tensor_parallel",
    ),
    (
        "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG` to turn on "
        "verbose logging to help debug the issue.",
        "finds no GPU",
        "CUDA_VISIBLE_DEVICES",
    ),
    (
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver "
        "from http://www.nvidia.com/Download/index.aspx",
        "finds no GPU",
        "nvidia-smi",
    ),
    ("RuntimeError: No CUDA GPUs are available", "finds no GPU", "nvidia-smi"),
    (
        "KeyError: \"Reasoning parser 'nope' not found. Available parsers: cohere_command3, deepseek_r1, qwen3\"",
        "no such reasoning parser",
        "run.models.m.reasoning_parser",
    ),
    (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for SpeculativeConfig",
        "cannot use what run.models.m.speculative says",
        "run.models.m.speculative",
    ),
    (
        "ImportError: Arctic Inference is required for suffix decoding. Install via `pip install arctic-inference==0.1.1`.",
        "cannot use what run.models.m.speculative says",
        "run.models.m.speculative",
    ),
    (
        "  Value error, Model architectures ['NovelForCausalLM'] are not supported for now. Supported architectures: "
        "dict_keys(['AfmoeForCausalLM', 'ApertusForCausalLM'",
        "models of this architecture",
        "models.m.weights",
    ),
    (
        "  Value error, The checkpoint you are trying to load has model type `novel` but Transformers does not recognize this "
        "architecture. This could be because of an issue with the checkpoint",
        "models of this architecture",
        "newer vLLM",
    ),
    (
        "ValueError: The repository some/model contains custom code which must be executed to correctly load the model. You "
        "can inspect the repository content at https://hf.co/some/model .",
        "Python code of its own",
        "models.m.trust_remote_code",
    ),
    (
        "  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len "
        "(max_position_embeddings=8192.0 or model_max_length=None in model's config.json).",
        "trained for shorter texts",
        "models.m.context_tokens",
    ),
    (
        "OSError: nope is not a valid git identifier (branch name, tag name or commit id) that exists for this model name. "
        "Check the model page at 'https://huggingface.co/some/model' for available revisions.",
        "no such revision",
        "models.m.revision",
    ),
    ("OSError: You are trying to access a gated repo.", "hand out these weights", "HF_TOKEN"),
    (
        "401 Client Error. (Request ID: Root=1-6735bc0f-11c9115414097adc4436e567)",
        "hand out these weights",
        "HF_TOKEN",
    ),
    (
        "Access to model meta-llama/Llama-3.2-1B is restricted. You must have access to it and be authenticated to access it.",
        "hand out these weights",
        "HF_TOKEN",
    ),
    (
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached "
        "files.",
        "cannot be reached",
        "HF_HUB_OFFLINE",
    ),
    (
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified "
        "revision on the local disk and outgoing traffic has been disabled.",
        "cannot be reached",
        "models.m.weights",
    ),
    (
        "OSError: llm/vicuna-7b is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'",
        "the weights are not there",
        "models.m.weights",
    ),
    (
        "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/nonexistent/folder'. Use `repo_type` "
        "argument if needed.",
        "the weights are not there",
        "models.m.weights",
    ),
    (
        "(Worker pid=9367) ERROR 11-23 15:07:22 [multiproc_executor.py:953] RuntimeError: Cannot find any model weights with "
        "`/data/model`",
        "the weights are not there",
        "models.m.weights",
    ),
    (
        "OSError: It looks like the config file at '/data/model/config.json' is not a valid JSON file.",
        "not whole",
        "models.m.weights",
    ),
    ("api_server.py: error: unrecognized arguments: --nonsense", "does not know an argument", "run.models.m.args"),
    ("ModuleNotFoundError: No module named 'vllm.third_party'", "a Python package is missing", "install the package"),
]


@pytest.mark.parametrize(("line", "cause", "do"), WORDS)
def test_the_words_of_a_failed_start_are_understood(line: str, cause: str, do: str) -> None:
    found, cure, telling = likely_cause("m", ["Traceback (most recent call last):", line, "the end"], 1)
    assert found is not None and cause in found
    assert cure is not None and do in cure
    assert telling == line


@pytest.mark.parametrize(
    "line",
    [
        "INFO [utils.py:278] non-default args: {'speculative_config': {'method': 'ngram', 'num_speculative_tokens': 4}, "
        "'reasoning_parser': 'qwen3', 'trust_remote_code': True, 'gpu_memory_utilization': 0.9}",
        "INFO [core.py:112] Initializing a V1 LLM engine (v0.32.0) with config: trust_remote_code=True, revision=abc",
        "WARNING [parallel.py:746] Address already in use. Retrying with a new port.",
        "WARNING [interface.py:1] Failed to import from vllm._C with ModuleNotFoundError(\"No module named 'vllm._C'\")",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
    ],
)
def test_what_servers_write_on_the_way_is_no_cause(line: str) -> None:
    assert likely_cause("m", [line], 1) == (None, None, None)


def test_a_kill_without_a_word_is_memory() -> None:
    cause, cure, _ = likely_cause("m", ["loading"], 137)
    assert cause is not None and "memory runs out" in cause
    assert cure is not None and "run.models.m.in_flight" in cure


def test_the_telling_line_is_shown_even_when_much_was_written_after_it(tmp_path: Path) -> None:
    program = "print('OSError: [Errno 98] Address already in use; sk-secret')\nfor at in range(300): print('noise', at)"
    child = Child.start([sys.executable, "-c", program], tmp_path / "server.log")
    while child.alive():
        pass
    text = str(not_up("m", child, "sk-secret", "ended", None))
    child.stop()
    assert "| OSError: [Errno 98] Address already in use; (key)" in text
    assert "| noise 299" in text
    assert text.count("| ") == 12
    assert "sk-secret" not in text
    assert str(tmp_path / "server.log") in text

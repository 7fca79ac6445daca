"""The memory of a model on a GPU, held against published parameter counts and against what vLLM said of itself in logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.cli import main
from flows.memory import asked_tokens, memory_of
from flows.recipe import load
from synth.engine import vllm
from synth.engine.architectures import GIB, KNOWN, find
from synth.engine.memory import check_memory, unknown
from synth.engine.roles import ModelConfig, ModelRun
from synth.errors import RecipeError

PUBLISHED = {  # billions of parameters, as the model cards say
    "HuggingFaceTB/SmolLM2-135M-Instruct": 0.135,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 0.362,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1.71,
    "Qwen/Qwen3-0.6B": 0.596,
    "Qwen/Qwen3-1.7B": 1.72,
    "Qwen/Qwen3-4B": 4.02,
    "Qwen/Qwen3-4B-Instruct-2507": 4.02,
    "Qwen/Qwen3-8B": 8.19,
    "Qwen/Qwen3-14B": 14.77,
    "Qwen/Qwen3-32B": 32.76,
    "Qwen/Qwen3-30B-A3B": 30.53,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 30.53,
    "Qwen/Qwen3-235B-A22B": 235.09,
    "Qwen/Qwen2.5-1.5B-Instruct": 1.54,
    "Qwen/Qwen2.5-7B-Instruct": 7.62,
    "Qwen/Qwen2.5-14B-Instruct": 14.77,
    "meta-llama/Llama-3.2-1B-Instruct": 1.24,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
    "meta-llama/Llama-3.3-70B-Instruct": 70.55,
    "openai/gpt-oss-20b": 20.91,
    "openai/gpt-oss-120b": 116.83,
}

LOADED = [  # "Model loading took … GiB", per GPU
    pytest.param("Qwen/Qwen3-30B-A3B", 4, 14.2474, id="vllm-project/vllm issue 17469"),
    pytest.param("Qwen/Qwen3-30B-A3B", 2, 28.4767, id="a report of an NPU, TP = 2, July 2026"),
    pytest.param("Qwen/Qwen2.5-14B-Instruct", 2, 13.9476, id="vllm issue 13061 (a distilled Qwen2.5-14B)"),
    pytest.param("Qwen/Qwen2.5-1.5B-Instruct", 1, 2.89, id="a report of a DGX Spark, 2026"),
]
SMALLER_THAN_LOADED = [pytest.param("openai/gpt-oss-20b", 13.72, id="vLLM 0.19 on an A100, April 2026")]

CACHES = [  # "Available KV cache memory" (GiB) and "GPU KV cache size" (tokens), of the whole model on one GPU
    pytest.param("meta-llama/Llama-3.1-8B-Instruct", 19.92, 163_168, id="an A100-40GB, May 2026"),
    pytest.param("Qwen/Qwen2.5-1.5B-Instruct", 0.56, 20_992, id="a DGX Spark, 2026"),
    pytest.param("Qwen/Qwen3-30B-A3B", 24.0, 262_144, id="vllm issue 34076: what one request of this length needs"),
]


def model(weights: str, **changes: Any) -> ModelConfig:
    return ModelConfig(**{"backend": "vllm", "weights": weights, "revision": "main", "context_tokens": 8192} | changes)


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's cache of the test is its own."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_those_that_were_published(name: str) -> None:
    assert KNOWN[name].parameters / 1e9 == pytest.approx(PUBLISHED[name], rel=0.004)


@pytest.mark.parametrize(("name", "tensor_parallel", "gib"), LOADED)
def test_weights_are_what_vllm_says_it_loaded(name: str, tensor_parallel: int, gib: float) -> None:
    fit = check_memory("m", model(name), ModelRun(gpu="h100-80gb", tensor_parallel=tensor_parallel))
    assert fit is not None and fit.weights_gib == pytest.approx(gib, rel=0.02)


@pytest.mark.parametrize(("name", "gib"), SMALLER_THAN_LOADED)
def test_packed_weights_are_a_little_larger_in_memory_than_in_their_files(name: str, gib: float) -> None:
    fit = check_memory("m", model(name), ModelRun(gpu="a100-80gb"))
    assert fit is not None and 0.9 * gib < fit.weights_gib < gib


@pytest.mark.parametrize(("name", "gib", "tokens"), CACHES)
def test_a_token_takes_what_vllm_says_it_takes(name: str, gib: float, tokens: int) -> None:
    fit = check_memory("m", model(name), ModelRun(gpu="h100-80gb"))
    assert fit is not None and gib * GIB / fit.cache_bytes_per_token == pytest.approx(tokens, rel=0.01)


def test_the_room_for_the_cache_is_what_vllm_found() -> None:
    """Llama-3.1-8B on an A100-40GB with vLLM's defaults: 19.92 GiB. The estimate errs to the safe side, by less than 1 GiB."""
    fit = check_memory("m", model("meta-llama/Llama-3.1-8B-Instruct"), ModelRun(gpu="a100-40gb"))
    assert fit is not None and 19.92 - 1.0 < fit.cache_gib <= 19.92
    # gpt-oss-20b at gpu_memory_utilization 0.65 of an A100-80GB, vLLM 0.19: 36.56 GiB, with its weights packed as above.
    fit = check_memory("m", model("openai/gpt-oss-20b"), ModelRun(gpu="a100-80gb", gpu_memory_utilization=0.65))
    assert fit is not None and 36.56 - 1.0 < fit.cache_gib - (13.72 - 12.8) <= 36.56 + 0.1


def test_parallel_copies_share_weights_and_heads() -> None:
    one = check_memory("m", model("Qwen/Qwen3-14B"), ModelRun(gpu="h100-80gb"))
    two = check_memory("m", model("Qwen/Qwen3-14B"), ModelRun(gpu="h100-80gb", tensor_parallel=2, gpus=2))
    assert one and two
    assert (two.weights_gib, two.cache_bytes_per_token) == (one.weights_gib / 2, one.cache_bytes_per_token // 2)
    assert two.requests > 2 * one.requests  # what the weights leave is more on each, and holds half of each request
    # Four KV heads on eight GPUs: each holds one, none can hold half a head.
    wide = check_memory("m", model("Qwen/Qwen3-30B-A3B"), ModelRun(gpu="h100-80gb", tensor_parallel=8))
    assert wide and wide.cache_bytes_per_token == 2 * 48 * 128 * 2


def test_number_formats_windows_and_copies() -> None:
    plain = check_memory("m", model("Qwen/Qwen3-8B"), ModelRun(gpu="h100-80gb"))
    eight_bits = check_memory("m", model("Qwen/Qwen3-8B-FP8"), ModelRun(gpu="h100-80gb"))
    wide = check_memory("m", model("Qwen/Qwen3-8B", dtype="float32"), ModelRun(gpu="h100-80gb"))
    assert plain and eight_bits and wide
    assert 0.5 * plain.weights_gib < eight_bits.weights_gib < 0.6 * plain.weights_gib  # embeddings stay as they were
    assert (wide.weights_gib, wide.cache_bytes_per_token) == (2 * plain.weights_gib, 2 * plain.cache_bytes_per_token)
    small = ModelRun(gpu="h100-80gb", args=("--kv-cache-dtype", "fp8"))
    half = check_memory("m", model("Qwen/Qwen3-8B"), small)
    assert half and half.cache_bytes_per_token == plain.cache_bytes_per_token // 2
    windowed = check_memory("m", model("openai/gpt-oss-20b", context_tokens=131_072), ModelRun(gpu="h100-80gb"))
    assert (
        windowed and windowed.request_gib < 0.6 * windowed.cache_bytes_per_token * 131_072 / GIB
    )  # half the layers forget
    several = check_memory("m", model("Qwen/Qwen3-8B"), ModelRun(gpu="h100-80gb", data_parallel=4, in_flight=1000))
    assert several and several.in_flight == 250


REFUSED = [
    pytest.param(
        model("meta-llama/Llama-3.3-70B-Instruct"),
        ModelRun(gpu="h100-80gb"),
        r"(?s)run\.models\.m: the weights do not fit.*131\.4 GiB per GPU.*together 71\.2 GiB.*tensor_parallel = 4 and gpus = 4",
        id="weights",
    ),
    pytest.param(
        model("Qwen/Qwen3-32B", context_tokens=40_960),
        ModelRun(gpu="h100-80gb", gpu_memory_utilization=0.8),
        r"(?s)not one request of full length fits.*context_tokens smaller than 40960",
        id="one request",
    ),
    pytest.param(
        model("Qwen/Qwen3-8B"), ModelRun(gpu_memory_gib=15.0), r"(?s)weights do not fit.*15 GiB x .* 0\.9", id="own GPU"
    ),
    pytest.param(
        model("Qwen/Qwen3-14B"),
        ModelRun(gpu="h100-80gb", tensor_parallel=3),
        r"(?s)tensor_parallel: does not divide the 40 attention heads.*1, 2, 4, 5, 8",
        id="heads",
    ),
    pytest.param(
        model("Qwen/Qwen3-8B", context_tokens=65_536),
        ModelRun(gpu="h100-80gb"),
        r"(?s)context_tokens: more than Qwen/Qwen3-8B was made for.*at most 40960",
        id="context",
    ),
    pytest.param(
        model("Qwen/Qwen3-8B"),
        ModelRun(gpus=1, tensor_parallel=2),
        r"(?s)needs more GPUs than a replica has",
        id="GPUs",
    ),
]


@pytest.mark.parametrize(("config", "run", "message"), REFUSED)
def test_what_cannot_start_is_refused_with_what_to_do(
    config: ModelConfig, run: ModelRun, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=message):
        check_memory("m", config, run)
    monkeypatch.setattr(vllm, "installed_version", lambda: "0.20.0")
    with pytest.raises(RecipeError, match=message):  # and by a run, before vLLM is started
        vllm.check("m", config, run)


def test_the_advice_of_a_refusal_is_followed_to_a_start() -> None:
    config = model("meta-llama/Llama-3.3-70B-Instruct")
    fit = check_memory("m", config, ModelRun(gpu="h100-80gb", tensor_parallel=4, gpus=4))
    assert fit and fit.requests > 1 and not any("refuse" in remark for remark in fit.remarks)


def test_what_is_only_likely_to_fail_is_a_remark() -> None:
    """15.3 GiB of weights on 15.8: by the weights alone it would fit."""
    fit = check_memory("m", model("Qwen/Qwen3-8B", context_tokens=2048), ModelRun(gpu_memory_gib=17.6))
    assert fit and fit.weights_gib < fit.usable_gib and "expect vLLM to refuse" in fit.remarks[0]


def test_what_is_not_known_is_said_and_not_refused() -> None:
    assert check_memory("m", model("some/model"), ModelRun(gpu="h100-80gb")) is None
    assert "some/model is not known" in str(unknown("m", model("some/model"), ModelRun(gpu="h100-80gb")))
    assert 'gpu = "h100-80gb"' in str(unknown("m", model("Qwen/Qwen3-8B"), ModelRun()))
    assert unknown("m", model("Qwen/Qwen3-8B"), ModelRun(gpu="h100-80gb")) is None
    elsewhere = ModelRun(base_url="http://node/v1")
    assert (
        unknown("m", model("some/model"), elsewhere) is None
        and check_memory("m", model("some/model"), elsewhere) is None
    )


CONFIG = {  # of a model nobody knows
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 10,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32_000,
    "max_position_embeddings": 16_384,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def write_model(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(orjson.dumps(CONFIG | changes))
    return folder


def test_a_folder_is_read(tmp_path: Path) -> None:
    found = find(str(write_model(tmp_path / "own")), "r")
    assert found and (found.kv_heads, found.head_dim, found.max_tokens) == (4, 64, 16_384)
    expected = 2 * 32_000 * 1024 + 10 * (1024 * 64 * 40 + 3 * 1024 * 4096 + 2048)
    assert (found.parameters, found.stored_bytes()) == (expected, 2 * expected)
    (tmp_path / "own/model.safetensors").write_bytes(b"x" * 5000)
    measured = find(str(tmp_path / "own"), "r")
    assert measured and measured.stored_bytes() == 5000  # files that are there are better than a calculation


def test_the_hubs_cache_is_read_and_goes_before_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model_folder = tmp_path / "models--Qwen--Qwen3-8B"
    snapshot = write_model(model_folder / "snapshots/abc", num_hidden_layers=3)
    (snapshot / "model.safetensors.index.json").write_bytes(orjson.dumps({"metadata": {"total_size": 777}}))
    (model_folder / "refs").mkdir()
    (model_folder / "refs/main").write_text("abc")
    for revision in ("main", "abc"):
        found = find("Qwen/Qwen3-8B", revision)
        assert found and (found.layers, found.stored_bytes()) == (3, 777)
    other = find("Qwen/Qwen3-8B", "another")
    assert other and other.layers == 36  # another revision is not the one that lies there


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"kv_lora_rank": 512}, None, id="latent attention"),
        pytest.param({"layer_types": ["linear_attention", "full_attention"] * 5}, None, id="linear attention"),
        pytest.param(
            {"layer_types": ["sliding_attention", "full_attention"] * 5, "sliding_window": 512}, 5, id="window"
        ),
    ],
)
def test_other_kinds_of_attention(tmp_path: Path, changes: dict[str, Any], expected: int | None) -> None:
    found = find(str(write_model(tmp_path / "own", **changes)), "r")
    assert (found.window_layers if found else None) == expected


def test_a_stretched_context_and_eight_bits_of_a_config(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16_384}
    found = find(
        str(write_model(tmp_path / "a", rope_scaling=scaling, quantization_config={"quant_method": "fp8"})), "r"
    )
    assert found and found.max_tokens == 65_536 and found.stored_bytes() < 1.4 * found.parameters
    (tmp_path / "a/config.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"is no config\.json of a language model"):
        find(str(tmp_path / "a"), "r")


RECIPE = """
name = "gpu"
[[sources]]
id = "passages"
kind = "passages"
[models.big]
backend = "vllm"
weights = "Qwen/Qwen3-32B"
revision = "main"
context_tokens = 8192
[roles.writer]
models = ["big"]
sampling = { thinking_tokens = 1000 }
[[families]]
name = "textbook"
options = { max_tokens = 1500, segment_tokens = 800 }
[run.models.big]
gpu = "h100-80gb"
in_flight = 64
"""


def test_plan_shows_it_and_refuses_what_cannot_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, home = tmp_path / "gpu.toml", str(tmp_path / "home")
    path.write_text(RECIPE)
    assert main(["plan", str(path), "--home", home]) == 0
    said = capsys.readouterr()
    assert "61.0" in said.out and "calculated and not measured" in said.out
    assert "64 requests in flight, of 4,100 tokens" in said.err
    assert main(["plan", str(path), "--home", home, "--json"]) == 0
    fit = orjson.loads(capsys.readouterr().out)["memory"]["big"]
    assert fit["weights_gib"] == pytest.approx(61.02, abs=0.01)
    assert fit["cache_gib"] == pytest.approx(fit["usable_gib"] - fit["weights_gib"] - fit["overhead_gib"], abs=0.01)
    assert main(["plan", str(path), "--home", home, "--set", "run.models.big.gpu=a100-40gb"]) == 2
    assert "tensor_parallel = 2 and gpus = 2" in capsys.readouterr().err
    two = ["--set", "run.models.big.tensor_parallel=2", "--set", "run.models.big.gpus=2"]
    assert main(["plan", str(path), "--home", home, "--set", "run.models.big.gpu=a100-40gb", *two]) == 0


def test_the_longest_request_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "gpu.toml").write_text(RECIPE)
    recipe = load(tmp_path / "gpu.toml")
    assert asked_tokens(recipe, "big") == 800 + 400 + 400 + 1500 + 1000
    thoughtless = load(tmp_path / "gpu.toml", ["families.textbook.options.thinking_tokens=0"])
    assert asked_tokens(thoughtless, "big") == 800 + 400 + 400 + 1500
    assert memory_of(thoughtless)[0].asked_requests > memory_of(recipe)[0].asked_requests

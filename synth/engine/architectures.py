"""What a model's memory is calculated from: the numbers in its config.json, on this machine or, for well-known models, here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from synth.errors import RecipeError, fail

GIB = 2**30


@dataclass(frozen=True)
class Architecture:
    """A decoder with grouped-query attention. `experts` 0: a dense one. `window_layers` see the last `window_tokens` only.

    `weight_bytes`: as stored, where that is not two bytes per parameter. `source`: where the numbers are from.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    max_tokens: int
    experts: int = 0
    window_layers: int = 0
    window_tokens: int = 0
    weight_bytes: int | None = None
    source: str = ""

    @property
    def embedding_parameters(self) -> int:
        """Of the table of tokens, and of the output layer where that is another one."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All of them; biases, a thousandth, are left out."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        expert = 3 * self.hidden * self.intermediate
        mixture = self.experts * (expert + self.hidden) if self.experts else expert
        return self.embedding_parameters + self.layers * (attention + mixture + 2 * self.hidden)

    def stored_bytes(self, bytes_per_parameter: float = 2.0) -> float:
        """Of the weights. `bytes_per_parameter` holds for what is not the embeddings: these stay in two bytes."""
        if self.weight_bytes is not None and bytes_per_parameter == 2.0:
            return self.weight_bytes
        wide = max(2.0, bytes_per_parameter)
        return self.embedding_parameters * wide + (self.parameters - self.embedding_parameters) * bytes_per_parameter


def _decoder(
    numbers: tuple[int, int, int, int, int, int], tied: bool, max_tokens: int, vocabulary: int, experts: int = 0
) -> Architecture:
    layers, hidden, intermediate, heads, kv_heads, head_dim = numbers
    return Architecture(
        layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary, tied, max_tokens, experts=experts
    )


_SMOL, _QWEN3, _QWEN25, _LLAMA3 = 49_152, 151_936, 152_064, 128_256
_GPT_OSS = Architecture(36, 2880, 2880, 64, 8, 64, 201_088, False, 131_072, 128, window_layers=18, window_tokens=128)

# Facts from the config.json of each model on the Hugging Face hub: layers, hidden, intermediate (of one expert, where there
# are experts), heads, kv_heads, head_dim. The stored sizes of gpt-oss (4-bit experts) are from its model card,
# arXiv 2508.10925, table 1. The parameters that follow from them are tested against the published counts.
KNOWN: Mapping[str, Architecture] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": _decoder((30, 576, 1536, 9, 3, 64), True, 8192, _SMOL),
    "HuggingFaceTB/SmolLM2-360M-Instruct": _decoder((32, 960, 2560, 15, 5, 64), True, 8192, _SMOL),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": _decoder((24, 2048, 8192, 32, 32, 64), True, 8192, _SMOL),
    "Qwen/Qwen3-0.6B": _decoder((28, 1024, 3072, 16, 8, 128), True, 40_960, _QWEN3),
    "Qwen/Qwen3-1.7B": _decoder((28, 2048, 6144, 16, 8, 128), True, 40_960, _QWEN3),
    "Qwen/Qwen3-4B": _decoder((36, 2560, 9728, 32, 8, 128), True, 40_960, _QWEN3),
    "Qwen/Qwen3-4B-Instruct-2507": _decoder((36, 2560, 9728, 32, 8, 128), True, 262_144, _QWEN3),
    "Qwen/Qwen3-8B": _decoder((36, 4096, 12_288, 32, 8, 128), False, 40_960, _QWEN3),
    "Qwen/Qwen3-14B": _decoder((40, 5120, 17_408, 40, 8, 128), False, 40_960, _QWEN3),
    "Qwen/Qwen3-32B": _decoder((64, 5120, 25_600, 64, 8, 128), False, 40_960, _QWEN3),
    "Qwen/Qwen3-30B-A3B": _decoder((48, 2048, 768, 32, 4, 128), False, 40_960, _QWEN3, 128),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": _decoder((48, 2048, 768, 32, 4, 128), False, 262_144, _QWEN3, 128),
    "Qwen/Qwen3-235B-A22B": _decoder((94, 4096, 1536, 64, 4, 128), False, 40_960, _QWEN3, 128),
    "Qwen/Qwen2.5-1.5B-Instruct": _decoder((28, 1536, 8960, 12, 2, 128), True, 32_768, _QWEN3),
    "Qwen/Qwen2.5-7B-Instruct": _decoder((28, 3584, 18_944, 28, 4, 128), False, 32_768, _QWEN25),
    "Qwen/Qwen2.5-14B-Instruct": _decoder((48, 5120, 13_824, 40, 8, 128), False, 32_768, _QWEN25),
    "meta-llama/Llama-3.2-1B-Instruct": _decoder((16, 2048, 8192, 32, 8, 64), True, 131_072, _LLAMA3),
    "meta-llama/Llama-3.2-3B-Instruct": _decoder((28, 3072, 8192, 24, 8, 128), True, 131_072, _LLAMA3),
    "meta-llama/Llama-3.1-8B-Instruct": _decoder((32, 4096, 14_336, 32, 8, 128), False, 131_072, _LLAMA3),
    "meta-llama/Llama-3.3-70B-Instruct": _decoder((80, 8192, 28_672, 64, 8, 128), False, 131_072, _LLAMA3),
    "openai/gpt-oss-20b": replace(_GPT_OSS, layers=24, experts=32, window_layers=12, weight_bytes=int(12.8 * GIB)),
    "openai/gpt-oss-120b": replace(_GPT_OSS, weight_bytes=int(60.8 * GIB)),
}
_EIGHT_BITS = "-fp8"


def find(weights: str, revision: str | None) -> Architecture | None:
    """Of a model id or folder: from its config.json where that is on this machine, else from the table; None: unknown."""
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        folder = _snapshot(weights, revision) or folder
    if (folder / "config.json").is_file():
        return _read(folder)
    return _known(weights)


def _known(weights: str) -> Architecture | None:
    plain = weights.lower()
    eight_bits = plain.endswith(_EIGHT_BITS)
    found = {name.lower(): name for name in KNOWN}.get(plain.removesuffix(_EIGHT_BITS))
    if found is None:
        return None
    one = replace(KNOWN[found], source=f"config.json of {found}, as this package knows it")
    return replace(one, weight_bytes=int(one.stored_bytes(1.0))) if eight_bits else one


def _snapshot(weights: str, revision: str | None) -> Path | None:
    """The model's folder in the hub's cache, of this revision."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    model = cache / f"models--{weights.replace('/', '--')}"
    named = model / "refs" / (revision or "main")
    commit = named.read_text().strip() if named.is_file() else (revision or "main")
    folder = model / "snapshots" / commit
    return folder if folder.is_dir() else None


def _read(folder: Path) -> Architecture | None:
    """The architecture in a folder's config.json; None where its attention is not of the kind that is calculated here."""
    path = folder / "config.json"
    try:
        outer = orjson.loads(path.read_bytes())
        config = outer.get("text_config", outer)
        if _is_of_another_kind(config):
            return None
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        layer_types = config.get("layer_types") or []
        experts = config.get("num_experts") or config.get("num_local_experts") or 0
        found = Architecture(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            intermediate=(config.get("moe_intermediate_size") if experts else None) or config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            vocabulary=config["vocab_size"],
            tied=config.get("tie_word_embeddings", outer.get("tie_word_embeddings", False)),
            max_tokens=_longest(config),
            experts=experts,
            window_layers=layer_types.count("sliding_attention"),
            window_tokens=config.get("sliding_window") or 0,
            source=str(path),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise fail(
            RecipeError,
            f"{path} is no config.json of a language model: {type(error).__name__}: {error}",
            do="download the model's files again",
        ) from None
    return replace(found, weight_bytes=_stored(folder, config, found))


def _longest(config: Mapping[str, Any]) -> int:
    """Tokens of the longest context: with the stretched positions that the config itself turns on."""
    trained = int(config["max_position_embeddings"])
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    first = scaling.get("original_max_position_embeddings") or trained
    return max(trained, int(first * (scaling.get("factor") or 1)))


def _is_of_another_kind(config: Mapping[str, Any]) -> bool:
    """Latent attention, state spaces, linear attention: their caches are no K and V per token and head."""
    linear = set(config.get("layer_types") or []) - {"full_attention", "sliding_attention"}
    return bool(linear or config.get("kv_lora_rank") or "mamba" in str(config.get("model_type")))


def _stored(folder: Path, config: Mapping[str, Any], found: Architecture) -> int:
    """Bytes of the weights: of the files where they are here, else as their index says, else by the number format."""
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    index = folder / "model.safetensors.index.json"
    promised = int(orjson.loads(index.read_bytes())["metadata"]["total_size"]) if index.is_file() else 0
    quantised = (config.get("quantization_config") or {}).get("quant_method") == "fp8"
    single = str(config.get("torch_dtype") or config.get("dtype")) == "float32"
    calculated = found.stored_bytes(1.0 if quantised else 4.0 if single else 2.0)
    return max(sum(sizes), promised) or int(calculated)

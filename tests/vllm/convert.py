"""The embedded model for vLLM, which reads no such GGUF file: the same weights as safetensors, and their tokenizer.

python -m tests.vllm.convert        prints the folder; made once, then taken from the cache of model files
"""

from __future__ import annotations

import shutil
from pathlib import Path

from synth import weights

NAME = "smollm2-135m-instruct-q4_1"
_FORMAT = 1  # raise when what is written changes


def converted() -> Path:
    """The folder for vLLM's --model: config.json, model.safetensors, tokenizer.json with its chat template."""
    folder = weights.cache_folder() / "vllm" / f"{weights.KNOWN[NAME].sha256[:16]}-{_FORMAT}"
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _convert(weights.locate(NAME), part)
    part.replace(folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = str(gguf.parent)
    model = AutoModelForCausalLM.from_pretrained(
        place, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(place, gguf_file=gguf.name).save_pretrained(folder)


if __name__ == "__main__":
    print(converted())

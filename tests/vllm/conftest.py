"""What the tests with a real vLLM share. Where vLLM is not installed, nothing here is collected (make test-vllm installs it)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth.engine import vllm
from synth.engine.roles import ModelConfig
from tests.conftest import ROOT

collect_ignore_glob = [] if vllm.installed_version() else ["test_*.py"]


@pytest.fixture(scope="session")
def folder() -> Path:
    """The embedded model, converted for vLLM; made in a process of its own, which alone imports torch."""
    command = [sys.executable, "-m", "tests.vllm.convert"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def model(folder: Path) -> ModelConfig:
    """The recipe's [models.m]."""
    return ModelConfig(
        backend="vllm",
        weights=str(folder),
        revision="Q4_1",
        dtype="float32",
        context_tokens=2048,
        tokenizer=str(folder / "tokenizer.json"),
    )


@pytest.fixture(scope="session", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    """Memory for the KV cache (GB): vLLM's own default is 4 and more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
        yield

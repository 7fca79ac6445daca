"""The processes of a vLLM server that this process started: the API server answers, EngineCore computes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synth.engine import supervisor
from synth.engine.roles import ModelRun

# Without chunked prefill: vLLM 0.32's EngineCore dies on the CPU when a request with a seed is prefilled in two steps
# ("CPU Generator does not use offset").
ARGS = ("--enforce-eager", "--no-enable-chunked-prefill")
CPU_RUN = ModelRun(args=ARGS, max_num_seqs=16, max_num_batched_tokens=4096, gpu_memory_utilization=0.4, in_flight=16)


def running(names: str = "", below: int | None = None) -> list[int]:
    """Ids of our descendants (or those of the process `below`) whose name begins so."""
    found = []
    for pid in supervisor._below(below or os.getpid()):
        try:
            name = Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            continue  # it ended while we looked
        if name.startswith(names):
            found.append(pid)
    return found


def engine_core() -> int:
    """The one EngineCore that runs."""
    (pid,) = running("VLLM::EngineCor")
    return pid


@contextmanager
def nothing_left() -> Iterator[None]:
    """No process that was started inside is left after it."""
    before = set(running())
    yield
    deadline = time.monotonic() + 20
    while (left := set(running()) - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]

"""Texts embedded per second by one caller, with the BLAS threads that numpy takes (OPENBLAS_NUM_THREADS sets them).

python -m tests.benchmarks.embeddings
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import orjson

from synth.engine.embeddings import Embedder
from tests.conftest import ROOT

LENGTHS_TOKENS = (16, 64, 128, 256, 1024)
SECONDS = 2.5


def texts_per_second(embedder: Embedder, texts: Sequence[str]) -> float:
    """The rate over SECONDS, the texts in turn."""
    done, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < SECONDS:
        embedder.embed([texts[done % len(texts)]])
        done += 1
    return done / seconds


def main() -> None:
    """Print a line per length in tokens ([CLS] and [SEP] among them), and one for the passages of the package."""
    embedder = Embedder()
    start = time.perf_counter()
    embedder.embed(["word"])
    print(f"{os.cpu_count()} cores; checked and loaded in {time.perf_counter() - start:.1f} s")
    for tokens in LENGTHS_TOKENS:
        print(f"{tokens:8} tokens: {texts_per_second(embedder, ['word ' * (tokens - 2)]):7.1f} texts/s")
    lines = (ROOT / "synth/data/passages.jsonl").read_bytes().splitlines()
    passages = [orjson.loads(line)["text"] for line in lines]
    print(f"       passages: {texts_per_second(embedder, passages):7.1f} texts/s")


if __name__ == "__main__":
    main()

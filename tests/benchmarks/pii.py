"""The rule `pii`: recall on planted data, everything that it flags in real documentation, and its speed.

    python -m tests.benchmarks.pii [--show]

Documentation: this Python's topics, the packaged passages, and the licences, metadata, READMEs and docstring-bearing modules
of the installed packages, cut into documents of about 3 kB at line ends. `--show` prints every find with its surroundings,
to be judged by a person. Speed: CPU time of one core over the rule on an Arrow table, compiled code warm.
"""

from __future__ import annotations

import importlib.resources
import json
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa

from filters.pii import KINDS, PiiOptions, find_pii, score
from synth.sources_python_docs import topic_passages, topics_file
from tests.pii_planted import planted

_DOCUMENT_BYTES = 3000
_MAX_FILE_BYTES = 400_000
_PATTERNS = (
    "*.dist-info/METADATA",
    "*.dist-info/**/*LICEN*",
    "*.dist-info/**/*.txt",
    "*.dist-info/**/AUTHORS*",
    "**/*.md",
    "**/*.rst",
)


def recall(seeds: int = 5) -> dict[str, tuple[int, int]]:
    """By kind: how many planted values are found exactly, of how many."""
    hits: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    for seed in range(seeds):
        for one in planted(seed):
            trials[one.kind] += 1
            hits[one.kind] += any((found.kind, found.text) == (one.kind, one.value) for found in find_pii(one.text))
    return {kind: (hits[kind], trials[kind]) for kind in KINDS}


def documentation() -> dict[str, list[str]]:
    """Real documents of about 3 kB by where they come from."""
    packaged = importlib.resources.files("synth.data").joinpath("passages.jsonl").read_text("utf-8")
    root = Path(sysconfig.get_paths()["purelib"])
    files = sorted({path for pattern in _PATTERNS for path in root.glob(pattern) if path.is_file()})
    code = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return {
        "topics": [passage for _, passage in topic_passages(topics_file())],
        "passages": [json.loads(line)["text"] for line in packaged.splitlines()],
        "packages": [text for path in files for text in _cut(path)],
        "modules": [text for path in code for text in _cut(path)],
    }


def _cut(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        return []
    documents, size = [""], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if size > _DOCUMENT_BYTES:
            documents, size = [*documents, ""], 0
        documents[-1] += line
        size += len(line)
    return documents


def megabytes_per_second(texts: list[str]) -> tuple[float, float]:
    """(MB of text a second, median of 5 rounds; share of the texts in which something is found)."""
    table = pa.table({"generated": pa.array(texts, pa.large_string())})
    rounds = []
    for _ in range(6):
        start = time.process_time()
        scores = score(table, PiiOptions())
        rounds.append(time.process_time() - start)
    found = sum(map(bool, scores["pii_found"].to_pylist())) / len(texts)
    return sum(len(text.encode()) for text in texts) / 1e6 / sorted(rounds[1:])[2], found


def main() -> None:
    """Prints the tables."""
    for kind, (hits, trials) in recall().items():
        print(f"planted {kind:14}{hits:5} of {trials} ({hits / trials:.3f})")
    for name, texts in documentation().items():
        finds = [(found, text) for text in texts for found in find_pii(text)]
        counts = Counter(found.kind for found, _ in finds)
        size = sum(len(text.encode()) for text in texts) / 1e6
        rate, share = megabytes_per_second(texts)
        print(f"{name:10}{len(texts):6} texts {size:6.2f} MB {rate:7.1f} MB/s, {share:.1%} with a find: {dict(counts)}")
        if "--show" in sys.argv:
            for found, text in finds:
                data = text.encode()
                around = data[max(found.start_byte - 40, 0) : found.end_byte + 25].decode(errors="replace")
                print(f"  {found.kind:12} {found.text[:60]!r:45} {around!r}")


if __name__ == "__main__":
    main()

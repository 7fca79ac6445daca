"""The statistics of texts by the compiled kernel: on one core, by two threads, and against plain Python.

    python -m tests.benchmarks.text_statistics

The documents: runs of paragraphs of Python's documentation (pydoc's topics) of at least 3,000 characters, from seeded
starts, one word in twenty replaced by another one. All runs are interleaved; a ratio is the median over the rounds, with
its smallest and largest value in brackets. datatrove's Gopher filters are run beside them where they can be imported
(they need spacy); they decide, and give no table of statistics.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pydoc_data.topics import topics
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc

from synth.text.statistics import text_statistics
from tests.oracle_statistics import oracle_statistics

_DOCUMENTS = 5000
_DOCUMENT_CHARACTERS = 3000
_SLOW_DOCUMENTS = 200  # for plain Python and datatrove
_ROUNDS = 7
_FIRST_USE = (
    "import time; import pyarrow as pa; from synth.text.statistics import text_statistics; before = time.perf_counter(); "
    "text_statistics(pa.array(['a b'])); print(time.perf_counter() - before)"
)


def documents(count: int, seed: int = 0) -> list[str]:
    """So many documents, the same ones for the same seed."""
    draw = random.Random(seed)
    paragraphs = [paragraph for _, text in sorted(topics.items()) for paragraph in text.split("\n\n")]
    vocabulary = sorted({word for paragraph in paragraphs for word in paragraph.split()})
    return [_document(draw, paragraphs, vocabulary) for _ in range(count)]


def _document(draw: random.Random, paragraphs: Sequence[str], vocabulary: Sequence[str]) -> str:
    at, taken, characters = draw.randrange(len(paragraphs)), [], 0
    while characters < _DOCUMENT_CHARACTERS:
        lines = [_varied(draw, line, vocabulary) for line in paragraphs[at % len(paragraphs)].split("\n")]
        taken.append("\n".join(lines))
        characters += len(taken[-1]) + 2
        at += 1
    return "\n\n".join(taken)


def _varied(draw: random.Random, line: str, vocabulary: Sequence[str]) -> str:
    return " ".join(word if draw.random() >= 0.05 or not word else draw.choice(vocabulary) for word in line.split(" "))


def datatrove_filters(texts: Sequence[str]) -> Callable[[], object] | None:
    """Both Gopher filters over the texts; None where they cannot run."""
    try:
        from datatrove.data import Document
        from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

        filters = [GopherQualityFilter(), GopherRepetitionFilter()]
        made = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
        filters[0].filter(made[0])
    except ImportError as error:
        print(f"datatrove is left out: {error}")
        return None
    return lambda: [one.filter(document) for document in made for one in filters]


def by_two_threads(texts: pa.Array, pool: ThreadPoolExecutor) -> pa.Table:
    """The statistics of both halves at once."""
    half = len(texts) // 2
    return pa.concat_tables(pool.map(text_statistics, [texts.slice(0, half), texts.slice(half)]))


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one run."""
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def spread(values: Iterable[float]) -> str:
    """Median, smallest and largest."""
    ordered = sorted(values)
    return f"{median(ordered):.2f} ({ordered[0]:.2f}-{ordered[-1]:.2f})"


def main() -> None:
    """Prints the table."""
    started = float(subprocess.run([sys.executable, "-c", _FIRST_USE], capture_output=True, check=True).stdout)
    texts = pa.array(documents(_DOCUMENTS), pa.large_string())
    few = texts.slice(0, _SLOW_DOCUMENTS)
    strings = few.to_pylist()
    assert text_statistics(few).equals(oracle_statistics(strings)), "the kernel and plain Python differ"
    megabytes = {len(some): pc.binary_length(some).to_numpy().sum() / 1e6 for some in (texts, few)}
    with ThreadPoolExecutor(2) as pool:
        runs: dict[str, tuple[int, Callable[[], object]]] = {
            "kernel, one core": (_DOCUMENTS, lambda: text_statistics(texts)),
            "kernel, two threads": (_DOCUMENTS, lambda: by_two_threads(texts, pool)),
            "plain Python": (_SLOW_DOCUMENTS, lambda: oracle_statistics(strings)),
        }
        peer = datatrove_filters(strings)
        if peer:
            runs["datatrove, Gopher filters"] = (_SLOW_DOCUMENTS, peer)
        _print_runs(runs, megabytes)
    print(f"first call of a process, compiled code in the cache: {started:.2f} s")


def _print_runs(runs: dict[str, tuple[int, Callable[[], object]]], megabytes: dict[int, float]) -> None:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, (count, run) in runs.items():
            times[name].append(seconds(run) / count)
    print(f"{'':26}{'documents/s':>12} {'MB/s':22} one core of the kernel is so many times as fast")
    for name, (count, _) in runs.items():
        size = megabytes[count] / count
        rate = spread(size / each for each in times[name])
        ratio = spread(each / one for each, one in zip(times[name], times["kernel, one core"], strict=True))
        print(f"{name:26}{1 / median(times[name]):12.0f} {rate:22} {ratio}")


if __name__ == "__main__":
    main()

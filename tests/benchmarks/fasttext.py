"""fastText scoring: ours against the library's `[model.predict(text) for text in texts]`, with the memory of two processes.

    python -m tests.benchmarks.fasttext [--texts 20000] [--rounds 5] [--bucket 500000]

Texts: `tests.benchmarks.documentation`, flattened beforehand for the library, as they are for us. Models: one trained here on
these texts (their topics against all else; 100 numbers a row, pairs of words; 258 MB with 500,000 buckets) and lid.176.ftz.
In each round all sides run one after the other, in an order that turns: the library, and ours in two processes (half of the
texts each), in one process, in one process with two threads. A ratio is the median over the rounds, with the least and the
most. Parity: the largest difference of the best label's probability, and how many best labels differ. Memory: Pss of both
processes (/proc/self/smaps_rollup), which counts a page that n processes share as a share of 1/n, less what they took before
the model was loaded, over the size of its file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from filters.fasttext_model import FastTextModel, flatten, load
from synth import weights
from synth.digest import file_sha256
from tests.benchmarks.documentation import documentation

_CODE = re.compile(r"\b(?:def|class|import|return|self)\b")


def train(texts: Sequence[str], folder: Path, bucket: int) -> Path:
    """A classifier of texts about code (`hq`) and others."""
    import fasttext

    lines = [f"__label__{'hq' if len(_CODE.findall(text)) > 4 else 'lq'} {flatten(text)}\n" for text in texts]
    (folder / "train.txt").write_text("".join(lines), encoding="utf-8")
    settings = {"dim": 100, "wordNgrams": 2, "bucket": bucket, "epoch": 2, "lr": 0.1, "thread": 1, "verbose": 0}
    path = folder / "model.bin"
    fasttext.train_supervised(input=str(folder / "train.txt"), **settings).save_model(str(path))
    return path


def pss_bytes() -> int:
    """This process's proportional set size."""
    line = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024


def work(connection: Connection, texts: pa.Array) -> None:
    """A process that loads the model whose path it is sent, scores its texts when it is sent True, gives its results for
    False, its memory for None, and ends at `end`."""
    model: FastTextModel | None = None
    found: Any = None
    for message in iter(connection.recv, "end"):
        if isinstance(message, Path):
            model = load(message, file_sha256(message), probe_first=False)
        elif message and model is not None:
            found = model.best_all(texts)
        connection.send(pss_bytes() if message is None else found if message is False else None)


class Workers:
    """Processes with a part of the texts each."""

    def __init__(self, texts: pa.Array, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        size = -(-len(texts) // count)
        self._connections, self._processes = [], []
        for at in range(count):
            ours, theirs = context.Pipe()
            part = pa.concat_arrays([texts.slice(at * size, size)])
            process = context.Process(target=work, args=(theirs, part), daemon=True)
            process.start()
            self._connections.append(ours)
            self._processes.append(process)

    def all(self, message: Any) -> list[Any]:
        """Send it to every process, wait for every answer."""
        for connection in self._connections:
            connection.send(message)
        return [connection.recv() for connection in self._connections]

    def end(self) -> None:
        for connection, process in zip(self._connections, self._processes, strict=True):
            connection.send("end")
            process.join()


def in_threads(model: FastTextModel, texts: pa.Array, pool: ThreadPoolExecutor) -> None:
    """Score the halves of the texts in two threads."""
    half = len(texts) // 2
    for done in [pool.submit(model.best_all, part) for part in (texts.slice(0, half), texts.slice(half))]:
        done.result()


def measure(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        names = [*sides]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            sides[name]()
            seconds[name] += [time.perf_counter() - start] if number else []
    return seconds


def tell(seconds: dict[str, list[float]], texts: int, megabytes: float) -> None:
    """Prints a line per side."""
    base = seconds["library"]
    for name, own in seconds.items():
        ratios = [other / one for one, other in zip(own, base, strict=True)]
        spread = f"{median(ratios):6.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {name:22}{texts / median(own):10,.0f} texts/s {megabytes / median(own):8.1f} MB/s {spread}")


def compare(path: Path, small: Path, texts: Sequence[str], rounds: int) -> None:
    """Prints speed, parity and memory of one model. `small`: another one, to warm up with."""
    import fasttext

    column, flat = pa.array(texts, pa.large_string()), [flatten(text) for text in texts]
    workers = Workers(column, 2)
    for message in (small, True):
        workers.all(message)
    before = workers.all(None)
    own = pss_bytes()
    library = fasttext.load_model(str(path))
    library_bytes = pss_bytes() - own
    workers.all(path)
    workers.all(True)
    after = workers.all(None)
    model = load(path, file_sha256(path), probe_first=True)
    with ThreadPoolExecutor(2) as pool:
        sides = {
            "library": lambda: [library.predict(text) for text in flat],
            "ours, two processes": lambda: workers.all(True),
            "ours, one process": lambda: model.best_all(column),
            "ours, two threads": lambda: in_threads(model, column, pool),
        }
        seconds = measure(sides, rounds)
    size = path.stat().st_size
    print(f"{path.name}: {size / 1e6:.1f} MB, {len(model.labels)} labels")
    tell(seconds, len(texts), sum(len(text.encode()) for text in texts) / 1e6)
    parity(workers.all(False), [library.predict(text) for text in flat])
    grown = sum(after) - sum(before)
    print(
        f"  memory of two processes: {sum(before) / 1e6:.0f} MB before the model is loaded, {grown / 1e6:.0f} MB more then "
        f"= {grown / size:.2f} times the file; of one process with the library: {library_bytes / 1e6:.0f} MB more"
    )
    workers.end()


def parity(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    """Prints how the two differ."""
    labels, probabilities = (pa.concat_arrays([part[at] for part in ours]).to_pylist() for at in (0, 1))
    known = [at for at, label in enumerate(labels) if label is not None]
    differences = [abs(probabilities[at] - min(float(theirs[at][1][0]), 1.0)) for at in known]
    others = sum(f"__label__{labels[at]}" != theirs[at][0][0] for at in known)
    print(
        f"  parity over {len(known):,} texts: difference {np.max(differences):.1e}, {others} other labels; "
        f"{len(labels) - len(known)} unscorable"
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bucket", type=int, default=500_000)
    options = parser.parse_args()
    texts = documentation(options.texts).texts
    print(f"{len(texts):,} texts, {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        small, language = train(texts[:200], Path(folder), 100).rename(Path(folder, "small.bin")), "lid.176.ftz"
        compare(train(texts, Path(folder), options.bucket), small, texts, options.rounds)
        compare(weights.locate(language), small, texts, options.rounds)


if __name__ == "__main__":
    main()

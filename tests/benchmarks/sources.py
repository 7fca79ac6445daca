"""Reading seeds, against `datasets` and plain pyarrow on the same files.

    python -m tests.benchmarks.sources [--documents N] [--rounds N]

Ours: `read_source`, tables of seeds with a column of ids, every value checked. Peers: `datasets` streaming the same file
(rows as Python dicts, as its users take them), and pyarrow's own readers, batches to Python rows, which check nothing.
The files hold documents of about 3 kB: JSON lines (plain, gzip, zstd), Parquet, and a folder of `save_to_disk`. All runs
are interleaved, in CPU time; a ratio is the median over the rounds of theirs to ours (above 1: we are faster), with its
smallest and largest value. Parity: the texts that both give, in order, are equal.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from synth.config import parse
from synth.sources import Source, read_source

_WORDS = 20_000
_WORDS_PER_TEXT = 420


def documents(count: int) -> pa.Table:
    """Texts of about 3 kB, each its own, with the columns of a web corpus."""
    random_ = random.Random(7)
    words = ["".join(random_.choices("etaoinshrdlucmfw", k=random_.randint(2, 11))) for _ in range(_WORDS)]
    texts = [" ".join(random_.choices(words, k=_WORDS_PER_TEXT)) for _ in range(count)]
    ids = [f"<urn:uuid:{number:032x}>" for number in range(count)]
    return pa.table({"id": ids, "text": texts, "url": [f"https://a.example/{n}" for n in range(count)]})


def write(table: pa.Table, folder: Path) -> dict[str, Path]:
    """The same rows in every format."""
    import datasets

    rows = b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())
    files = {name: folder / f"a.{name}" for name in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")}
    files["jsonl"].write_bytes(rows)
    files["jsonl.gz"].write_bytes(gzip.compress(rows, 6))
    files["jsonl.zst"].write_bytes(pa.Codec("zstd").compress(rows, asbytes=True))
    pq.write_table(table, files["parquet"], compression="zstd", row_group_size=10_000)
    datasets.Dataset(table).save_to_disk(folder / "hf")
    return files | {"hf": next((folder / "hf").glob("*.arrow"))}


def ours(kind: str, file: Path) -> Iterable[str]:
    """The texts of our tables; the ids are made on the way."""
    columns = {"id": "id", "url": "url"}
    source = parse(Source, {"id": "web", "kind": kind, "paths": ["x"], "columns": columns})
    for table in read_source(source, file):
        yield from table["text"].to_pylist()


def of_datasets(name: str, file: Path) -> Iterable[str]:
    """The texts as `datasets` streams them; a saved dataset is opened."""
    import datasets

    if name == "hf":
        yield from (row["text"] for row in datasets.load_from_disk(str(file.parent)))
        return
    builder = "parquet" if name == "parquet" else "json"
    for row in datasets.load_dataset(builder, data_files=str(file), split="train", streaming=True):
        yield row["text"]


def of_pyarrow(name: str, file: Path) -> Iterable[str]:
    """The texts as pyarrow reads them by itself, with the other columns made Python rows too."""
    for batch in _batches(name, file):
        for row in batch.to_pylist():
            yield row["text"]


def _batches(name: str, file: Path) -> Iterable[pa.RecordBatch]:
    if name == "parquet":
        return pq.ParquetFile(file).iter_batches(4096)
    if name == "hf":
        return pa.ipc.open_stream(pa.memory_map(str(file)))
    raw = pa.input_stream(str(file), compression={"jsonl.gz": "gzip", "jsonl.zst": "zstd"}.get(name))
    return pyarrow.json.open_json(raw)


def timed(read: Callable[[], Iterable[str]]) -> tuple[float, str]:
    """CPU seconds, and a digest of the texts in order."""
    before, found = time.process_time(), hashlib.sha256()
    texts = list(read())
    took = time.process_time() - before
    for text in texts:
        found.update(text.encode() + b"\0")
    return took, found.hexdigest()


def main() -> None:
    """Print a line per format and peer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = documents(options.documents)
        megabytes = sum(map(len, table["text"].to_pylist())) / 1e6
        print(f"{options.documents:,} documents, {megabytes:,.0f} MB of text, {options.rounds} rounds")
        for name, file in write(table, Path(folder)).items():
            _compare(name, file, megabytes, options.rounds)


def _compare(name: str, file: Path, megabytes: float, rounds: int) -> None:
    kind = "jsonl" if name.startswith("jsonl") else name
    readers: dict[str, Callable[[], Iterable[str]]] = {
        "ours": lambda: ours(kind, file),
        "datasets": lambda: of_datasets(name, file),
        "pyarrow": lambda: of_pyarrow(name, file),
    }
    if name.endswith(".zst"):
        del readers["datasets"]  # it reads zstd only with a further package
    for read in readers.values():
        timed(read)  # imports and caches
    runs: list[dict[str, Any]] = [{who: timed(read) for who, read in readers.items()} for _ in range(rounds)]
    speed = megabytes / median(one["ours"][0] for one in runs)
    for peer in [one for one in readers if one != "ours"]:
        ratios = sorted(one[peer][0] / one["ours"][0] for one in runs)
        parity = all(one[peer][1] == one["ours"][1] for one in runs)
        spread = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{name:10} ours {speed:6,.0f} MB/s; {peer} / ours {spread}; the same texts: {'yes' if parity else 'NO'}")


if __name__ == "__main__":
    main()

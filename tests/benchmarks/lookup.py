"""What an index of released texts finds of new ones: parts of its documents, and how many others are read in vain.

    python -m tests.benchmarks.lookup [--documents N] [--asked N]

`--documents` texts made of real documentation are indexed, each tenth cut to 900 characters. Then `--asked` new ones are looked
up: a half, a third, a quarter and a tenth of some of them, from a random word on; halves of the short ones; halves with as much
of their own, which nobody contains; and texts that nobody has. Of each kind: how many have their source proposed, how many
`resolve` drops for an indexed text, and how many indexed texts are read for each that is asked about. Beside it the bytes that an
index takes for a document, its signature left out, and the time to look at one indexed text.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dedup import MinHashConfig
from dedup.jobs import Jobs
from dedup.lookup import Query, near
from dedup.resolve import resolve
from flows.near import CANDIDATES
from flows.pools import index_rows
from synth import rows
from tests.benchmarks.dedup import documents

_GIVEN = pa.schema([("doc_id", pa.string()), ("text", pa.large_string())])


def part(text: str, share: float, rng: random.Random) -> str:
    """So much of a text, from a random word on."""
    words = text.split()
    size = max(1, round(len(words) * share))
    first = rng.randrange(len(words) - size + 1)
    return " ".join(words[first : first + size])


def kinds(texts: list[str], fresh: list[str], count: int, rng: random.Random) -> dict[str, list[tuple[int, str]]]:
    """Of each kind the number of the source, and the text."""
    long = [number for number, text in enumerate(texts) if len(text) > 2500]
    short = [number for number, text in enumerate(texts) if len(text) < 1000]
    chosen = {"half of 2.5 kB and more": (long, 0.5), "a third": (long, 1 / 3), "a quarter": (long, 0.25)}
    chosen |= {"a tenth": (long, 0.1), "half of less than 1 kB": (short, 0.5)}
    made = {
        name: [(one, part(texts[one], share, rng)) for one in rng.sample(numbers, min(count, len(numbers)))]
        for name, (numbers, share) in chosen.items()
    }
    pairs = zip(rng.sample(long, min(count, len(long))), fresh[count:], strict=False)
    made["half of it, and as much new"] = [
        (one, f"{part(texts[one], 0.5, rng)} {part(new, 0.5, rng)}") for one, new in pairs
    ]
    made["new"] = [(-1, text) for text in fresh[:count]]
    return made


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--asked", type=int, default=500)
    options = parser.parse_args()
    texts = [*documents(options.documents + 2 * options.asked)]
    texts, fresh = texts[: options.documents], texts[options.documents :]
    texts[::10] = [text[:900] for text in texts[::10]]
    ids = [f"{number:064x}" for number in range(len(texts))]
    table = pa.table({"id": ids, "text": pa.array(texts, pa.large_string())})
    index = index_rows(table, "tag", 0, MinHashConfig(), 2)
    with tempfile.TemporaryDirectory() as folder:
        rows.write_table(index, Path(folder) / "index.parquet")
        size = (Path(folder) / "index.parquet").stat().st_size / len(texts) - 448
    print(
        f"{len(texts)} texts, {table['text'].nbytes / len(texts):.0f} bytes each; the index takes {size:.0f} bytes beside 448"
    )
    print(f"{'asked about':28}{'texts':>7}{'proposed':>10}{'dropped':>9}{'read each':>11}{'us each indexed':>17}")
    for name, asked in kinds(texts, fresh, options.asked, random.Random(1)).items():
        print_kind(name, asked, table, index)


def print_kind(name: str, asked: list[tuple[int, str]], table: pa.Table, index: pa.Table) -> None:
    """One kind's line."""
    found: list[tuple[set[int], float]] = []

    def released(query: Query) -> pa.Table:
        near(index.slice(0, 10), query)  # compiled now
        before = time.perf_counter()
        chosen, owners = near(index, query)
        found.append((set(chosen.tolist()), time.perf_counter() - before))
        held = {
            "doc_id": pc.binary_join_element_wise("old", index["doc_id"], "").take(pa.array(chosen)),
            "text": table["text"].take(pa.array(chosen)),
            **{one: pa.nulls(len(chosen), pa.string()) for one in ("family", "root_id")},
            **{one: index[one].take(pa.array(chosen)) for one in ("exact_digest", "signature")},
            "owners": owners,
        }
        return pa.table([held[one] for one in CANDIDATES.names], schema=CANDIDATES)

    new = pa.table([[f"new{at}" for at in range(len(asked))], [text for _, text in asked]], schema=_GIVEN)
    with Jobs() as jobs:
        verdicts = resolve(new, jobs=jobs, released=released).duplicates
    rows_, seconds = found[0]
    proposed = sum(source in rows_ for source, _ in asked) / len(asked)
    by_old = pc.starts_with(pc.fill_null(verdicts["partner_id"], ""), "old")
    dropped = pc.sum(by_old).as_py() / len(asked)
    read = len(rows_) / len(asked)
    print(f"{name:28}{len(asked):>7}{proposed:>10.3f}{dropped:>9.3f}{read:>11.2f}{seconds / len(index) * 1e6:>17.2f}")


if __name__ == "__main__":
    main()

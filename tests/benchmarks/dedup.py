"""Near-duplicate removal: what it finds and loses beside three peers, and what it costs.

    python -m tests.benchmarks.dedup quality [--per-kind N] [--template N]
    python -m tests.benchmarks.dedup speed [--documents N] [--peer-documents N] [--rounds N]
    python -m tests.benchmarks.dedup scale [--documents N]

Quality: the labelled set of `tests.duplicates_labelled`, made of real documentation. What is a duplicate is said by
`tests.duplicates_oracle`, which compares all pairs in plain Python. Of each kind: how many groups hold a duplicate, in how many
of these something is removed (found), and how many documents are removed from groups that hold none (lost). Peers get the
same bands (14 x 8) and, but for datatrove, the same shingles: datasketch's MinHashLSH with union-find, of each component one
stays; datatrove's four MinHash stages, run locally; rensa's duplicate flags.

Speed: everything from the raw texts of `--documents` documents to verdicts, one in ten of them a copy with some plain words
changed; datasketch from the same texts (shingles, MinHash, insert, query, union-find, one stays) over the first
`--peer-documents` of them, per document; interleaved, a ratio is the median over the rounds with its smallest and largest
value. Then copies of one text, and one template with other facts in each, against as many different texts, and two threads
against one.

Scale: `--documents` documents in a mapped Arrow file, each run alone in a process: cost per document against 10,000 of them, and
the peak of memory that is not mapped files (and of all).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from dedup import ResolveConfig, word_shingles
from dedup.jobs import Jobs
from dedup.resolve import resolve
from tests import duplicates_oracle as oracle
from tests.benchmarks.documentation import documentation
from tests.duplicates_labelled import DISTINCT_KINDS, edited, labelled

_PERMUTATIONS, _BANDS, _ROWS = 112, 14, 8
_COPIES = 10  # one in so many documents is an edited copy
_PLAIN = re.compile(r"[a-z]{4,}")
Finder = Callable[[pa.Table], set[str]]


def resolved(table: pa.Table, workers: int, folder: Path | None = None) -> Any:
    """What `resolve` finds on so many threads."""
    with Jobs(folder, workers) as jobs:
        return resolve(table, jobs=jobs)


class Components:
    """Union-find over numbers, the smallest of a component at its root."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, one: int) -> int:
        while self._parents[one] != one:
            self._parents[one] = one = self._parents[self._parents[one]]
        return one

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first


def by_synth(table: pa.Table) -> set[str]:
    """The ids that are removed."""
    found = resolve(table).duplicates
    return {row["doc_id"] for row in found.to_pylist() if not row["keep"]}


def by_datasketch(table: pa.Table) -> set[str]:
    """One of each component stays, the first."""
    from datasketch import MinHash, MinHashLSH

    ids, sets = table["doc_id"].to_pylist(), [list(word_shingles(text)) for text in table["text"].to_pylist()]
    components = Components(len(ids))
    lsh = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
    numbers = [number for number, shingles in enumerate(sets) if shingles]
    sketches = MinHash.bulk([sets[number] for number in numbers], num_perm=_PERMUTATIONS)
    for number, sketch in zip(numbers, sketches, strict=True):
        for other in lsh.query(sketch):
            components.join(number, other)
        lsh.insert(number, sketch)
    return {ids[number] for number in range(len(ids)) if components.root(number) != number}


def by_rensa(table: pa.Table) -> set[str]:
    """What its index flags as a duplicate of an earlier one."""
    from rensa import RMinHash, RMinHashLSH

    ids = table["doc_id"].to_pylist()
    sets = [[shingle.decode() for shingle in word_shingles(text)] for text in table["text"].to_pylist()]
    numbers = [number for number, shingles in enumerate(sets) if shingles]
    matrix = RMinHash.digest_matrix_from_token_sets([sets[number] for number in numbers], _PERMUTATIONS, 42)
    lsh = RMinHashLSH(0.75, _PERMUTATIONS, _BANDS)
    flags = lsh.query_duplicate_flags_matrix_one_shot(matrix)
    return {ids[number] for number, flag in zip(numbers, flags, strict=True) if flag}


def by_datatrove(table: pa.Table) -> set[str]:
    """Its four stages with its own words and 5-grams, one after the other. SHA-1, because its xxhash wants another version."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig
    from loguru import logger

    logger.remove()
    hashes = HashConfig(precision=64, hash_fc="sha1")
    config = MinhashConfig(n_grams=5, num_buckets=_BANDS, hashes_per_bucket=_ROWS, hash_config=hashes)
    ids, texts = table["doc_id"].to_pylist(), table["text"].to_pylist()
    documents = [Document(text=text, id=one) for one, text in zip(ids, texts, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        signatures, buckets, removed = (f"{folder}/{name}" for name in ("signatures", "buckets", "removed"))
        MinhashDedupSignature(signatures, config).run(iter(documents), 0, 1)
        for bucket in range(_BANDS):
            MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, _BANDS)
        MinhashDedupCluster(buckets, removed, config=config).run(None, 0, 1)
        kept = {one.id for one in MinhashDedupFilter(removed).run(iter(documents), 0, 1)}
    return set(ids) - kept


def quality(arguments: argparse.Namespace) -> None:
    """Prints a table by kind and tool."""
    texts = documentation(max(4000, 32 * arguments.per_kind)).texts
    print(f"the most common five words stand in {_commonest(texts[:4000]):.1%} of 4,000 texts of documentation")
    table = labelled(_different_lines(texts), arguments.per_kind, arguments.template)
    rows = [{**row, "released": False} for row in table.to_pylist()]
    started = time.perf_counter()
    expected = oracle.find_duplicates(rows, ResolveConfig())
    removed = {one for one, row in expected.items() if not row["keep"]}
    print(f"{len(rows)} documents; all pairs in plain Python: {time.perf_counter() - started:.0f} s")
    tools: dict[str, Finder] = {
        "synth": by_synth,
        "datasketch": by_datasketch,
        "rensa": by_rensa,
        "datatrove": by_datatrove,
    }
    found = {"all pairs": removed}
    for name, find in tools.items():
        found[name] = find(table)
    _print_quality(rows, found)
    agreeing = len(removed & found["synth"]) / max(1, len(removed | found["synth"]))
    print(f"verdicts of synth and of all pairs: {agreeing:.4f} of the removed ones are the same")


def _different_lines(texts: Iterable[str]) -> Iterator[str]:
    """The texts without lines that stood in one before: licences and lists of classifiers come again and again."""
    seen: set[str] = set()
    for text in texts:
        lines = [line for line in dict.fromkeys(text.splitlines()) if line.strip() not in seen]
        seen.update(map(str.strip, lines))
        yield " ".join(" ".join(lines).split())


def _commonest(texts: Sequence[str]) -> float:
    """The largest share of texts that hold a shingle: what boilerplate_share must be well above."""
    return max(Counter(shingle for text in texts for shingle in word_shingles(text)).values()) / len(texts)


def _print_quality(rows: Sequence[dict[str, Any]], found: dict[str, set[str]]) -> None:
    groups: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        groups[row["kind"]][row["group"]].add(row["doc_id"])
    truth = found["all pairs"]
    print(f"{'kind':14}{'documents':>10}{'duplicates':>11}" + "".join(f"{name + ' found/lost':>24}" for name in found))
    for kind, members in groups.items():
        with_duplicates = [group for group in members.values() if group & truth]
        without = [group for group in members.values() if not group & truth]
        cells = []
        for ids in found.values():
            hits = sum(bool(group & ids) for group in with_duplicates)
            lost = sum(len(group & ids) for group in without)
            share = f"{hits / len(with_duplicates):.3f}" if with_duplicates else "-"
            cells.append(f"{share:>16} /{lost:>6}")
        size = sum(map(len, members.values()))
        mark = " *" if kind in DISTINCT_KINDS else ""
        print(f"{kind + mark:14}{size:>10}{len(with_duplicates):>11}" + "".join(cells))
    print("* documents that say different things by construction: none may be lost")


def documents(count: int, seed: int = 1) -> Iterator[str]:
    """Texts as long as real documentation and with its words, all different: of each text in turn, and in each round with
    other words, four plain words in ten are replaced by made-up ones. One in _COPIES is a text before it with two
    in a hundred of its words changed, plain ones (J about 0.82)."""
    rng = random.Random(seed)
    texts = documentation(min(count, 5_000)).texts
    vocabulary = [*dict.fromkeys(word for text in texts[:500] for word in _PLAIN.findall(text))]
    earlier: list[str] = []
    for number in range(count):
        if number % _COPIES == _COPIES - 1:
            yield edited(earlier.pop(rng.randrange(len(earlier))), 2, vocabulary, rng)  # each of them once
            continue
        words = re.split(r"(\s+)", texts[number % len(texts)])
        for at in range(0, len(words), 2):
            if rng.random() < 0.4 and _PLAIN.fullmatch(words[at]):
                words[at] = f"{rng.choice(vocabulary)}{rng.choice(vocabulary)}"
        text = "".join(words)
        earlier = [*earlier[-999:], text]
        yield text


def table_of(texts: Sequence[str]) -> pa.Table:
    ids = pa.array([f"{number:08d}" for number in range(len(texts))])
    return pa.table({"doc_id": ids, "text": pa.array(texts, pa.large_string())})


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Median, smallest and largest."""
    ordered = sorted(values)
    return f"{median(ordered):{form}} ({ordered[0]:{form}}-{ordered[-1]:{form}})"


def speed(arguments: argparse.Namespace) -> None:
    """Prints times per document and their ratios."""
    pa.set_cpu_count(1)  # one core is one core
    table = table_of([*documents(arguments.documents)])
    few = table.slice(0, min(arguments.peer_documents, len(table)))
    half = len(table) // 2
    copies = table_of([table["text"][0].as_py()] * half)
    different = table.slice(0, half)
    template = table_of(_template(table["text"][0].as_py(), half))
    resolved(few, 2)  # compiled now
    print(
        f"{len(table)} documents, {table['text'].nbytes / 1e6:.0f} MB; datasketch over {len(few)} of them, per document"
    )
    runs: dict[str, tuple[int, Callable[[], object]]] = {
        "synth, one thread": (len(table), lambda: resolved(table, 1)),
        "synth, two threads": (len(table), lambda: resolved(table, 2)),
        "datasketch": (len(few), lambda: by_datasketch(few)),
        "copies of one text": (half, lambda: resolved(copies, 1)),
        "one template": (half, lambda: resolved(template, 1)),
        "different texts": (half, lambda: resolved(different, 1)),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, (size, work) in runs.items():
            times[name].append(seconds(work) / size * 1e6)
    for name, (size, _) in runs.items():
        print(f"{name:22}{size:>9} documents {spread(times[name], '.1f'):>28} us each")
    pairs = [
        ("datasketch", "synth, one thread", "bar 20"),
        ("synth, one thread", "synth, two threads", "bar 1.7"),
        ("copies of one text", "different texts", "bar 1.5 at most"),
        ("one template", "different texts", "no bar"),
    ]
    for over, under, bar in pairs:
        ratios = [one / other for one, other in zip(times[over], times[under], strict=True)]
        print(f"{over} : {under} = {spread(ratios)}  ({bar})")
    print(f"of {half} documents of one template {len(by_synth(template))} are lost")
    _print_recall(few)


def _template(text: str, count: int) -> list[str]:
    """The text with another number in four places of each."""
    words = text.split()
    made = []
    for number in range(count):
        for place in range(4):
            words[place * len(words) // 4] = f"{number * 4 + place:,}"
        made.append(" ".join(words))
    return made


def _print_recall(table: pa.Table) -> None:
    """What each of the two removes, beside what all pairs do."""
    pairs = zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True)
    expected = oracle.find_duplicates(
        [{"doc_id": one, "text": text, "released": False} for one, text in pairs], ResolveConfig()
    )
    truth = {one for one, row in expected.items() if not row["keep"]}
    for name, find in {"synth": by_synth, "datasketch": by_datasketch}.items():
        removed = find(table)
        right = len(removed & truth)
        print(
            f"{name}: removed {len(removed)} of {len(table)}; of the {len(truth)} that all pairs remove "
            f"{right / len(truth):.3f}, "
            f"and {len(removed) - right} others"
        )


def scale(arguments: argparse.Namespace) -> None:
    """Prints cost and memory, each measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for count in (10_000, arguments.documents):
            path = Path(folder) / f"{count}.arrow"
            _write(path, count)
            command = [sys.executable, "-m", "tests.benchmarks.dedup", "alone", "--path", str(path)]
            results[count] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            one = results[count]
            each = one["seconds"] / count * 1e6
            print(
                f"{count:>9} documents: {each:7.1f} us each, {one['cpu'] / count * 1e6:7.1f} us of processor; peak "
                f"{one['anonymous_mb']:.0f} MB without mapped files, {one['all_mb']:.0f} MB with them; {one['reasons']}"
            )
            path.unlink()
    small, large = results[10_000], results[arguments.documents]
    ratio = large["seconds"] / arguments.documents / (small["seconds"] / 10_000)
    print(f"cost per document, {arguments.documents} against 10000: {ratio:.2f} (bar 1.35)")


def _write(path: Path, count: int) -> None:
    """Ids, texts, signatures and digests as the sign step leaves them, 10,000 at a time."""
    from dedup import sketches

    schema = pa.schema(
        [
            ("doc_id", pa.string()),
            ("text", pa.large_string()),
            ("exact_digest", pa.string()),
            ("signature", pa.list_(pa.uint32())),
        ]
    )
    made, number = documents(count), 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while number < count:
            texts = pa.array([text for _, text in zip(range(10_000), made, strict=False)], pa.large_string())
            found = sketches(texts, workers=2)
            offsets = np.arange(len(texts) + 1, dtype=np.int32) * _PERMUTATIONS
            signatures = pa.ListArray.from_arrays(pa.array(offsets), pa.array(found.signatures.ravel()))
            ids = pa.array([f"{at:08d}" for at in range(number, number + len(texts))])
            writer.write_table(pa.table([ids, texts, found.digests, signatures], schema=schema))
            number += len(texts)


def alone(arguments: argparse.Namespace) -> None:
    """One run over a mapped file, as JSON. The peak of anonymous memory is looked at twenty times a second."""
    import threading

    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(re.findall(r"RssAnon:\s+(\d+)", status)[0]))

    with pa.memory_map(arguments.path) as source:
        table = pa.ipc.open_file(source).read_all()
        resolved(table.slice(0, 500), 2)  # compiled now
        threading.Thread(target=watch, daemon=True).start()
        before, cpu = time.perf_counter(), time.process_time()
        found = resolved(table, 2, Path(arguments.path).parent).duplicates
        after, cpu = time.perf_counter() - before, time.process_time() - cpu
        done.set()
    reasons = {str(one["values"]): one["counts"] for one in found["reason"].value_counts().to_pylist()}
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"seconds": after, "cpu": cpu, "anonymous_mb": peak[0] / 1024, "all_mb": highest, "reasons": reasons}
        )
    )


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("quality")
    one.add_argument("--per-kind", type=int, default=150)
    one.add_argument("--template", type=int, default=2500)
    one = parts.add_parser("speed")
    one.add_argument("--documents", type=int, default=100_000)
    one.add_argument("--peer-documents", type=int, default=10_000)
    one.add_argument("--rounds", type=int, default=3)
    parts.add_parser("scale").add_argument("--documents", type=int, default=1_000_000)
    parts.add_parser("alone").add_argument("--path", required=True)
    arguments = parser.parse_args()
    {"quality": quality, "speed": speed, "scale": scale, "alone": alone}[arguments.part](arguments)


if __name__ == "__main__":
    main()

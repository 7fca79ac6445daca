"""MinHash signatures from raw text, against datasketch, rensa, daft and datatrove on the same real documentation.

    python -m tests.benchmarks.signatures [--documents 20000] [--rounds 5] [--million 1000000] [--without NAME ...]

Texts: `tests.benchmarks.documentation`, of about 3 kB. All engines make 112 values per text of its word 5-grams, from raw text:
ours with its normalisation (NFKC, casefold, Unicode words); datasketch's `MinHash.bulk` and rensa's
`RMinHash.digest_matrix_from_token_sets` with building their lists of shingles from lower-cased words in plain Python; daft's
`functions.minhash`, which splits at spaces and normalises nothing; datatrove's `MinhashDedupSignature`, its shingles and
signature without writing them. Slow engines take every k-th text. All runs of a round are interleaved in one process; a ratio
is the median over the rounds of the engine's time for a document over ours, with its smallest and largest value. One core is
measured in CPU time; two cores, ours by two threads and daft's by all it takes, by the wall clock.

Parity: on pairs of texts that share about half, the mean absolute error of each engine's estimate, the share of values that
agree, against the exact similarity of the two sets of shingles. Theory says about 0.036 for 112 values.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedup import exact_digests, minhash_signatures, shingle_sets, sketches, word_shingles
from tests.benchmarks.documentation import documentation

_VALUES, _WORDS = 112, 5
_FEW_TEXTS = 10_000
_PAIRS = 300
_WORD = re.compile(r"\w+")
_FIRST_USE = (
    "import time; import pyarrow as pa; from dedup import minhash_signatures; before = time.perf_counter(); "
    "minhash_signatures(pa.array(['five words are just enough'])); print(time.perf_counter() - before)"
)


class Engine(NamedTuple):
    """One peer. `sign` makes signatures of texts; `rows` gives them as (texts, values)."""

    sign: Callable[[Any], Any]
    rows: Callable[[Any], Any]
    every: int  # takes every k-th text
    two_cores: bool = False
    bar: float = 0.0  # the ratio to reach


def shingled(text: str) -> list[str]:
    """The lower-cased text's runs of five words, as users of these libraries write it."""
    words = _WORD.findall(text.lower())
    return [" ".join(words[at : at + _WORDS]) for at in range(len(words) - _WORDS + 1)]


def by_datasketch(texts: pa.Array) -> list[Any]:
    """datasketch's default scheme, affine32 over SHA-1."""
    from datasketch import MinHash

    return MinHash.bulk([[one.encode() for one in shingled(text)] for text in texts.to_pylist()], num_perm=_VALUES)


def by_rensa(texts: pa.Array) -> Any:
    """Its sketch of all shingles, not the one that samples them."""
    from rensa import RMinHash

    return RMinHash.digest_matrix_from_token_sets([shingled(text) for text in texts.to_pylist()], _VALUES, 42)


def by_daft(texts: pa.Array) -> Any:
    """With the faster of its hashes, on all threads that it takes."""
    import daft
    from daft.functions import minhash

    frame = daft.from_arrow(pa.table({"text": texts}))
    signed = minhash(daft.col("text"), num_hashes=_VALUES, ngram_size=_WORDS, hash_function="xxhash3_64")
    return frame.select(signed.alias("signature")).to_arrow()


def by_datatrove() -> Callable[[pa.Array], list[Any]]:
    """Its default hash is given bytes: it hands text to xxhash, of which version 4 takes none."""
    import xxhash
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature("/tmp", MinhashConfig(n_grams=_WORDS, num_buckets=14, hashes_per_bucket=8))
    step._hash_func = lambda run: xxhash.xxh64_intdigest(run.encode())
    step.get_shingles("its tokenizer is loaded now and not later")
    return lambda texts: [step.get_signature(step.get_shingles(text)) for text in texts.to_pylist()]


def engines() -> dict[str, Engine]:
    """The peers by name."""
    flat = lambda signed: np.array(signed).reshape(len(signed), -1)  # noqa: E731
    return {
        "datasketch": Engine(by_datasketch, lambda signed: np.array([one.hashvalues for one in signed]), 10, bar=30),
        "rensa": Engine(by_rensa, lambda signed: np.array(signed.to_rows()), 4, bar=8),
        "daft": Engine(by_daft, lambda signed: np.array(signed["signature"].to_pylist()), 1, two_cores=True, bar=4),
        "datatrove": Engine(by_datatrove(), flat, 200, bar=300),
    }


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """How long it takes."""
    before = clock()
    work()
    return clock() - before


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, and the smallest and largest value."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    """Prints rates, ratios, parity, threads, and the cost of a document among a million."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--without", nargs="*", default=[], choices=["datasketch", "rensa", "daft", "datatrove"])
    options = parser.parse_args()
    peers = {name: engine for name, engine in engines().items() if name not in options.without}
    texts = pa.array(documentation(options.documents).texts, pa.large_string())
    ascii_share = fmean(text.isascii() for text in texts.to_pylist())
    print(", ".join(f"{name} {version(name)}" for name in ("numba", *peers)))
    print(f"{len(texts)} texts, {texts.nbytes / 1e6:.1f} MB, {ascii_share:.0%} of them ASCII")
    _first_use()
    _against(peers, texts, options.rounds)
    _parity(peers, texts)
    _own_parts(texts, options.rounds)
    _many(texts, options.million)


def _first_use() -> None:
    """A process's first call, with the code compiled and cached before."""
    taken = [float(subprocess.check_output([sys.executable, "-c", _FIRST_USE], text=True)) for _ in range(2)]
    print(f"the first call of a process, its code cached: {taken[-1]:.2f} s")


def _against(peers: dict[str, Engine], texts: pa.Array, rounds: int) -> None:
    subsets = {name: texts.take(pa.array(range(0, len(texts), one.every))) for name, one in peers.items()}
    for name, one in peers.items():
        one.sign(subsets[name].slice(0, 50))
    minhash_signatures(texts.slice(0, 50))
    ours: dict[bool, list[float]] = {False: [], True: []}
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        ours[False].append(seconds(partial(minhash_signatures, texts), time.process_time) / len(texts))
        ours[True].append(seconds(partial(minhash_signatures, texts, workers=2), time.perf_counter) / len(texts))
        for name, one in peers.items():
            clock = time.perf_counter if one.two_cores else time.process_time
            theirs[name].append(seconds(partial(one.sign, subsets[name]), clock) / len(subsets[name]))
    megabytes = texts.nbytes / len(texts) / 1e6
    for two_cores, taken in ours.items():
        rates = [1 / one for one in taken]
        print(f"ours, {1 + two_cores} core(s): {spread(rates)} documents/s, {median(rates) * megabytes:.0f} MB/s")
    for name, taken in theirs.items():
        one = peers[name]
        ratios = [their / our for their, our in zip(taken, ours[one.two_cores], strict=True)]
        print(
            f"{name:10} {spread([1 / each for each in taken])} documents/s over {len(subsets[name])} texts, "
            f"{1 + one.two_cores} core(s); ours is {spread(ratios, '.1f')} times as fast (bar: {one.bar:.0f})"
        )


def _parity(peers: dict[str, Engine], texts: pa.Array) -> None:
    """Each text with one that begins as it does and ends as another one."""
    whole = texts.slice(0, _PAIRS + 1).to_pylist()
    alike = [one[: len(one) * 2 // 3] + " " + other for one, other in pairwise(whole)]
    left, right = pa.array(whole[:_PAIRS], pa.large_string()), pa.array(alike[:_PAIRS], pa.large_string())
    sets = [(word_shingles(one), word_shingles(other)) for one, other in zip(whole, alike, strict=False)]
    exact = np.array([len(one & other) / len(one | other) for one, other in sets])
    ours = Engine(minhash_signatures, lambda signed: signed, 1)
    for name, one in {"ours": ours, **peers}.items():
        estimates = (one.rows(one.sign(left)) == one.rows(one.sign(right))).mean(axis=1)
        print(
            f"parity: {name:10} mean absolute error {np.abs(estimates - exact).mean():.3f}, "
            f"mean error {(estimates - exact).mean():+.3f} over {len(exact)} pairs of mean similarity {exact.mean():.2f}"
        )


def _own_parts(texts: pa.Array, rounds: int) -> None:
    """The other calls, and two threads against one, by turns."""
    parts: dict[str, Callable[[], object]] = {
        "sketches": partial(sketches, texts),
        "shingle sets": partial(shingle_sets, texts, _WORDS),
        "exact digests": partial(exact_digests, texts),
    }
    taken = {name: [seconds(part, time.process_time) for _ in range(rounds)] for name, part in parts.items()}
    for name, each in taken.items():
        print(f"{name:14} {spread([len(texts) / one for one in each])} documents/s, one core")
    many = pa.chunked_array([texts] * 4)
    ratios = []
    for _ in range(rounds):
        one = seconds(partial(minhash_signatures, many), time.perf_counter)
        ratios.append(one / seconds(partial(minhash_signatures, many, workers=2), time.perf_counter))
    print(f"two threads are {spread(ratios, '.2f')} times as fast as one (bar: 1.7)")


def _many(texts: pa.Array, million: int) -> None:
    """The cost of a document among many: the same texts again and again, of which each is read anew."""
    few = texts.slice(0, _FEW_TEXTS)
    many = pa.chunked_array([few] * max(million // len(few), 1))
    each = [seconds(partial(minhash_signatures, few), time.process_time) / len(few) for _ in range(5)]
    among = seconds(partial(minhash_signatures, many), time.process_time) / len(many)
    print(f"a document among {len(many):,} takes {among / median(each):.2f} times what it takes among {len(few):,}")


if __name__ == "__main__":
    main()

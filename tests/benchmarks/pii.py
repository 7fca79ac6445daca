"""The rule `pii`: recall on planted data, precision on real documentation and code, and its speed.

    python -m tests.benchmarks.pii [recall] [precision] [speed] [--texts 20000] [--samples 12]

Precision: the texts of `tests.benchmarks.documentation` (its stream, nothing made up), and the modules of the standard library
and of the installed packages, without their tests. Per kind: how often something is found, how many different values, and how
many of the finds look real to a second look that shares no code with the finder (`pii_second_look`). All that it doubts is
printed, and a sample of the others, always the same one, with what stands around it, for a person to judge.
Speed: CPU time of one core over the rule on an Arrow table, compiled code warm.
"""

from __future__ import annotations

import argparse
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from filters.pii import KINDS, PiiOptions, find_pii, score
from synth.digest import digest
from tests.benchmarks.documentation import documentation
from tests.benchmarks.pii_second_look import doubt
from tests.pii_planted import planted

_MAX_FILE_BYTES = 1_000_000
_AROUND = 40  # bytes shown on each side
_MOST_DOUBTS = 40


class Find(NamedTuple):
    """A find, and what stands around it."""

    kind: str
    value: str
    before: str
    after: str

    def shown(self) -> str:
        """For a person."""
        return f"{self.value[:60]!r:44} {self.before[-_AROUND:] + '⟦…⟧' + self.after[:_AROUND]!r}"


def recall(seeds: int = 5) -> dict[str, tuple[int, int]]:
    """By kind: how many planted values are found exactly, of how many."""
    hits: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    for seed in range(seeds):
        for one in planted(seed):
            trials[one.kind] += 1
            hits[one.kind] += any((found.kind, found.text) == (one.kind, one.value) for found in find_pii(one.text))
    return {kind: (hits[kind], trials[kind]) for kind in KINDS}


def code() -> Iterator[str]:
    """Every module of this installation that is not part of some test."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        inside = path.relative_to(sysconfig.get_paths()["stdlib"]).parts
        if path.stat().st_size <= _MAX_FILE_BYTES and not any("test" in part for part in inside):
            yield path.read_text(encoding="utf-8", errors="replace")


def finds(texts: Iterable[str]) -> Iterator[Find]:
    """All of them, in order."""
    for text in texts:
        data = text.encode()
        for found in find_pii(text):
            before = data[max(found.start_byte - _AROUND, 0) : found.start_byte].decode(errors="replace")
            after = data[found.end_byte : found.end_byte + _AROUND].decode(errors="replace")
            yield Find(found.kind, found.text, before, after)


def tell_precision(name: str, texts: list[str], samples: int) -> None:
    """Prints a table, what the second look doubts, and a sample of the rest."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    found = [*finds(texts)]
    print(f"\n{name}: {len(texts):,} texts, {size:.1f} MB, {len(found):,} finds, {len(found) / size:.1f} per MB")
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in KINDS}
    doubts = {kind: [(one, why) for one in of if (why := doubt(*one))] for kind, of in by_kind.items()}
    for kind, of in by_kind.items():
        real = len(of) - len(doubts[kind])
        share = f"{real / len(of):.3f}" if of else "    –"
        print(f"  {kind:14}{len(of):6} finds{len({one.value for one in of}):6} values{real:6} look real  {share}")
    for kind, of in by_kind.items():
        doubted = dict(doubts[kind])
        for one in sorted(doubted)[:_MOST_DOUBTS]:
            print(f"  doubted {kind:12} ({doubted[one]}) {one.shown()}")
        for one in sorted(set(of) - set(doubted), key=lambda one: digest(list(one)))[:samples]:
            print(f"  sample  {kind:12} {one.shown()}")


def megabytes_per_second(texts: list[str]) -> float:
    """MB of text in a second of one core: the median of 5 rounds."""
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    rounds = []
    for _ in range(6):
        start = time.process_time()
        score(table, PiiOptions())
        rounds.append(time.process_time() - start)
    return sum(len(text.encode()) for text in texts) / 1e6 / sorted(rounds[1:])[2]


def main() -> None:
    """Prints what is asked for; without a word, everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["recall", "precision", "speed"])
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=12)
    asked = parser.parse_args()
    real = documentation(asked.texts) if {"precision", "speed"} & set(asked.what) else None
    if "recall" in asked.what:
        for kind, (hits, trials) in recall().items():
            print(f"planted {kind:14}{hits:5} of {trials} ({hits / trials:.3f})")
    if "precision" in asked.what and real:
        tell_precision("documentation", real.texts[: real.streamed], asked.samples)
        tell_precision("code", [*code()], asked.samples)
    if "speed" in asked.what and real:
        secrets = [one.text * 40 for one in planted(1)]  # nothing but finds: the worst case
        for name, texts in (("documentation", real.texts), ("planted data only", secrets)):
            print(f"speed on {name}: {len(texts):,} texts, {megabytes_per_second(texts):.1f} MB/s on one core")


if __name__ == "__main__":
    main()

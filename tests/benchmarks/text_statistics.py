"""All statistics and the gates of four presets, against datatrove's four filters on the same real documentation.

    python -m tests.benchmarks.text_statistics [--documents N] [--rounds N] [--peer-documents N] [--million N]
    python -m tests.benchmarks.text_statistics agreement [--documents N] [--every K]

The texts: `tests.benchmarks.documentation`. Speed: ours over all of them (the statistics, then the gates of gopher_quality,
gopher_repetition, c4 and fineweb) on one core and by two threads, and datatrove's GopherQuality, GopherRepetition, C4Quality
and FineWebQuality filters in turn over every k-th of them, all interleaved. One core is measured in CPU time, two threads
by the wall clock; a ratio is the median over the rounds, with its smallest and largest value. Then the cost of a text at
`--million` texts (the same chunks again) against 10,000 of them.

Agreement: each bound of the filters against the gate on our column: what both keep, both drop, only one of them drops; and
for each text on which they differ the fewest definitions (`tests.benchmarks.datatrove_rules`) that must be exchanged in
datatrove's rule for it to decide as we do. Of every 40th text it is checked that the rules so taken apart say what the
filters say, and that with all exchanges they give the value of our column.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from filters.gates import Gate, apply_gates
from filters.published import PRESETS
from synth.text.statistics import text_statistics
from tests.benchmarks.datatrove_rules import EXPLANATIONS, RULES, Rule, View, expected_reasons, filters, first_reasons
from tests.benchmarks.documentation import documentation
from tests.oracle_statistics import oracle_statistics

_PRESETS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
_GATES = tuple(gate for name in _PRESETS for gate in PRESETS[name].gates)
_CHUNK_TEXTS = 2500  # of one turn of a thread
_FEW_TEXTS = 10_000
_ORACLE_TEXTS = 300
_CHECK_EVERY = 40
_SHOWN_IDS = 12
_FIRST_USE = (
    "import time; import pyarrow as pa; from synth.text.statistics import text_statistics; before = time.perf_counter(); "
    "text_statistics(pa.array(['a b'])); print(time.perf_counter() - before)"
)


class Run(NamedTuple):
    """What is timed, over so many texts of so many megabytes in all."""

    texts: int
    megabytes: float
    work: Callable[[], object]
    clock: Callable[[], float] = time.process_time


def gated(texts: Any, gates: Sequence[Gate] = _GATES) -> pa.Table:
    """The statistics of the texts, and from them what the gates drop."""
    ids = pa.array(map("{:08d}".format, range(len(texts))))
    scores = text_statistics(texts).append_column("item_id", ids)
    return apply_gates(scores.append_column("family", pa.nulls(len(texts), pa.string())), gates, "document", "keep", ())


def by_two_threads(texts: pa.Array, pool: ThreadPoolExecutor) -> list[pa.Table]:
    """The same over chunks of the texts."""
    return [*pool.map(gated, [texts.slice(first, _CHUNK_TEXTS) for first in range(0, len(texts), _CHUNK_TEXTS)])]


def datatrove_in_turn(texts: Sequence[str]) -> Callable[[], object]:
    """datatrove's four filters over the texts, each over all of them."""
    from datatrove.data import Document

    made = filters()
    for one in made.values():
        one.filter(Document(text=texts[0], id=""))  # its tokenizer is loaded now
    return lambda: [one.filter(Document(text=text, id="")) for one in made.values() for text in texts]


def megabytes(texts: Any) -> float:
    """Of UTF-8."""
    return float(pc.sum(pc.binary_length(texts)).as_py()) / 1e6


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Time of one run, by default CPU time: that of one core where one thread works."""
    before = clock()
    work()
    return clock() - before


def spread(values: Iterable[float], form: str = ".1f") -> str:
    """Median, smallest and largest."""
    ordered = sorted(values)
    return f"{median(ordered):{form}} ({ordered[0]:{form}}-{ordered[-1]:{form}})"


def speed(arguments: argparse.Namespace) -> None:
    """Prints the first table."""
    pa.set_cpu_count(1)  # one core is one core
    started = float(subprocess.run([sys.executable, "-c", _FIRST_USE], capture_output=True, check=True).stdout)
    texts = _texts(arguments.documents)
    few = texts.take(pa.array(range(0, len(texts), max(1, len(texts) // arguments.peer_documents))))
    some = texts.slice(0, _ORACLE_TEXTS)
    assert text_statistics(some).equals(oracle_statistics(some.to_pylist())), "the kernel and plain Python differ"
    print(f"statistics equal plain Python's bit for bit on {len(some)} of the texts; {len(_GATES)} gates")
    with ThreadPoolExecutor(2) as pool:
        everything, subset = (len(texts), megabytes(texts)), (len(few), megabytes(few))
        runs = {
            "statistics and gates, one core": Run(*everything, lambda: gated(texts)),
            "statistics alone, one core": Run(*everything, lambda: text_statistics(texts)),
            "statistics and gates, two threads": Run(
                *everything, lambda: by_two_threads(texts, pool), time.perf_counter
            ),
            "datatrove's four filters in turn": Run(*subset, datatrove_in_turn(few.to_pylist())),
        }
        _print_runs(runs, arguments.rounds)
    _print_growth(texts, arguments.million)
    print(f"first call of a process, compiled code in the cache: {started:.2f} s")


def _texts(count: int) -> pa.Array:
    found = documentation(count)
    texts = pa.array(found.texts, pa.large_string())
    print(
        f"{len(texts)} texts, all different, {megabytes(texts):.1f} MB; {found.streamed} of them are documentation in "
        f"sequence, the others halves of two of these"
    )
    return texts


def _print_runs(runs: dict[str, Run], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run.work, run.clock) / run.texts)
    print(f"{'':36}{'texts':>7} {'texts/s':>9}  {'MB/s':24} the first is so many times as fast per text")
    first = times["statistics and gates, one core"]
    for name, run in runs.items():
        size = run.megabytes / run.texts
        rate = spread(size / each for each in times[name])
        ratio = spread(each / one for each, one in zip(times[name], first, strict=True))
        print(f"{name:36}{run.texts:7} {1 / median(times[name]):9.0f}  {rate:24} {ratio}")


def _print_growth(texts: pa.Array, many: int) -> None:
    """A text's cost at `many` of them against few. Gates see what they would of partitions: as many rows as are few."""
    few = texts.slice(0, _FEW_TEXTS)
    repeats = max(1, many // len(few))
    chunks = pa.chunked_array([few] * repeats)
    ids = pa.array(map("{:08d}".format, range(len(few))))

    def work(column: Any) -> None:
        scores = text_statistics(column)
        for first in range(0, len(column), len(few)):
            part = scores.slice(first, len(few)).append_column("item_id", ids)
            apply_gates(part.append_column("family", pa.nulls(len(few), pa.string())), _GATES, "document", "keep", ())

    smalls = [seconds(lambda: work(few)) for _ in range(3)]
    large = seconds(lambda: work(chunks)) / repeats
    smalls += [seconds(lambda: work(few)) for _ in range(3)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    ratio = spread((large / small for small in smalls), ".2f")
    print(f"cost of a text at {len(chunks)} / at {len(few)}: {ratio}; peak memory of the process {peak:.1f} GB")


def agreement(arguments: argparse.Namespace) -> None:
    """Prints the second table."""
    texts = _texts(arguments.documents)
    texts = texts.take(pa.array(range(0, len(texts), arguments.every)))
    print(f"{len(texts)} of them are compared")
    measured = text_statistics(texts)
    columns = {name: measured[name].to_pylist() for name in {rule.column for rule in RULES}}
    counts = {rule.name: Counter[tuple[bool, bool]]() for rule in RULES}
    causes = {rule.name: Counter[tuple[str, bool]]() for rule in RULES}
    unexplained: list[str] = []
    made, wrong = filters(), Counter[str]()
    for at, text in enumerate(texts.to_pylist()):
        view = View(text)
        for rule in RULES:
            ours = rule.drops(columns[rule.column][at])
            theirs = rule.drops(rule.value(view, frozenset()))
            counts[rule.name][ours, theirs] += 1
            if ours != theirs:
                cause = rule.explain(view, ours)
                causes[rule.name][cause, ours] += 1
                unexplained += [f"{rule.name} text {at}"] if cause == "unexplained" else []
        if at % _CHECK_EVERY == 0:
            wrong += _check(view, {rule.column: columns[rule.column][at] for rule in RULES}, made)
    _print_agreement(counts, causes, unexplained)
    checked = len(range(0, len(texts), _CHECK_EVERY))
    print(f"checked on {checked} texts: filters that gave another reason {wrong['reasons']}, values of rules with all")
    print(f"exchanges that are not our column's {wrong['values']} of {checked * len(RULES)}")


def _check(view: View, ours: dict[str, float], made: dict[str, Any]) -> Counter[str]:
    """How many filters give another reason than their rules, and how many rules with all exchanges another value than ours."""
    same = {"gopher_too_many_hashes": "gopher_too_many_symbols", "gopher_too_many_ellipsis": "gopher_too_many_symbols"}
    said, expected = first_reasons(view.text, made), expected_reasons(view)
    reasons = sum(same.get(reason or "", reason) not in expected[name] for name, reason in said.items())
    values = sum(not _equal(rule, view, ours[rule.column]) for rule in RULES)
    return Counter(reasons=reasons, values=values)


def _equal(rule: Rule, view: View, ours: float) -> bool:
    return abs(rule.value(view, frozenset(rule.exchanges)) - ours) <= 1e-12 * max(1.0, abs(ours))


def _print_agreement(
    counts: dict[str, Counter[tuple[bool, bool]]],
    causes: dict[str, Counter[tuple[str, bool]]],
    unexplained: list[str],
) -> None:
    print(f"{'rule of datatrove':31}{'both keep':>10}{'both drop':>10}{'only ours':>10}{'only theirs':>12}  because")
    for name, count in counts.items():
        numbers = [count[False, False], count[True, True], count[True, False], count[False, True]]
        print(f"{name:31}{numbers[0]:10}{numbers[1]:10}{numbers[2]:10}{numbers[3]:12}")
        for (cause, ours), times in causes[name].most_common():
            print(f"{'':73}{times:6} only {'ours' if ours else 'theirs'}: {cause}")
    print()
    for kind, meaning in EXPLANATIONS.items():
        print(f"{kind:12} {meaning}")
    print(f"unexplained: {len(unexplained)} {', '.join(unexplained[:_SHOWN_IDS])}")


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=("speed", "agreement"), default="speed")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer-documents", type=int, default=150)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    agreement(arguments) if arguments.what == "agreement" else speed(arguments)


if __name__ == "__main__":
    main()

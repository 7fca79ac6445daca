"""What the rule `fidelity` sees: honest rewrites of 200 real paragraphs, and the same with planted edits.

    python -m tests.benchmarks.fidelity

Documents are flagged by the gates of tests/fidelity_edits.py. The edits are made in the documents that pass as they are,
so that no false alarm counts as a detection. Intervals: Wilson, 95%; edits of one document are counted one by one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from math import sqrt

import pyarrow as pa

from filters import fidelity
from tests.fidelity_edits import EDITS, Document, documents, edited, flagged

_Z = 1.96
_DOCUMENT_CHARACTERS = 3000


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95% confidence interval of a share."""
    if not trials:
        return 0.0, 1.0
    share, spread = hits / trials, _Z**2 / trials
    middle, half = share + spread / 2, _Z * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def main() -> None:
    """Prints the tables."""
    honest = documents()
    reasons = flagged(honest)
    passing = [document for document, found in zip(honest, reasons, strict=True) if not found]
    print(f"{'flagged':22}{'texts':13}{'family':11}{'of':>5} {'share':>6}  95%")
    _print_rates("honest (false alarms)", honest, reasons)
    for name in EDITS:
        made = edited(name, passing)
        _print_rates(name, made, flagged(made))
    for document, found in zip(honest, reasons, strict=True):
        if found:
            print(f"false alarm: {document.id} ({document.family}): {', '.join(found)}")
    print(
        f"{_documents_per_second(honest):.0f} documents/s on one core, of {_DOCUMENT_CHARACTERS} characters and as long a source"
    )


def _print_rates(name: str, made: Sequence[Document], reasons: Sequence[Sequence[str]]) -> None:
    hits: Counter[tuple[str, str]] = Counter()
    trials: Counter[tuple[str, str]] = Counter()
    for document, found in zip(made, reasons, strict=True):
        for key in ((document.text_kind, document.family), ("all", document.family), ("all", "all")):
            trials[key] += 1
            hits[key] += bool(found)
    for (texts, family), count in sorted(trials.items()):
        low, high = wilson(hits[texts, family], count)
        share = hits[texts, family] / count
        print(f"{name:22}{texts:13}{family:11}{count:5} {share:6.3f}  {low:.3f} to {high:.3f}")


def _documents_per_second(honest: Sequence[Document]) -> float:
    """CPU time; documents joined to the length and set against the sources of the same documents."""
    groups: list[list[Document]] = [[]]
    for document in honest:
        if sum(len(one.text) for one in groups[-1]) >= _DOCUMENT_CHARACTERS:
            groups.append([])
        groups[-1].append(document)
    table = pa.table(
        {
            "generated": [" ".join(one.text for one in group) for group in groups],
            "seed_text": [" ".join(one.source for one in group) for group in groups],
        }
    )
    rounds = []
    for _ in range(5):
        started = time.process_time()
        fidelity.score(table, fidelity.FidelityOptions())
        rounds.append(time.process_time() - started)
    return len(groups) / min(rounds)


if __name__ == "__main__":
    main()

"""Near-duplicate removal on a labelled set of real text: what it finds, what it must not touch, and that nothing but the set
of documents decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dedup.agreement
import dedup.sets
from dedup import ResolveConfig, band_hashes, minhash_signatures
from dedup.candidates import candidate_groups
from dedup.jobs import MEMORY_BYTES, Jobs
from dedup.resolve import Resolution, resolve
from synth.digest import digest
from tests import duplicates_oracle as oracle
from tests.duplicates_labelled import DISTINCT_KINDS, labelled, standard_passages

PER_KIND, TEMPLATE = 26, 300
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def documents() -> pa.Table:
    return labelled(standard_passages(), PER_KIND, TEMPLATE)


@pytest.fixture(scope="module")
def found(documents: pa.Table) -> Resolution:
    return resolve(documents)


def by_kind(documents: pa.Table, found: Resolution, column: str = "reason") -> dict[str, Counter[str | None]]:
    """Of each kind how often the verdicts say what."""
    counts: dict[str, Counter[str | None]] = {}
    for kind, value in zip(documents["kind"].to_pylist(), found.duplicates[column].to_pylist(), strict=True):
        counts.setdefault(kind, Counter())[value] += 1
    return counts


def test_no_distinct_document_is_lost(documents: pa.Table, found: Resolution) -> None:
    for kind in DISTINCT_KINDS:
        assert by_kind(documents, found)[kind].keys() == {None}, kind


def test_chains_of_bands_would_lose_most_of_the_template(documents: pa.Table) -> None:
    """That the template is a hard one: components, whatever their threshold, keep one of each."""
    texts = documents.filter(pc.equal(documents["kind"], "template"))["text"]
    assert len(np.unique(candidate_groups(band_hashes(minhash_signatures(texts))))) < TEMPLATE / 4


def test_copies_are_found(documents: pa.Table, found: Resolution) -> None:
    counts = by_kind(documents, found)
    dropped = {kind: sum(count for reason, count in counts[kind].items() if reason) for kind in counts}
    assert counts["exact"]["exact_duplicate"] == PER_KIND
    assert dropped["edit_01"] == PER_KIND
    assert dropped["edit_02"] >= 0.93 * PER_KIND
    assert counts["half"]["contained"] >= 0.9 * PER_KIND
    assert dropped["cut_off"] >= 0.9 * PER_KIND
    assert dropped["multilingual"] == PER_KIND
    assert dropped["edit_10"] == 0  # J about 0.4: not what is looked for


def test_verdicts_are_those_of_all_pairs(documents: pa.Table, found: Resolution) -> None:
    rows = [{**row, "released": False} for row in documents.to_pylist()]
    expected = oracle.find_duplicates(rows, ResolveConfig())
    differing = [
        row["doc_id"]
        for row in found.duplicates.to_pylist()
        if (row["reason"], row["spared"]) != (expected[row["doc_id"]]["reason"], expected[row["doc_id"]]["spared"])
    ]
    assert differing == []


def test_tables_that_differ_in_a_number_say_which(documents: pa.Table, found: Resolution) -> None:
    assert by_kind(documents, found, "spared")["table"] == {None: 1, "other_facts": PER_KIND - 1}
    one = found.duplicates.filter(pc.equal(found.duplicates["spared"], "other_facts")).slice(0, 1).to_pylist()[0]
    texts = dict(zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True))
    lacking = json.loads(one["facts"])["lacking"]
    assert lacking  # the number that is its own
    for fact in lacking:
        assert fact in texts[one["doc_id"]].split() and fact not in texts[one["near_id"]].split()


@pytest.mark.parametrize("change", ["order", "chunks", "workers", "file", "blocks", "types"])
def test_only_the_set_of_documents_decides(
    documents: pa.Table, found: Resolution, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, workers, memory_bytes = documents, 2, MEMORY_BYTES
    if change == "order":
        table = documents.take(pa.array(np.random.default_rng(3).permutation(len(documents))))
    if change == "chunks":
        table = pa.concat_tables([documents.slice(first, 7) for first in range(0, len(documents), 7)])
    if change == "types":
        table = documents.cast(pa.schema([(name, pa.large_string()) for name in documents.column_names]))
    if change == "workers":
        workers = 1
    if change == "file":
        monkeypatch.setattr("dedup.jobs._LEAST_BYTES", 0)
        memory_bytes = 50_000  # four ranges of hashes for a band, a job for each text
    if change == "blocks":
        monkeypatch.setattr(dedup.agreement, "BLOCK_ROWS", 13)
        monkeypatch.setattr(dedup.sets, "BLOCK_ROWS", 17)
    with Jobs(workers=workers, memory_bytes=memory_bytes) as jobs:
        again = resolve(table, jobs=jobs)
    assert sorted_rows(again.duplicates) == sorted_rows(found.duplicates)
    assert again.boilerplate.equals(found.boilerplate)


def sorted_rows(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.sort_by("doc_id").to_pylist()
    return rows


def small_digest() -> str:
    documents = labelled(standard_passages(), 4, 120)
    return digest(sorted_rows(resolve(documents).duplicates))


def test_verdicts_do_not_depend_on_the_hash_seed() -> None:
    script = "from tests.test_dedup_labelled import small_digest; print(small_digest())"
    environment = {**os.environ, "PYTHONHASHSEED": "4", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == small_digest()

"""`synth filter`: rules and gates over texts in files, without a home. Batches are judged side by side and written in order."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.gates import Gate, apply_gates, check_gates
from filters.registry import INPUTS
from flows.steps.scoring import RuleWork, columns_of, finds_of, number_columns_of, scores_and_spans, span_rows
from flows.steps.verdicts import COLUMNS as VERDICT_COLUMNS
from flows.steps.verdicts import findings, verified
from synth import rows
from synth.config import nearest
from synth.errors import RecipeError, SourceError, fail
from synth.rows import ItemKind

NO_FAMILY = "all texts"  # under which texts without a family are counted
TABLES = ("scores", "drops", "verdicts", "spans")
_AHEAD = 2  # batches per worker that are read before they are judged


@dataclass(frozen=True)
class Judge:
    """What scores and what drops. `item_kind` is what the drops call the texts."""

    rules: tuple[RuleWork, ...]
    gates: tuple[Gate, ...]
    item_kind: ItemKind

    def check(self) -> None:
        """RecipeError when a gate looks at a column that no rule writes."""
        check_gates(self.gates, [*columns_of(self.rules), *VERDICT_COLUMNS])


class Judged(NamedTuple):
    """One batch: its texts' families and sizes, all their scores, their drops and verdicts, and the places that rules found."""

    families: pa.Array
    text_bytes: int
    scores: pa.Table
    drops: pa.Table
    verdicts: pa.Table
    spans: pa.Table


@dataclass
class Tally:
    """What came of all texts: who fails which reason, and which reasons go together."""

    reasons: tuple[str, ...]
    texts: int = 0
    text_bytes: int = 0
    kept: dict[str, int] = field(default_factory=dict)  # by family
    of_family: dict[str, int] = field(default_factory=dict)
    first: NDArray[np.int64] = field(init=False)  # counted under this reason
    only: NDArray[np.int64] = field(init=False)  # this reason alone
    together: NDArray[np.int64] = field(init=False)  # (reasons, reasons): texts that fail both; the diagonal, each

    def __post_init__(self) -> None:
        size = len(self.reasons)
        self.first, self.only = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.together = np.zeros((size, size), np.int64)

    def add(self, judged: Judged) -> None:
        """Count one batch."""
        fails = self._fails(judged)
        dropped = fails.any(axis=1)
        families = pc.fill_null(judged.families, NO_FAMILY)
        for family in pc.unique(families).to_pylist():
            mine = pc.equal(families, family).to_numpy(zero_copy_only=False)
            self.of_family[family] = self.of_family.get(family, 0) + int(mine.sum())
            self.kept[family] = self.kept.get(family, 0) + int((mine & ~dropped).sum())
        self.texts += len(families)
        self.text_bytes += judged.text_bytes
        if self.reasons:
            np.add.at(self.first, fails[dropped].argmax(axis=1), 1)
            self.only += fails[fails.sum(axis=1) == 1].sum(axis=0)
            self.together += fails.T.astype(np.int64) @ fails.astype(np.int64)

    def _fails(self, judged: Judged) -> NDArray[np.bool_]:
        """(texts, reasons): which text fails which reason."""
        ids = judged.scores["item_id"].combine_chunks()
        fails = np.zeros((len(ids), len(self.reasons)), np.bool_)
        texts = pc.index_in(judged.drops["item_id"].combine_chunks(), value_set=ids).to_numpy(zero_copy_only=False)
        numbers = pc.index_in(judged.drops["reason"].combine_chunks(), value_set=pa.array(self.reasons, pa.string()))
        fails[texts, numbers.to_numpy(zero_copy_only=False)] = True
        return fails

    @property
    def all_kept(self) -> int:
        """Texts that fail nothing."""
        return sum(self.kept.values())


def judge_batch(texts: pa.Table, judge: Judge) -> Judged:
    """Scores, drops and verdicts of a table of `text_files.TEXTS`."""
    given = {"generated": texts["text"], **{name: texts[name] for name in texts.column_names}}
    columns = [given.get(field.name, pa.nulls(len(texts), field.type)) for field in INPUTS]
    scores, places = scores_and_spans(pa.table(columns, schema=INPUTS), judge.rules)
    named = scores.add_column(0, "item_id", texts["id"]).add_column(1, "family", texts["family"])
    verdicts = findings(named, judge.rules, judge.item_kind)
    named = named.drop_columns(finds_of(judge.rules))
    spans = span_rows(texts["id"], places)
    if judge.item_kind == "document":
        documents = pa.table({"id": texts["id"], "generation_depth": pa.repeat(1, len(texts))})
        for name, column in verified(documents, rows.VERDICT.empty_table(), verdicts).items():
            named = named.append_column(name, column)
    drops = apply_gates(named, judge.gates, judge.item_kind, "filter", frozenset())
    drops, verdicts = (_as_texts(one, named["item_id"], "item_id") for one in (drops, verdicts))
    spans = _as_texts(spans, named["item_id"], "doc_id")
    families = texts["family"].combine_chunks()
    size = pc.sum(pc.binary_length(texts["text"])).as_py() or 0
    return Judged(families, size, named, drops, verdicts, spans)


def _as_texts(table: pa.Table, ids: pa.ChunkedArray, key: str) -> pa.Table:
    """The rows in the order of the texts that they are about: then it does not matter how texts are batched."""
    place = pc.index_in(table[key].combine_chunks(), value_set=ids.combine_chunks()).to_numpy(zero_copy_only=False)
    return table.take(pa.array(np.argsort(place, kind="stable")))


def filter_texts(
    batches: Iterable[pa.Table], judge: Judge, out: Path, workers: int, watch: Callable[[Judged], None] | None = None
) -> Tally:
    """Judge all texts; write scores, drops, verdicts and spans (.parquet) to `out`, each whole or not at all.

    `workers` threads judge batches side by side; the files are the same for any number. Memory: some batches. SourceError
    when two texts have one id. `watch` sees every batch in order.
    """
    judge.check()
    tally = Tally(tuple(dict.fromkeys(gate.reason for gate in judge.gates)))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".filter-") as scratch:
        with _Writers(Path(scratch)) as writers:
            for judged in _in_order(batches, judge, workers):
                tally.add(judged)
                writers.write(judged)
                if watch:
                    watch(judged)
        if not tally.texts:
            raise fail(SourceError, "there are no texts in these files", do="give files with at least one row")
        _refuse_repeated_ids(Path(scratch) / "scores.parquet", tally.texts)
        for path in sorted(Path(scratch).iterdir()):
            path.replace(out / path.name)
    return tally


def _in_order(batches: Iterable[pa.Table], judge: Judge, workers: int) -> Iterator[Judged]:
    with ThreadPoolExecutor(workers, thread_name_prefix="filter") as pool:
        under_way: deque[Future[Judged]] = deque()
        try:
            for batch in batches:
                under_way.append(pool.submit(judge_batch, batch, judge))
                if len(under_way) > _AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for one in under_way:
                one.cancel()


class _Writers:
    """One Parquet file per table, opened by its first rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> _Writers:
        return self

    def write(self, judged: Judged) -> None:
        """Append a batch."""
        for name in TABLES:
            value: pa.Table = getattr(judged, name)
            if name not in self._open:
                metadata = {b"format_version": str(rows.FORMAT_VERSION).encode()}
                schema = value.schema.with_metadata(metadata)
                path = self._folder / f"{name}.parquet"
                self._open[name] = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
            self._open[name].write_table(value.replace_schema_metadata(self._open[name].schema.metadata))

    def __exit__(self, *_: Any) -> None:
        for writer in self._open.values():
            writer.close()


def _refuse_repeated_ids(scores: Path, texts: int) -> None:
    ids = rows.read_table(scores, ["item_id"])["item_id"]
    if pc.count_distinct(ids).as_py() < texts:
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        shown = ", ".join(twice[:5].to_pylist()) + (", …" if len(twice) > 5 else "")
        raise fail(
            SourceError,
            f"{len(twice):,} ids stand more than once, so that drops could not be told apart",
            given=shown,
            do="name another column with --id, or give each text an id of its own",
        )


def swept_gate(column: str, judge: Judge) -> Gate:
    """The gate on this column, or, where there is none, one that asks for a large score. RecipeError: no such column of
    numbers."""
    known = number_columns_of(judge.rules)
    if column not in known:
        what = f"no rule gives a number {column!r}{nearest(column, known)}"
        raise fail(RecipeError, what, given=f"--sweep {column}", allowed=", ".join(sorted(known)))
    bounds = [gate for gate in judge.gates if gate.column == column and gate.one_of is None]
    return bounds[0] if bounds else Gate(column=column, min=0.0, reason=column)

"""Shards: what is left is copied once, into Arrow files for a trainer, with the lineage of every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.steps.resolve import tags, undropped
from flows.steps.scoring import RuleWork, notes_of, scores_and_spans, span_rows
from flows.steps.verdicts import of_rendered
from shards import SHARD, Masked, ShardConfig, mask_documents, write_shards
from synth import rows
from synth.step import Counts, Step
from synth.tokens import count_tokens, load_tokenizer
from synth.weights import locate


class ShardWork(ShardConfig):
    """The layout, the digest of the tokenizer's file when tokens are counted, and what must not stand in a row."""

    tokenizer_identity: dict[str, Any] | None = None
    masks: tuple[str, ...] = ()  # rules whose spans are replaced
    thoughts: tuple[RuleWork, ...] = ()  # rules that look for such spans in the reasoning, which score does not read
    rendered: tuple[RuleWork, ...] = ()  # rules that look once more at what a trainer gets
    contaminated: str = "label"  # `drop`: a row in which these find something stops the release, see the audit's check


def run(inputs: Mapping[str, Path], config: ShardWork, out: Path) -> Counts:
    """Inputs as for resolve, `seeds/<tag>`, `resolve_drops/all`, and with masks `spans/<tag>`.

    Out: train-*.arrow, validation-*.arrow, rows, and with masks reasoning_spans: where these stood in the reasoning; with
    `rendered` verdicts: what is found in the rows.
    """
    seeds = rows.read_tables(
        [path for _, path in tags(inputs, "seeds")], rows.SEED, ["id", "source_id", "url", "language"]
    )
    resolved = rows.read_table(inputs["resolve_drops/all"], ["item_id"])["item_id"].combine_chunks()
    tables = [_kept(inputs, tag, path, resolved) for tag, path in tags(inputs, "documents")]
    masked = [
        _masked(inputs, tag, table, config) for (tag, _), table in zip(tags(inputs, "documents"), tables, strict=True)
    ]
    documents = pa.concat_tables([rows.DOCUMENT.empty_table(), *(one.documents for one, _ in masked)])
    written = write_shards(_with_lineage(documents, seeds), config, out, _counter(config))
    if config.rendered:
        rows.write_table(of_rendered(documents, config.rendered), out / "verdicts.parquet")
    if not config.masks:
        return Counts(items=len(documents), kept=len(written), notes=notes_of(config.rendered))
    rows.write_table(pa.concat_tables([spans for _, spans in masked]), out / "reasoning_spans.parquet")
    notes = {
        "masked_documents": sum(one.changed for one, _ in masked),
        "masked_places": sum(one.places for one, _ in masked),
        **notes_of(config.rendered),
    }
    return Counts(items=len(documents), kept=len(written), notes=notes)


def _masked(inputs: Mapping[str, Path], tag: str, documents: pa.Table, config: ShardWork) -> tuple[Masked, pa.Table]:
    """The documents without what must not stand in a row, and where that stood in their reasoning."""
    if not config.masks:
        return Masked(documents, 0, 0), rows.SPAN.empty_table()
    spans = rows.read_table(inputs[f"spans/{tag}"])
    mine = spans.filter(pc.is_in(spans["doc_id"], value_set=documents["id"].combine_chunks()))
    _, found = scores_and_spans(pa.table({"text": documents["reasoning"]}), config.thoughts)
    thoughts = _of_rules(span_rows(documents["id"], found), config.masks)
    return mask_documents(documents, _of_rules(mine, config.masks), thoughts), thoughts


def _of_rules(spans: pa.Table, names: Sequence[str]) -> pa.Table:
    return spans.filter(pc.is_in(spans["rule"], value_set=pa.array(names, pa.string())))


def _kept(inputs: Mapping[str, Path], tag: str, path: Path, resolved: pa.Array) -> pa.Table:
    documents = rows.read_table(path)
    mask = undropped(inputs, tag, ("generate_drops", "keep_drops"), documents["id"])
    return documents.filter(pc.and_not(mask, pc.is_in(documents["id"], value_set=resolved)))


def _with_lineage(documents: pa.Table, seeds: pa.Table) -> pa.Table:
    """The documents' columns that a shard holds, and those of each one's first seed."""
    position = {seed_id: at for at, seed_id in enumerate(seeds["id"].to_pylist())}
    seed_ids = [ids[0] for ids in documents["seed_ids"].to_pylist()]
    mine = seeds.take(pa.array([position[seed_id] for seed_id in seed_ids], pa.int64()))
    columns = {name: documents[name] for name in documents.column_names}
    columns |= {"doc_id": documents["id"], "seed_id": pa.array(seed_ids, pa.string())}
    columns |= {name: mine[name] for name in ("source_id", "url", "language")}
    return pa.table({name: column for name, column in columns.items() if name in SHARD.names})


def _counter(config: ShardWork) -> Callable[[list[str]], list[int]] | None:
    if config.tokenizer is None:
        return None
    tokenizer = load_tokenizer(locate(config.tokenizer))
    return lambda texts: count_tokens(tokenizer, texts)


STEP = Step("shards", 1, ShardWork, run)

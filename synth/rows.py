"""The rows. The Arrow schemas are the truth; the dataclasses serve the edges where code handles one item at a time.

Every table is written with `write_table` (Parquet, zstd, page checksums, `format_version` in its metadata) and read
with `read_table` (page checksums verified). Ids and digests are lower-case hex SHA-256, in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from synth.digest import digest
from synth.errors import IntegrityError, fail

FORMAT_VERSION = 1

ItemKind = Literal["seed", "document"]
PartRole = Literal["source", "generated", "thinking"]

_TEXT = pa.large_string()
_ID = pa.string()
_SPAN = pa.struct([pa.field("start_byte", pa.int64()), pa.field("end_byte", pa.int64())])


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(fields, metadata={"format_version": str(FORMAT_VERSION)})


SEED = _schema(
    ("id", _ID),
    ("source_id", pa.string()),
    ("root_id", _ID),  # the first ancestor through all generations; the seed itself when it is a real document
    ("generation_depth", pa.int16()),  # 0 for a real document
    ("text", _TEXT),
    ("source", pa.string()),  # a title, or where in the source the text stood
    ("url", pa.string()),
    ("license", pa.string()),  # SPDX id; null = unknown
    ("output_terms", pa.string()),  # terms that the text's own author put on derived works; null = none known
    ("language", pa.string()),
    ("retrieved_at", pa.string()),  # ISO 8601
    ("quality", pa.float64()),
    ("meta", pa.string()),  # JSON object
)

DOCUMENT = _schema(
    ("id", _ID),
    ("family", pa.string()),
    ("family_version", pa.int32()),
    ("renderer_version", pa.int32()),  # of the half that turns answers into text: it changes without asking a model
    ("seed_ids", pa.list_(_ID)),
    ("root_id", _ID),
    ("seed_span", _SPAN),  # bytes of the seed's text that the document was made from
    ("text", _TEXT),
    ("parts", pa.list_(pa.struct([("role", pa.string()), ("start_byte", pa.int64()), ("end_byte", pa.int64())]))),
    ("payload", pa.string()),  # JSON: the parsed answer, so that rendering can change without the model
    ("reasoning", _TEXT),
    ("axes", pa.string()),  # JSON object: what was varied on purpose
    ("models", pa.list_(pa.string())),
    (
        "ask_ids",
        pa.list_(_ID),
    ),  # all that were put for it, candidates that lost and checks included; the text's own last
    ("written_by", pa.list_(_ID)),  # those whose answers stand in the text
    ("prompt_tokens", pa.int64()),  # of all asks, candidates that lost and checks included: what the document took
    ("completion_tokens", pa.int64()),
    ("reasoning_tokens", pa.int64()),
    ("written_tokens", pa.int64()),  # completion tokens of the answers that the text was made from: what it gave
    ("generation_depth", pa.int16()),
    ("license", pa.string()),
)

DROP = _schema(
    ("item_id", _ID),
    ("item_kind", pa.string()),
    ("step", pa.string()),
    ("rule", pa.string()),
    ("rule_order", pa.int32()),  # place of the rule within its step: the smallest is the first reason
    ("reason", pa.string()),
    ("score", pa.float64()),
    ("threshold", pa.float64()),
    ("partner_id", _ID),
    ("evidence", _TEXT),  # what exactly offends, for people: the invented numbers, the wrong equations
)

VERDICT = _schema(
    ("item_id", _ID),
    ("item_kind", pa.string()),
    ("rung", pa.string()),
    ("judge", pa.string()),  # rule | model | human
    ("outcome", pa.string()),
    ("score", pa.float64()),
    ("evidence", pa.string()),  # JSON object
    ("ask_id", _ID),
)

SPAN = _schema(  # never the bytes themselves: who wants to see them looks into the document
    ("doc_id", _ID),
    ("start_byte", pa.int64()),  # in the UTF-8 bytes of the whole `text`; in reasoning_spans of `reasoning`
    ("end_byte", pa.int64()),  # exclusive
    ("rule", pa.string()),  # the score column that counts such finds: pii_email
    ("replacement", pa.string()),  # what shards writes there when its rule is masked; empty: nothing
)

ASK = _schema(
    ("ask_id", _ID),
    ("role", pa.string()),
    ("seed_id", _ID),
    ("prompt_id", _ID),  # digest of `prompt`: asks that share a wording share it
    ("prompt", _TEXT),  # JSON messages in which the seed's text is replaced by SEED_MARK
    ("sampling", pa.string()),  # JSON, merged: what was really asked for
    ("sample_index", pa.int32()),
    ("outcome", pa.string()),  # see synth.engine.outcomes
    ("budget_hit", pa.bool_()),
    ("completion", _TEXT),
    ("reasoning", _TEXT),
    ("prompt_tokens", pa.int64()),  # counted by us
    ("completion_tokens", pa.int64()),  # counted by us, without reasoning
    ("reasoning_tokens", pa.int64()),
    ("accepted_attempt", pa.string()),
    ("model", pa.string()),  # the one that gave the accepted answer
    ("escaped", pa.int32()),  # control tokens in the prompt that were made harmless, see synth.engine.control
)
SEED_MARK = "⟦seed⟧"

ATTEMPT = _schema(
    ("attempt_id", pa.string()),
    ("ask_id", _ID),
    ("run", pa.string()),
    ("endpoint", pa.string()),  # <model name>/<replica>
    ("model", pa.string()),
    ("engine_version", pa.string()),
    ("step", pa.int32()),  # 0 for the first question; each rung of the retry ladder and each further model is one more
    ("rung", pa.string()),  # why it was sent: first | again | larger_budget | thinking_off | next_model
    ("started_at", pa.timestamp("us", tz="UTC")),
    ("ended_at", pa.timestamp("us", tz="UTC")),
    # ok (an answer came) | rejected | http_500 | timeout | refused | reset | malformed | server_died | lost (our process died)
    ("status", pa.string()),
    ("verdict", pa.string()),  # of an answer: accepted, or why not: its outcome, or not_accepted (by the family)
    ("usage_prompt_tokens", pa.int64()),  # as the endpoint reported them
    ("usage_completion_tokens", pa.int64()),  # reasoning included
    ("completion", _TEXT),  # of an answer that was not accepted: what was paid for all the same
    ("reasoning", _TEXT),
)

ENGINE_SESSION = _schema(
    ("run", pa.string()),
    ("endpoint", pa.string()),
    ("model", pa.string()),
    ("gpus", pa.int32()),
    ("started_at", pa.timestamp("us", tz="UTC")),
    ("ended_at", pa.timestamp("us", tz="UTC")),
    ("loading_seconds", pa.float64()),
    ("idle_seconds", pa.float64()),
    ("end", pa.string()),  # stopped | died | stalled | recycled: why it ended
    ("asks", pa.int64()),  # answers that it gave
    ("thinking_budget", pa.string()),  # enforced | ignored | refused, as probed at its start; null where nobody thinks
)

ROW = _schema(
    ("doc_id", _ID),
    ("shard", pa.string()),  # file name; the release that lists it is joined by the catalogue
    ("row", pa.int64()),
    ("split", pa.string()),
    ("tokens", pa.int64()),  # of the whole text, by the recipe's tokenizer; null when it names none
)

SIGNATURE = _schema(
    ("doc_id", _ID),
    ("exact_digest", _ID),  # digest of the normalised generated text
    ("shingle_count", pa.int64()),
    ("text_bytes", pa.int64()),  # of the generated parts
    ("signature", pa.list_(pa.uint32())),  # all 2^32-1 when the text is too short for one shingle
    ("shingle_sample", pa.list_(pa.uint64())),  # its smallest shingles: see dedup.lookup
)

INDEX = _schema(  # a signature that is remembered, and where its text lies
    *((field.name, field.type) for field in SIGNATURE),
    ("file_tag", pa.string()),  # which file, by its digest
    ("row", pa.int64()),
)

QUALITY_CARD = _schema(  # what a quality model is worth, a row per entry of its card.json
    ("name", pa.string()),  # held_out.model.auc
    ("value", pa.float64()),  # of a number
    ("words", _TEXT),  # of anything else
)


@dataclass(frozen=True, slots=True)
class Seed:
    """One seed, as a family sees it. Fields as in SEED."""

    id: str
    source_id: str
    root_id: str
    generation_depth: int
    text: str
    source: str | None = None
    url: str | None = None
    license: str | None = None
    output_terms: str | None = None
    language: str | None = None
    retrieved_at: str | None = None
    quality: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A span of a document's text: who wrote it. Offsets are UTF-8 bytes, end exclusive."""

    role: PartRole
    start_byte: int
    end_byte: int


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a family gives a draft up: becomes a Drop of step `generate`. `rule` is a word such as `wrong_schema`."""

    rule: str
    reason: str
    score: float | None = None
    threshold: float | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rung of verification says of a draft: becomes a Verdict. Recorded whatever it leads to, never overwritten.

    `outcome` is passed | failed | unsure for a check; a selection says won | lost, a revision what became of the draft.
    """

    rung: str
    outcome: str
    judge: Literal["rule", "model", "human"] = "rule"
    score: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    ask_id: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a family returns before it has an id. A draft with a `defect` becomes a dropped Document, text kept for auditors."""

    text: str
    parts: tuple[Part, ...]
    ask_ids: tuple[str, ...]
    payload: Any = None
    axes: Mapping[str, str] = field(default_factory=dict)
    seed_span: tuple[int, int] | None = None
    reasoning: str | None = None
    defect: Defect | None = None
    findings: tuple[Finding, ...] = ()
    written_by: tuple[str, ...] | None = None  # asks whose answers stand in the text; None: the last one


def compose(pieces: Iterable[tuple[PartRole, str]]) -> tuple[str, tuple[Part, ...]]:
    """Join pieces into one text and say which bytes each of them wrote. Nothing is put between the pieces."""
    text, parts, at = [], [], 0
    for role, piece in pieces:
        size = len(piece.encode())
        if size:
            parts.append(Part(role, at, at + size))
        text.append(piece)
        at += size
    return "".join(text), tuple(parts)


def part_text(text: str, parts: Iterable[Part | Mapping[str, Any]], role: PartRole) -> str:
    """The text written by `role`, its parts joined by newlines."""
    raw = text.encode()
    spans = [part if isinstance(part, Part) else Part(**part) for part in parts]
    return "\n".join(raw[span.start_byte : span.end_byte].decode() for span in spans if span.role == role)


def generated_texts(documents: pa.Table) -> pa.Array:
    """The generated parts of each document (columns `text`, `parts`), as large_string: what copies, quality and dedup look at."""
    pairs = zip(documents["text"].to_pylist(), documents["parts"].to_pylist(), strict=True)
    return pa.array([part_text(text, parts or [], "generated") for text, parts in pairs], _TEXT)


def document_id(family: str, seed_ids: Sequence[str], text: str, copy_index: int) -> str:
    """A document's id covers its text. `copy_index` tells apart equal texts that a family made of one seed."""
    return digest({"family": family, "seed_ids": list(seed_ids), "text": text, "copy": copy_index})


def drop_row(
    item_id: str,
    item_kind: ItemKind,
    step: str,
    rule: str,
    reason: str,
    *,
    rule_order: int = 0,
    score: float | None = None,
    threshold: float | None = None,
    partner_id: str | None = None,
    evidence: str | None = None,
) -> dict[str, Any]:
    """One row of DROP."""
    return {
        "item_id": item_id,
        "item_kind": item_kind,
        "step": step,
        "rule": rule,
        "rule_order": rule_order,
        "reason": reason,
        "score": score,
        "threshold": threshold,
        "partner_id": partner_id,
        "evidence": evidence,
    }


def verdict_row(
    item_id: str,
    item_kind: ItemKind,
    rung: str,
    judge: str,
    outcome: str,
    *,
    score: float | None = None,
    evidence: Any = None,
    ask_id: str | None = None,
) -> dict[str, Any]:
    """One row of VERDICT; `evidence` is a JSON value."""
    return {
        "item_id": item_id,
        "item_kind": item_kind,
        "rung": rung,
        "judge": judge,
        "outcome": outcome,
        "score": score,
        "evidence": orjson.dumps(evidence, option=orjson.OPT_SORT_KEYS).decode() if evidence else None,
        "ask_id": ask_id,
    }


def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows (dicts) as a table of exactly this schema; a missing key is null."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def write_table(value: pa.Table, path: Path) -> None:
    """Write Parquet as all tables here are stored: zstd, page checksums, bytes that depend on the rows alone."""
    metadata = {**(value.schema.metadata or {}), b"format_version": str(FORMAT_VERSION).encode()}
    pq.write_table(
        value.replace_schema_metadata(metadata),
        path,
        compression="zstd",
        write_page_checksum=True,
        store_schema=True,
        use_dictionary=with_dictionary(value.schema),
    )


def with_dictionary(schema: pa.Schema) -> bool | list[str]:
    """Which columns are worth a dictionary: of signatures none is, with one they take a third more."""
    return ["file_tag"] if "signature" in schema.names else True


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table written by `write_table`, its page checksums verified."""
    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read(columns=list(columns) if columns else None)
    except (pa.ArrowInvalid, OSError) as error:
        raise fail(
            IntegrityError, f"{path} cannot be read as it was written: {error}", do="delete its folder and run again"
        ) from error


def read_tables(paths: Sequence[Path], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Several files as one table, in the order given; no files give an empty table of `schema`."""
    empty = schema.empty_table()
    wanted = empty.select(list(columns)) if columns else empty
    return pa.concat_tables([wanted, *(read_table(path, columns) for path in paths)], promote_options="permissive")


def seeds_from(value: pa.Table) -> list[Seed]:
    """Rows of SEED as dataclasses."""
    return [Seed(**{**row, "meta": orjson.loads(row["meta"]) if row["meta"] else {}}) for row in value.to_pylist()]

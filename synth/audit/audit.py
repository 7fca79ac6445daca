"""The audit: what a wave is about to release is checked in SQL. Each check is one file that returns the violating rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from synth.audit.corpus_views import ANSWER_BIAS, INJECTIONS, OPENINGS, over_wave
from synth.audit.facts import OBJECT, fill, object_row
from synth.audit.tables import KEPT, SCORES, TABLES, first_reasons, literal, scan, score_schema, table_of
from synth.config import Config
from synth.digest import file_sha256
from synth.driver import Manifest, read_manifest
from synth.errors import IntegrityError, fail
from synth.rows import ROW, write_table

CHECKS = pa.schema(
    [("check", pa.string()), ("title", pa.string()), ("severity", pa.string()), ("violations", pa.int64())]
)
"""What `run_checks` returns and writes as checks.parquet, a row per check by name."""

EVIDENCE = pa.schema([("check", pa.string()), ("row", pa.string())])
"""evidence.parquet: violating rows as JSON, up to EVIDENCE_ROWS for each check."""

EVIDENCE_ROWS = 20

_MANIFEST_FILE = {
    "object": pa.string(),
    "step": pa.string(),
    "name": pa.string(),
    "table_name": pa.string(),
    "rows": pa.int64(),
    "bytes": pa.int64(),
    "sha256": pa.string(),
}
_GIVEN_FILE = {"table_name": pa.string(), "path": pa.string(), "object": pa.string(), "name": pa.string()}
_SHARD_FILE = {
    "object": pa.string(),
    "shard": pa.string(),
    "rows_read": pa.int64(),  # null when it cannot be read to its end
    "sha256": pa.string(),
    "problem": pa.string(),
}
_SHARD_ROW = pa.schema(
    [
        ("object", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("doc_id", pa.string()),
        ("license", pa.string()),
        ("text_bytes", pa.int64()),
        ("masked_text", pa.large_string()),  # of documents in which something had to be masked; null of the others
        ("masked_reasoning", pa.large_string()),
    ]
)
_DOC_ID = pa.schema([("doc_id", pa.string())])
_REPLACED = {"object": pa.string(), "shard": pa.string()}  # what a retraction has written anew
_MASK = {"object": pa.string(), "rule": pa.string()}  # of which rules an object of shards masks the spans


class AuditConfig(Config):
    """Limits of the audit's gates and warnings. A gate that is passed makes no release unless it is accepted with a reason."""

    max_dropped_share: float = Field(
        0.95, ge=0, le=1, description="Largest share of a family's documents that may be dropped, for whatever reason."
    )
    max_failed_share: float = Field(
        0.05, ge=0, le=1, description="Largest share of documents that may be lost as generation_failed."
    )
    min_documents: int = Field(
        20,
        ge=1,
        description="Shares that are dropped, that failed or that obeyed are judged from this many documents on.",
    )
    max_duplicate_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Largest share of the compared documents of a family, source, prompt or seed that may be dropped as "
        "near-duplicates, from min_documents on.",
    )
    warn_duplicate_share: float = Field(
        0.05, ge=0, le=1, description="The same share of all compared documents, from which on a warning is shown."
    )
    max_cluster_share: float = Field(
        0.2, ge=0, le=1, description="Largest group of near-duplicates, as a share of the documents that were compared."
    )
    min_cluster_documents: int = Field(20, ge=2, description="A group of fewer documents is never too large.")
    max_template_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share of a family's kept documents that may begin with the same words. It is passed when even "
        "the lower bound of the share (one-sided, 95%) is above it. Of two models' rewrites, those with 0.3% were better "
        "to train on than those with 11.5%.",
    )
    warn_template_share: float = Field(
        0.01, ge=0, le=1, description="The same share, from which on a warning is shown."
    )
    min_openings: int = Field(
        500, ge=1, description="Beginnings are judged from this many kept documents of a family on."
    )
    warn_obeyed_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of a family's documents from canary seeds that obey the planted instruction, from which on a "
        "warning is shown.",
    )


@dataclass(frozen=True)
class Check:
    """One check. `severity`: `integrity`, the data contradict themselves; `gate`, a limit that a person may accept;
    `warning`, something that a person should know and that stops no release."""

    name: str
    title: str
    why: str
    severity: str
    sql: str


def load_checks() -> list[Check]:
    """All checks, by name."""
    folder = resources.files("synth.audit") / "checks"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [_parse(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files]


def _parse(name: str, text: str) -> Check:
    """A check's head is made of comments `-- word: sentence`."""
    lines = text.splitlines()
    head = dict(line.removeprefix("-- ").split(": ", 1) for line in lines if line.startswith("-- "))
    body = "\n".join(line for line in lines if not line.startswith("--"))
    return Check(name, head["title"], head["why"], head["severity"], body)


def run_checks(
    tables: Mapping[str, Sequence[Path]],
    manifests: Sequence[Path],
    shards: Sequence[Path],
    allow_unknown_license: bool,
    limits: AuditConfig,
    out: Path,
) -> pa.Table:
    """Run every check over a wave; write checks.parquet and evidence.parquet into `out`; return CHECKS.

    `tables` maps a name of TABLES, or `released_rows` (ROW of earlier releases), `tombstones`, `rows_elsewhere` and `index` (see
    flows/steps/retract.py; of these the ids alone are read), to files; `manifests` are the
    manifest.json of the wave's objects, and files lie beside theirs, as published. Nothing else can be read by a check.
    IntegrityError when a table cannot be read at all.
    """
    parameters = {**limits.model_dump(), "allow_unknown_license": allow_unknown_license}
    # Beside `out`, so that what a killed audit leaves is cleared with its scratch folder.
    with tempfile.TemporaryDirectory(prefix="spill-", dir=out.parent) as scratch, _connect(scratch) as connection:
        try:
            _candidate(connection, tables, _manifests(manifests), shards)
            _lock(connection, [str(path) for paths in tables.values() for path in paths])
            results = [(check, *_violations(connection, check, parameters)) for check in load_checks()]
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise fail(
                IntegrityError,
                f"a table cannot be read as it was written: {error}",
                do="delete its folder and run again",
            ) from error
    rows = [{"check": c.name, "title": c.title, "severity": c.severity, "violations": count} for c, count, _ in results]
    evidence = [{"check": check.name, "row": row} for check, _, sample in results for row in sample]
    table = pa.Table.from_pylist(rows, schema=CHECKS)
    write_table(table, out / "checks.parquet")
    write_table(pa.Table.from_pylist(evidence, schema=EVIDENCE), out / "evidence.parquet")
    return table


def _connect(scratch: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "temp_directory": scratch,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )


def _lock(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET allowed_paths = [{', '.join(map(literal, paths))}]::VARCHAR[]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _manifests(paths: Sequence[Path]) -> dict[Path, Manifest]:
    """Manifests by the folder they lie in; the place of each is the folder's path inside its home."""
    found = {}
    for path in paths:
        parts = path.parent.parts
        start = len(parts) - 1 - parts[::-1].index("objects") if "objects" in parts else -1
        found[path.parent] = read_manifest("/".join(parts[start:]), path.read_bytes())
    return found


def _candidate(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Sequence[Path]],
    manifests: Mapping[Path, Manifest],
    shards: Sequence[Path],
) -> None:
    """Create the tables and views that the checks read."""
    _tell_manifests(connection, tables, manifests)
    connection.execute("CREATE TABLE read_counts (path VARCHAR, rows_read BIGINT)")
    for name, schema in TABLES.items():
        paths = list(tables.get(name, ()))
        files = scan(map(str, paths), score_schema(paths, name) if schema is SCORES else schema)
        kind = "TABLE" if name == "drops" else "VIEW"  # drops are small, and read by most checks
        chosen = f"SELECT t.* EXCLUDE filename, f.object FROM {files} t JOIN given_files f ON f.path = t.filename"
        if name == "rows":  # of shards that a retraction has written anew, the rows stand in its own object
            chosen += " ANTI JOIN replaced_shards x ON x.object = f.object AND x.shard = t.shard"
        connection.execute(f"CREATE {kind} {name} AS {chosen}")
        connection.execute(f"INSERT INTO read_counts SELECT filename, count(*) FROM {files} GROUP BY filename")
    connection.execute(
        "CREATE VIEW read_files AS SELECT table_name, object, name, coalesce(rows_read, 0) AS rows_read "
        "FROM given_files LEFT JOIN read_counts USING (path)"
    )
    released = scan(map(str, tables.get("released_rows", ())), ROW)
    connection.execute(f"CREATE VIEW released_rows AS SELECT * EXCLUDE filename FROM {released}")
    _tell_retractions(connection, tables)
    connection.execute(f"CREATE TABLE dropped AS {first_reasons('drops')}")
    connection.execute(f"CREATE VIEW dropped_per_object AS {first_reasons('drops', 'object, ')}")
    connection.execute(f"CREATE VIEW kept AS {KEPT}")
    for name, query in (("openings", OPENINGS), ("injections", INJECTIONS), ("answer_bias", ANSWER_BIAS)):
        connection.execute(f"CREATE VIEW {name} AS {over_wave(query)}")
    _read_shards(connection, shards, manifests)


def _tell_retractions(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Sequence[Path]]) -> None:
    """Which documents were retracted, and where documents are listed beside the shards and their rows."""
    for name, given in (("tombstones", "tombstones"), ("rows_elsewhere", "rows_elsewhere"), ("index_entries", "index")):
        files = scan(map(str, tables.get(given, ())), _DOC_ID)
        connection.execute(f"CREATE VIEW {name} AS SELECT doc_id, filename FROM {files}")


def _tell_manifests(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Sequence[Path]], manifests: Mapping[Path, Manifest]
) -> None:
    """What the manifests say of objects and files, and which file was given for which table."""
    listed = [
        {"object": one.place, "step": one.step, "name": name, "table_name": table_of(name), **entry}
        for one in manifests.values()
        for name, entry in one.files.items()
    ]
    given = [
        {"table_name": table, "path": str(path), "object": _place(path, manifests), "name": path.name}
        for table in TABLES
        for path in tables.get(table, ())
    ]
    masks = [
        {"object": one.place, "rule": rule} for one in manifests.values() for rule in one.config.get("masks") or ()
    ]
    replaced = [
        dict(zip(_REPLACED, path.rsplit("/", 1), strict=True))
        for one in manifests.values()
        for path in one.config.get("replaces") or ()
    ]
    fill(connection, "masks", _MASK, masks)
    fill(connection, "replaced_shards", _REPLACED, replaced)
    fill(connection, "objects", OBJECT, (object_row(one.place, one) for one in manifests.values()))
    fill(connection, "manifest_files", _MANIFEST_FILE, listed)
    fill(connection, "given_files", _GIVEN_FILE, given)


def _place(path: Path, manifests: Mapping[Path, Manifest]) -> str | None:
    manifest = manifests.get(path.parent)
    return manifest.place if manifest else None


def _read_shards(
    connection: duckdb.DuckDBPyConnection, shards: Sequence[Path], manifests: Mapping[Path, Manifest]
) -> None:
    """Read the shards themselves, once, as a trainer would: ids and sizes are kept, texts only where something was masked."""
    spans = "(SELECT doc_id, rule FROM spans UNION SELECT doc_id, rule FROM reasoning_spans)"
    found = connection.execute(f"SELECT DISTINCT doc_id FROM {spans} JOIN masks USING (rule)").fetchall()
    masked = pa.array([doc_id for (doc_id,) in found], pa.string())
    files: list[dict[str, Any]] = [
        {"object": _place(path, manifests), "shard": path.name, "sha256": file_sha256(path)} for path in shards
    ]
    batches = chain.from_iterable(_shard_rows(path, file, masked) for path, file in zip(shards, files, strict=True))
    connection.register("incoming", pa.RecordBatchReader.from_batches(_SHARD_ROW, batches))
    connection.execute("CREATE TABLE shard_rows AS FROM incoming")
    connection.unregister("incoming")
    fill(connection, "shard_files", _SHARD_FILE, files)


def _shard_rows(path: Path, file: dict[str, Any], masked: pa.Array) -> Iterator[pa.RecordBatch]:
    """The rows of one shard; `file` learns how many could be read, or why they could not."""
    at = 0
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                yield _sizes(file, at, batch, masked)
                at += batch.num_rows
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        file["problem"] = f"{type(error).__name__}: {error}"
    else:
        file["rows_read"] = at


def _sizes(file: Mapping[str, Any], at: int, batch: pa.RecordBatch, masked: pa.Array) -> pa.RecordBatch:
    looked_at = pc.is_in(batch["doc_id"], value_set=masked)
    nothing = pa.scalar(None, pa.large_string())
    columns = {
        "object": pa.repeat(pa.scalar(file["object"], pa.string()), batch.num_rows),
        "shard": pa.repeat(file["shard"], batch.num_rows),
        "row": pa.array(np.arange(at, at + batch.num_rows)),
        "doc_id": batch["doc_id"],
        "license": batch["license"],
        "text_bytes": pc.binary_length(batch["text"]).cast(pa.int64()),
        "masked_text": pc.if_else(looked_at, batch["text"], nothing),
        "masked_reasoning": pc.if_else(looked_at, batch["reasoning"], nothing),
    }
    return pa.RecordBatch.from_pydict(columns, schema=_SHARD_ROW)


def _violations(
    connection: duckdb.DuckDBPyConnection, check: Check, parameters: Mapping[str, object]
) -> tuple[int, list[str]]:
    """How many rows violate a check, and the first of them as JSON, in an order that depends on the rows alone."""
    wanted = duckdb.extract_statements(check.sql)[0].named_parameters
    chosen = {name: value for name, value in parameters.items() if name in wanted}
    connection.execute(f"CREATE OR REPLACE TEMP TABLE violations AS {check.sql}", chosen)
    counted = connection.execute("SELECT count(*) FROM violations").fetchall()[0][0]
    if not counted:
        return 0, []
    sample = connection.execute(f"SELECT to_json(v) FROM violations v ORDER BY ALL LIMIT {EVIDENCE_ROWS}").fetchall()
    return counted, [row for (row,) in sample]

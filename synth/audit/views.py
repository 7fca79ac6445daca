"""The views of the catalogue, as SQL. Each is (name, what it shows, query); `all_` views come in pairs with plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from synth.audit.tables import first_reasons, literal, scan
from synth.rows import ENGINE_SESSION

_FILE = "regexp_extract(t.filename, '[^/]+/[^/]+$')"
"""The last folder, which is the object's key, and the name: the same however the home is reached."""


@dataclass(frozen=True)
class View:
    """One view."""

    name: str
    shows: str
    query: str

    def create(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create it, with its sentence as comment."""
        connection.execute(f"CREATE VIEW {self.name} AS {self.query}")
        connection.execute(f"COMMENT ON VIEW {self.name} IS {literal(self.shows)}")


_SHOWS = {
    "seeds": "real documents and topics, cut into partitions",
    "seed_scores": "scores of seeds, a column per score",
    "asks": "questions put to a model's role, and the accepted answers",
    "attempts": "requests really sent for asks",
    "documents": "synthetic texts, kept or not",
    "scores": "scores of documents, a column per score",
    "drops": "every reason for which something was dropped",
    "verdicts": "judgements on items, with their evidence",
    "rows": "where in the shards a document stands",
}

_EVERYWHERE = {
    "asks": "t.* EXCLUDE filename, f.family, f.run, f.stage",
    "attempts": "t.* EXCLUDE filename, f.family, f.stage",  # `run` is the one that sent it
    "rows": "t.* EXCLUDE filename, f.stage || '/' || t.shard AS path, f.run, f.stage",
}

_NEWEST = {
    "asks": "SELECT t.* EXCLUDE filename, f.family, r.recipe, r.release FROM {files} JOIN home.files f USING (file)",
    # An answer that was reused stands in a new object; the attempts for it stay in the old one.
    "attempts": "SELECT a.*, k.recipe, k.release FROM all_attempts a JOIN "
    "(SELECT recipe, ask_id, min(release) AS release FROM asks GROUP BY ALL) k ON k.ask_id = a.ask_id",
    "drops": "SELECT t.* EXCLUDE filename, r.recipe, r.release FROM {files} UNION ALL BY NAME "
    "SELECT doc_id AS item_id, 'document' AS item_kind, 'release' AS step, 'tombstone' AS rule, 0::INTEGER AS rule_order, "
    "'retracted after its release' AS reason, recipe, min(release) AS release FROM home.tombstones GROUP BY ALL",
    "rows": "SELECT t.* EXCLUDE filename, s.path, r.recipe, r.release FROM {files} JOIN all_shards s ON s.current AND "
    "s.recipe = r.recipe AND s.path = r.object || '/' || t.shard "
    "ANTI JOIN home.tombstones x ON x.recipe = r.recipe AND x.doc_id = t.doc_id",
}


def table_views(table: str, columns: pa.Schema, everywhere: Sequence[str], newest: Sequence[str]) -> list[View]:
    """The two views of a table that lies in these files (paths relative to the home)."""
    shows = _SHOWS[table]
    chosen = _EVERYWHERE.get(table, "t.* EXCLUDE filename, f.run, f.stage")
    every = f"SELECT {chosen} FROM {scan(everywhere, columns)} t JOIN home.files f ON f.file = {_FILE}"
    files = f"{scan(newest, columns)} t JOIN home.released_files r ON r.file = {_FILE}"
    query = _NEWEST.get(table, "SELECT t.* EXCLUDE filename, r.recipe, r.release FROM {files}").replace(
        "{files}", files
    )
    return [
        View(f"all_{table}", f"{shows}: every published object, its first run, and the object (stage)", every),
        View(table, f"{shows}: what the newest release of each recipe stands on", query),
    ]


def sessions_view(paths: Sequence[str]) -> View:
    """Engine sessions of all runs that ended."""
    return View(
        "all_sessions",
        "how long each run held which endpoint",
        f"SELECT * EXCLUDE filename FROM {scan(paths, ENGINE_SESSION)}",
    )


def _costs(prefix: str, scope: str) -> str:
    """What was paid, from the attempts, asks and sessions of `prefix`; `scope` is a column to keep apart, or nothing.

    Tokens of answers are counted by us, those of attempts that gave no answer are as the endpoint reported them. GPU time
    is paid per session, not per family, so it has rows of its own: `sum(dollars)` is the whole.
    """
    apart = f"{scope}, " if scope else ""
    same = f"AND k.{scope} = a.{scope}" if scope else ""
    group = f"{apart}run, endpoint, model, role, family, kind, outcome"
    return f"""
WITH answers AS (
    SELECT DISTINCT ON ({apart}accepted_attempt) {apart}ask_id, accepted_attempt, role, outcome,
        prompt_tokens, completion_tokens, reasoning_tokens
    FROM {prefix}asks ORDER BY {apart}accepted_attempt, ask_id
), roles AS (
    SELECT {apart}ask_id, min(role) AS role FROM answers GROUP BY ALL
), paid AS (
    SELECT {_qualified("a", scope)}a.run, a.endpoint, a.model, k.role, a.family, 'answer' AS kind, k.outcome, 1 AS asks,
        k.prompt_tokens, k.completion_tokens, k.reasoning_tokens
    FROM {prefix}attempts a JOIN answers k ON k.accepted_attempt = a.attempt_id {same}
    UNION ALL BY NAME
    SELECT {_qualified("a", scope)}a.run, a.endpoint, a.model, k.role, a.family, 'failed_attempt' AS kind,
        a.status AS outcome, 0 AS asks, coalesce(a.usage_prompt_tokens, 0) AS prompt_tokens,
        coalesce(a.usage_completion_tokens, 0) AS completion_tokens, 0 AS reasoning_tokens
    FROM {prefix}attempts a LEFT JOIN roles k ON k.ask_id = a.ask_id {same}
    WHERE a.attempt_id NOT IN (SELECT accepted_attempt FROM answers WHERE accepted_attempt IS NOT NULL)
), tokens AS (
    SELECT {group}, sum(asks)::BIGINT AS asks, count(*) AS attempts, sum(prompt_tokens)::BIGINT AS prompt_tokens,
        sum(completion_tokens)::BIGINT AS completion_tokens, sum(reasoning_tokens)::BIGINT AS reasoning_tokens
    FROM paid GROUP BY ALL
), engines AS (
    SELECT {apart}run, endpoint, model, 'engine' AS kind, sum(gpus * epoch(ended_at - started_at)) AS gpu_seconds,
        sum(idle_seconds) AS idle_seconds
    FROM {prefix}sessions GROUP BY ALL
), everything AS (SELECT * FROM tokens UNION ALL BY NAME SELECT * FROM engines)
SELECT {_qualified("b", scope)}b.run, b.endpoint, b.model, b.role, b.family, b.kind, b.outcome,
    coalesce(b.asks, 0) AS asks, coalesce(b.attempts, 0) AS attempts, coalesce(b.prompt_tokens, 0) AS prompt_tokens,
    coalesce(b.completion_tokens, 0) AS completion_tokens, coalesce(b.reasoning_tokens, 0) AS reasoning_tokens,
    coalesce(b.gpu_seconds, 0) AS gpu_seconds, coalesce(b.idle_seconds, 0) AS idle_seconds,
    CASE b.kind WHEN 'engine' THEN b.gpu_seconds / 3600 * p.usd_per_gpu_hour
        ELSE (b.prompt_tokens * p.usd_per_million_prompt_tokens
            + (b.completion_tokens + b.reasoning_tokens) * p.usd_per_million_completion_tokens) / 1e6 END AS dollars
FROM everything b LEFT JOIN home.prices p ON p.run = b.run AND p.endpoint = b.endpoint"""


def _qualified(alias: str, column: str) -> str:
    return f"{alias}.{column}, " if column else ""


DERIVED: tuple[View, ...] = (
    View(
        "objects",
        "published objects: what the newest release of each recipe stands on",
        "SELECT o.* EXCLUDE (run, stage), r.recipe, r.release FROM all_objects o JOIN "
        "(SELECT DISTINCT object, recipe, min(release) AS release FROM home.released_files GROUP BY ALL) r USING (object)",
    ),
    View(
        "shards",
        "files a trainer reads: the newest release of each recipe",
        "SELECT * EXCLUDE current FROM all_shards WHERE current",
    ),
    View(
        "dropped",
        "one row per dropped item: its first reason; counted_as is the word it is counted under",
        first_reasons("drops", "recipe, "),
    ),
    View("all_dropped", "one row per item that was ever dropped, by any recipe or policy", first_reasons("all_drops")),
    View(
        "kept",
        "documents without a drop, of the newest release of each recipe",
        "SELECT d.* FROM documents d ANTI JOIN drops x ON x.recipe = d.recipe AND x.item_kind = 'document' AND x.item_id = d.id",
    ),
    View(
        "all_kept",
        "documents that were never dropped, by any recipe or policy",
        "SELECT d.* FROM all_documents d ANTI JOIN all_drops x ON x.item_kind = 'document' AND x.item_id = d.id",
    ),
    View(
        "sessions",
        "engine sessions of the runs that made or paid for the newest release of each recipe",
        "SELECT s.*, r.recipe FROM all_sessions s JOIN (SELECT recipe, run FROM attempts UNION "
        "SELECT recipe, run FROM releases WHERE current) r ON r.run = s.run",
    ),
    View("costs", "what the newest release of each recipe cost, whichever run paid", _costs("", "recipe")),
    View("all_costs", "what each run paid", _costs("all_", "")),
)
"""Views over other views, in the order in which they can be created."""

"""The views of the catalogue, as SQL. Each is (name, what it shows, query); `all_` views come in pairs with plain ones."""

from __future__ import annotations

import functools
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
    "spans": "where in a document's text a rule found something, and what a mask writes there",
    "reasoning_spans": "the same for the reasoning of released documents, where something was masked",
    "rows": "where in the shards a document stands",
    "quality_card": "what a quality model that was trained in a run is worth, figure by figure",
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
    """Engine sessions of all runs that ended, with their price."""
    return View(
        "all_sessions",
        "how long each run held which endpoint, one row per start of a server; seconds of GPU time are loading, idle or busy",
        f"""
WITH held AS (
    SELECT * EXCLUDE filename, {_MODEL_NAME} AS model_name, epoch(ended_at - started_at) AS seconds
    FROM {scan(paths, ENGINE_SESSION)}
)
SELECT h.*, h.gpus * h.seconds AS gpu_seconds, h.gpus * h.loading_seconds AS loading_gpu_seconds,
    h.gpus * h.idle_seconds AS idle_gpu_seconds, h.gpus * (h.seconds - h.loading_seconds - h.idle_seconds) AS busy_gpu_seconds,
    h.gpus * h.seconds / 3600 * p.usd_per_gpu_hour AS dollars
FROM held h LEFT JOIN home.prices p ON p.run = h.run AND p.model_name = h.model_name""",
    )


# An endpoint is <model name>/<replica>; an attempt that was lost before it was sent has the model's name alone.
_MODEL_NAME = "regexp_replace(endpoint, '/[^/]*$', '')"

_TOKENS = """sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens,
    sum(reasoning_tokens)::BIGINT AS reasoning_tokens"""

# Tokens are those that the endpoint reported, because those are what it charges for, and what the engine's own total counts.
# Of an answer they are shared out between thinking and text as we counted them, of one that was not accepted by its bytes.
# GPU time is shared out over the attempts on its model in its run by the tokens that they generated. Of an answer that was
# reused all copies are equal, so any one will do.
_ATTEMPT_COSTS = f"""
WITH answers AS (
    SELECT DISTINCT ON ({{recipe,}}accepted_attempt) {{recipe,}}accepted_attempt AS attempt_id, true AS accepted, outcome,
        budget_hit, reasoning_tokens / nullif(completion_tokens + reasoning_tokens, 0) AS thinking_share
    FROM {{all_}}asks
), roles AS (
    SELECT {{recipe,}}ask_id, min(role) AS role FROM {{all_}}asks GROUP BY ALL
), sent AS (
    SELECT {{recipe,}}run, attempt_id, ask_id, endpoint, {_MODEL_NAME} AS model_name, model, role, family, step, rung,
        coalesce(accepted, false) AS accepted, status, coalesce(outcome, verdict, status) AS outcome, budget_hit,
        coalesce(usage_prompt_tokens, 0) AS prompt_tokens, coalesce(usage_completion_tokens, 0) AS generated_tokens,
        coalesce(thinking_share, strlen(reasoning) / nullif(strlen(reasoning) + strlen(completion), 0), 0) AS thinking_share
    FROM {{all_}}attempts LEFT JOIN answers USING ({{recipe,}}attempt_id) LEFT JOIN roles USING ({{recipe,}}ask_id)
), counted AS (
    SELECT * EXCLUDE (status, generated_tokens, thinking_share),
        CASE WHEN status <> 'ok' THEN 'failed_attempt' WHEN accepted THEN 'answer' ELSE 'refused_answer' END AS kind,
        generated_tokens - round(generated_tokens * thinking_share)::BIGINT AS completion_tokens,
        round(generated_tokens * thinking_share)::BIGINT AS reasoning_tokens,
        coalesce(generated_tokens / nullif(sum(generated_tokens) OVER same_model, 0), 1 / count(*) OVER same_model) AS gpu_share
    FROM sent WINDOW same_model AS (PARTITION BY {{recipe,}}run, model_name)
), gpus AS (
    SELECT {{recipe,}}run, model_name, sum(dollars) AS dollars FROM {{all_}}sessions GROUP BY ALL
)
SELECT c.* EXCLUDE gpu_share, (c.prompt_tokens * p.usd_per_million_prompt_tokens
        + (c.completion_tokens + c.reasoning_tokens) * p.usd_per_million_completion_tokens) / 1e6 AS token_dollars,
    CASE WHEN p.run IS NOT NULL THEN coalesce(c.gpu_share * g.dollars, 0) END AS gpu_dollars
FROM counted c LEFT JOIN gpus g USING ({{recipe,}}run, model_name)
LEFT JOIN home.prices p ON p.run = c.run AND p.model_name = c.model_name"""

# GPU time is paid per session, not per family, so it has rows of its own: `sum(dollars)` is the whole.
_COSTS = f"""
WITH tokens AS (
    SELECT {{recipe,}}run, model_name, model, role, family, kind, outcome, count(*) FILTER (accepted) AS asks,
        count(*) AS attempts, {_TOKENS}, sum(token_dollars) AS dollars
    FROM {{all_}}attempt_costs GROUP BY ALL
), engines AS (
    SELECT {{recipe,}}run, model_name, model, 'engine' AS kind, sum(gpu_seconds) AS gpu_seconds,
        sum(loading_gpu_seconds) AS loading_gpu_seconds, sum(idle_gpu_seconds) AS idle_gpu_seconds,
        sum(busy_gpu_seconds) AS busy_gpu_seconds, sum(dollars) AS dollars
    FROM {{all_}}sessions GROUP BY ALL
)
SELECT {{recipe,}}run, model_name, model, role, family, kind, outcome, coalesce(asks, 0) AS asks,
    coalesce(attempts, 0) AS attempts, coalesce(prompt_tokens, 0) AS prompt_tokens,
    coalesce(completion_tokens, 0) AS completion_tokens, coalesce(reasoning_tokens, 0) AS reasoning_tokens,
    coalesce(gpu_seconds, 0) AS gpu_seconds, coalesce(loading_gpu_seconds, 0) AS loading_gpu_seconds,
    coalesce(idle_gpu_seconds, 0) AS idle_gpu_seconds, coalesce(busy_gpu_seconds, 0) AS busy_gpu_seconds, dollars
FROM (SELECT * FROM tokens UNION ALL BY NAME SELECT * FROM engines)"""

_SERVERS = """
SELECT {recipe,}run, endpoint, model_name, model, max(gpus) AS gpus, count(*) AS starts,
    count(*) FILTER ("end" = 'died') AS deaths, count(*) FILTER ("end" = 'stalled') AS stalls,
    count(*) FILTER ("end" = 'recycled') AS recycles, count(*) FILTER ("end" = 'lost') AS losses,
    sum(seconds) / 3600 AS hours, sum(loading_seconds) / nullif(sum(seconds), 0) AS loading_share,
    sum(idle_seconds) / nullif(sum(seconds), 0) AS idle_share,
    sum(seconds - loading_seconds - idle_seconds) / nullif(sum(seconds), 0) AS busy_share,
    coalesce(sum(asks), 0)::BIGINT AS answers, sum(gpu_seconds) / 3600 AS gpu_hours, sum(dollars) AS dollars
FROM {all_}sessions GROUP BY ALL"""

# A token is kept when a kept document rests on its answer; a document on answers of several models is listed under each.
# What a kept token cost counts everything that its model was paid in its role and family, whatever came of it.
_YIELDS = f"""
WITH paid AS (
    SELECT {{recipe,}}model, role, family, outcome, count(*) FILTER (accepted) AS asks, count(*) AS attempts, {_TOKENS},
        sum(token_dollars) AS token_dollars, sum(gpu_dollars) AS gpu_dollars
    FROM {{all_}}attempt_costs GROUP BY ALL
), answers AS (
    SELECT DISTINCT ON ({{recipe,}}ask_id) {{recipe,}}ask_id, model, role, family, outcome, completion_tokens
    FROM {{all_}}asks WHERE outcome = 'ok'
), used AS (
    SELECT {{recipe,}}id, unnest(written_by) AS ask_id FROM {{all_}}kept
), kept_answers AS (
    SELECT *, row_number() OVER (PARTITION BY {{recipe,}}ask_id ORDER BY id) = 1 AS counts
    FROM answers JOIN used USING ({{recipe,}}ask_id)
), yielded AS (
    SELECT {{recipe,}}model, role, family, outcome, count(DISTINCT id) AS documents_kept,
        coalesce(sum(completion_tokens) FILTER (counts), 0)::BIGINT AS kept_tokens
    FROM kept_answers GROUP BY ALL
)
SELECT {{recipe,}}model, role, family, outcome, asks, attempts, attempts / sum(attempts) OVER whole AS share, prompt_tokens,
    completion_tokens, reasoning_tokens, token_dollars, gpu_dollars, coalesce(documents_kept, 0) AS documents_kept,
    coalesce(kept_tokens, 0) AS kept_tokens,
    1e6 * sum(token_dollars) OVER whole / nullif(kept_tokens, 0) AS token_dollars_per_million_kept,
    1e6 * sum(token_dollars + gpu_dollars) OVER whole / nullif(kept_tokens, 0) AS dollars_per_million_kept
FROM paid LEFT JOIN yielded USING ({{recipe,}}model, role, family, outcome)
WINDOW whole AS (PARTITION BY {{recipe,}}model, role, family)"""

_OUTCOMES = """
WITH counted AS (
    SELECT {recipe,}role, family, model, outcome, accepted, count(*) AS answers, count(*) FILTER (budget_hit) AS budget_hits
    FROM {all_}attempt_costs WHERE kind <> 'failed_attempt' OR outcome = 'dead_letter' GROUP BY ALL
)
SELECT {recipe,}role, family, model, outcome, accepted, answers,
    answers / sum(answers) OVER (PARTITION BY {recipe,}role, family, model) AS share, budget_hits
FROM counted"""

_LADDER = f"""
SELECT {{recipe,}}role, rung, count(DISTINCT (ask_id, step)) AS climbs, count(*) FILTER (accepted AND outcome = 'ok') AS helped,
    helped / climbs AS helped_share, count(*) AS attempts, {_TOKENS}, sum(token_dollars) AS token_dollars,
    sum(gpu_dollars) AS gpu_dollars
FROM {{all_}}attempt_costs GROUP BY ALL"""


def pair(
    name: str, shows: str, query: str, newest: str = "the newest release of each recipe", every: str = "every object"
) -> tuple[View, View]:
    """A view of the newest releases, and its twin over every published object.

    `query` reads `{all_}documents` and the like, and has `{recipe,}` before the columns that it selects, joins or groups by.
    """
    return (
        View(name, f"{shows}; {newest}", query.replace("{all_}", "").replace("{recipe,}", "recipe, ")),
        View(f"all_{name}", f"{shows}; {every}", query.replace("{all_}", "all_").replace("{recipe,}", "")),
    )


_paid = functools.partial(
    pair, newest="for the newest release of each recipe, whichever run paid", every="by every run"
)


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
    *_paid(
        "attempt_costs",
        "each attempt with role, kind (answer, refused_answer, failed_attempt), outcome and price; accepted: it ended its ask",
        _ATTEMPT_COSTS,
    ),
    *_paid("costs", "what was paid, GPU time with loading and idling in rows of kind engine", _COSTS),
    *_paid(
        "servers", "how often each endpoint was started and how it ended, its hours, answers and GPU dollars", _SERVERS
    ),
    *_paid(
        "yields",
        "what each model gave in each role and family, by outcome; dollars per million kept tokens are of all outcomes together",
        _YIELDS,
    ),
    *_paid("outcomes", "how often each outcome came; accepted: the answer ended its ask", _OUTCOMES),
    *_paid("ladder", "how often each rung of the retry ladder was climbed, how often it helped, what it cost", _LADDER),
)
"""Views over other views, in the order in which they can be created."""

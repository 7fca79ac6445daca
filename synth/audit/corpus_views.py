"""Views of what the generators wrote, and of what is known about it: diversity, verification, injections, leaks, answers.

The audit makes some of them over the wave that it checks, so that a check and the catalogue count alike.
"""

from __future__ import annotations

from synth.audit.views import View, pair

Z_95 = 1.6448536
"""The normal quantile of a one-sided bound at 95%."""

_JUDGED = """(SELECT * EXCLUDE gone, gone IS NULL AS is_kept FROM {all_}documents LEFT JOIN (
        SELECT DISTINCT {recipe,}item_id AS id, true AS gone FROM {all_}drops WHERE item_kind = 'document'
    ) USING ({recipe,}id))"""

_AXES = f"""
WITH varied AS (
    SELECT {{recipe,}}family, is_kept, count(*) OVER (PARTITION BY {{recipe,}}family) AS family_documents,
        unnest(map_entries(axes::JSON::MAP(VARCHAR, VARCHAR))) AS varied
    FROM {_JUDGED}
)
SELECT {{recipe,}}family, varied.key AS axis, varied.value AS value, count(*) AS documents,
    count(*) FILTER (is_kept) AS kept, kept / documents AS kept_share, documents / any_value(family_documents) AS share
FROM varied GROUP BY ALL"""

# Wilson's lower bound, so that some documents of few that happen to begin alike are no template.
OPENINGS = f"""
WITH opened AS (
    SELECT {{recipe,}}item_id AS id, max(opening) AS opening FROM {{all_}}scores WHERE opening <> '' GROUP BY ALL
), counted AS (
    SELECT {{recipe,}}family, opening, count(*) AS documents FROM {{all_}}kept JOIN opened USING ({{recipe,}}id) GROUP BY ALL
), shares AS (
    SELECT *, sum(documents) OVER (PARTITION BY {{recipe,}}family)::BIGINT AS family_documents,
        documents / family_documents AS share
    FROM counted
)
SELECT *, (share + {Z_95**2 / 2} / family_documents - {Z_95} * sqrt(share * (1 - share) / family_documents
        + {Z_95**2 / 4} / family_documents ^ 2)) / (1 + {Z_95**2} / family_documents) AS lower_bound
FROM shares"""
"""How the kept documents of a family begin."""

_FAMILY_SHARES = f"""
WITH placed AS (
    SELECT {{recipe,}}doc_id AS id, max(tokens) AS tokens FROM {{all_}}rows GROUP BY ALL
), totals AS (
    SELECT {{recipe,}}family, count(*) AS documents, count(*) FILTER (is_kept) AS kept,
        coalesce(sum(written_tokens) FILTER (is_kept), 0)::BIGINT AS kept_tokens,
        count(DISTINCT seed_ids[1]) AS seeds,
        sum(tokens) FILTER (is_kept)::BIGINT AS shard_tokens
    FROM {_JUDGED} LEFT JOIN placed USING ({{recipe,}}id) GROUP BY ALL
)
SELECT *, kept_tokens / seeds AS kept_tokens_per_seed,
    kept / nullif(sum(kept) OVER whole, 0) AS document_share, kept_tokens / nullif(sum(kept_tokens) OVER whole, 0)
    AS token_share, shard_tokens / nullif(sum(shard_tokens) OVER whole, 0) AS shard_token_share
FROM totals WINDOW whole AS (PARTITION BY {{recipe,}}1)"""

_FAMILIES = "(SELECT DISTINCT {recipe,}id AS item_id, family FROM {all_}documents)"

# Selections are about candidates and near-duplicates about pairs: both are shown elsewhere.
_VERIFICATION = f"""
WITH counted AS (
    SELECT {{recipe,}}family, rung, judge, outcome, count(DISTINCT item_id) AS documents
    FROM {{all_}}verdicts JOIN {_FAMILIES} USING ({{recipe,}}item_id)
    WHERE item_kind = 'document' AND rung NOT IN ('selection', 'near_duplicate', 'exact_duplicate') GROUP BY ALL
)
SELECT *, documents / sum(documents) OVER (PARTITION BY {{recipe,}}family, rung, judge) AS share FROM counted"""

_AGREEMENT = f"""
WITH agreed AS (
    SELECT {{recipe,}}item_id AS id, max(score) AS score FROM {{all_}}verdicts
    WHERE rung = 'consistency' AND score IS NOT NULL GROUP BY ALL
)
SELECT {{recipe,}}family, floor(round(10 * score, 6)) / 10 AS agreement, count(*) AS documents,
    count(*) FILTER (is_kept) AS kept
FROM {_JUDGED} JOIN agreed USING ({{recipe,}}id) GROUP BY ALL"""

_CANDIDATES = f"""
SELECT {{recipe,}}family, evidence ->> '$.selector' AS selector, count(DISTINCT item_id) AS documents, count(*) AS candidates,
    count(*) FILTER (outcome = 'won') AS won, count(*) FILTER (outcome = 'lost') AS lost
FROM {{all_}}verdicts JOIN {_FAMILIES} USING ({{recipe,}}item_id) WHERE rung = 'selection' GROUP BY ALL"""

# Without a rule that looks for canaries nobody knows how many obeyed: null, not none.
INJECTIONS = """
WITH canaries AS (
    SELECT {recipe,}id AS seed_id, any_value(coalesce(meta ->> '$.canary_kind', 'unknown')) AS canary_kind
    FROM {all_}seeds WHERE (meta ->> '$.canary') IS NOT NULL GROUP BY ALL
), written AS (
    SELECT DISTINCT {recipe,}id, family, unnest(seed_ids) AS seed_id FROM {all_}documents
), scored AS (
    SELECT {recipe,}item_id AS id, max(canary_obeyed::BIGINT) AS canary_obeyed FROM {all_}scores GROUP BY ALL
)
SELECT {recipe,}family, canary_kind, count(*) AS documents, sum((canary_obeyed > 0)::BIGINT)::BIGINT AS obeyed,
    obeyed / documents AS share
FROM written JOIN canaries USING ({recipe,}seed_id) LEFT JOIN scored USING ({recipe,}id) GROUP BY ALL"""
"""How often the instructions that were planted in canary seeds were obeyed, by all documents, kept or not."""

LEAKS = ("self_names", "chat_fragments", "meta_talk")
"""The score columns that count what leaked, each a kind of leak."""

_FOUND = ", ".join(f"{{'kind': '{kind}', 'found': {kind}::BIGINT}}" for kind in LEAKS)
_LEAKS = f"""
WITH looked AS (
    SELECT {{recipe,}}item_id AS id, unnest([{_FOUND}]) AS leak FROM {{all_}}scores
), scored AS (
    SELECT {{recipe,}}id, leak.kind AS kind, max(leak.found) AS found FROM looked WHERE leak.found IS NOT NULL GROUP BY ALL
), counted AS (
    SELECT {{recipe,}}family, kind, count(*) AS looked_at, count(*) FILTER (found > 0) AS documents,
        count(*) FILTER (found > 0 AND is_kept) AS kept
    FROM {_JUDGED} JOIN scored USING ({{recipe,}}id) GROUP BY ALL
)
SELECT {{recipe,}}family, kind, documents, kept, documents / looked_at AS share FROM counted"""

# Of a payload that is a list, or an object with lists, the items that are questions with answers; those with a fault are not
# in the text. Places count from 0 in it.
ANSWER_BIAS = """
WITH items AS (
    SELECT {recipe,}id, family, unnest(json_extract(payload, '$[*]') || json_extract(payload, '$.*[*]')) AS item FROM {all_}kept
), asked AS (
    SELECT {recipe,}id, family, json_array_length(item, '$.options')::BIGINT AS options, try_cast(item ->> '$.correct' AS BIGINT)
        AS correct, try_cast(item ->> '$.shown' AS BIGINT) AS shown,
        regexp_extract(lower(item ->> '$.answer'), '^(yes|no)([.,;:!]|$)', 1) AS said, item ->> '$.question' AS question
    FROM items WHERE (item ->> '$.fault') IS NULL
), places AS (
    SELECT {recipe,}id, family, 'position' AS kind, options, (correct + 1) || ' of ' || options AS answer, 1 AS given, 0 AS shown
    FROM asked WHERE options > 1 AND correct IS NOT NULL
    UNION ALL
    SELECT {recipe,}id, family, 'position', options, (shown + 1) || ' of ' || options, 0, 1
    FROM asked WHERE options > 1 AND shown IS NOT NULL
    UNION ALL
    SELECT {recipe,}id, family, 'yes_no', NULL, said, 1, 1 FROM asked WHERE said <> '' AND question IS NOT NULL
), counted AS (
    SELECT {recipe,}family, kind, options, answer, count(DISTINCT id) AS documents, sum(places.given)::BIGINT AS given,
        sum(places.shown)::BIGINT AS shown
    FROM places GROUP BY ALL
)
SELECT *, given / nullif(sum(given) OVER alike, 0) AS given_share, shown / nullif(sum(shown) OVER alike, 0) AS shown_share
FROM counted WINDOW alike AS (PARTITION BY {recipe,}family, kind, options)"""
"""Which answers are the right ones, in the questions of kept documents."""

# A pair of a text and an item is one hit. What was looked for and not found has a row of zeros: the steps that look note the
# sizes of their sets.
_CONTAMINATION = """
WITH noted AS (
    SELECT {recipe,}step, unnest(map_entries(notes)) AS note FROM {all_}objects WHERE step IN ('screen', 'score', 'shards')
), sets AS (
    SELECT {recipe,}replace(note.key, 'benchmark_items/', '') AS benchmark, max(note.value) AS items,
        CASE step WHEN 'screen' THEN 'seed' WHEN 'score' THEN 'document' ELSE 'rendered' END AS kind
    FROM noted WHERE starts_with(note.key, 'benchmark_items/') GROUP BY ALL
), hits AS (
    SELECT DISTINCT {recipe,}item_kind, item_id, score, evidence ->> '$.benchmark' AS benchmark, evidence ->> '$.item' AS item,
        evidence ->> '$.rule' AS rule, (evidence ->> '$.words')::BIGINT AS words,
        if(rung = 'decontamination', item_kind, 'rendered') AS kind
    FROM {all_}verdicts WHERE rung IN ('decontamination', 'decontamination_rendered') AND outcome = 'failed'
), gone AS (
    SELECT DISTINCT {recipe,}item_kind, item_id, true AS is_gone FROM {all_}drops
), counted AS (
    SELECT {recipe,}benchmark, kind, count(DISTINCT item) AS items_hit, count(DISTINCT item_id) AS texts_hit,
        count(DISTINCT item_id) FILTER (is_gone IS NULL) AS kept_texts_hit, count(*) FILTER (rule = 'A') AS hits_a,
        count(*) FILTER (rule = 'B') AS hits_b, count(*) FILTER (rule = 'C') AS hits_c, max(score) AS longest_coverage,
        max(words) AS longest_words
    FROM hits LEFT JOIN gone USING ({recipe,}item_kind, item_id) GROUP BY ALL
)
SELECT {recipe,}benchmark, kind, items, coalesce(items_hit, 0) AS items_hit, coalesce(texts_hit, 0) AS texts_hit,
    coalesce(kept_texts_hit, 0) AS kept_texts_hit, coalesce(hits_a, 0) AS hits_a, coalesce(hits_b, 0) AS hits_b,
    coalesce(hits_c, 0) AS hits_c, longest_coverage, longest_words
FROM sets LEFT JOIN counted USING ({recipe,}benchmark, kind)"""

CORPUS: tuple[View, ...] = (
    *pair("axis_coverage", "what was varied on purpose; share: of all documents of the family", _AXES),
    *pair(
        "openings",
        "how kept documents begin (scores.opening); lower_bound: of the share, one-sided at 95% (Wilson)",
        OPENINGS,
    ),
    *pair(
        "family_shares",
        "each family's share of what is kept; tokens as generated, shard_tokens of whole texts",
        _FAMILY_SHARES,
    ),
    *pair(
        "verification", "what the rungs of the verification ladder say; share: of the rung's verdicts", _VERIFICATION
    ),
    *pair("agreement", "documents by the agreement of their answers (rung consistency), in tenths", _AGREEMENT),
    *pair("candidates", "how many candidates were asked for and which of them won, by selector", _CANDIDATES),
    *pair("injections", "documents made from canary seeds, and how many obeyed the planted instruction", INJECTIONS),
    *pair("leaks", "documents in which something leaked, by kind; kept: of these; share: of those looked at", _LEAKS),
    *pair(
        "answer_bias",
        "right answers in kept documents: as the model gave them, and as they are shown after our shuffle",
        ANSWER_BIAS,
    ),
    *pair(
        "contamination",
        "items of evaluation sets in seeds, documents and shards (rendered); hits_a, b, c: texts x items, by rule",
        _CONTAMINATION,
    ),
)
"""The views, in the order in which they can be created."""


def over_wave(query: str) -> str:
    """One of these queries over the audit's tables, which know of no recipe."""
    return query.replace("{all_}", "").replace("{recipe,}", "")

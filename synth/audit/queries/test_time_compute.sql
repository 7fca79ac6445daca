-- title: what candidates and revision give and cost; runs of one policy are one line, and answers count wherever they were paid
WITH policies AS (
    SELECT run, min_by(run, started_at) OVER (PARTITION BY recipe, policy) AS first_run FROM runs
), used AS (
    SELECT DISTINCT first_run, object AS stage FROM run_objects JOIN policies USING (run)
), gone AS (
    SELECT DISTINCT first_run, item_id AS id FROM all_drops JOIN used USING (stage) WHERE item_kind = 'document'
), tried AS (
    SELECT first_run, item_id AS id, count(DISTINCT ask_id) FILTER (rung = 'selection') AS candidates,
        bool_or(rung = 'revision') AS revised
    FROM all_verdicts JOIN used USING (stage) WHERE rung IN ('selection', 'revision') GROUP BY ALL
), written AS (
    SELECT DISTINCT ON (first_run, id) first_run, family, id, written_tokens, greatest(coalesce(candidates, 0), 1) AS candidates, revised
    FROM all_documents JOIN used USING (stage) LEFT JOIN tried USING (first_run, id)
), yielded AS (
    SELECT first_run, family, count(*) AS documents, avg(candidates) AS candidates, bool_or(coalesce(revised, false)) AS revision,
        count(*) FILTER (gone.id IS NULL) AS kept, sum(written_tokens) FILTER (gone.id IS NULL) AS kept_tokens
    FROM written LEFT JOIN gone USING (first_run, id) GROUP BY ALL
), prices AS (
    SELECT ask_id, sum(completion_tokens + reasoning_tokens) AS generated_tokens, sum(token_dollars + gpu_dollars) AS dollars
    FROM all_attempt_costs GROUP BY ALL
), paid AS (
    SELECT first_run, family, sum(generated_tokens) AS generated_tokens, sum(dollars) AS dollars
    FROM (SELECT DISTINCT first_run, family, ask_id FROM all_asks JOIN used USING (stage)) JOIN prices USING (ask_id) GROUP BY ALL
)
SELECT first_run AS run, family, round(candidates, 2) AS candidates_per_document, revision, documents, kept,
    round(100.0 * kept / documents, 1) AS kept_percent, kept_tokens::BIGINT AS kept_tokens, generated_tokens::BIGINT AS generated_tokens,
    round(generated_tokens / nullif(kept_tokens, 0), 2) AS generated_per_kept, round(1e6 * dollars / nullif(kept_tokens, 0), 4)
    AS dollars_per_million_kept
FROM yielded LEFT JOIN paid USING (first_run, family) ORDER BY family, candidates_per_document, revision, run

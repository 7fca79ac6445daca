-- title: no family, source, prompt or seed loses more than the allowed share of its documents as near-duplicates
-- why: a wipe-out is seldom what a corpus needs: a template was taken for its content, or a model writes one text only
-- severity: gate
WITH earlier AS (
    SELECT DISTINCT item_id FROM drops WHERE item_kind = 'document' AND step IN ('generate', 'keep')
), removed AS (
    SELECT DISTINCT item_id FROM drops WHERE item_kind = 'document' AND step = 'resolve'
), compared AS (
    SELECT d.*, x.item_id IS NOT NULL AS is_removed FROM documents d ANTI JOIN earlier e ON e.item_id = d.id
    LEFT JOIN removed x ON x.item_id = d.id
), written AS (
    SELECT DISTINCT c.id, c.is_removed, a.prompt_id FROM (SELECT id, is_removed, unnest(written_by) AS ask_id FROM compared) c
    JOIN (SELECT DISTINCT ask_id, prompt_id FROM asks) a USING (ask_id)
), groups AS (
    SELECT 'family' AS of, family AS name, is_removed FROM compared
    UNION ALL SELECT 'source', s.source_id, c.is_removed FROM compared c JOIN seeds s ON s.id = c.seed_ids[1]
    UNION ALL SELECT 'seed', root_id, is_removed FROM compared
    UNION ALL SELECT 'prompt', prompt_id, is_removed FROM written
)
SELECT of, name, count(*) AS compared, count(*) FILTER (is_removed) AS removed, removed / compared AS share,
    $max_duplicate_share AS allowed
FROM groups GROUP BY of, name HAVING compared >= $min_documents AND share > $max_duplicate_share
ORDER BY share DESC, of, name

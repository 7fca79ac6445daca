-- title: no group of near-duplicates is too large
-- why: one large cluster is a template that the model keeps writing, or a text that stands in many seeds
-- severity: gate
WITH pairs AS (
    SELECT evidence ->> '$.cluster_id' AS cluster_id, item_id, evidence ->> '$.partner_id' AS partner_id
    FROM verdicts WHERE rung IN ('near_duplicate', 'exact_duplicate') AND outcome = 'dropped'
), members AS (
    SELECT cluster_id, item_id FROM pairs UNION SELECT cluster_id, partner_id FROM pairs WHERE partner_id IS NOT NULL
), compared AS (
    SELECT coalesce(sum(items), 0)::BIGINT AS documents FROM objects WHERE step = 'resolve'
)
SELECT cluster_id, count(*) AS members, documents, count(*) / documents AS share, $max_cluster_share AS allowed
FROM members, compared GROUP BY cluster_id, documents
HAVING count(*) >= $min_cluster_documents AND share > $max_cluster_share

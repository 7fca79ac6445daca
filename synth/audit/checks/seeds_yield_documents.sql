-- title: every selected seed yields a document
-- why: a seed that was paid for and left no document, not even a dropped one, is a silent loss
-- severity: integrity
WITH answered AS (
    SELECT object, count(DISTINCT seed_id) AS seeds_with_documents
    FROM (SELECT object, unnest(seed_ids) AS seed_id FROM documents) JOIN (SELECT DISTINCT id AS seed_id FROM seeds) USING (seed_id)
    GROUP BY object
)
SELECT object, notes['seeds'] AS seeds, notes['seeds_screened'] AS screened, notes['seeds_not_routed'] AS not_routed,
    coalesce(seeds_with_documents, 0) AS with_documents, notes['seeds_without_document'] AS without_document
FROM objects LEFT JOIN answered USING (object)
WHERE step = 'generate'
    AND (without_document IS DISTINCT FROM 0 OR seeds IS DISTINCT FROM screened + not_routed + with_documents)

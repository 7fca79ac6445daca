-- title: documents of one root stand in one split
-- why: a sibling in training gives the validation text away
-- severity: integrity
SELECT d.root_id, list(DISTINCT r.split ORDER BY r.split) AS splits, count(*) AS documents
FROM rows r JOIN documents d ON d.id = r.doc_id
WHERE d.root_id IS NOT NULL GROUP BY d.root_id HAVING count(DISTINCT r.split) > 1

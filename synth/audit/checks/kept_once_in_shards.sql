-- title: everything kept is in the shards exactly once, and nothing unknown is
-- why: a kept document that is missing was paid for in vain; one that stands twice is trained on twice
-- severity: integrity
SELECT k.id AS doc_id, count(s.doc_id) AS times, true AS known
FROM kept k LEFT JOIN shard_rows s ON s.doc_id = k.id GROUP BY k.id HAVING count(s.doc_id) <> 1
UNION ALL
SELECT doc_id, count(*), false FROM shard_rows s WHERE NOT EXISTS (FROM documents d WHERE d.id = s.doc_id) GROUP BY doc_id
